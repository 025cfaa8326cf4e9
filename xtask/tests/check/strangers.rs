//! What answers at the port is something else, or an NFS server that is not as it should be.

use super::{fails, serves};
use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;
use xtask::clients::nfs::record;

const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;

/// Listens and has a thread of its own do this with each connection.
fn stranger(
    behave: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = listener.local_addr()?;
    let behave = Arc::new(behave);
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let behave = behave.clone();
            thread::spawn(move || behave(connection));
        }
    });
    Ok(place)
}

fn is_found_out(place: SocketAddr, about: Option<&str>, why: &str) -> Result<()> {
    let (port, place) = (place.port().to_string(), place.to_string());
    fails(&["nfs", "-n", &port], about.unwrap_or(&place), why)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The next call: its number, program and procedure.
fn call(connection: &mut TcpStream) -> std::io::Result<(u32, u32, u32)> {
    let mut mark = [0; 4];
    connection.read_exact(&mut mark)?;
    let mut message = vec![0; (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize];
    connection.read_exact(&mut message)?;
    let word = |at: usize| {
        let bytes = message.get(4 * at..4 * at + 4).unwrap_or(&[0; 4]);
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    Ok((word(0), word(3), word(5)))
}

/// The head of a reply to the call of this number, which was carried out.
fn accepted(xid: u32) -> Vec<u8> {
    words(&[xid, 1, 0, 0, 0, 0])
}

#[derive(Clone)]
struct Server {
    list: Vec<u8>,
    mnt: Vec<u8>,
    attr: Vec<u8>,
}

impl Default for Server {
    /// One that is as it should be.
    fn default() -> Self {
        let mut list = words(&[1, 4]);
        list.extend(b"/srv");
        list.extend(words(&[1, 3]));
        list.extend(b"all\0");
        list.extend(words(&[0, 0]));
        Self {
            list,
            mnt: words(&[0, 4, 7, 2, 1, 6]),
            attr: [words(&[0, 2]), vec![0; 80]].concat(),
        }
    }
}

impl Server {
    fn results(&self, program: u32, procedure: u32) -> Vec<u8> {
        match (program, procedure) {
            (NFS, 0) => Vec::new(),
            (NFS, 1) => self.attr.clone(),
            (MOUNT, 5) => self.list.clone(),
            (MOUNT, 1) => self.mnt.clone(),
            _ => vec![0xff],
        }
    }

    fn start(self) -> Result<SocketAddr> {
        stranger(move |mut connection| {
            loop {
                let (xid, program, procedure) = call(&mut connection)?;
                let reply = [accepted(xid), self.results(program, procedure)].concat();
                connection.write_all(&record(&reply))?;
            }
        })
    }
}

const STRANGE: &str = "no NFS server";
const SLOW: &str = "no answer within 3 s";

#[test]
fn a_server_of_another_kind_serves_too_however_its_replies_are_cut() -> Result<()> {
    let server = Server::default();
    let place = stranger(move |mut connection| {
        connection.set_nodelay(true)?;
        loop {
            let (xid, program, procedure) = call(&mut connection)?;
            let reply = [accepted(xid), server.results(program, procedure)].concat();
            for byte in &reply {
                connection.write_all(&[0, 0, 0, 1, *byte])?;
                // Empty ones, too.
                connection.write_all(&[0, 0, 0, 0])?;
            }
            connection.write_all(&[0x80, 0, 0, 0])?;
        }
    })?;
    serves(
        &["nfs", "-n", &place.port().to_string()],
        1,
        &place.to_string(),
    )
}

#[test]
fn who_never_answers_costs_three_seconds() -> Result<()> {
    let silent = stranger(|connection| {
        sleep(Duration::from_secs(60));
        drop(connection);
        Ok(())
    })?;
    is_found_out(silent, None, SLOW)?;
    let drips = stranger(|mut connection| {
        let (xid, ..) = call(&mut connection)?;
        for byte in record(&accepted(xid)) {
            connection.write_all(&[byte])?;
            sleep(Duration::from_secs(1));
        }
        Ok(())
    })?;
    is_found_out(drips, None, SLOW)?;
    let endless = stranger(|mut connection| {
        call(&mut connection)?;
        loop {
            connection.write_all(&[0; 4096])?;
        }
    })?;
    is_found_out(endless, None, SLOW)
}

#[test]
fn who_takes_no_connection_costs_three_seconds() -> Result<()> {
    let full = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(full.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    listen(&full, Backlog::new(0)?)?;
    let port = getsockname::<SockaddrIn>(full.as_raw_fd())?.port();
    let place = SocketAddr::from(([127, 0, 0, 1], port));
    // Whoever comes now is dropped, as by a firewall.
    let _waiting = TcpStream::connect(place).context("nobody may wait")?;
    is_found_out(place, None, SLOW)
}

#[test]
fn who_speaks_another_language_is_no_server() -> Result<()> {
    let xid = |change: fn(u32) -> Vec<u8>| {
        stranger(move |mut connection| {
            loop {
                let (xid, ..) = call(&mut connection)?;
                connection.write_all(&change(xid))?;
            }
        })
    };
    for place in [
        // HTTP, which answers something at the first line that it does not know.
        stranger(|mut connection| {
            call(&mut connection)?;
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        })?,
        stranger(|mut connection| connection.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n"))?,
        // Hangs up.
        stranger(|connection| {
            drop(connection);
            Ok(())
        })?,
        stranger(|mut connection| call(&mut connection).map(drop))?,
        stranger(|mut connection| {
            call(&mut connection)?;
            connection.write_all(&[0x80, 0, 0, 24, 1, 2, 3])
        })?,
        // Another call's reply, a call, a refusal, no such program, an empty record, one that is too long, one byte too many.
        xid(|xid| record(&accepted(xid ^ 1)))?,
        xid(|xid| record(&words(&[xid, 0, 2, 100_003, 3, 0, 0, 0, 0, 0])))?,
        xid(|xid| record(&words(&[xid, 1, 1, 1, 5])))?,
        xid(|xid| record(&words(&[xid, 1, 0, 0, 0, 1])))?,
        xid(|_| record(&[]))?,
        xid(|_| vec![0xff, 0xff, 0xff, 0xff, 0])?,
        xid(|_| vec![0x7f, 0xff, 0xff, 0xff, 0])?,
        xid(|xid| record(&[accepted(xid), vec![0]].concat()))?,
        xid(|xid| record(&words(&[xid, 1, 0, 0, 401])))?,
    ] {
        is_found_out(place, None, STRANGE)?;
    }
    Ok(())
}

#[test]
fn a_list_that_is_none_is_strange() -> Result<()> {
    let mut long = words(&[1, 1025]);
    long.extend([b'x'; 1028]);
    long.extend(words(&[0, 0]));
    for list in [
        words(&[2]),
        words(&[1]),
        words(&[1, 0xffff_ffff]),
        words(&[0, 0]),
        long,
        words(&[1, 1, 0x2f00_0000, 1, 256]),
        // Without an end.
        words(&[1, 1, 0x2f00_0000, 1, 0].repeat(4)),
        // More than any list that is read.
        [words(&[1, 1, 0x2f00_0000, 0].repeat(20_000)), words(&[0])].concat(),
    ] {
        let place = Server {
            list,
            ..Server::default()
        }
        .start()?;
        is_found_out(place, None, STRANGE)?;
    }
    Ok(())
}

#[test]
fn an_export_that_cannot_be_mounted_or_looked_at_is_named() -> Result<()> {
    let good = Server::default();
    let mnt = |mnt| Server {
        mnt,
        ..good.clone()
    };
    let attr = |attr| Server {
        attr,
        ..good.clone()
    };
    let of_kind = |kind| [words(&[0, kind]), vec![0; 80]].concat();
    for (server, why) in [
        (mnt(words(&[13])), "cannot get there"),
        (mnt(words(&[10006])), "cannot get there"),
        (mnt(words(&[])), STRANGE),
        (mnt([words(&[0, 68]), vec![0; 76]].concat()), STRANGE),
        (mnt(words(&[0, 4, 7, 0xffff_ffff])), STRANGE),
        (mnt(words(&[0, 4, 7, 1])), STRANGE),
        (mnt(words(&[0, 4, 7, 0, 0])), STRANGE),
        (attr(words(&[70])), "it is gone"),
        (attr(words(&[5])), "its disk failed"),
        (attr(words(&[0, 2])), STRANGE),
        (attr(of_kind(5)), STRANGE),
        (attr([of_kind(2), vec![0; 4]].concat()), STRANGE),
    ] {
        is_found_out(server.start()?, Some("/srv"), why)?;
    }
    // An image is a file.
    let place = attr(of_kind(1)).start()?;
    serves(
        &["nfs", "-n", &place.port().to_string()],
        1,
        &place.to_string(),
    )
}
