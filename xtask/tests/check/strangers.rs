//! `stowaway check` against programs that are not NFS servers, and against NFS servers with invalid replies.

use super::{ensure_serves, fails};
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

/// Listens on a new port and returns its address. A thread per connection runs `behave`.
fn start_stranger(
    behave: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let behave = Arc::new(behave);
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let behave = behave.clone();
            thread::spawn(move || behave(connection));
        }
    });
    Ok(address)
}

fn ensure_fails(address: SocketAddr, about: Option<&str>, why: &str) -> Result<()> {
    let (port, address) = (address.port().to_string(), address.to_string());
    fails(&["nfs", "-n", &port], about.unwrap_or(&address), why)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Reads the next call. Returns its xid, program and procedure.
fn call(connection: &mut TcpStream) -> std::io::Result<(u32, u32, u32)> {
    let mut mark = [0; 4];
    connection.read_exact(&mut mark)?;
    let mut message = vec![0; (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize];
    connection.read_exact(&mut message)?;
    let word = |index: usize| {
        let bytes = message.get(4 * index..4 * index + 4).unwrap_or(&[0; 4]);
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    Ok((word(0), word(3), word(5)))
}

/// The head of an accepted, successful reply to the call `xid`.
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
    /// A server with valid replies and one export.
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
        start_stranger(move |mut connection| {
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
fn fragmented_replies_of_another_server_pass() -> Result<()> {
    let server = Server::default();
    let address = start_stranger(move |mut connection| {
        connection.set_nodelay(true)?;
        loop {
            let (xid, program, procedure) = call(&mut connection)?;
            let reply = [accepted(xid), server.results(program, procedure)].concat();
            for byte in &reply {
                connection.write_all(&[0, 0, 0, 1, *byte])?;
                // Empty fragments must be accepted too.
                connection.write_all(&[0, 0, 0, 0])?;
            }
            connection.write_all(&[0x80, 0, 0, 0])?;
        }
    })?;
    ensure_serves(
        &["nfs", "-n", &address.port().to_string()],
        1,
        &address.to_string(),
    )
}

#[test]
fn silent_slow_and_endless_servers_time_out() -> Result<()> {
    let silent = start_stranger(|connection| {
        sleep(Duration::from_secs(60));
        drop(connection);
        Ok(())
    })?;
    ensure_fails(silent, None, SLOW)?;
    let drips = start_stranger(|mut connection| {
        let (xid, ..) = call(&mut connection)?;
        for byte in record(&accepted(xid)) {
            connection.write_all(&[byte])?;
            sleep(Duration::from_secs(1));
        }
        Ok(())
    })?;
    ensure_fails(drips, None, SLOW)?;
    let endless = start_stranger(|mut connection| {
        call(&mut connection)?;
        loop {
            connection.write_all(&[0; 4096])?;
        }
    })?;
    ensure_fails(endless, None, SLOW)
}

#[test]
fn full_backlog_times_out() -> Result<()> {
    let full = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    bind(full.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    listen(&full, Backlog::new(0)?)?;
    let port = getsockname::<SockaddrIn>(full.as_raw_fd())?.port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // This connection fills the backlog, so the kernel drops further SYNs, as a firewall would.
    let _waiting = TcpStream::connect(address).context("cannot fill the backlog")?;
    ensure_fails(address, None, SLOW)
}

#[test]
fn other_protocols_are_reported_as_no_nfs_server() -> Result<()> {
    let xid = |change: fn(u32) -> Vec<u8>| {
        start_stranger(move |mut connection| {
            loop {
                let (xid, ..) = call(&mut connection)?;
                connection.write_all(&change(xid))?;
            }
        })
    };
    for address in [
        // An HTTP server: it replies with an error to the first bytes, which are no HTTP request.
        start_stranger(|mut connection| {
            call(&mut connection)?;
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        })?,
        start_stranger(|mut connection| connection.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n"))?,
        // A server that accepts connections and closes them at once.
        start_stranger(|connection| {
            drop(connection);
            Ok(())
        })?,
        start_stranger(|mut connection| call(&mut connection).map(drop))?,
        start_stranger(|mut connection| {
            call(&mut connection)?;
            connection.write_all(&[0x80, 0, 0, 24, 1, 2, 3])
        })?,
        // Servers with an invalid reply: another call's reply, a call, a denied reply, PROG_UNAVAIL, an empty record, two records
        // that are too long, a reply with an extra byte, authentication data that is too long.
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
        ensure_fails(address, None, STRANGE)?;
    }
    Ok(())
}

#[test]
fn malformed_export_list_is_reported() -> Result<()> {
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
        // An export list without an end marker.
        words(&[1, 1, 0x2f00_0000, 1, 0].repeat(4)),
        // An export list that is longer than the limit of `check`.
        [words(&[1, 1, 0x2f00_0000, 0].repeat(20_000)), words(&[0])].concat(),
    ] {
        let address = Server {
            list,
            ..Server::default()
        }
        .start()?;
        ensure_fails(address, None, STRANGE)?;
    }
    Ok(())
}

#[test]
fn failing_export_is_named() -> Result<()> {
    let good = Server::default();
    let mnt = |mnt| Server {
        mnt,
        ..good.clone()
    };
    let attr = |attr| Server {
        attr,
        ..good.clone()
    };
    let with_kind = |kind| [words(&[0, kind]), vec![0; 80]].concat();
    for (server, why) in [
        (mnt(words(&[13])), "refuses this host"),
        (mnt(words(&[10006])), "cannot access the export"),
        (mnt(words(&[])), STRANGE),
        (mnt([words(&[0, 68]), vec![0; 76]].concat()), STRANGE),
        (mnt(words(&[0, 4, 7, 0xffff_ffff])), STRANGE),
        (mnt(words(&[0, 4, 7, 1])), STRANGE),
        (mnt(words(&[0, 4, 7, 0, 0])), STRANGE),
        (attr(words(&[70])), "gone, or"),
        (attr(words(&[5])), "a disk error"),
        (attr(words(&[0, 2])), STRANGE),
        (attr(with_kind(5)), STRANGE),
        (attr([with_kind(2), vec![0; 4]].concat()), STRANGE),
    ] {
        ensure_fails(server.start()?, Some("/srv"), why)?;
    }
    // The root of an export may be a regular file, because an exported ISO image is one.
    let address = attr(with_kind(1)).start()?;
    ensure_serves(
        &["nfs", "-n", &address.port().to_string()],
        1,
        &address.to_string(),
    )
}
