//! The minimal server: its CPU time is the floor for a server of one thread.
//!
//! The server receives a batch, makes the system calls of [`Call`] for each NFS call, and sends all replies of the batch together.
//! It runs in its own process, as real servers do, because a switch between two processes costs more than between two threads.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use nix::fcntl::AtFlags;
use nix::sys::sendfile::sendfile;
use nix::sys::stat::{fstat, fstatat};

use super::connection::{BATCH, Connection, Packed, Request, SLIDE};
use crate::clients::nfs::{Call as Nfs, LAST_FRAGMENT};
use crate::measure::bench::Killed;
use crate::measure::bench::load::{Load, Refill};
use crate::measure::bench::measure::Cost;
use crate::measure::bench::table::Unit;
use crate::measure::bench::workspace::{
    self, BIG, CROWD, Export, NAME_COUNT, NAMES, Scale, Workspace,
};

/// Size of the server's receive buffer in bytes.
const RECEIVE: usize = 64 << 10;
/// Length of a reply's record mark and RPC header in bytes.
const HEAD: usize = 4 + 24;
/// Number of entries in a READDIRPLUS reply of 64 KiB.
const PAGE_ENTRIES: usize = 350;
/// Length of a READDIRPLUS reply's results in bytes.
const PAGE: usize = 64 << 10;
/// Sizes of READs in bytes.
const SMALL: usize = 4096;
const LARGE: usize = 1 << 20;
/// Lengths of the results of GETATTR and LOOKUP in bytes.
const ATTRIBUTES: usize = 88;
const FOUND: usize = 224;

/// The system calls made for each NFS call.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Call {
    /// fstat of an open file, as for GETATTR
    Stat,
    /// fstat, with one call in flight
    StatAlone,
    /// fstatat of a name, as for LOOKUP
    StatName,
    /// pread of 4 KiB at a random offset
    Read,
    /// sendfile of 1 MiB, sequential
    SendFile,
    /// getdents and statx of each name, for one page of a directory
    List,
}

impl Call {
    /// Unit of the `Cost::amount` that `turn` returns: bytes sent, entries listed or requests.
    pub fn unit(self) -> Unit {
        match self {
            Self::SendFile => Unit::Byte,
            Self::List => Unit::Entry,
            _ => Unit::Request,
        }
    }

    /// Starts a minimal server and runs one turn on it.
    pub fn turn(self, workspace: &Workspace, scale: &Scale) -> Result<Cost> {
        let (count, refill, amount) = match self {
            Self::StatAlone => (scale.request_count / 4, Refill::Slide(1), 1),
            Self::SendFile => (scale.big_bytes / LARGE as u64, SLIDE, LARGE),
            Self::List => (
                scale.crowd_count / PAGE_ENTRIES as u64,
                Refill::Slide(1),
                PAGE_ENTRIES,
            ),
            _ => (scale.request_count, BATCH, 1),
        };
        let value = self.to_possible_value().context("a call without a name")?;
        let mut server = Killed(
            Command::new(std::env::current_exe()?)
                .args(["bench", "floor", value.get_name()])
                .arg(workspace.path(Export::Tree))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot start the minimal server")?,
        );
        let mut address = String::new();
        let stdout = server.0.stdout.take().context("stdout is not piped")?;
        BufReader::new(stdout).read_line(&mut address)?;
        let address: SocketAddr = address.trim().parse().with_context(|| {
            format!("the minimal server printed {address:?} instead of its address")
        })?;
        let mut load = Load::<Connection>::connect(address)?;
        // The server ignores the content of a call, so every call is a GETATTR.
        let call = Packed::new(&Nfs::get_attr(&[0; 40]));
        Cost::measure(&[server.0.id()], || {
            load.run(count, refill, |_| Request::Packed(&call), |_, _| Ok(()))?;
            Ok(count * amount as u64)
        })
    }
}

/// `cargo xtask bench floor`
#[derive(clap::Args)]
pub struct Args {
    call: Call,
    tree: PathBuf,
}

