//! What a client may do, in words that a fuzzer's bytes become: every procedure of every program, on objects that there are
//! more often than not.

use arbitrary::Arbitrary;
use stowaway::engine::trial::calls::Call;
use stowaway::wire::nfs3::Procedure;
use stowaway::wire::{mount, portmap};

/// What happens, step by step.
#[derive(Arbitrary, Debug)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Arbitrary, Debug)]
pub enum Step {
    /// A call, and the way that it takes.
    Ask(What, Way),
    /// The last call once more, as after a lost reply.
    AskAgain(Way),
    /// What is not on disk is lost.
    PowerFails,
    /// The next write or sync fails.
    DiskFails(bool, bool),
    /// So many bytes are left on the disk.
    DiskIsFull(u16),
}

/// How a call comes over the wire.
#[derive(Arbitrary, Debug)]
pub struct Way {
    /// Where its fragments end.
    pub cuts: [u16; 3],
    /// How many of those count.
    pub cut_count: u8,
    /// Bytes that arrive at a time; 0: all.
    pub piece_bytes: u16,
}

/// One of the objects that were seen, the top first.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Object(u8);

impl Object {
    pub(crate) fn handle(self, known: &[Vec<u8>]) -> &[u8] {
        &known[usize::from(self.0) % known.len()]
    }
}

/// Names, most of them few enough to meet again.
#[derive(Arbitrary, Debug)]
pub enum Name {
    /// What is in the tree.
    There(u8),
    /// What may be.
    New(u8),
    /// Of so many bytes.
    Long(u16),
    /// Anything.
    Any(Vec<u8>),
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        const THERE: [&[u8]; 10] = [
            b"hello", b"big", b"dir", b"inner", b"empty", b"link", b"fifo", b"many", b".", b"..",
        ];
        match self {
            Self::There(number) => THERE[usize::from(*number) % THERE.len()].to_vec(),
            Self::New(number) => vec![b'a' + number % 6],
            Self::Long(len) => vec![b'n'; usize::from(*len) % 300],
            Self::Any(bytes) => bytes[..bytes.len().min(1024)].to_vec(),
        }
    }
}

/// Offsets and sizes: small ones, and those at an edge.
#[derive(Arbitrary, Debug)]
pub enum Far {
    /// Within a small file.
    Near(u16),
    /// Within a large one.
    Middle(u32),
    /// So far from where offsets end.
    End(u8),
    /// Anywhere.
    Any(u64),
}

impl Far {
    const fn number(&self) -> u64 {
        match self {
            Self::Near(number) => *number as u64,
            Self::Middle(number) => *number as u64,
            Self::End(number) => (i64::MAX as u64 + 8).wrapping_sub(*number as u64),
            Self::Any(number) => *number,
        }
    }
}

/// A time to set.
#[derive(Arbitrary, Debug)]
pub enum Time {
    /// None.
    Keep,
    /// The server's.
    Now,
    /// This.
    At(u32, u32),
}

/// Attributes to set.
#[derive(Arbitrary, Debug)]
pub struct Change {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<Far>,
    atime: Time,
    mtime: Time,
}

impl Change {
    fn append(&self, mut call: Call) -> Call {
        for number in [self.mode, self.uid, self.gid] {
            call = match number {
                None => call.word(0),
                Some(number) => call.words(&[1, number]),
            };
        }
        call = match &self.size {
            None => call.word(0),
            Some(size) => call.word(1).long(size.number()),
        };
        for time in [&self.atime, &self.mtime] {
            call = match time {
                Time::Keep => call.word(0),
                Time::Now => call.word(1),
                Time::At(secs, nanos) => call.words(&[2, *secs, *nanos]),
            };
        }
        call
    }
}

/// How CREATE takes a name that is there.
#[derive(Arbitrary, Debug)]
pub enum Creation {
    /// As it is.
    Unchecked(Change),
    /// As an error.
    Guarded(Change),
    /// As its own, if it made it. Few verifiers: none looks like a time of the tree.
    Exclusive(u8, u8),
}

/// A call.
#[derive(Arbitrary, Debug)]
#[allow(missing_docs)] // RFC 1813's own words.
pub enum What {
    Null,
    GetAttr(Object),
    SetAttr(Object, Change, Option<(u32, u32)>),
    Lookup(Object, Name),
    Access(Object, u32),
    ReadLink(Object),
    Read(Object, Far, u32),
    Write(Object, Far, u8, u16),
    Create(Object, Name, Creation),
    MkDir(Object, Name, Change),
    SymLink(Object, Name, Change, Name),
    MkNod(Object, Name, u8, Change, (u32, u32)),
    Remove(Object, Name),
    RmDir(Object, Name),
    Rename(Object, Name, Object, Name),
    Link(Object, Object, Name),
    ReadDir(Object, u8, u16),
    ReadDirPlus(Object, u8, u16, u16),
    FsStat(Object),
    FsInfo(Object),
    PathConf(Object),
    Commit(Object, Far, u32),
    Mount(bool, u8, Vec<Name>),
    Portmap(u8, u32, u32, u32),
}

