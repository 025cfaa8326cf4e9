//! The boot of a system from the inside of an image by Debian's live-boot, which mounts it with klibc's nfsmount.

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

/// Makes the live image in `directory`.
pub fn image(directory: &Path) -> Result<()> {
    images::live(&directory.join(IMAGE), INIT)
}

/// live-boot mounts the image over NFS and starts the init of the system in it.
pub fn as_it_is(world: &mut World) -> Result<()> {
    let path = world.images.path().join(IMAGE);
    let source = format!("{HOST}:{}", path.display());
    let console = world.watch(&format!("nfsroot={source}"))?;
    for part in [
        "live: BusyBox v".to_owned(),
        format!("live: {source} /run/live/medium nfs ro,"),
        "live: the end".to_owned(),
    ] {
        ensure!(console.contains(&part), "no '{part}' in:\n{console}");
    }
    Ok(())
}
