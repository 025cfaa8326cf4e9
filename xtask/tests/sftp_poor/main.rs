//! Hosts that have little: no accounts, no /proc, no /dev, few system calls, odd ends of the wire. All that the server can do
//! is done on each of them, and must go as on a rich one.

mod repertoire;

use anyhow::{Context, Result, ensure};
use xtask::server::public_dir;
use xtask::sftp::{Sftp, SftpOptions, Wire};

#[test]
fn any_wire_will_do() -> Result<()> {
    for wire in Wire::ALL {
        let directory = public_dir()?;
        let options = SftpOptions {
            wire,
            ..SftpOptions::at(directory.path())
        };
        let mut client = Sftp::start(&options)?;
        repertoire::play(&mut client, ".").with_context(|| format!("over {wire:?}"))?;
        let ended = if wire == Wire::Pty {
            client.vanish()?
        } else {
            client.finish()?.1
        };
        ensure!(ended.lines.is_empty(), "it said {:?}", ended.lines);
        ensure!(wire == Wire::Pty || ended.code() == Some(0), "{ended:?}");
    }
    Ok(())
}
