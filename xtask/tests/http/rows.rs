//! The table of requests, over TCP: each row on a connection that the client half-closes after its request.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};
use cases::http::{Object, ROWS, Reply, Row, TREE, Validators, pattern};
use xtask::machines::http::HttpServer;
use xtask::machines::server::public_dir;
use xtask::setup;

/// Sends a request, and returns the reply.
fn ask(server: SocketAddr, request: &[u8], method: &str) -> Result<Reply> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut received = Vec::new();
    stream
        .read_to_end(&mut received)
        .context("no end of the connection")?;
    let mut received = VecDeque::from(received);
    let reply = Reply::take(&mut received, method).map_err(|wrong| anyhow!(wrong))?;
    ensure!(received.is_empty(), "bytes after the reply: {received:?}");
    reply.context("no reply")
}

#[test]
fn rows_are_answered_over_tcp() -> Result<()> {
    let parent = public_dir()?;
    let top = parent.path().join("srv");
    fs::create_dir(&top)?;
    for (path, object) in TREE {
        let path = top.join(path);
        match object {
            Object::File(content) => fs::write(&path, content)?,
            Object::Pattern(len) => fs::write(&path, (0..len).map(pattern).collect::<Vec<_>>())?,
            Object::Directory => fs::create_dir(&path)?,
            Object::Link(target) => symlink(target, &path)?,
            Object::Fifo => setup::run_captured(Command::new("mkfifo").arg(&path)).map(drop)?,
        }
    }
    // A date is strong only if it is older than the reply.
    let past = SystemTime::now() - Duration::from_secs(60);
    File::options()
        .write(true)
        .open(top.join("a.txt"))?
        .set_modified(past)?;
    let server = HttpServer::start("http", [parent.path()])?;
    let address = server.address();
    let known = ask(address, b"HEAD /srv/a.txt HTTP/1.0\r\n\r\n", "HEAD")?;
    let field = |name| known.field(name).map(str::to_owned).context("no validator");
    let known = Validators {
        tag: field("ETag")?,
        date: field("Last-Modified")?,
    };
    let check = |row: &Row| {
        let reply = ask(address, &row.request(&known), row.method());
        let reply = reply.with_context(|| format!("{row:?}"))?;
        row.check(&reply, &known).map_err(|wrong| anyhow!(wrong))
    };
    let wrong: Vec<_> = ROWS.iter().filter_map(|row| check(row).err()).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
