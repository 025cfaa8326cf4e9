//! Plays SFTP on two servers: one is sent each packet by itself, the other all of them in pieces. Every request must be
//! answered once, in a form that fits it, and both must say and do the same, but for what goes on in the background.

use arbitrary::{Arbitrary, Unstructured};
use std::path::Path;
use stowaway::config::HASHES_BYTES;
use stowaway::engine::sftp::testing::{HANDLE_COUNT, Memory, Packet, Reply, World, replies};
use stowaway::engine::sftp::{Level, Permits};
use stowaway::mem::Slots;
use stowaway::wire::sftp::{Attributes, kind};

/// Steps of one script.
const STEP_COUNT: usize = 100;
/// Bytes of passwd and of group.
const TEXT_BYTES: usize = 4096;

/// What an input is.
#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Bytes that come in such pieces behind INIT.
    Bytes(u16, &'a [u8]),
    /// Steps; the pieces in which they come once more; bytes that are free on the disk, if few.
    Script(Vec<Step>, Vec<u16>, Option<u16>),
}

/// One request.
#[derive(Arbitrary, Debug)]
enum Step {
    Open(Name, u8, Told),
    Read(Handle, u32, u32),
    Write(Handle, u32, u16),
    /// Of a type with a handle.
    Handle(u8, Handle),
    /// Of a type with a path.
    Path(u8, Name),
    /// Of a type with two.
    Paths(u8, Name, Name),
    SetStat(Name, Told),
    SetOpen(Handle, Told),
    MakeDirectory(Name, Told),
    LinkSetStat(Name, Told),
    Copy(Handle, u16, u16, Handle, u16),
    Check(u8, Handle, Name, u16, u16, u8),
    Accounts(Vec<u32>, Vec<u32>),
    /// Of any type, with anything.
    Other(u8, Vec<u8>),
}

/// One of the handles that were given out, or none.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct Handle(u8);

impl Handle {
    fn bytes(self, known: &[Vec<u8>]) -> &[u8] {
        let known = known.get(usize::from(self.0) % (known.len() + 1));
        known.map_or(b"none", Vec::as_slice)
    }
}

/// A path, more often than not of something.
#[derive(Arbitrary, Debug)]
enum Name {
    There(u8),
    New(u8),
    Beneath(u8, u8),
    Long(u16),
    Any(Vec<u8>),
}

