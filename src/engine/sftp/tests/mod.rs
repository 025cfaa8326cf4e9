//! Tests of SFTP over the model tree: bytes in, bytes out, without streams or sleeping.

mod extensions;
mod jobs;
mod listing;
mod malformed;
mod opening;
mod paths;
mod reading;
mod rows;
mod writing;
mod zone;

use super::testing::{Memory, Packet, Reply, World, replies, stream};
use super::{Level, Permits};
use crate::engine::testing::tree::Tree;
use crate::wire::Reader;
use crate::wire::sftp::Status::{
    self, BadMessage, Eof, Failure, NoSuchFile, PermissionDenied, Unsupported,
};
use crate::wire::sftp::{Attributes, kind, open};

impl World {
    /// A server of a writable tree, with a session after INIT.
    fn connected() -> Self {
        Self::with_permits(Permits::default(), Level::default())
    }

    /// Starts a session with these permissions and this log level.
    fn with_permits(permits: Permits, level: Level) -> Self {
        let mut world = Self::new(Tree::writable(), permits, level, Memory::leaked());
        world.greet();
        world
    }

    /// Creates the files of users and groups.
    fn add_accounts(&self, passwd: &[u8], group: &[u8]) {
        let mut ram = self.tree.ram();
        ram.dir("etc");
        ram.file("etc/passwd", passwd);
        ram.file("etc/group", group);
    }

    #[track_caller]
    fn greet(&mut self) {
        assert_eq!(self.ask(Packet::init()).kind, kind::VERSION);
    }

    /// Starts another session.
    fn reconnect(&mut self) {
        self.connect(Memory::leaked());
        self.greet();
    }

    /// The reply to a packet. Fails if the session does anything else.
    #[track_caller]
    fn ask(&mut self, packet: Packet) -> Reply {
        let input = packet.bytes();
        let talk = self.talk(&input, || usize::MAX);
        assert_eq!((talk.closed, talk.consumed), (None, input.len()));
        let mut all = talk.replies();
        assert_eq!(all.len(), 1, "{packet:?}");
        all[0].check(&packet).unwrap();
        all.remove(0)
    }

    /// Sends a request and compares the status in its reply.
    #[track_caller]
    fn expect_status(&mut self, packet: Packet, status: Status) {
        let reply = self.ask(packet);
        assert_eq!(reply.kind, kind::STATUS, "{reply:?}");
        assert_eq!(reply.body[..4], (status as u32).to_be_bytes(), "{reply:?}");
    }

    /// Sends a request that must succeed.
    #[track_caller]
    fn expect_ok(&mut self, packet: Packet) {
        self.expect_status(packet, Status::Ok);
    }

    /// The handle in the reply to a packet.
    #[track_caller]
    fn open_handle(&mut self, packet: Packet) -> Vec<u8> {
        let reply = self.ask(packet);
        assert_eq!(
            (reply.kind, &reply.body[..4]),
            (kind::HANDLE, &[0, 0, 0, 4][..])
        );
        reply.body[4..].to_vec()
    }

    /// The attributes in the reply to a packet.
    #[track_caller]
    fn attributes(&mut self, packet: Packet) -> Attributes {
        let reply = self.ask(packet);
        assert_eq!(reply.kind, kind::ATTRS, "{reply:?}");
        let mut body = Reader::new(&reply.body);
        let parsed = Attributes::parse(&mut body);
        assert_eq!((body.check(), body.rest()), (Ok(()), &[][..]));
        parsed
    }

    /// The contents of a file.
    #[track_caller]
    fn content(&mut self, path: &[u8]) -> Vec<u8> {
        let handle = self.open_handle(open_file(path, open::READ));
        let reply = self.ask(read(&handle, 0, 60_000));
        self.expect_ok(Packet::new(kind::CLOSE, 1).string(&handle));
        match reply.kind {
            kind::DATA => reply.body[4..].to_vec(),
            _ => Vec::new(),
        }
    }
}

fn open_file(path: &[u8], flags: u32) -> Packet {
    Packet::new(kind::OPEN, 7)
        .string(path)
        .u32(flags)
        .attributes(&Attributes::default())
}

fn read(handle: &[u8], offset: u64, len: u32) -> Packet {
    Packet::new(kind::READ, 8)
        .string(handle)
        .u64(offset)
        .u32(len)
}

fn write(handle: &[u8], offset: u64, data: &[u8]) -> Packet {
    Packet::new(kind::WRITE, 9)
        .string(handle)
        .u64(offset)
        .string(data)
}

fn close(handle: &[u8]) -> Packet {
    Packet::new(kind::CLOSE, 4).string(handle)
}

/// Splits bytes into SFTP strings.
fn strings(bytes: &[u8]) -> Vec<&[u8]> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    while !reader.rest().is_empty() {
        all.push(reader.string());
    }
    reader.check().unwrap();
    all
}

/// The status codes of these replies.
#[track_caller]
fn statuses(output: &[u8]) -> Vec<u32> {
    let all = replies(output).into_iter();
    all.map(|reply| {
        assert_eq!(reply.kind, kind::STATUS);
        u32::from_be_bytes(*reply.body.first_chunk().unwrap())
    })
    .collect()
}

/// A request with one path.
fn about(kind: u8, path: &[u8]) -> Packet {
    Packet::new(kind, 1).string(path)
}

/// A request with two paths.
fn from_to(kind: u8, from: &[u8], to: &[u8]) -> Packet {
    about(kind, from).string(to)
}

/// An extended request of OpenSSH.
fn openssh(name: &str, args: &[&[u8]]) -> Packet {
    let packet = Packet::extended(format!("{name}@openssh.com").as_bytes(), 2);
    args.iter().fold(packet, |packet, arg| packet.string(arg))
}
