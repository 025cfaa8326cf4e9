//! The boot of a system from the inside of an image: by Debian's live-boot, and by klibc's nfsmount alone.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::images;
use crate::world::{HOST, World};

/// A machine with Debian's kernel and the initramfs of a live system.
pub const MACHINE: &str = "live";
const IMAGE: &str = "live.iso";

/// The init script of the system in the image. Its lines have a prefix, because the kernel prints on the same console.
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

/// Makes the live image in `directory`. Returns the SHA-256 of its squashfs file.
pub fn image(directory: &Path) -> Result<String> {
    images::live(&directory.join(IMAGE), INIT)
}

/// live-boot mounts the image over NFS and starts the init of the system in it.
pub fn as_it_is(world: &mut World) -> Result<()> {
    let path = world.images.path().join(IMAGE);
    let source = format!("{HOST}:{}", path.display());
    let console = world.watch(&format!("nfsroot={source}"), None)?;
    for part in [
        "live: BusyBox v".to_owned(),
        format!("live: {source} /run/live/medium nfs ro,"),
        "live: the end".to_owned(),
    ] {
        ensure!(console.contains(&part), "no '{part}' in:\n{console}");
    }
    Ok(())
}

/// Replaces /init of the same initramfs by a script that mounts the image with klibc's nfsmount, without live-boot.
pub fn by_nfsmount(world: &mut World) -> Result<()> {
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
echo "nfsmount: $(grep ' /medium ' /proc/mounts)"
echo "nfsmount: $(ls /medium/live)"
echo "nfsmount: $(sha256sum /medium/live/filesystem.squashfs)"
poweroff -f
"#,
        path = path.display(),
    );
    let console = world.watch("", Some(&init))?;
    for part in [
        format!("nfsmount: {HOST}:{} /medium nfs ro,", path.display()),
        "nfsmount: filesystem.squashfs".to_owned(),
        format!("nfsmount: {}  /medium", world.live_sum),
    ] {
        ensure!(console.contains(&part), "no '{part}' in:\n{console}");
    }
    Ok(())
}
