//! Seeded mutations of every request: damaged packets in one long session, and damaged streams in short sessions. Every packet is
//! answered, nothing outside the directory changes, and the server's memory does not grow.

use super::{is_full_run, refill, set_owner};
use anyhow::{Context, Result, bail, ensure};
use cases::mutate::mutated;
use cases::random::{Random, seed};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::sftp::request::{init, packet};
use xtask::clients::sftp::{Opened, Reply, Request, Sftp, SftpOptions, Status, kind, reply};
use xtask::machines::server::{public_dir, root_for};

const NOBODY: u32 = 65_534;
const BATCH: usize = 16;
/// ID of the intact request that ends each batch.
const LAST: u32 = u32::MAX;
/// ID of the CLOSE requests after each batch.
const CLOSING: u32 = u32::MAX - 1;
const GROWTH_MAX_KIB: u64 = 64;
/// Length of the longest READ (bytes).
const LONGEST_READ_BYTES: usize = 255 << 10;

/// Mutates a message, and sometimes overwrites part of it with a special name, in any place.
fn damaged(random: &mut Random, message: &[u8]) -> Vec<u8> {
    const NAMES: [&[u8]; 10] = [
        b"/",
        b"..",
        b"../",
        b"\0",
        b"fifo",
        b"sub/",
        b"link",
        b"~",
        b".",
        b"/proc/self/mem",
    ];
    let mut bytes = mutated(random, message, 1);
    if random.chance(30) {
        let name = *random.pick(&NAMES);
        let start = random.below(bytes.len());
        let end = (start + random.below(name.len() + 1)).min(bytes.len());
        bytes.splice(start..end, name.iter().copied());
    }
    bytes
}

/// Type of a message and, for an extended request, its name.
fn kind_and_name(message: &[u8]) -> (u8, Option<&[u8]>) {
    let kind = message[0];
    let name = || {
        let len = u32::from_be_bytes(*message.get(5..)?.first_chunk()?);
        message.get(9..)?.get(..len as usize)
    };
    (kind, if kind == kind::EXTENDED { name() } else { None })
}

/// A directory for the damaged requests. The server cannot write elsewhere, and its files are limited to 8 MiB.
struct Sandbox {
    directory: TempDir,
    options: SftpOptions,
    user: Option<u32>,
}

impl Sandbox {
    fn new(user: Option<u32>, jailed: bool, arch: Arch) -> Result<Self> {
        let directory = public_dir()?;
        let script = "trap '' XFSZ && ulimit -f 16384 && exec \"$@\"";
        let options = SftpOptions {
            user,
            ..SftpOptions::serving(directory.path(), jailed)
                .with_arch(arch)
                .through_shell(script)
        };
        let sandbox = Self {
            directory,
            options,
            user,
        };
        sandbox.renew()?;
        Ok(sandbox)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Restores the original contents of the directory.
    fn renew(&self) -> Result<()> {
        refill(self.path())?;
        mkfifo(&self.path().join("fifo"), Mode::from_bits_truncate(0o666))?;
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o755))?;
        set_owner(self.path(), self.user)
    }

    /// Returns true if all objects that requests name exist, and the directory has fewer than 60 entries.
    fn is_fresh(&self) -> Result<bool> {
        let names = [
            "",
            "small",
            "other",
            "large",
            "link",
            "sub",
            "sub/inner",
            "empty",
        ];
        let has_all = names.iter().all(|name| {
            let meta = self.path().join(name).symlink_metadata();
            // An object without owner permissions counts as missing, so that it is restored too.
            meta.is_ok_and(|meta| {
                let needed = if meta.is_dir() { 0o700 } else { 0o600 };
                meta.is_symlink() || meta.permissions().mode() & needed == needed
            })
        });
        Ok(has_all && fs::read_dir(self.path())?.count() < 60)
    }
}