const THERE: [&str; 10] = [
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
        let there = |at: u8| THERE[usize::from(at) % THERE.len()];
        match self {
            Self::There(at) => there(*at).into(),
            Self::New(at) => format!("new{}", at % 4).into(),
            Self::Beneath(at, new) => {
                format!("{}/../{}/new{}", there(*at), there(*at), new % 4).into()
            }
            Self::Long(len) => vec![b'n'; usize::from(*len)],
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

/// Attributes, few of them out of the ordinary.
#[derive(Arbitrary, Debug)]
struct Told {
    size: Option<u32>,
    owner: Option<(u32, u32)>,
    mode: Option<u16>,
    times: Option<(u32, u32)>,
}

impl Told {
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
            Self::Open(name, flags, told) => new(kind::OPEN)
                .string(&name.bytes())
                .u32((*flags).into())
                .attributes(&told.attributes()),
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
            Self::SetStat(name, told) => new(kind::SETSTAT)
                .string(&name.bytes())
                .attributes(&told.attributes()),
            Self::SetOpen(handle, told) => new(kind::FSETSTAT)
                .string(handle.bytes(known))
                .attributes(&told.attributes()),
            Self::MakeDirectory(name, told) => new(kind::MKDIR)
                .string(&name.bytes())
                .attributes(&told.attributes()),
            Self::LinkSetStat(name, told) => openssh("lsetstat")
                .string(&name.bytes())
                .attributes(&told.attributes()),
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

    /// Whether others are answered before it is done.
    const fn takes_long(&self) -> bool {
        matches!(self, Self::Copy(..) | Self::Check(..) | Self::Other(..))
    }
}

/// A server whose session has begun, and what it borrowed.
struct Lent {
    world: World,
    memory: [*mut [u8]; 4],
}

impl Lent {
    fn new() -> Self {
        let bytes = |len| Box::into_raw(vec![0; len].into_boxed_slice());
        let memory = [TEXT_BYTES, TEXT_BYTES, TEXT_BYTES, HASHES_BYTES].map(bytes);
        // SAFETY: nobody else has it, and the server that borrows it is gone before it is given back.
        let [users, groups, zone, hashes] = memory.map(|memory| unsafe { &mut *memory });
        let lent = Memory {
            texts: [users, groups, zone],
            handles: Slots::new(HANDLE_COUNT),
            paths: &mut [],
            hashes,
        };
        let tree = crate::TREE.with(stowaway::engine::testing::tree::Tree::another);
        let world = World::new(tree, Permits::default(), Level::Debug, lent);
        let mut begun = Self { world, memory };
        let talk = begun.world.talk(&Packet::init().bytes(), || usize::MAX);
        assert_eq!((talk.closed, talk.replies().len()), (None, 1));
        begun
    }

    /// The connection ends, and the tree must be in order.
    fn end(mut self) {
        self.world.hang_up();
        self.world.tree.ram().check();
        let Self { world, memory } = self;
        drop(world);
        for memory in memory {
            // SAFETY: it came from a box, once, and nobody borrows it any more.
            drop(unsafe { Box::from_raw(memory) });
        }
    }
}

/// Plays what an input says.
pub fn play(input: &[u8]) {
    match Input::arbitrary_take_rest(Unstructured::new(input)) {
        Ok(Input::Bytes(piece, bytes)) => anything(bytes, usize::from(piece) + 1),
        Ok(Input::Script(steps, pieces, room)) => script(&steps, &pieces, room),
        Err(_) => {}
    }
}

fn anything(bytes: &[u8], piece: usize) {
    let mut lent = Lent::new();
    let talk = lent.world.talk(bytes, || piece);
    for reply in talk.replies() {
        let asked = [
            kind::INIT,
            kind::OPEN,
            kind::READ,
            kind::STAT,
            kind::READDIR,
            kind::EXTENDED,
        ];
        let fits = asked.iter().any(|asked| reply.fault(*asked).is_none());
        assert!(fits, "{reply:?}");
    }
    lent.end();
}

fn script(steps: &[Step], pieces: &[u16], room: Option<u16>) {
    let (mut one, mut all) = (Lent::new(), Lent::new());
    if let Some(room) = room {
        one.world.tree.ram().leave_space(room.into());
        all.world.tree.ram().leave_space(room.into());
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
    let mut at = 0;
    let talk = all.world.talk(&stream, || {
        at += 1;
        pieces
            .get(at % (pieces.len() + 1))
            .map_or(usize::MAX, |piece| usize::from(*piece))
    });
    assert_eq!(talk.closed, None);
    let answers = replies(&talk.output);
    assert_eq!(answers.len(), expect.len(), "each is answered once");
    // Of a write that meets a full disk, more or less is stored.
    if room.is_none() && !steps.iter().any(Step::takes_long) {
        // The model's time moves with each piece that is written.
        let timeless = !steps.iter().any(|step| matches!(step, Step::Write(..)));
        for (answer, (packet, expect)) in answers.iter().zip(&expect) {
            let has_times = matches!(expect.kind, kind::ATTRS | kind::NAME);
            assert!(
                answer == expect || has_times && !timeless,
                "{packet:?}: {answer:?}, not {expect:?}"
            );
        }
        assert!(!timeless || one.world.tree.ram().is_like(&all.world.tree.ram()));
        for handle in &known {
            let read = Packet::new(kind::READ, 1)
                .string(handle)
                .u64(0)
                .u32(u32::MAX);
            let [one, all] =
                [&mut one, &mut all].map(|lent| lent.world.talk(&read.bytes(), || usize::MAX));
            assert!(one.output == all.output);
        }
    } else {
        for (packet, _) in &expect {
            let id = u32::from_be_bytes(packet.0[1..5].try_into().unwrap());
            let mut its = answers.iter().filter(|answer| answer.id == id);
            check(packet, its.next().expect("each is answered"));
        }
    }
    one.end();
    all.end();
}

fn check(packet: &Packet, answer: &Reply) {
    if let Some(why) = answer.fault(packet.0[0]) {
        panic!("{why} in {answer:?} to {packet:?}");
    }
    assert_eq!(answer.id.to_be_bytes(), packet.0[1..5]);
}

/// Writes first inputs to where the environment says: a request of each type, as bytes.
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
        // An input begins with which kind it is, and the pieces; bytes have their length at the end.
        let input = [&[0; 6][..], &stream].concat();
        std::fs::write(Path::new(&dir).join(format!("{kind:02}")), input)
            .expect("the directory for first inputs can be written to");
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
            .expect("the directory for first inputs can be written to");
    }
}
