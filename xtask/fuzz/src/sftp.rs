//! The target `sftp`: sends requests to two servers. One receives each packet separately, the other all packets in pieces. Each
//! request must get exactly one reply, of a type that fits. Both servers must send the same replies and have the same files, unless
//! a request is carried out in the background or the disk is full.

use arbitrary::{Arbitrary, Unstructured};
use std::path::Path;
use stowaway::config::HASHES_BYTES;
use stowaway::engine::sftp::testing::{HANDLE_COUNT, Memory, Packet, Reply, World, replies};
use stowaway::engine::sftp::{Level, Permits};
use stowaway::mem::Slots;
use stowaway::wire::sftp::{Attributes, kind};

/// Largest number of steps of a script.
const STEP_COUNT: usize = 100;
/// Size in bytes of each buffer for users, groups and time zone.
const TEXT_BYTES: usize = 4096;

/// An input.
#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Requests as raw bytes, sent after INIT in pieces of the first value + 1 bytes.
    Bytes(u16, &'a [u8]),
    /// Requests; sizes of the pieces in which the second server receives them; free bytes on the disk, if it is to be nearly full.
    Script(Vec<Step>, Vec<u16>, Option<u16>),
}

/// A request.
#[derive(Arbitrary, Debug)]
enum Step {
    Open(Name, u8, Set),
    Read(Handle, u32, u32),
    Write(Handle, u32, u16),
    /// A request whose only argument is a handle. The number selects its type.
    Handle(u8, Handle),
    /// A request whose only argument is a path. The number selects its type.
    Path(u8, Name),
    /// A request whose arguments are two paths. The number selects its type.
    Paths(u8, Name, Name),
    SetStat(Name, Set),
    SetOpen(Handle, Set),
    MakeDirectory(Name, Set),
    LinkSetStat(Name, Set),
    Copy(Handle, u16, u16, Handle, u16),
    Check(u8, Handle, Name, u16, u16, u8),
    Accounts(Vec<u32>, Vec<u32>),
    /// A request of any type, with any bytes.
    Other(u8, Vec<u8>),
}

/// Number of a handle that the server returned, or of an invalid one.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct Handle(u8);

impl Handle {
    fn bytes(self, known: &[Vec<u8>]) -> &[u8] {
        let known = known.get(usize::from(self.0) % (known.len() + 1));
        known.map_or(b"none", Vec::as_slice)
    }
}

/// A path, mostly of an object that exists.
#[derive(Arbitrary, Debug)]
enum Name {
    Existing(u8),
    New(u8),
    Nested(u8, u8),
    Long(u16),
    Any(Vec<u8>),
}

const EXISTING: [&str; 10] = [
    "hello",
    "big",
    "dir",
    "dir/inner",
    "empty",
    "link",
    "fifo",
    "many",
    ".",
    "/export",
];

