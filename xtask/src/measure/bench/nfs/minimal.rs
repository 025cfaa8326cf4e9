//! A server that does the least for each call: it receives batches as ours does, makes the one system call that the answer
//! needs, and sends all replies of a batch together. What it costs is the floor for a server of one thread.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result};
use nix::fcntl::AtFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::sendfile::sendfile;
use nix::sys::stat::{fstat, fstatat};
use nix::time::ClockId;

use super::connection::{BATCH, Connection, Packed, Request, SLIDE};
use crate::clients::nfs::{Call as Nfs, LAST_FRAGMENT};
use crate::measure::bench::ground::{self, BIG, CROWD, Export, Ground, NAME_COUNT, NAMES, Scale};
use crate::measure::bench::load::{Load, Refill};
use crate::measure::bench::measure::{Cost, read};
use crate::measure::bench::table::Unit;

/// Bytes that are received at once.
const RECEIVE: usize = 64 << 10;
/// Bytes of a reply's mark, xid and status.
const HEAD: usize = 4 + 24;
/// Entries on a page of READDIRPLUS of 64 KiB.
const PAGE_ENTRIES: usize = 350;
/// Bytes of a page.
const PAGE: usize = 64 << 10;
/// Bytes of a small and of a large READ.
const SMALL: usize = 4096;
const LARGE: usize = 1 << 20;
/// Bytes of the results of GETATTR and LOOKUP.
const ATTRIBUTES: usize = 88;
const FOUND: usize = 224;

/// What is done for each call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// fstat of an open file, as for GETATTR
    Stat,
    /// The same, one call in flight
    StatAlone,
    /// statx of a name, as for LOOKUP
    StatName,
    /// pread of 4 KiB anywhere
    Read,
    /// sendfile of 1 MiB, one after the other
    SendFile,
    /// A page of a directory: getdents, and statx of each name
    List,
}

impl Call {
    /// Unit of the amount.
    pub fn unit(self) -> Unit {
        match self {
            Self::SendFile => Unit::Byte,
            Self::List => Unit::Entry,
            _ => Unit::Request,
        }
    }

    /// One turn: the server's CPU is that of its thread.
    pub fn turn(self, ground: &Ground, scale: &Scale) -> Result<Cost> {
        let (count, refill, amount) = match self {
            Self::StatAlone => (scale.request_count / 4, Refill::Slide(1), 1),
            Self::SendFile => (scale.big_bytes / LARGE as u64, SLIDE, LARGE),
            Self::List => (scale.crowd_count / PAGE_ENTRIES as u64, BATCH, PAGE_ENTRIES),
            _ => (scale.request_count, BATCH, 1),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let answers = Answers::new(self, ground, scale)?;
        let (ready, is_ready) = mpsc::channel();
        // It ends with the connection.
        let server = thread::spawn(move || {
            // As in a process of one thread, a file is found without counting references. The descriptors of the load
            // generator must not be copied: only then is the connection made.
            unshare(CloneFlags::CLONE_FILES)?;
            ready.send(())?;
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            serve(&stream, answers)
        });
        // An error: the thread has ended, and says why.
        let _ = is_ready.recv();
        // What is asked has the size of a GETATTR.
        let call = Packed::new(&Nfs::get_attr(&[0; 40]));
        let mut load = Load::<Connection>::connect(address)?;
        let cost = Cost::alone(|| {
            load.run(count, refill, |_| Request::Packed(&call), |_, _| Ok(()))?;
            Ok(count * amount as u64)
        })?;
        drop(load);
        let used = server.join();
        let used = used.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Cost {
            server: used,
            own: cost.own - used,
            ..cost
        })
    }
}

/// Files that calls are about.
struct Answers {
    call: Call,
    big: File,
    big_bytes: u64,
    names: File,
    name: Vec<String>,
    crowd: std::path::PathBuf,
    entries: Option<fs::ReadDir>,
    next: u64,
}

impl Answers {
    fn new(call: Call, ground: &Ground, scale: &Scale) -> Result<Self> {
        let tree = ground.path(Export::Tree);
        Ok(Self {
            call,
            big: File::open(tree.join(BIG))?,
            big_bytes: scale.big_bytes,
            names: File::open(tree.join(NAMES))?,
            name: (0..NAME_COUNT).map(ground::name).collect(),
            crowd: tree.join(CROWD),
            entries: None,
            next: 0,
        })
    }

    /// Makes the system call, and appends the reply but for what sendfile sends.
    fn answer(&mut self, xid: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let results = match self.call {
            Call::Stat | Call::StatAlone => ATTRIBUTES,
            Call::StatName => FOUND,
            Call::Read => SMALL,
            Call::SendFile => LARGE,
            Call::List => PAGE,
        };
        let start = out.len();
        let mark = LAST_FRAGMENT | (HEAD - 4 + results) as u32;
        out.extend(mark.to_be_bytes());
        out.extend(xid);
        // MSG_ACCEPTED, AUTH_NONE, SUCCESS.
        out.extend([0, 0, 0, 1]);
        let len = if self.call == Call::SendFile {
            0
        } else {
            results
        };
        out.resize(start + HEAD + len, 0);
        self.next = self
            .next
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let random = self.next >> 33;
        match self.call {
            Call::Stat | Call::StatAlone => drop(fstat(&self.big)?),
            Call::StatName => {
                let name = &self.name[(random % NAME_COUNT) as usize];
                fstatat(&self.names, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            }
            Call::Read => {
                let offset = random % (self.big_bytes / SMALL as u64) * SMALL as u64;
                self.big.read_exact_at(&mut out[start + HEAD..], offset)?;
            }
            Call::SendFile => {}
            Call::List => {
                for _ in 0..PAGE_ENTRIES {
                    let entry = match self.entries.as_mut().and_then(Iterator::next) {
                        Some(entry) => entry,
                        None => {
                            let entries = self.entries.insert(fs::read_dir(&self.crowd)?);
                            entries.next().context("an empty directory")?
                        }
                    };
                    entry?.metadata()?;
                }
            }
        }
        Ok(())
    }
}

/// Answers until the connection ends; seconds of CPU of this thread.
fn serve(mut stream: &TcpStream, mut answers: Answers) -> Result<f64> {
    let begun = read(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let mut inbox = vec![0; RECEIVE];
    let (mut have, mut out) = (0, Vec::new());
    let mut offset: i64 = 0;
    loop {
        let len = stream.read(&mut inbox[have..])?;
        if len == 0 {
            let used = read(ClockId::CLOCK_THREAD_CPUTIME_ID)? - begun;
            return Ok(used.as_secs_f64());
        }
        have += len;
        let mut at = 0;
        while let Some((mark, rest)) = inbox[at..have].split_first_chunk() {
            let len = (u32::from_be_bytes(*mark) & !LAST_FRAGMENT) as usize;
            let Some(record) = rest.get(..len) else { break };
            answers.answer(&record[..4], &mut out)?;
            if answers.call == Call::SendFile {
                stream.write_all(&out)?;
                out.clear();
                let end = offset + LARGE as i64;
                while offset < end {
                    let left = (end - offset) as usize;
                    sendfile(stream, &answers.big, Some(&mut offset), left)?;
                }
                offset %= answers.big_bytes as i64;
            }
            at += 4 + len;
        }
        inbox.copy_within(at..have, 0);
        have -= at;
        stream.write_all(&out)?;
        out.clear();
    }
}
