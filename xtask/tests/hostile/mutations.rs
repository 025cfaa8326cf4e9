//! Every prefix and many seeded mutations of each call.
//!
//! Calls are sent in batches, so that damaged ones have intact and damaged neighbours.

use super::Scene;
use anyhow::{Context, Result, bail, ensure};
use cases::calls::Objects;
use cases::mutate::mutated;
use cases::random::{Random, seed};
use std::collections::VecDeque;
use std::net::SocketAddr;
use xtask::build::Arch;
use xtask::clients::nfs::{Auth, Call, Client, Outcome, body, nfs3, nfsstat3, outcome, record};
use xtask::machines::server::{ServerOptions, users};
use xtask::testing::is_full_run;

/// xid of the intact call that ends each batch.
const LAST_XID: u32 = u32::MAX;
const BATCH: usize = 16;

/// Every call, as a client sends it.
fn recorded(scene: &mut Scene) -> Result<Vec<Vec<u8>>> {
    let root = scene.root.clone();
    let path = scene.directory.path().display().to_string();
    let mut handle = |name| scene.client.lookup(&root, name);
    let objects = Objects {
        top: root.clone(),
        file: handle("small")?,
        big: handle("large")?,
        link: handle("link")?,
        many: handle("sub")?,
        path: path.into_bytes(),
    };
    let auth = Auth::sys(b"machine", 1000, 1000, &[4, 24, 27]);
    let calls = objects.calls().into_iter();
    Ok(calls.map(|(_, call)| call.message(1, &auth)).collect())
}

/// Replaces the xid of a damaged call by its number, so that replies can be assigned.
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

/// `each` mutations of every call.
fn mutations(requests: &[Vec<u8>], seed: u64, each: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..each * requests.len()).map(move |number| {
        let mut random = Random::new(seed ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        mutated(&mut random, &requests[number % requests.len()], 4)
    })
}

fn word(message: &[u8], index: usize) -> Option<u32> {
    message
        .get(index * 4..index * 4 + 4)
        .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Checks a reply to a damaged call: an error, or a well-formed result of the procedure that the call has become.
fn check_reply(message: &[u8], outcome: Outcome<'_>) -> Result<()> {
    let Outcome::Success(results) = outcome else {
        return Ok(());
    };
    let place = (word(message, 3), word(message, 4), word(message, 5));
    let (Some(program), Some(version), Some(procedure)) = place else {
        bail!("success for a call of {} bytes", message.len())
    };
    let body = body((program, version, procedure), results)?;
    ensure!(
        !(program == nfs3::PROGRAM && matches!(procedure, 2 | 7..=15))
            || body.status()? != nfsstat3::NFS3_OK,
        "procedure {procedure}, which writes, succeeded on a read-only export"
    );
    Ok(())
}

/// Sends all messages over TCP in batches, and checks every reply. When the server closes the connection, the rest of the batch is
/// sent again. Returns the number of closed connections.
fn send_damaged(
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
            // If this fails, the server has closed the connection; replies that it sent before can still be read.
            let _ = client.send(&bytes);
            loop {
                let context = || format!("in the batch that begins with {:02x?}", pending.front());
                let Some(reply) = client.receive().with_context(context)? else {
                    let refused = pending.pop_front();
                    closed += 1;
                    client = Client::connect(address).with_context(|| {
                        format!("the server may have crashed on {refused:02x?}")
                    })?;
                    break;
                };
                let (xid, outcome) = outcome(reply).with_context(context)?;
                if xid == LAST_XID {
                    pending.clear();
                    break;
                }
                // Messages before the answered one were no calls and got no reply.
                while pending
                    .front()
                    .is_some_and(|message| word(message, 0) != Some(xid))
                {
                    pending.pop_front();
                }
                let message = pending
                    .pop_front()
                    .with_context(|| format!("a reply with unknown xid {xid}"))?;
                check_reply(&message, outcome)
                    .with_context(|| format!("the answer to {message:02x?}"))?;
            }
        }
    }
    Ok(closed)
}

/// Sends the prefixes first, which also warm up the server, and then the mutations, during which its memory must not grow. Pages of the
/// file, of which 16 are mapped when a function runs for the first time, do not count.
fn check_memory_growth(scene: &mut Scene, each: usize) -> Result<()> {
    const GROWTH_MAX_KIB: u64 = 64;
    let (requests, seed) = (recorded(scene)?, seed());
    let last = Call::null().message(LAST_XID, &Auth::none());
    let address = scene.server.nfs();
    send_damaged(address, &last, requests.iter().cloned())?;
    send_damaged(address, &last, prefixes(&requests))?;
    send_damaged(address, &last, mutations(&requests, !seed, each / 10))?;
    let before = scene.server.anonymous_kib()?;
    let closed = send_damaged(address, &last, mutations(&requests, seed, each))?;
    let after = scene.server.anonymous_kib()?;
    eprintln!(
        "{each} mutations of each request, {closed} connections closed, {before} KiB before and {after} KiB after"
    );
    ensure!(
        after <= before + GROWTH_MAX_KIB,
        "the server grew from {before} to {after} KiB"
    );
    Ok(())
}

/// Servers of root, of an ordinary user, and of a 32-bit architecture. Most calls do not depend on the server, so the first gets most
/// mutations. The unit tests and fuzz targets of the engine try far more.
#[test]
fn damaged_requests_are_refused_or_answered() -> Result<()> {
    let full = if is_full_run() { 100 } else { 1 };
    let servers = users().into_iter().map(|user| (Arch::X86_64, user));
    for ((arch, user), each) in servers.chain([(Arch::I686, None)]).zip([3000, 500, 500]) {
        let options = ServerOptions {
            arch,
            user,
            arguments: ["--nfs-versions", "3"].map(Into::into).to_vec(),
            ..ServerOptions::default()
        };
        let mut scene = Scene::with_options("", options)?;
        check_memory_growth(&mut scene, each * full)
            .with_context(|| format!("the server said {:#?}", scene.server.lines()))?;
        scene.check_alive()?;
    }
    Ok(())
}