impl What {
    /// The call's bytes.
    pub fn call(&self, known: &[Vec<u8>]) -> Call {
        let of = |procedure, object: &Object| Call::of(procedure, object.handle(known));
        match self {
            Self::Null => Call::nfs(Procedure::Null),
            Self::GetAttr(object) => of(Procedure::GetAttr, object),
            Self::SetAttr(object, change, guard) => {
                let call = change.append(of(Procedure::SetAttr, object));
                match guard {
                    None => call.word(0),
                    Some((secs, nanos)) => call.words(&[1, *secs, *nanos]),
                }
            }
            Self::Lookup(dir, name) => of(Procedure::Lookup, dir).opaque(&name.bytes()),
            Self::Access(object, bits) => of(Procedure::Access, object).word(*bits),
            Self::ReadLink(object) => of(Procedure::ReadLink, object),
            Self::Read(object, offset, count) => {
                Call::read(object.handle(known), offset.number(), *count)
            }
            Self::Write(object, offset, how, len) => {
                let data: Vec<u8> = (0..*len).map(|at| (at ^ at >> 8) as u8).collect();
                let how = u32::from(*how % 3);
                Call::write(object.handle(known), offset.number(), how, &data)
            }
            Self::Create(dir, name, how) => {
                let call = of(Procedure::Create, dir).opaque(&name.bytes());
                match how {
                    Creation::Unchecked(change) => change.append(call.word(0)),
                    Creation::Guarded(change) => change.append(call.word(1)),
                    Creation::Exclusive(one, other) => {
                        call.words(&[2, u32::from(*one), u32::from(*other)])
                    }
                }
            }
            Self::MkDir(dir, name, change) => {
                change.append(of(Procedure::MkDir, dir).opaque(&name.bytes()))
            }
            Self::SymLink(dir, name, change, target) => change
                .append(of(Procedure::SymLink, dir).opaque(&name.bytes()))
                .opaque(&target.bytes()),
            Self::MkNod(dir, name, kind, change, (major, minor)) => {
                let kind = u32::from(kind % 7) + 1;
                let call = of(Procedure::MkNod, dir).opaque(&name.bytes()).word(kind);
                match kind {
                    3 | 4 => change.append(call).words(&[*major, *minor]),
                    6 | 7 => change.append(call),
                    _ => call,
                }
            }
            Self::Remove(dir, name) => of(Procedure::Remove, dir).opaque(&name.bytes()),
            Self::RmDir(dir, name) => of(Procedure::RmDir, dir).opaque(&name.bytes()),
            Self::Rename(from, name, to, new_name) => of(Procedure::Rename, from)
                .opaque(&name.bytes())
                .opaque(to.handle(known))
                .opaque(&new_name.bytes()),
            Self::Link(object, dir, name) => of(Procedure::Link, object)
                .opaque(dir.handle(known))
                .opaque(&name.bytes()),
            Self::ReadDir(dir, cookie, count) => of(Procedure::ReadDir, dir)
                .long((*cookie).into())
                .long(0)
                .word((*count).into()),
            Self::ReadDirPlus(dir, cookie, names, all) => of(Procedure::ReadDirPlus, dir)
                .long((*cookie).into())
                .long(0)
                .words(&[(*names).into(), (*all).into()]),
            Self::FsStat(object) => of(Procedure::FsStat, object),
            Self::FsInfo(object) => of(Procedure::FsInfo, object),
            Self::PathConf(object) => of(Procedure::PathConf, object),
            Self::Commit(object, offset, count) => of(Procedure::Commit, object)
                .long(offset.number())
                .word(*count),
            Self::Mount(first, procedure, names) => {
                let version = if *first {
                    mount::VERSION_1
                } else {
                    mount::VERSION_3
                };
                let procedure = u32::from(procedure % 6);
                let call = Call::new(mount::PROGRAM, version, procedure);
                if !matches!(procedure, mount::procedure::MNT | mount::procedure::UMNT) {
                    return call;
                }
                let mut path = b"/export".to_vec();
                for name in names {
                    path.push(b'/');
                    path.extend(name.bytes());
                }
                path.truncate(1024);
                call.opaque(&path)
            }
            Self::Portmap(procedure, program, version, transport) => {
                let procedure = [0, 3, 4][usize::from(*procedure) % 3];
                let call = Call::new(portmap::PROGRAM, portmap::VERSION, procedure);
                match procedure {
                    3 => call.words(&[*program, *version, *transport, 0]),
                    _ => call,
                }
            }
        }
    }
}
