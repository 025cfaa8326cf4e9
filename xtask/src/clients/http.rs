//! A small HTTP/1.1 client over TCP for tests and measurements: one connection, requests as text, replies with a Content-Length, in
//! chunks, or until the connection closes.
//!
//! No redirects, no reconnects. Errors are returned, not panics.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::connect_from;

/// Longest time without a byte of a reply.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Status line and fields of a reply.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    lines: String,
}

impl Head {
    /// Value of the first field `name`, in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.lines.lines().filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.trim())
    }

    /// Content-Length, if there is one.
    fn length(&self) -> Result<Option<u64>> {
        let value = self.field("Content-Length").map(str::parse).transpose();
        value.with_context(|| format!("Content-Length is no number in {self:?}"))
    }
}

/// A reply.
#[derive(Debug)]
pub struct Reply {
    pub head: Head,
    pub body: Vec<u8>,
}

/// A connection to a server.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to the server. Later calls fail if no data arrives for 20 seconds.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server);
        Self::from_stream(stream.with_context(|| format!("cannot connect to {server}"))?)
    }

    /// Connects from the local address `source`.
    pub fn connect_from(source: Ipv4Addr, server: SocketAddr) -> Result<Self> {
        Self::from_stream(connect_from(source, server)?)
    }

    /// Goes on with a connection on which no reply is due yet.
    pub fn from_stream(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self {
            stream: BufReader::with_capacity(256 << 10, stream),
        })
    }

    /// Sends bytes of requests.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.stream.get_mut().write_all(bytes);
        sent.context("cannot send to the server")
    }

    /// Sends `GET path` and receives the reply.
    pub fn get(&mut self, path: &str) -> Result<Reply> {
        self.send(request("GET", path, "").as_bytes())?;
        self.receive()
    }

    /// Receives the reply to a request other than HEAD.
    pub fn receive(&mut self) -> Result<Reply> {
        let mut body = Vec::new();
        let head = self.receive_by(|_, part| {
            body.extend_from_slice(part);
            Ok(())
        })?;
        Ok(Reply { head, body })
    }

    /// As [`Self::receive`], but passes each part of the body, and its offset, to `take`.
    pub fn receive_by(&mut self, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<Head> {
        let head = self.receive_head()?;
        let bodiless = head.status < 200 || [204, 304].contains(&head.status);
        if bodiless {
            return Ok(head);
        }
        if head.field("Transfer-Encoding") == Some("chunked") {
            self.receive_chunks(&mut take)?;
            return Ok(head);
        }
        let len = head.length()?;
        let received = self.receive_part(0, len.unwrap_or(u64::MAX), &mut take)?;
        ensure!(
            len.is_none_or(|len| len == received),
            "the body of {head:?} ends after {received} bytes"
        );
        Ok(head)
    }

    /// Receives a body in chunks without trailers. A missing last chunk is an error.
    fn receive_chunks(&mut self, take: &mut impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut offset = 0;
        loop {
            let line = self.receive_line()?;
            let len = u64::from_str_radix(&line, 16);
            let len = len.with_context(|| format!("after {offset} bytes, the chunk {line:?}"))?;
            let end = offset + len;
            offset = self.receive_part(offset, end, take)?;
            ensure!(offset == end, "a chunk ends {} bytes early", end - offset);
            ensure!(self.receive_line()?.is_empty(), "no CRLF after a chunk");
            if len == 0 {
                return Ok(());
            }
        }
    }

    /// Receives a line without its CRLF. The end of the connection is an error.
    fn receive_line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let text = line.strip_suffix("\r\n").map(str::to_owned);
        text.with_context(|| format!("the connection ends within a chunked body: {line:?}"))
    }

    /// Passes the bytes of a body from `start` to `end` to `take`. Returns where the connection ended, else `end`.
    fn receive_part(
        &mut self,
        start: u64,
        end: u64,
        take: &mut impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        let mut offset = start;
        while offset < end {
            let part = self.stream.fill_buf().context("cannot receive a body")?;
            if part.is_empty() {
                break;
            }
            let rest = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let part = &part[..part.len().min(rest)];
            take(offset, part)?;
            let part_len = part.len();
            offset += part_len as u64;
            self.stream.consume(part_len);
        }
        Ok(offset)
    }

    /// Receives status line and fields: all of a reply to HEAD.
    pub fn receive_head(&mut self) -> Result<Head> {
        let mut lines = String::new();
        while !lines.ends_with("\r\n\r\n") {
            let read = self.stream.read_line(&mut lines);
            let len = read.context("cannot receive a reply's head")?;
            ensure!(
                len > 0,
                "the connection ends within a reply's head: {lines:?}"
            );
        }
        let status = lines
            .strip_prefix("HTTP/1.1 ")
            .and_then(|line| line.get(..3));
        let status = status.and_then(|digits| digits.parse().ok());
        let status = status.with_context(|| format!("no status line: {lines:?}"))?;
        Ok(Head { status, lines })
    }

    /// Fails unless the server closes the connection without another byte.
    pub fn expect_end(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        ensure!(
            rest.is_empty(),
            "after the reply: {:?}",
            rest.escape_ascii()
        );
        Ok(())
    }
}

/// Text of a request without a body. `fields` are whole lines.
pub fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: server\r\n{fields}\r\n")
}

/// Sends `GET path` on a connection of its own and receives the reply.
pub fn get(server: SocketAddr, path: &str) -> Result<Reply> {
    Client::connect(server)?.get(path)
}

/// Opens `count` connections that stay open, and gets `/healthz` by each. An answer takes at most a second.
pub fn crowd(server: SocketAddr, count: usize) -> Result<()> {
    let mut idle = vec![];
    for number in 0..count {
        let begin = Instant::now();
        let mut client = Client::connect(server)?;
        let status = client.get("/healthz")?.head.status;
        let took = begin.elapsed();
        ensure!(
            status == 200 && took < Duration::from_secs(1),
            "connection {number}: status {status} after {took:?}"
        );
        idle.push(client);
    }
    Ok(())
}
