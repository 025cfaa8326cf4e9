//! The figures of a process: the memory in which it counts, and the socket at which `stowaway status` reads them.
//!
//! The socket is /run/stowaway/ROLE.PID, in a directory for root alone, else the abstract name stowaway/ROLE/PID. A process that
//! connects and writes the byte of a [`Form`] gets the figures in this form, and a last line with "." before each PID of the
//! server. Only root and the server's own user are answered. SIGUSR1 writes the figures that are not 0 to the log.

#![forbid(unsafe_code)]

use crate::config::{ACCEPT_PAUSE, CHILD_COUNT_MAX};
use crate::drive::{Task, World};
use crate::event::Line;
use crate::mem::{self, Ends as _, copy_into, scaled};
use crate::net::{FileId, Signals, Socket};
use crate::stats::forms::{Exports, Form, Place, Reader};
use crate::stats::{CLIENT_COUNT_MAX, Meter, Sheet, word_count};
use crate::sys::linux::fs::{self, AT_FDCWD, File};
use crate::sys::linux::sockets::{
    LocalName, accept_any, connect_locally, listen_locally, peer_user,
};
use crate::sys::linux::{fsuid, shared};
use crate::sys::{self, Errno, FileRights, Needs};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::vfs::Tree;
use core::ffi::CStr;
use core::ops::Range;
use rustix::fd::AsRawFd as _;

/// Directory of the sockets.
const DIRECTORY: &CStr = c"/run/stowaway";
/// Begins an abstract name.
const ABSTRACT: &str = "stowaway/";

/// Readers that are served at a time; one more takes the place of the first.
const READER_COUNT: usize = 4;
/// Size (bytes) of the pieces in which a reader gets the text.
const PIECE_BYTES: usize = 4 << 10;
/// Part of a piece (bytes) that is left free for the last line.
const END_BYTES: usize = CHILD_COUNT_MAX * 12;
/// Interval of writing to a reader that does not read.
const RETRY: Duration = Duration::from_ms(20);
/// Time after which such a reader is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Interval of looks at the memory and the descriptors of the process, at most.
const SIZES_INTERVAL: Duration = Duration::SECOND;
/// Longest name of a socket (bytes).
const NAME_BYTES: usize = 64;

/// Begins the figures of a process under the name `role`, unless it is empty: the meter, and the task that shows them.
pub(in super::super) fn start(role: &'static str) -> Option<(Meter, &'static mut dyn Task)> {
    (!role.is_empty()).then(|| (meter(role), mem::leak(Status::new(role)) as _))
}

/// A meter that counts in the sheet of this process, which begins now.
fn meter(role: &str) -> Meter {
    let (own, all): (Sheet, &'static [Sheet]) = match shared::sheets() {
        Some((words, count, number)) => {
            let sheets = mem::leak(mem::Slots::new(words.len() / count.max(1)));
            for words in words.chunks_exact(count) {
                sheets.push(Sheet::of(words));
            }
            (sheets.get(number).copied().unwrap_or(Sheet::NONE), sheets)
        }
        None => {
            let count = word_count(scaled(16, CLIENT_COUNT_MAX));
            let sheet = Sheet::of(mem::long_words(count));
            (sheet, core::slice::from_ref(mem::leak(sheet)))
        }
    };
    let pid = match sys::is_bare() {
        true => 1,
        false => process_id(),
    };
    own.begin(role, pid, sys::wall_clock().0);
    Meter::new(own, all, sys::ticks)
}

fn process_id() -> u32 {
    rustix::process::getpid().as_raw_pid().unsigned_abs()
}

/// A process that reads the figures.
struct Asking {
    file: File,
    since: Instant,
    /// The wanted form; `None`: the byte has not arrived.
    form: Option<Form>,
    /// The row that is written next; `None`: all are.
    place: Option<Place>,
    /// The rest of the piece.
    rest: Range<usize>,
}

/// Serves the figures to `stowaway status`.
pub(in super::super) struct Status {
    role: &'static str,
    /// The effective UID of the process at its start.
    user: u32,
    listener: Option<File>,
    /// The watched listener; `None`: it is watched again at `watch_at`.
    watched: Option<Socket>,
    watch_at: Instant,
    /// The name of the socket file, with a zero byte at the end; empty: the socket has an abstract name.
    path: heapless::Vec<u8, NAME_BYTES>,
    asking: [Option<Asking>; READER_COUNT],
    /// A piece for each reader.
    pieces: &'static mut [u8],
    retry_at: Instant,
    /// /proc/self/status and /proc/self/fd, if HTTP can ask for the figures and the host has them.
    sizes: Option<(File, File)>,
    /// Time of the next look at them. They do not change while the process sleeps.
    sizes_at: Instant,
}

impl Status {
    const fn new(role: &'static str) -> Self {
        Self {
            role,
            user: 0,
            listener: None,
            watched: None,
            watch_at: Instant::NEVER,
            path: heapless::Vec::new(),
            asking: [const { None }; READER_COUNT],
            pieces: &mut [],
            retry_at: Instant::NEVER,
            sizes: None,
            sizes_at: Instant::NEVER,
        }
    }