/// Sends `count` damaged messages in one session, each in a packet of its own, and checks every reply.
fn send_damaged(sandbox: &Sandbox, client: &mut Sftp, seed: u64, count: usize) -> Result<()> {
    let last = Request::Limits;
    for batch in 0..count.div_ceil(BATCH) {
        if !sandbox.is_fresh()? {
            sandbox.renew()?;
        }
        let opened =
            Opened::new(|request| client.exchange(request)).context("cannot open the sample")?;
        let requests = opened.requests();
        let mut sent: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let (mut bytes, mut greetings) = (Vec::new(), 0);
        for number in batch * BATCH..(batch + 1) * BATCH {
            let mut random =
                Random::new(seed ^ (number as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
            let mut message = damaged(&mut random, &requests[number % requests.len()].message(0));
            // Skips packets without an ID, which end the session. The tests in `framing` send these.
            if message.len() < 5 {
                continue;
            }
            message[1..5].copy_from_slice(&(number as u32).to_be_bytes());
            bytes.extend(packet(&message));
            if message[0] == kind::INIT {
                greetings += 1;
            } else {
                sent.insert(number as u32, message);
            }
        }
        bytes.extend(last.packet(LAST));
        let context = || format!("batch: {sent:02x?}");
        client.send(&bytes).with_context(context)?;
        let mut open = opened.all().map(Vec::clone).to_vec();
        let mut due: BTreeMap<u32, &Vec<u8>> =
            sent.iter().map(|(id, message)| (*id, message)).collect();
        let mut is_last_due = true;
        while is_last_due || !due.is_empty() || greetings > 0 {
            let answer = client.receive().with_context(context)?;
            let Some(answer) = answer else {
                let ended = client.wait()?;
                bail!("the session ended: {ended:?} {}", context());
            };
            if answer[0] == kind::VERSION && greetings > 0 {
                greetings -= 1;
                continue;
            }
            let (id, reply) = Reply::parse(&answer).with_context(context)?;
            if id == LAST && is_last_due {
                ensure!(reply.status().is_none(), "{reply:?} {}", context());
                is_last_due = false;
                continue;
            }
            let message = due
                .remove(&id)
                .with_context(|| format!("reply with unknown ID {id}: {reply:?}, {}", context()))?;
            let (kind, name) = kind_and_name(message);
            reply::check(kind, name, &reply).with_context(|| format!("to {message:02x?}"))?;
            if let Reply::Handle(handle) = reply {
                open.push(handle);
            }
        }
        // Damaged requests may have closed some of the handles.
        let closes: Vec<u8> = open
            .iter()
            .flat_map(|handle| Request::Close(handle).packet(CLOSING))
            .collect();
        client.send(&closes)?;
        for handle in &open {
            let reply = client.answer(CLOSING, &Request::Close(handle))?;
            ensure!(
                matches!(
                    reply.status(),
                    Some(Status::OK | Status::NO_SUCH_FILE | Status::FAILURE)
                ),
                "{reply:?} to a CLOSE"
            );
        }
    }
    Ok(())
}

/// Sends `count` damaged messages in one session after a warm-up, and compares memory and descriptors.
fn check_session(sandbox: &Sandbox, seed: u64, count: usize) -> Result<()> {
    let mut client = Sftp::start(&sandbox.options)?;
    send_damaged(sandbox, &mut client, !seed, count / 10)?;
    sandbox.renew()?;
    // The longest READ touches all of the reply buffer.
    let longest = vec![b'x'; LONGEST_READ_BYTES];
    client.write_file("longest", &longest)?;
    ensure!(client.read_file("longest")? == longest);
    sandbox.renew()?;
    client.list(".")?;
    let before = (client.process.anonymous_kib()?, client.process.fd_count()?);
    send_damaged(sandbox, &mut client, seed, count)
        .with_context(|| format!("the server said {:?}", client.process.lines()))?;
    let after = (client.process.anonymous_kib()?, client.process.fd_count()?);
    ensure!(
        after.0 <= before.0 + GROWTH_MAX_KIB && after.1 <= before.1,
        "KiB and descriptors grew from {before:?} to {after:?}"
    );
    client.finish_quietly()
}

fn count(share: usize) -> usize {
    if is_full_run() {
        1_000_000 / share
    } else {
        40_000 / share
    }
}

#[test]
fn damaged_requests_are_answered_when_jailed() -> Result<()> {
    check_session(&Sandbox::new(None, true, Arch::X86_64)?, seed(), count(2))
}

#[test]
fn damaged_requests_are_answered_as_ordinary_user() -> Result<()> {
    if !root_for("another user") {
        return Ok(());
    }
    check_session(
        &Sandbox::new(Some(NOBODY), false, Arch::X86_64)?,
        seed(),
        count(3),
    )
}

#[test]
fn damaged_requests_are_answered_by_i686() -> Result<()> {
    check_session(&Sandbox::new(None, true, Arch::I686)?, seed(), count(10))
}

#[test]
fn damaged_streams_end_or_are_answered() -> Result<()> {
    let seed = seed();
    for arch in [Arch::X86_64, Arch::I686] {
        let sandbox = Sandbox::new(None, true, arch)?;
        let mut client = Sftp::start(&sandbox.options)?;
        let opened = Opened::new(|request| client.exchange(request))?;
        let requests = opened.requests();
        for number in 0..if is_full_run() { 10_000 } else { 500 } {
            if !sandbox.is_fresh()? {
                sandbox.renew()?;
            }
            let mut random =
                Random::new(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..1 + random.below(5) {
                bytes.extend(random.pick(&requests).packet(random.number() as u32));
            }
            bytes = damaged(&mut random, &bytes);
            if random.chance(90) {
                bytes = [init(3), bytes].concat();
            }
            let mut client = Sftp::spawn(&sandbox.options)?;
            // The session may end before the server has read everything.
            let sent = client.send(&bytes);
            let (replies, ended) = client
                .finish()
                .with_context(|| format!("after {bytes:02x?}"))?;
            let is_expected = match ended.code() {
                Some(0) => ended.lines.is_empty() && sent.is_ok(),
                Some(11) => ended.lines.len() == 1,
                _ => false,
            };
            ensure!(is_expected, "{ended:?} after {bytes:02x?}");
            for message in replies.iter().filter(|message| message[0] != kind::VERSION) {
                Reply::parse(message).with_context(|| format!("after {bytes:02x?}"))?;
            }
        }
    }
    Ok(())
}
