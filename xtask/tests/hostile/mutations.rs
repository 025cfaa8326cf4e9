//! Every prefix and many seeded mutations of each request that a client can make.
//!
//! Requests are sent in batches, so that damage is also seen amid good and bad neighbours.

use super::{Scene, full};
use anyhow::{Context, Result, bail, ensure};
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::nfs::replies::{check, parse};
use xtask::clients::nfs::{
    Auth, Client, How, Mount, Nfs, Node, Outcome, Portmap, Procedure, Set, Stable, Status, record,
};
use xtask::machines::server::{Namespace, ServerOptions, root_for, users};
use xtask::random::{Random, seed};
use xtask::setup::{self, Package};

/// The xid of the good call that ends each batch.
const LAST_XID: u32 = u32::MAX;
const BATCH: usize = 16;

fn mutate(random: &mut Random, message: &[u8]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => {
                let chunk: Vec<u8> = (0..random.below(24)).map(|_| random.word() as u8).collect();
                bytes.splice(at..at, chunk);
            }
            // The tempting values of a word, lengths above all.
            _ => {
                let len = bytes.len() as u32;
                let values = [
                    0,
                    1,
                    2,
                    3,
                    4,
                    16,
                    17,
                    32,
                    63,
                    64,
                    65,
                    255,
                    256,
                    400,
                    401,
                    1024,
                    1025,
                    4096,
                    65536,
                    1 << 20,
                    len - len.min(4),
                    len,
                    len + 1,
                    0x7fff_ffff,
                    0x8000_0000,
                    0xffff_fffc,
                    0xffff_ffff,
                    random.word() as u32,
                ];
                let value = values[random.below(values.len())];
                if let Some(word) = bytes.get_mut(at & !3..(at & !3) + 4) {
                    word.copy_from_slice(&value.to_be_bytes());
                }
            }
        }
    }
    bytes
}

/// The calls of NFS and MOUNT, each as a client sends it.
fn recorded(scene: &mut Scene) -> Result<Vec<Vec<u8>>> {
    let root = scene.root.clone();
    let [small, large, link, sub] =
        ["small", "large", "link", "sub"].map(|name| scene.client.lookup(&root, name));
    let (small, large, link, sub) = (&small?, &large?, &link?, &sub?);
    let set = Set {
        mode: Some(0o644),
        size: Some(1),
        ..Set::default()
    };
    let name = b"new".as_slice();
    let path = scene.path().display().to_string();
    let path = path.as_bytes();
    let auth = Auth::Sys {
        machine: b"machine".to_vec(),
        uid: 1000,
        gid: 1000,
        groups: vec![4, 24, 27],
    };
    let nfs = [
        Nfs::Null,
        Nfs::GetAttr { object: small },
        Nfs::SetAttr {
            object: small,
            set,
            guard: None,
        },
        Nfs::Lookup {
            dir: &root,
            name: b"small",
        },
        Nfs::Access {
            object: sub,
            access: 0x3f,
        },
        Nfs::ReadLink { link },
        Nfs::Read {
            file: small,
            offset: 0,
            count: 4096,
        },
        Nfs::Read {
            file: large,
            offset: 4096,
            count: 1 << 20,
        },
        Nfs::write(small, 0, Stable::FILE_SYNC, b"data"),
        Nfs::Create {
            dir: &root,
            name,
            how: How::Guarded(set),
        },
        Nfs::MkDir {
            dir: &root,
            name,
            set,
        },
        Nfs::SymLink {
            dir: &root,
            name,
            set,
            target: b"small",
        },
        Nfs::MkNod {
            dir: &root,
            name,
            node: Node::Fifo(set),
        },
        Nfs::Remove {
            dir: &root,
            name: b"small",
        },
        Nfs::RmDir {
            dir: &root,
            name: b"sub",
        },
        Nfs::Rename {
            from: &root,
            from_name: b"small",
            to: sub,
            to_name: name,
        },
        Nfs::Link {
            file: small,
            dir: sub,
            name,
        },
        Nfs::ReadDir {
            dir: &root,
            cookie: 0,
            verifier: [0; 8],
            count: 4096,
        },
        Nfs::ReadDirPlus {
            dir: &root,
            cookie: 0,
            verifier: [0; 8],
            dir_count: 4096,
            max_count: 8192,
        },
        Nfs::FsStat { root: &root },
        Nfs::FsInfo { root: &root },
        Nfs::PathConf { object: &root },
        Nfs::Commit {
            file: small,
            offset: 0,
            count: 0,
        },
    ];
    let mount = [
        Mount::Null,
        Mount::Mnt { path },
        Mount::Dump,
        Mount::Umnt { path },
        Mount::UmntAll,
        Mount::Export,
    ];
    let messages = nfs.iter().map(|call| call.message(1, &auth));
    Ok(messages
        .chain(mount.iter().map(|call| call.message(1, &Auth::root())))
        .collect())
}

