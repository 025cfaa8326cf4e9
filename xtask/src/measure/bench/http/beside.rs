//! Other clients, which keep the server busy while the waits of one are measured: they list a large directory, or send heads byte by byte.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{CROWD_COUNT, SMALL_COUNT, get_small, receive_small, small};
use crate::clients::http::{Client, get, request};
use crate::machines::port::Port;
use crate::machines::server::{Server, ServerOptions};
use crate::measure::bench::measure::{Cost, waits};

/// Number of connections that send a head byte by byte. With the others, less than half of what the server takes, as it ends connections after
/// a reply beyond that.
const DRIPPING_COUNT: usize = 900;

/// A directory, and the length of its listing. Each listing has a connection of its own, because some servers end it.
pub struct Listing {
    server: SocketAddr,
    path: String,
    bytes: u64,
}

impl Listing {
    /// Lists a directory of `count` names that start with `prefix`, and checks that the page links to each.
    pub fn new(server: SocketAddr, directory: &str, prefix: &str, count: u64) -> Result<Self> {
        let path = format!("/{directory}/");
        let page = get(server, &path)?.body;
        let text = str::from_utf8(&page).context("a listing is not UTF-8")?;
        let links = text.split("href=\"").skip(1).filter_map(|rest| {
            let (link, _) = rest.split_once('"')?;
            let name = link.strip_prefix("./").unwrap_or(link);
            name.starts_with(prefix).then_some(name)
        });
        let found = links.collect::<HashSet<_>>().len() as u64;
        ensure!(found == count, "{path} has {count} names, listed {found}");
        let bytes = page.len() as u64;
        Ok(Self {
            server,
            path,
            bytes,
        })
    }

    /// Lists the directory again.
    pub fn get(&self) -> Result<()> {
        let mut client = Client::connect(self.server)?;
        client.send(request("GET", &self.path, "").as_bytes())?;
        let mut bytes = 0;
        client.receive_by(|_, part| {
            bytes += part.len() as u64;
            Ok(())
        })?;
        let (path, expected) = (&self.path, self.bytes);
        ensure!(bytes == expected, "{path}: {bytes} bytes, not {expected}");
        Ok(())
    }

    /// Measures the waits of `ask` while another client lists the directory for `span`.
    pub fn wait(
        &self,
        span: Duration,
        ask: impl FnMut() -> Result<Duration> + Send,
    ) -> Result<Cost> {
        waits(ask, || {
            let start = Instant::now();
            while start.elapsed() < span {
                self.get()?;
            }
            Ok(())
        })
    }
}

/// Measures the waits of GETs of small files, on connections that take turns.
pub fn asking(clients: &mut [Client]) -> impl FnMut() -> Result<Duration> + Send {
    let mut turn = 0;
    move || {
        let count = clients.len();
        let client = clients.get_mut(turn % count).context("no connection")?;
        turn += 1;
        let asked = Instant::now();
        get_small(client, turn as u64 % SMALL_COUNT)?;
        Ok(asked.elapsed())
    }
}

/// Measures the waits of GETs while other connections send a byte of a head each second, for `span`. Then these send the rest of
/// their heads, and the server must answer each. `server` has no other connections: they would count for its limit.
pub fn wait_for_drips(server: SocketAddr, span: Duration) -> Result<Cost> {
    let heads: Vec<_> = (0..DRIPPING_COUNT as u64)
        .map(|index| request("GET", &small(index), ""))
        .collect();
    let connect = |_| TcpStream::connect(server);
    let mut drips = heads.iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    // Replies to later connections show that the server has accepted these.
    let mut clients = (0..CROWD_COUNT / 2)
        .map(|_| {
            let mut client = Client::connect(server)?;
            get_small(&mut client, 0).map(|()| client)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut sent = 0;
    let cost = waits(asking(&mut clients), || {
        let start = Instant::now();
        while start.elapsed() < span {
            let (index, at) = (sent % DRIPPING_COUNT, sent / DRIPPING_COUNT);
            let byte = heads[index].as_bytes()[at];
            let written = drips[index].write_all(&[byte]);
            written.with_context(|| format!("byte {at} of head {index}"))?;
            sent += 1;
            let due = Duration::from_secs(1) * sent as u32 / DRIPPING_COUNT as u32;
            sleep(due.saturating_sub(start.elapsed()));
        }
        Ok(())
    })?;
    for (index, (drip, head)) in drips.into_iter().zip(&heads).enumerate() {
        let at = sent / DRIPPING_COUNT + usize::from(index < sent % DRIPPING_COUNT);
        let mut client = Client::from_stream(drip)?;
        client.send(&head.as_bytes()[at..])?;
        let received = receive_small(&mut client, index as u64);
        received.with_context(|| format!("a head that was {at} bytes long for a while"))?;
    }
    Ok(cost)
}

/// Measures the waits of GETATTR while another client lists a directory over HTTP. One process serves both.
pub fn wait_for_nfs(
    file: &Path,
    tree: &Path,
    span: Duration,
    list: impl FnOnce(SocketAddr) -> Result<Listing>,
) -> Result<Cost> {
    let port = Port::reserve()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let server = Server::start(ServerOptions {
        file: Some(file.to_path_buf()),
        role: "serve",
        arguments: [
            "--one-process".to_owned(),
            format!("--http={address}"),
            "--http-root".to_owned(),
        ]
        .into(),
        ..ServerOptions::serving(&[tree])
    })?;
    let (mut client, root) = server.open(tree)?;
    list(address)?.wait(span, || {
        let asked = Instant::now();
        client.attr(&root)?;
        Ok(asked.elapsed())
    })
}
