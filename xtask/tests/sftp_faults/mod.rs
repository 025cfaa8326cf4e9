//! Disks that fail, are full or may not be written, clients that go and servers that are killed: each failure has its status,
//! and what was acknowledged is in the file.

mod failing;
mod gone;
mod room;

use anyhow::{Result, ensure};
use xtask::clients::sftp::{Reply, Request, Sftp, Status};
use xtask::testing::pattern;

/// The request must be answered with this status; its text.
fn fails(client: &mut Sftp, request: &Request<'_>, expected: Status) -> Result<String> {
    match client.exchange(request)? {
        Reply::Status(status, text) if status == expected => Ok(text),
        other => anyhow::bail!("{request:?} was answered {other:?} and not {expected:?}"),
    }
}

/// The session goes on: a file can be made, read and removed.
fn is_well(client: &mut Sftp) -> Result<()> {
    client.write_file("is well", b"well")?;
    ensure!(client.read_file("is well")? == b"well");
    client.remove("is well")
}