impl Name {
    fn bytes(&self) -> Vec<u8> {
        let existing = |number: u8| EXISTING[usize::from(number) % EXISTING.len()];
        match self {
            Self::Existing(number) => existing(*number).into(),
            Self::New(number) => format!("new{}", number % 4).into(),
            Self::Nested(number, new) => {
                let parent = existing(*number);
                format!("{parent}/../{parent}/new{}", new % 4).into()
            }
            Self::Long(len) => vec![b'n'; usize::from(*len)],
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

/// Attributes to set. Sizes are at most 16 MiB.
#[derive(Arbitrary, Debug)]
struct Set {
    size: Option<u32>,
    owner: Option<(u32, u32)>,
    mode: Option<u16>,
    times: Option<(u32, u32)>,
}

impl Set {
    fn attributes(&self) -> Attributes {
        Attributes {
            size: self.size.map(|size| u64::from(size) >> 8),
            owner: self.owner,
            mode: self.mode.map(u32::from),
            times: self.times,
        }
    }
}

impl Step {
    fn packet(&self, id: u32, known: &[Vec<u8>]) -> Packet {
        let new = |kind| Packet::new(kind, id);
        let openssh = |name: &str| Packet::extended(format!("{name}@openssh.com").as_bytes(), id);
        match self {
            Self::Open(name, flags, set) => new(kind::OPEN)
                .string(&name.bytes())
                .u32((*flags).into())
                .attributes(&set.attributes()),
            Self::Read(handle, offset, len) => new(kind::READ)
                .string(handle.bytes(known))
                .u64(u64::from(*offset) >> 12)
                .u32(*len >> (offset & 15)),
            Self::Write(handle, offset, len) => new(kind::WRITE)
                .string(handle.bytes(known))
                .u64(u64::from(*offset) >> 14)
                .string(&vec![id as u8; usize::from(*len) * 3 / 2]),
            Self::Handle(which, handle) => match which % 6 {
                0 => new(kind::FSTAT),
                1 | 2 => new(kind::READDIR),
                3 => openssh("fsync"),
                4 => openssh("fstatvfs"),
                _ => new(kind::CLOSE),
            }
            .string(handle.bytes(known)),
            Self::Path(which, name) => match which % 11 {
                0 => new(kind::LSTAT),
                1 => new(kind::STAT),
                2 | 3 => new(kind::OPENDIR),
                4 => new(kind::REMOVE),
                5 => new(kind::RMDIR),
                6 => new(kind::REALPATH),
                7 => new(kind::READLINK),
                8 => openssh("statvfs"),
                9 => openssh("expand-path"),
                _ => Packet::extended(b"space-available", id),
            }
            .string(&name.bytes()),
            Self::Paths(which, one, other) => match which % 4 {
                0 => new(kind::RENAME),
                1 => new(kind::SYMLINK),
                2 => openssh("posix-rename"),
                _ => openssh("hardlink"),
            }
            .string(&one.bytes())
            .string(&other.bytes()),
            Self::SetStat(name, set) => new(kind::SETSTAT)
                .string(&name.bytes())
                .attributes(&set.attributes()),
            Self::SetOpen(handle, set) => new(kind::FSETSTAT)
                .string(handle.bytes(known))
                .attributes(&set.attributes()),
            Self::MakeDirectory(name, set) => new(kind::MKDIR)
                .string(&name.bytes())
                .attributes(&set.attributes()),
            Self::LinkSetStat(name, set) => openssh("lsetstat")
                .string(&name.bytes())
                .attributes(&set.attributes()),
            Self::Copy(from, offset, len, to, at) => Packet::extended(b"copy-data", id)
                .string(from.bytes(known))
                .u64((*offset).into())
                .u64((*len).into())
                .string(to.bytes(known))
                .u64((*at).into()),
            Self::Check(which, handle, name, offset, len, block) => {
                let packet = match which % 3 {
                    0 => Packet::extended(b"check-file", id).string(handle.bytes(known)),
                    1 => Packet::extended(b"check-file-handle", id).string(handle.bytes(known)),
                    _ => Packet::extended(b"check-file-name", id).string(&name.bytes()),
                };
                let list = ["md5", "sha1,md5", "sha256", "none,crc32", "none"];
                let list = list[usize::from(which / 3) % list.len()];
                packet
                    .string(list.as_bytes())
                    .u64((*offset).into())
                    .u64((*len).into())
                    .u32(u32::from(*block) * 64)
            }
            Self::Accounts(users, groups) => {
                let list = |list: &[u32]| {
                    list.iter()
                        .flat_map(|id| id.to_be_bytes())
                        .collect::<Vec<_>>()
                };
                openssh("users-groups-by-id")
                    .string(&list(users))
                    .string(&list(groups))
            }
            Self::Other(kind, bytes) => new(if *kind == kind::INIT { 0 } else { *kind }).raw(bytes),
        }
    }

    /// Returns true if the server may carry the request out in the background and answer later requests first.
    const fn takes_long(&self) -> bool {
        matches!(self, Self::Copy(..) | Self::Check(..) | Self::Other(..))
    }
}

/// A server after INIT, and the buffers that it borrows.
struct Session {
    world: World,
    memory: [*mut [u8]; 4],
}

impl Session {
    fn new() -> Self {
        let bytes = |len| Box::into_raw(vec![0; len].into_boxed_slice());
        let memory = [TEXT_BYTES, TEXT_BYTES, TEXT_BYTES, HASHES_BYTES].map(bytes);
        // SAFETY: no other references to the boxes exist, and `end` drops the server that borrows them before it drops the boxes.
        let [users, groups, zone, hashes] = memory.map(|memory| unsafe { &mut *memory });
        let buffers = Memory {
            texts: [users, groups, zone],
            handles: Slots::new(HANDLE_COUNT),
            paths: &mut [],
            hashes,
        };
        let tree = crate::TREE.with(stowaway::engine::testing::tree::Tree::copy);
        let world = World::new(tree, Permits::default(), Level::Debug, buffers);
        let mut session = Self { world, memory };
        let talk = session.world.talk(&Packet::init().bytes(), || usize::MAX);
        assert_eq!((talk.closed, talk.replies().len()), (None, 1));
        session
    }

    /// Closes the connection, checks the tree and frees the buffers.
    fn finish(mut self) {
        self.world.hang_up();
        self.world.tree.ram().check();
        let Self { world, memory } = self;
        drop(world);
        for memory in memory {
            // SAFETY: the pointer came from Box::into_raw, is used only once, and the server that borrowed it was dropped.
            drop(unsafe { Box::from_raw(memory) });
        }
    }
}

/// Runs one input.
pub fn play(input: &[u8]) {
    match Input::arbitrary_take_rest(Unstructured::new(input)) {
        Ok(Input::Bytes(piece, bytes)) => send_bytes(bytes, usize::from(piece) + 1),
        Ok(Input::Script(steps, pieces, room)) => run_script(&steps, &pieces, room),
        Err(_) => {}
    }
}

/// Sends any bytes after INIT. Each reply must be valid for at least one type of request.
fn send_bytes(bytes: &[u8], piece: usize) {
    let mut session = Session::new();
    let talk = session.world.talk(bytes, || piece);
    for reply in talk.replies() {
        let fits = reply.kind == kind::VERSION || reply.parse().is_ok();
        assert!(fits, "{reply:?}");
    }
    session.finish();
}

/// Sends a script to two servers, to the second in pieces, and compares replies and files. `room` is the free space in bytes.
fn run_script(steps: &[Step], pieces: &[u16], room: Option<u16>) {
    let (mut one, mut all) = (Session::new(), Session::new());
    if let Some(room) = room {
        one.world.tree.ram().set_free_bytes(room.into());
        all.world.tree.ram().set_free_bytes(room.into());
    }
    let steps = &steps[..steps.len().min(STEP_COUNT)];
    let (mut known, mut stream, mut expect) = (Vec::new(), Vec::new(), Vec::new());
    for (step, id) in steps.iter().zip(100..) {
        let packet = step.packet(id, &known);
        let talk = one.world.talk(&packet.bytes(), || usize::MAX);
        let mut answers = talk.replies();
        assert_eq!((talk.closed, answers.len()), (None, 1), "{packet:?}");
        let answer = answers.remove(0);
        check(&packet, &answer);
        if answer.kind == kind::HANDLE {
            known.push(answer.body[4..].to_vec());
        }
        stream.extend(packet.bytes());
        expect.push((packet, answer));
    }
    let mut number = 0;
    let talk = all.world.talk(&stream, || {
        number += 1;
        pieces
            .get(number % (pieces.len() + 1))
            .map_or(usize::MAX, |piece| usize::from(*piece))
    });
    assert_eq!(talk.closed, None);
    let answers = replies(&talk.output);
    assert_eq!(answers.len(), expect.len(), "one reply per request");
    // Replies and files are compared only if the disk has room and no request may be carried out in the background. On a full disk,
    // WRITEs that arrive in pieces may store different parts of the data.
    if room.is_none() && !steps.iter().any(Step::takes_long) {
        // Each stored piece of a WRITE advances the model's clock, so times differ after a WRITE.
        let timeless = !steps.iter().any(|step| matches!(step, Step::Write(..)));
        for (answer, (packet, expect)) in answers.iter().zip(&expect) {
            let has_times = matches!(expect.kind, kind::ATTRS | kind::NAME);
            assert!(
                answer == expect || has_times && !timeless,
                "{packet:?}: the reply is {answer:?} instead of {expect:?}"
            );
        }
        assert!(!timeless || one.world.tree.ram().is_like(&all.world.tree.ram()));
        for handle in &known {
            let read = Packet::new(kind::READ, 1)
                .string(handle)
                .u64(0)
                .u32(u32::MAX);
            let [one, all] = [&mut one, &mut all]
                .map(|session| session.world.talk(&read.bytes(), || usize::MAX));
            assert!(one.output == all.output);
        }
    } else {
        for (packet, _) in &expect {
            let id = u32::from_be_bytes(packet.0[1..5].try_into().unwrap());
            let mut its = answers.iter().filter(|answer| answer.id == id);
            check(packet, its.next().expect("a reply to each request"));
        }
    }
    one.finish();
    all.finish();
}

/// Fails unless a reply is valid for the request's type and has its id.
fn check(packet: &Packet, answer: &Reply) {
    if let Err(why) = answer.check(packet) {
        panic!("{why:#} in {answer:?} to {packet:?}");
    }
    assert_eq!(answer.id.to_be_bytes(), packet.0[1..5]);
}

/// Writes first inputs to the directory in [`crate::SEEDS`]: requests of each type, as [`Input::Bytes`].
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(crate::SEEDS) else {
        return;
    };
    let handle = [0, 0, 0, 2];
    for kind in 3..=20 {
        let open = Packet::new(kind::OPEN, 1).string(b"hello").u32(0x1f).u32(0);
        let by_handle = Packet::new(kind, 2).string(&handle).raw(&[0; 20]);
        let by_path = Packet::new(kind, 3)
            .string(b"hello")
            .string(b"new")
            .raw(&[0; 8]);
        let stream = [open.bytes(), by_handle.bytes(), by_path.bytes()].concat();
        // An input begins with the number of its variant and the size of pieces.
        let input = [&[0; 6][..], &stream].concat();
        std::fs::write(Path::new(&dir).join(format!("{kind:02}")), input)
            .expect("the directory in STOWAWAY_SEEDS is writable");
    }
    for name in [
        "posix-rename@openssh.com",
        "copy-data",
        "check-file-name",
        "limits@openssh.com",
    ] {
        let packet = Packet::extended(name.as_bytes(), 4)
            .string(b"hello")
            .string(b"md5");
        let input = [&[0; 6][..], &packet.raw(&[0; 20]).bytes()].concat();
        std::fs::write(Path::new(&dir).join(name), input)
            .expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