/// Runs the minimal server: prints its address and serves one connection.
pub fn main(args: &Args) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let answers = Answers::new(args)?;
    println!("{}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    serve(&stream, answers)
}

/// The files that the system calls use, and the state between calls.
struct Answers {
    call: Call,
    big: File,
    big_bytes: u64,
    names: File,
    name: Vec<String>,
    crowd: PathBuf,
    entries: Option<fs::ReadDir>,
    /// State of a linear congruential generator.
    random: u64,
}

impl Answers {
    fn new(args: &Args) -> Result<Self> {
        let tree = &args.tree;
        let big = File::open(tree.join(BIG))?;
        Ok(Self {
            call: args.call,
            big_bytes: big.metadata()?.len(),
            big,
            names: File::open(tree.join(NAMES))?,
            name: (0..NAME_COUNT).map(workspace::name).collect(),
            crowd: tree.join(CROWD),
            entries: None,
            random: 0,
        })
    }

    /// Makes the system calls and writes the reply to `out`, except for data that sendfile sends. Returns the length written.
    fn answer(&mut self, xid: &[u8], out: &mut [u8]) -> Result<usize> {
        let results = match self.call {
            Call::Stat | Call::StatAlone => ATTRIBUTES,
            Call::StatName => FOUND,
            Call::Read => SMALL,
            Call::SendFile => LARGE,
            Call::List => PAGE,
        };
        let mark = LAST_FRAGMENT | (HEAD - 4 + results) as u32;
        out[..4].copy_from_slice(&mark.to_be_bytes());
        out[4..8].copy_from_slice(xid);
        // The RPC header after the xid: REPLY, MSG_ACCEPTED, AUTH_NONE of length 0, SUCCESS.
        out[8..HEAD].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let is_sent = self.call == Call::SendFile;
        let len = HEAD + if is_sent { 0 } else { results };
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let random = self.random >> 33;
        match self.call {
            Call::Stat | Call::StatAlone => drop(fstat(&self.big)?),
            Call::StatName => {
                let name = &self.name[(random % NAME_COUNT) as usize];
                fstatat(&self.names, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            }
            Call::Read => {
                let offset = random % (self.big_bytes / SMALL as u64) * SMALL as u64;
                self.big.read_exact_at(&mut out[HEAD..len], offset)?;
            }
            Call::SendFile => {}
            Call::List => {
                for _ in 0..PAGE_ENTRIES {
                    let entry = match self.entries.as_mut().and_then(Iterator::next) {
                        Some(entry) => entry,
                        None => {
                            let entries = self.entries.insert(fs::read_dir(&self.crowd)?);
                            entries.next().context("the large directory is empty")?
                        }
                    };
                    entry?.metadata()?;
                }
            }
        }
        Ok(len)
    }
}

/// Answers calls until the client closes the connection.
fn serve(mut stream: &TcpStream, mut answers: Answers) -> Result<()> {
    let (mut inbox, mut received) = (vec![0; RECEIVE], 0);
    let mut outbox = vec![0; 2 * LARGE];
    let mut offset: i64 = 0;
    loop {
        let len = stream.read(&mut inbox[received..])?;
        if len == 0 {
            return Ok(());
        }
        received += len;
        let (mut parsed, mut filled) = (0, 0);
        while let Some((mark, unread)) = inbox[parsed..received].split_first_chunk() {
            let len = (u32::from_be_bytes(*mark) & !LAST_FRAGMENT) as usize;
            let Some(record) = unread.get(..len) else {
                break;
            };
            filled += answers.answer(&record[..4], &mut outbox[filled..])?;
            if answers.call == Call::SendFile {
                stream.write_all(&outbox[..filled])?;
                filled = 0;
                let end = offset + LARGE as i64;
                while offset < end {
                    let remaining = (end - offset) as usize;
                    sendfile(stream, &answers.big, Some(&mut offset), remaining)?;
                }
                offset %= answers.big_bytes as i64;
            }
            parsed += 4 + len;
        }
        inbox.copy_within(parsed..received, 0);
        received -= parsed;
        stream.write_all(&outbox[..filled])?;
    }
}