fn portmap_calls() -> Vec<Vec<u8>> {
    let (program, version, protocol, port) = (Nfs::PROGRAM, 3, 6, 2049);
    [
        Portmap::Null,
        Portmap::Set {
            program,
            version,
            protocol,
            port,
        },
        Portmap::Unset {
            program,
            version,
            protocol,
            port,
        },
        Portmap::GetPort {
            program,
            version,
            protocol,
        },
        Portmap::Dump,
        Portmap::CallIt {
            program,
            version,
            procedure: 0,
        },
    ]
    .map(|call| call.message(1, &Auth::None))
    .into()
}

/// One damaged request. What is left of it keeps its number as xid, so that answers can be told apart.
fn numbered(mut message: Vec<u8>, number: usize) -> Vec<u8> {
    if let Some(xid) = message.first_chunk_mut() {
        *xid = (number as u32).to_be_bytes();
    }
    message
}

fn prefixes(requests: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    requests
        .iter()
        .flat_map(|request| (0..=request.len()).map(|len| request[..len].to_vec()))
}

/// `each` mutations of every request, in turn.
fn mutations(requests: &[Vec<u8>], seed: u64, each: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..each * requests.len()).map(move |number| {
        let mut random = Random(seed ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        mutate(&mut random, &requests[number % requests.len()])
    })
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    message
        .get(at * 4..at * 4 + 4)
        .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// The answer to a damaged request: refused somehow, or well formed for the procedure that it has become.
fn judge(message: &[u8], outcome: Outcome<'_>) -> Result<()> {
    let Outcome::Success(body) = outcome else {
        return Ok(());
    };
    let place = (word(message, 3), word(message, 4), word(message, 5));
    let (Some(program), Some(version), Some(procedure)) = place else {
        bail!("success for {} bytes", message.len())
    };
    ensure!(
        !(program == Nfs::PROGRAM && matches!(procedure, 2 | 7..=15))
            || Status::of(body)? != Status::OK,
        "procedure {procedure}, which writes, succeeded on a read-only export"
    );
    check((program, version, procedure), body)
}

/// Sends everything over TCP, in batches, and judges each answer. A closed connection is replaced and the rest sent again.
fn torment(
    address: SocketAddr,
    last: &[u8],
    messages: impl Iterator<Item = Vec<u8>>,
) -> Result<usize> {
    let mut messages = messages
        .enumerate()
        .map(|(number, message)| numbered(message, number))
        .peekable();
    let mut client = Client::connect(address)?;
    let mut closed = 0;
    while messages.peek().is_some() {
        let mut pending: VecDeque<Vec<u8>> = messages.by_ref().take(BATCH).collect();
        while !pending.is_empty() {
            let bytes: Vec<u8> = pending
                .iter()
                .map(Vec::as_slice)
                .chain([last])
                .flat_map(record)
                .collect();
            // When this fails the server has closed already; what it answered before is still to be read.
            let _ = client.send(&bytes);
            loop {
                let culprit = || format!("in the batch that begins with {:02x?}", pending.front());
                let Some(reply) = client.receive().with_context(culprit)? else {
                    let refused = pending.pop_front();
                    closed += 1;
                    client = Client::connect(address)
                        .with_context(|| format!("it may have died of {refused:02x?}"))?;
                    break;
                };
                let (xid, outcome) = parse(reply).with_context(culprit)?;
                if xid == LAST_XID {
                    pending.clear();
                    break;
                }
                // What lies before the answered one was no call and got no answer.
                while pending
                    .front()
                    .is_some_and(|message| word(message, 0) != Some(xid))
                {
                    pending.pop_front();
                }
                let message = pending
                    .pop_front()
                    .with_context(|| format!("an answer to no call of ours, xid {xid}"))?;
                judge(&message, outcome)
                    .with_context(|| format!("the answer to {message:02x?}"))?;
            }
        }
    }
    Ok(closed)
}

/// The same over UDP, where nothing can be closed.
fn torment_udp(
    address: SocketAddr,
    last: &[u8],
    messages: impl Iterator<Item = Vec<u8>>,
) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(address)?;
    let mut reply = vec![0; 65536];
    for (number, message) in messages.enumerate() {
        let message = numbered(message, number);
        socket.send(&message)?;
        socket.send(last)?;
        loop {
            let len = socket
                .recv(&mut reply)
                .with_context(|| format!("no answer after {message:02x?}"))?;
            let (xid, outcome) = parse(&reply[..len])?;
            if xid == LAST_XID {
                break;
            }
            ensure!(
                xid == number as u32,
                "an answer with xid {xid} to call {number}"
            );
            judge(&message, outcome).with_context(|| format!("the answer to {message:02x?}"))?;
        }
    }
    Ok(())
}

