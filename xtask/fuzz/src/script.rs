//! A script of calls, which `arbitrary` makes from a fuzzer's bytes: all procedures of all programs, mostly on objects that exist.

use arbitrary::Arbitrary;
use cases::calls::Call;
use cases::nfs3_types::nfs3::mknoddata3;
use cases::values::{How, Set, SetTime, device};

/// A sequence of steps.
#[derive(Arbitrary, Debug)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
}

/// A call, or a fault of the disk.
#[derive(Arbitrary, Debug)]
pub enum Step {
    /// A call, and how it is split on the wire.
    Ask(AnyCall, Framing),
    /// A retransmission of the last call, as after a lost reply.
    AskAgain(Framing),
    /// A power cut: everything not yet on the disk is lost.
    PowerFails,
    /// The next write fails if the first value is true, the next sync if the second is.
    DiskFails(bool, bool),
    /// Sets the free space of the disk, in units of 16 bytes.
    DiskIsFull(u16),
}

/// How a call is split into fragments and pieces.
#[derive(Arbitrary, Debug)]
pub struct Framing {
    /// Offsets at which fragments end.
    pub cuts: [u16; 3],
    /// Number of `cuts` that are used, modulo 4.
    pub cut_count: u8,
    /// Size of the pieces in which the call arrives, in bytes; 0: one piece.
    pub piece_bytes: u16,
}

/// Number of a known handle; 0 is the export's root.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Object(u8);

impl Object {
    pub(crate) fn handle(self, known: &[Vec<u8>]) -> &[u8] {
        &known[usize::from(self.0) % known.len()]
    }
}

