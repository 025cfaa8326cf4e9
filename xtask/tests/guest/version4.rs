//! NFS 4.1.

use anyhow::{Result, ensure};
use xtask::machines::server::ServerOptions;

use crate::world::World;

/// Linux mounts by version 4.1 without an option for it, and lists the whole tree as the host does.
pub fn directory_is_listed_over_4_1(world: &mut World) -> Result<()> {
    let server = world.serve(ServerOptions {
        arguments: vec!["--nfs-versions".into(), "3,4.1".into()],
        ..ServerOptions::serving(&[world.tree.path()])
    })?;
    let script = format!(
        "set -e; mkdir -p /mnt/4; mount -t nfs -o port={} 10.0.2.2:{} /mnt/4
        trap 'cd /; umount /mnt/4' EXIT; grep -q '/mnt/4 nfs4 .*vers=4.1' /proc/mounts
        cd /mnt/4; find . | sort",
        server.nfs_port,
        world.tree.path().display(),
    );
    let listed = world.guest.run_ok(&script)?;
    let expect = world.on_host("sh", &["-c", "find . | LC_ALL=C sort"])?;
    ensure!(
        listed.lines().count() > 10 && listed == String::from_utf8_lossy(&expect),
        "{listed}"
    );
    Ok(())
}