/// The mutations of each request that one test makes, when it does this share of the work.
fn mutation_count(share: usize) -> usize {
    if full() {
        500_000 / share
    } else {
        100_000 / share
    }
}

/// Prefixes first: they also warm the server up. Then the mutations, which must not make it grow.
fn prefixes_and_mutations(scene: &mut Scene, each: usize) -> Result<()> {
    survives(scene, each)
        .with_context(|| format!("the server said {:#?}", scene.server.lines()))?;
    scene.is_well()
}

fn survives(scene: &mut Scene, each: usize) -> Result<()> {
    const GROWTH_MAX_KIB: u64 = 64;
    let (requests, seed) = (recorded(scene)?, seed());
    let last = Nfs::Null.message(LAST_XID, &Auth::None);
    let address = scene.server.nfs();
    torment(address, &last, requests.iter().cloned())?;
    torment(address, &last, prefixes(&requests))?;
    torment(address, &last, mutations(&requests, !seed, each / 10))?;
    let before = scene.server.rss_kib()?;
    let closed = torment(address, &last, mutations(&requests, seed, each))?;
    let after = scene.server.rss_kib()?;
    eprintln!(
        "{each} mutations of each request, {closed} connections closed, {before} KiB before and {after} KiB after"
    );
    ensure!(
        after <= before + GROWTH_MAX_KIB,
        "the server grew from {before} to {after} KiB"
    );
    Ok(())
}

#[test]
fn damaged_requests_are_refused_or_answered() -> Result<()> {
    for user in users() {
        // Who reads the files makes no difference to most requests.
        let share = if user.is_none() { 1 } else { 10 };
        prefixes_and_mutations(&mut Scene::new(user)?, mutation_count(share))?;
    }
    Ok(())
}

#[test]
fn damaged_requests_are_refused_or_answered_by_i686() -> Result<()> {
    let mut scene = Scene::with(ServerOptions {
        arch: Arch::I686,
        ..ServerOptions::default()
    })?;
    prefixes_and_mutations(&mut scene, mutation_count(20))
}

#[test]
fn damaged_requests_to_mount_over_udp() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let requests = recorded(&mut scene)?;
    let last = Mount::Null.message(LAST_XID, &Auth::None);
    let each = mutation_count(100);
    torment_udp(
        scene.server.mount(),
        &last,
        prefixes(&requests).chain(mutations(&requests, seed(), each)),
    )?;
    scene.is_well()
}

#[test]
fn damaged_requests_to_portmap() -> Result<()> {
    if !root_for("portmap on port 111") {
        return Ok(());
    }
    setup::need(&[Package::IPROUTE2])?;
    let namespace = Namespace::new()?;
    let directory = super::sample()?;
    let options = ServerOptions {
        portmap: true,
        through: namespace.enter(),
        ..ServerOptions::serving(&[directory.path()])
    };
    let mut server = xtask::machines::server::Server::start(options)?;
    let (requests, seed) = (portmap_calls(), seed());
    let last = Portmap::Null.message(LAST_XID, &Auth::None);
    let each = mutation_count(10);
    let portmap = SocketAddr::from(([127, 0, 0, 1], 111));
    namespace.run(|| {
        torment(
            portmap,
            &last,
            prefixes(&requests).chain(mutations(&requests, seed, each)),
        )?;
        torment_udp(
            portmap,
            &last,
            prefixes(&requests).chain(mutations(&requests, seed, each)),
        )?;
        server.open(directory.path()).map(drop)
    })?;
    ensure!(
        server.is_alive()?,
        "the server ended; it said {:#?}",
        server.lines()
    );
    Ok(())
}
