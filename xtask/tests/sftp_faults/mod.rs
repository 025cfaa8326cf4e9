//! Failing, full and read-only file systems, clients that disconnect and servers that are killed: each failure has its status, and
//! acknowledged data is in the file.

mod disconnects;
mod failing;
mod room;

use anyhow::{Result, ensure};
use xtask::clients::sftp::{Reply, Request, Sftp, Status};
use xtask::testing::pattern;

/// Checks that the request gets the status `expected`; returns the status's text.
fn fails(client: &mut Sftp, request: &Request<'_>, expected: Status) -> Result<String> {
    match client.exchange(request)? {
        Reply::Status(status, text) if status == expected => Ok(text),
        other => anyhow::bail!("{request:?} was answered {other:?} instead of {expected:?}"),
    }
}

/// Checks that the session still works: creates, reads and removes a file.
fn check_alive(client: &mut Sftp) -> Result<()> {
    client.write_file("is well", b"well")?;
    ensure!(client.read_file("is well")? == b"well");
    client.remove("is well")
}