    /// Listens at the socket file, else at the abstract name.
    fn listen(&mut self) -> Result<File, Errno> {
        let mut name = Line::default();
        let directory = fs::mkdirat::<Errno>(AT_FDCWD, DIRECTORY.to_bytes(), 0o700);
        if matches!(directory, Ok(()) | Err(Errno::EXIST)) {
            name.raw(DIRECTORY.to_bytes()).text("/").text(self.role);
            name.text(".").number(process_id()).byte(0);
            let path = CStr::from_bytes_with_nul(name.bytes()).unwrap_or_default();
            let mut listener = listen_locally(LocalName::File(path));
            // A process that had this PID before, and was killed, left its file. One of another PID namespace still answers.
            if matches!(listener, Err(Errno::ADDRINUSE))
                && matches!(
                    connect_locally(LocalName::File(path)),
                    Err(Errno::CONNREFUSED)
                )
            {
                let _ = fs::unlinkat::<Errno>(AT_FDCWD, path.to_bytes(), false);
                listener = listen_locally(LocalName::File(path));
            }
            if let Ok(listener) = listener {
                _ = self.path.extend_from_slice(name.bytes());
                return Ok(listener);
            }
        }
        let mut name = Line::default();
        name.text(ABSTRACT).text(self.role).text("/");
        listen_locally(LocalName::Abstract(name.number(process_id()).bytes()))
    }

    /// Watches the listener. Returns whether the network can.
    fn watch(&mut self, world: &mut World<'_>) -> bool {
        self.watch_at = Instant::NEVER;
        let listener = self.listener.as_ref();
        let file = listener.map(|listener| FileId(listener.as_raw_fd()));
        self.watched = file.and_then(|file| world.net.watch_file(file, world.token(0)).ok());
        self.watched.is_some()
    }

    /// Accepts a reader, unless it is another user's.
    fn accept(&mut self, world: &mut World<'_>) {
        let file = match self.listener.as_ref().map(accept_any) {
            Some(Ok(file)) => file,
            None | Some(Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED)) => return,
            // The listener stays ready, for instance while no descriptor is free (EMFILE).
            Some(Err(_)) => {
                if let Some(watched) = self.watched.take() {
                    world.net.close(watched);
                }
                self.watch_at = world.now.after(ACCEPT_PAUSE);
                return;
            }
        };
        let is_ours = peer_user(&file).is_ok_and(|user| user == 0 || user == self.user);
        if !is_ours || file.never_block().is_err() {
            return;
        }
        let waited = |place: &&mut Option<Asking>| {
            let asking = place.as_ref();
            asking.map_or(Instant::default(), |asking| asking.since)
        };
        if let Some(place) = self.asking.iter_mut().min_by_key(waited) {
            *place = Some(Asking {
                file,
                since: world.now,
                form: None,
                place: Some(Place::default()),
                rest: 0..0,
            });
        }
    }

    /// Measures the memory in use (bytes) and the number of open descriptors.
    fn sizes(&self) -> Option<[u64; 2]> {
        let (memory, descriptors) = self.sizes.as_ref()?;
        let (mut text, mut count) = ([0; 2 << 10], 0);
        let len = fs::pread::<Errno>(memory.as_raw_fd(), 0, &mut text).ok()?;
        let mut lines = mem::parts(text.head(len as usize), b'\n');
        let line = lines.find_map(|line| line.strip_prefix(b"VmRSS:"))?.iter();
        let digits = line.filter(|byte| byte.is_ascii_digit());
        let kib = digits.fold(0, |kib, digit| kib * 10 + u64::from(digit & 15));
        let _ = fs::list::<Errno>(descriptors.as_raw_fd(), 0, &mut |found| {
            count += u64::from(!found.name.to_bytes().starts_with(b"."));
            core::ops::ControlFlow::Continue(())
        });
        Some([kib << 10, count])
    }

    /// Reports each figure that is not 0, but not the buckets of histograms.
    fn report(world: &mut World<'_>) {
        let mut place = Some(Place::default());
        while let Some(next) = place {
            let mut text = [0; PIECE_BYTES];
            let exports = |number: usize| world.tree.state(number);
            let reader = reader(world, &exports);
            let (len, next) = reader.write(Form::Prometheus, next, &mut text);
            place = next;
            for line in text.head(len).split(|byte| *byte == b'\n') {
                let is_bucket = line.windows(8).any(|word| word == b"_bucket{");
                if !line.is_empty()
                    && !line.starts_with(b"#")
                    && !line.ends_with(b" 0")
                    && !is_bucket
                {
                    world
                        .events
                        .report_line(Line::default().prefix().escaped(line));
                }
            }
        }
    }
}

