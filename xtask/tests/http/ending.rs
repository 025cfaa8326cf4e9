//! How connections end: the client sees the end after its last reply, and the server drops further input for a while.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xtask::build::Arch;
use xtask::clients::http::{Client, crowd, request};
use xtask::machines::http::HttpServer;
use xtask::machines::port::Port;
use xtask::machines::server::{public_dir, runnable};

/// Requests whose body, or whose end, the server does not read, and their status.
fn unread() -> [(String, &'static str); 4] {
    [
        (
            request("PUT", "/new", "Content-Length: 99999999\r\n"),
            "405",
        ),
        (
            request("PUT", "/new", "Transfer-Encoding: chunked\r\n"),
            "405",
        ),
        (
            request("GET", "/", "Expect: 100-continue\r\nContent-Length: 9\r\n"),
            "200",
        ),
        ("\x16\x03\x01\0".to_owned(), "400"),
    ]
}

#[test]
fn unread_request_ends_the_connection_at_once() -> Result<()> {
    let dir = public_dir()?;
    let server = HttpServer::start("http", [dir.path()])?;
    for (request, status) in unread() {
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(request.as_bytes())?;
        let mut reply = String::new();
        stream
            .read_to_string(&mut reply)
            .with_context(|| format!("no end after {request:?}"))?;
        ensure!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        ensure!(reply.contains("\r\nConnection: close\r\n"), "{reply}");
        // Input after the end is dropped, without a reset.
        for _ in 0..3 {
            stream.write_all(&[b'x'; 100_000])?;
            std::thread::sleep(Duration::from_millis(100));
        }
        stream.take_error()?.map_or(Ok(()), Err)?;
    }
    Ok(())
}

#[test]
fn endless_body_is_dropped_then_refused() -> Result<()> {
    let dir = public_dir()?;
    let server = HttpServer::start("http", [dir.path()])?;
    let chunk = vec![b'x'; 1 << 20];
    let (request, _) = &unread()[0];
    // A client that reads after it has sent all.
    let mut stream = TcpStream::connect(server.address())?;
    stream.write_all(request.as_bytes())?;
    (0..95).try_for_each(|_| stream.write_all(&chunk))?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    ensure!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
    // A client that never stops.
    let mut stream = TcpStream::connect(server.address())?;
    let begin = Instant::now();
    while stream.write_all(&chunk).is_ok() {
        ensure!(
            begin.elapsed() < Duration::from_secs(10),
            "the server goes on"
        );
    }
    Ok(())
}

#[test]
fn idle_connections_give_way_with_few_descriptors() -> Result<()> {
    let dir = public_dir()?;
    File::create(dir.path().join("large"))?.set_len(64 << 20)?;
    let port = Port::reserve()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"]);
    command.arg(runnable(Arch::X86_64)?);
    command.args(["http", "--http", &address.to_string()]);
    let server = HttpServer::spawn(command.arg(dir.path()), address)?;
    crowd(address, 40)?;
    // Connections whose replies are read slowly stay open: a newcomer gets 503.
    let busy = || -> Result<_> {
        let mut client = Client::connect(address)?;
        client.send(request("GET", "/large", "").as_bytes())?;
        Ok(client)
    };
    let mut all = (0..40).map(|_| busy()).collect::<Result<Vec<_>>>()?;
    let last = all.last_mut().context("no connection")?.receive_head()?;
    ensure!(last.status == 503, "{last:?}");
    ensure!(
        server
            .lines()
            .iter()
            .any(|line| line.contains("127.0.0.1 was disconnected"))
    );
    Ok(())
}
