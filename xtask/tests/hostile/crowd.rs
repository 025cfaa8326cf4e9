//! Many clients at once, each with several calls in flight and its own speed: every reply must be correct and in order.

use super::Scene;
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;
use xtask::build::Arch;
use xtask::clients::nfs::nfs3::{GETATTR3res, READDIRPLUS3res};
use xtask::clients::nfs::{Auth, Call, Client, Outcome, data, ok, outcome, read, record};
use xtask::machines::server::{ServerOptions, users};

const CLIENT_COUNT: u64 = 40;
const REQUEST_COUNT: u32 = 200;
const FILE_LEN: u64 = 5_000_001;

/// The file's byte at `offset`; a wrong offset most likely gives another byte.
fn byte_at(offset: u64) -> u8 {
    ((offset >> 16) ^ (offset >> 8) ^ offset).wrapping_mul(0x9d) as u8
}

/// A call in flight, with the parameters that determine its reply.
enum PendingCall {
    Attr,
    Read { offset: u64, count: u32 },
    List,
}

struct Tree {
    address: SocketAddr,
    root: Vec<u8>,
    file: Vec<u8>,
    content: Vec<u8>,
    name_count: usize,
}

impl Tree {
    fn send_call(&self, client: &mut Client, random: &mut Random, xid: u32) -> Result<PendingCall> {
        let (asked, call) = match random.below(8) {
            0 => (PendingCall::Attr, Call::get_attr(&self.file)),
            1 => {
                let (dir, cookie, verifier) = (&self.root[..], 0, [0; 8]);
                let call = Call::read_dir_plus(dir, cookie, verifier, 8192, 65536);
                (PendingCall::List, call)
            }
            kind => {
                let offset = random.below(FILE_LEN as usize + 1000) as u64;
                let count_max = if kind < 5 { 1 << 20 } else { 70_000 };
                let count = random.below(count_max) as u32;
                (
                    PendingCall::Read { offset, count },
                    Call::read(&self.file, offset, count),
                )
            }
        };
        client.send(&record(&call.message(xid, &Auth::root())))?;
        Ok(asked)
    }

    fn check_reply(&self, asked: &PendingCall, outcome: Outcome<'_>) -> Result<()> {
        let Outcome::Success(body) = outcome else {
            anyhow::bail!("answered {outcome:?}")
        };
        match *asked {
            PendingCall::Attr => ensure!(
                ok(read::<GETATTR3res>(body)?)?.obj_attributes.size == FILE_LEN,
                "GETATTR returned another file's attributes"
            ),
            PendingCall::List => ensure!(
                ok(read::<READDIRPLUS3res<'_>>(body)?)?
                    .reply
                    .entries
                    .0
                    .len()
                    == self.name_count,
                "READDIRPLUS returned another number of entries"
            ),
            PendingCall::Read { offset, count } => {
                let (data, eof) = data(body)?;
                let expected = FILE_LEN.saturating_sub(offset).min(count.into());
                ensure!(
                    data.len() as u64 == expected,
                    "{} bytes instead of {expected}",
                    data.len()
                );
                ensure!(eof == (offset + expected >= FILE_LEN), "eof is {eof}");
                // Whole slices: one by one, 4 GB of bytes would take most of the test's time.
                let content = self.content.get(offset as usize..).unwrap_or_default();
                ensure!(content.starts_with(data), "wrong data at {offset}");
            }
        }
        Ok(())
    }

    /// One client: sends several calls ahead, reads replies with delays, and sometimes reconnects.
    fn run_client(&self, number: u64, seed: u64) -> Result<()> {
        let mut random = Random::new(seed ^ number << 32);
        let mut client = Client::connect(self.address)?;
        let (depth, slow) = (1 + random.below(24), number.is_multiple_of(4));
        let mut pending = VecDeque::new();
        for xid in 0..REQUEST_COUNT {
            pending.push_back((xid, self.send_call(&mut client, &mut random, xid)?));
            if pending.len() < depth && xid + 1 < REQUEST_COUNT {
                continue;
            }
            if random.below(100) == 0 {
                // Calls in flight on the old connection are abandoned.
                client = Client::connect(self.address)?;
                pending.clear();
            }
            let pending_max = if xid + 1 < REQUEST_COUNT {
                random.below(depth)
            } else {
                0
            };
            while pending.len() > pending_max {
                let (xid, asked) = pending.pop_front().context("nothing is pending")?;
                let (answered, outcome) = outcome(client.receive()?.context("closed")?)?;
                ensure!(answered == xid, "a reply to {answered} instead of {xid}");
                self.check_reply(&asked, outcome)
                    .with_context(|| format!("request {xid}"))?;
                if slow && random.below(20) == 0 {
                    sleep(Duration::from_millis(5));
                }
            }
        }
        Ok(())
    }
}

fn crowd(options: ServerOptions) -> Result<()> {
    let mut scene = Scene::with_options("", options)?;
    let content: Vec<u8> = (0..FILE_LEN).map(byte_at).collect();
    fs::write(scene.path("patterned"), &content)?;
    let file = scene.client.lookup(&scene.root, "patterned")?;
    let name_count = scene.client.list(&scene.root)?.len();
    let tree = Tree {
        address: scene.server.nfs(),
        root: scene.root.clone(),
        file,
        content,
        name_count,
    };
    let seed = seed();
    std::thread::scope(|scope| {
        let tree = &tree;
        let clients: Vec<_> = (0..CLIENT_COUNT)
            .map(|number| scope.spawn(move || tree.run_client(number, seed)))
            .collect();
        clients
            .into_iter()
            .enumerate()
            .try_for_each(|(number, client)| {
                let result = client
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result.with_context(|| format!("client {number}"))
            })
    })?;
    scene.check_alive()
}

#[test]
fn concurrent_clients_get_ordered_replies() -> Result<()> {
    for (arch, user) in [(Arch::I686, None), (Arch::X86_64, users().pop().flatten())] {
        crowd(ServerOptions {
            arch,
            user,
            ..ServerOptions::default()
        })?;
    }
    Ok(())
}