impl Asking {
    /// Writes as much as the reader takes. Returns false once it has all, or is gone.
    fn write(&mut self, world: &World<'_>, piece: &mut [u8]) -> bool {
        match self.try_write(world, piece) {
            Ok(()) => false,
            Err(errno) => errno == Errno::AGAIN && world.now.since(self.since) < PATIENCE,
        }
    }

    /// Writes all, beginning with `rest`, which is in `piece`.
    fn try_write(&mut self, world: &World<'_>, piece: &mut [u8]) -> Result<(), Errno> {
        let form = match self.form {
            Some(form) => form,
            None => {
                let mut byte = [0];
                fs::read(self.file.as_raw_fd(), &mut byte)?;
                let is_json = byte == [Form::Json as u8];
                let form = if is_json { Form::Json } else { Form::Plain };
                *self.form.insert(form)
            }
        };
        loop {
            while !self.rest.is_empty() {
                let bytes = piece.head(self.rest.end).tail(self.rest.start);
                self.rest.start += rustix::io::write(&self.file, bytes)?;
            }
            let Some(place) = self.place else {
                return Ok(());
            };
            let exports = |number: usize| world.tree.state(number);
            let reader = reader(world, &exports);
            let space = piece.head_mut(PIECE_BYTES - END_BYTES);
            let (mut len, next) = reader.write(form, place, space);
            if next.is_none() {
                let mut end = Line::default();
                let pids = reader.sheets.iter().map(|sheet| sheet.pid());
                for pid in pids.filter(|pid| *pid != 0) {
                    end.byte(b'.').digits(pid, 10, 1);
                }
                copy_into(piece.tail_mut(len), end.end_line());
                len += end.bytes().len();
            }
            (self.rest, self.place) = (0..len, next);
        }
    }
}

/// The figures of all processes of the server, and the exports of this one.
fn reader<'a>(world: &World<'_>, exports: Exports<'a>) -> Reader<'a> {
    Reader {
        sheets: world.stats.sheets(),
        exports,
        nfs4: world.stats.nfs4(),
        now_ms: world.now.since(Instant::default()).as_ms(),
        wall_secs: sys::wall_clock().0.unsigned_abs(),
    }
}

impl Task for Status {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), crate::event::Fatal> {
        self.user = rustix::process::geteuid().as_raw();
        // A host that refuses the socket has no `status`; the server serves.
        let refused = self.listen().map(|listener| self.listener = Some(listener));
        // The first process of `serve` says it for all.
        let is_first = shared::sheets().is_none_or(|(.., number)| number == 0);
        if self.listener.is_none() && is_first {
            let what = text!("no figures for stowaway status: the host refuses a Unix socket");
            let why = match refused {
                Err(Errno::AFNOSUPPORT) => text!("systemd: RestrictAddressFamilies=AF_UNIX"),
                _ => Text::NOTHING,
            };
            world.events.report(what, b"", why);
        }
        match self.watch(world) {
            true => self.pieces = mem::bytes(READER_COUNT * PIECE_BYTES),
            false => self.listener = None,
        }
        if world.is_health_watched() {
            use rustix::fs::OFlags;
            let open = |path, flags| File::open::<Errno>(path, flags, 0).ok();
            let memory = open(c"/proc/self/status", OFlags::CLOEXEC);
            let descriptors = open(c"/proc/self/fd", OFlags::DIRECTORY);
            self.sizes = memory.zip(descriptors);
            self.sizes_at = world.now;
            world.stats.keep_samples();
        }
        Ok(())
    }

    fn add_needs(&self, _: &Tree, needs: &mut Needs) {
        if !self.path.is_empty() {
            let _ = needs.add_directory(DIRECTORY, FileRights::Change);
        }
    }

    fn ready(&mut self, world: &mut World<'_>, _: u32) {
        self.accept(world);
    }

    fn turn(&mut self, world: &mut World<'_>, signals: Signals) {
        if signals.figures {
            Self::report(world);
        }
        if self.watch_at <= world.now && !self.watch(world) {
            self.watch_at = world.now.after(ACCEPT_PAUSE);
        }
        if world.is_health_watched() && self.sizes_at <= world.now {
            self.sizes_at = world.now.after(SIZES_INTERVAL);
            let sizes = self.sizes().unwrap_or_default();
            world.stats.measure(sizes);
        }
        self.retry_at = Instant::NEVER;
        let pieces = self.pieces.chunks_exact_mut(PIECE_BYTES);
        for (place, piece) in self.asking.iter_mut().zip(pieces) {
            place.take_if(|asking| !asking.write(world, piece));
            if place.is_some() {
                self.retry_at = world.now.after(RETRY);
            }
        }
    }

    fn poll_at(&self) -> Instant {
        self.retry_at.min(self.watch_at)
    }

    fn stop(&mut self, _: &mut World<'_>) {
        if !self.path.is_empty() {
            fsuid::restore();
            let path = self.path.strip_suffix(b"\0").unwrap_or_default();
            let _ = fs::unlinkat::<Errno>(AT_FDCWD, path, false);
        }
    }
}
