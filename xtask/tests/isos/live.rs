//! How a system starts from the inside of an image: by Debian's live-boot, and by the `nfsmount` that it uses.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::images;
use crate::world::{HOST, World};

/// Debian's kernel, with the initramfs of a live system.
pub const MACHINE: &str = "live";
const IMAGE: &str = "live.iso";

/// What the system in the image does. The console is the kernel's: every line has its own beginning.
const INIT: &str = r#"
#!/bin/sh
exec >/dev/console 2>&1
PATH=/bin
busybox mount -t proc proc /proc
echo "live: $(busybox | busybox head -n 1)"
echo "live: $(busybox grep ' /run/live/medium ' /proc/mounts)"
echo "live: $(busybox grep ' squashfs ' /proc/mounts)"
echo "live: the end"
busybox poweroff -f
"#;

/// Makes the image in a directory; the SHA-256 of the file system that is in it.
pub fn image(directory: &Path) -> Result<String> {
    images::live(&directory.join(IMAGE), INIT)
}

/// live-boot finds the system in the image, and a program of it runs.
pub fn as_it_is(world: &mut World) -> Result<()> {
    let path = world.images.path().join(IMAGE);
    let place = format!("{HOST}:{}", path.display());
    let said = world.watch(&format!("nfsroot={place}"), None)?;
    for part in [
        "live: BusyBox v".to_owned(),
        format!("live: {place} /run/live/medium nfs ro,"),
        "live: the end".to_owned(),
    ] {
        ensure!(said.contains(&part), "no '{part}' in:\n{said}");
    }
    Ok(())
}

/// What a person types to do the same, in the same initramfs.
pub fn by_hand(world: &mut World) -> Result<()> {
    let path = world.images.path().join(IMAGE);
    let init = format!(
        r#"#!/bin/sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin
mkdir -p /proc /sys /dev /run /medium
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec >/dev/console 2>&1
modprobe -a virtio_pci virtio_net af_packet nfs nfsv3
ipconfig -t 15 -c dhcp eth0
nfsmount -o ro,nolock {HOST}:{path} /medium
echo "by hand: $(grep ' /medium ' /proc/mounts)"
echo "by hand: $(ls /medium/live)"
echo "by hand: $(sha256sum /medium/live/filesystem.squashfs)"
poweroff -f
"#,
        path = path.display(),
    );
    let said = world.watch("", Some(&init))?;
    for part in [
        format!("by hand: {HOST}:{} /medium nfs ro,", path.display()),
        "by hand: filesystem.squashfs".to_owned(),
        format!("by hand: {}  /medium", world.live_sum),
    ] {
        ensure!(said.contains(&part), "no '{part}' in:\n{said}");
    }
    Ok(())
}