/// A name, mostly one of a few that occur again.
#[derive(Arbitrary, Debug)]
pub enum Name {
    /// A name of the model tree, or `.` or `..`.
    There(u8),
    /// A name that the script may create; there are six.
    New(u8),
    /// A name of up to 299 bytes.
    Long(u16),
    /// Any bytes.
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

/// Offsets and sizes: small ones, and boundary values.
#[derive(Arbitrary, Debug)]
pub enum Boundary {
    /// An offset within a small file.
    Near(u16),
    /// An offset within a large file.
    Middle(u32),
    /// An offset near i64::MAX, the largest offset of a file.
    End(u8),
    /// Any offset.
    Any(u64),
}

impl Boundary {
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
    /// Do not set the time.
    Keep,
    /// The server's time.
    Now,
    /// This time: seconds and nanoseconds.
    At(u32, u32),
}

impl Time {
    const fn set(&self) -> SetTime {
        match *self {
            Self::Keep => SetTime::Keep,
            Self::Now => SetTime::Server,
            Self::At(secs, nanos) => SetTime::Client(secs, nanos),
        }
    }
}

/// Attributes to set.
#[derive(Arbitrary, Debug)]
pub struct Change {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<Boundary>,
    atime: Time,
    mtime: Time,
}

impl Change {
    fn set(&self) -> Set {
        Set {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size: self.size.as_ref().map(Boundary::number),
            atime: self.atime.set(),
            mtime: self.mtime.set(),
        }
    }
}

/// Behaviour of CREATE if the name exists.
#[derive(Arbitrary, Debug)]
pub enum Creation {
    /// The call succeeds.
    Unchecked(Change),
    /// The call fails.
    Guarded(Change),
    /// The call fails unless the file was created with the same verifier, which is made of these two bytes. The server stores a
    /// verifier as atime and mtime; no file of the model tree has such times.
    Exclusive(u8, u8),
}

/// A call.
#[derive(Arbitrary, Debug)]
#[allow(missing_docs)] // The variants are named after the RFCs' procedures.
pub enum AnyCall {
    Null,
    GetAttr(Object),
    SetAttr(Object, Change, Option<(u32, u32)>),
    Lookup(Object, Name),
    Access(Object, u32),
    ReadLink(Object),
    Read(Object, Boundary, u32),
    Write(Object, Boundary, u8, u16),
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
    Commit(Object, Boundary, u32),
    Mount(bool, u8, Vec<Name>),
    Portmap(u8, u32, u32, u32),
}

impl AnyCall {
    /// Encodes the call, with handles from `known`.
    pub fn call(&self, known: &[Vec<u8>]) -> stowaway::engine::testing::calls::Call {
        let of = |object: &Object| object.handle(known);
        match self {
            Self::Null => Call::null(),
            Self::GetAttr(object) => Call::get_attr(of(object)),
            Self::SetAttr(object, change, guard) => {
                Call::set_attr(of(object), change.set(), *guard)
            }
            Self::Lookup(dir, name) => Call::lookup(of(dir), &name.bytes()),
            Self::Access(object, bits) => Call::access(of(object), *bits),
            Self::ReadLink(object) => Call::read_link(of(object)),
            Self::Read(object, offset, count) => Call::read(of(object), offset.number(), *count),
            Self::Write(object, offset, how, len) => {
                let data: Vec<u8> = (0..*len).map(|index| (index ^ index >> 8) as u8).collect();
                let how = u32::from(*how % 3);
                let (file, offset, count) = (of(object), offset.number(), (*len).into());
                return Call::write_of(file, offset, count, how, &data).into();
            }
            Self::Create(dir, name, how) => {
                let how = match how {
                    Creation::Unchecked(change) => How::Unchecked(change.set()),
                    Creation::Guarded(change) => How::Guarded(change.set()),
                    Creation::Exclusive(one, other) => {
                        How::Exclusive([0, 0, 0, *one, 0, 0, 0, *other])
                    }
                };
                Call::create(of(dir), &name.bytes(), how)
            }
            Self::MkDir(dir, name, change) => Call::mkdir(of(dir), &name.bytes(), change.set()),
            Self::SymLink(dir, name, change, target) => {
                Call::symlink(of(dir), &name.bytes(), change.set(), &target.bytes())
            }
            Self::MkNod(dir, name, kind, change, (major, minor)) => {
                let (set, name) = (change.set(), &name.bytes());
                let what = match u32::from(kind % 7) + 1 {
                    3 => mknoddata3::NF3BLK(device(set, *major, *minor)),
                    4 => mknoddata3::NF3CHR(device(set, *major, *minor)),
                    6 => mknoddata3::NF3SOCK(set.into()),
                    7 => mknoddata3::NF3FIFO(set.into()),
                    other => return Call::mknod_of(of(dir), name, other).into(),
                };
                Call::mknod(of(dir), name, what)
            }
            Self::Remove(dir, name) => Call::remove(of(dir), &name.bytes()),
            Self::RmDir(dir, name) => Call::rmdir(of(dir), &name.bytes()),
            Self::Rename(from, name, to, new_name) => {
                Call::rename(of(from), &name.bytes(), of(to), &new_name.bytes())
            }
            Self::Link(object, dir, name) => Call::link(of(object), of(dir), &name.bytes()),
            Self::ReadDir(dir, cookie, count) => {
                Call::read_dir(of(dir), (*cookie).into(), [0; 8], (*count).into())
            }
            Self::ReadDirPlus(dir, cookie, names, all) => {
                let (cookie, names, all) = ((*cookie).into(), (*names).into(), (*all).into());
                Call::read_dir_plus(of(dir), cookie, [0; 8], names, all)
            }
            Self::FsStat(object) => Call::fs_stat(of(object)),
            Self::FsInfo(object) => Call::fs_info(of(object)),
            Self::PathConf(object) => Call::path_conf(of(object)),
            Self::Commit(object, offset, count) => {
                Call::commit(of(object), offset.number(), *count)
            }
            Self::Mount(first, procedure, names) => {
                let mut path = b"/export".to_vec();
                for name in names {
                    path.push(b'/');
                    path.extend(name.bytes());
                }
                path.truncate(1024);
                let call = match procedure % 6 {
                    0 => Call::mount_null(),
                    1 => Call::mount(&path),
                    2 => Call::mount_dump(),
                    3 => Call::unmount(&path),
                    4 => Call::unmount_all(),
                    _ => Call::exports(),
                };
                if *first { call.version_1() } else { call }
            }
            Self::Portmap(procedure, program, version, transport) => match procedure % 3 {
                0 => Call::portmap_null(),
                1 => Call::get_port(*program, *version, *transport),
                _ => Call::portmap_dump(),
            },
        }
        .into()
    }
}
