//! WRITE and fsync@openssh.com.

use super::*;
use crate::vfs::FsError;
use cases::random::{Random, for_seeds};

fn sync(handle: &[u8]) -> Packet {
    openssh("fsync", &[handle])
}

#[test]
fn failed_write_is_answered_once_and_skipped() {
    // The write fails on the first piece, after some, or when all data has arrived.
    for piece in [300, 20_000, 100_000, usize::MAX] {
        let mut world = World::connected();
        let handle = world.open_handle(open_file(b"new", open::READ | open::WRITE | open::CREATE));
        world.tree.ram().write_fails = Some(FsError::NoSpace);
        let packets = [
            write(&handle, 0, &[7; 100_000]),
            write(&handle, 5, b"x"),
            close(&handle),
        ];
        let talk = world.talk(&stream(&packets), || piece);
        assert_eq!(statuses(&talk.output), [Failure as u32, 0, 0], "{piece}");
        assert_eq!(replies(&talk.output)[0].body[8..][..12], *b"Failure: the");
        world.hang_up();
    }
}

#[test]
fn disk_errors_have_their_messages() {
    for (error, words) in [
        (FsError::NoSpace, &b"Failure: the disk is full"[..]),
        (FsError::Quota, b"Failure: the quota is used up"),
        (FsError::Io, b"Failure: the disk failed"),
        (FsError::ReadOnly, b"Failure: read-only file system"),
        (FsError::TooLarge, b"Failure: too large"),
    ] {
        let mut world = World::connected();
        let handle = world.open_handle(open_file(b"hello", open::WRITE));
        world.tree.ram().write_fails = Some(error);
        let reply = world.ask(write(&handle, 0, b"some"));
        assert_eq!(strings(&reply.body[4..]), [words, b""]);
    }
}

#[test]
fn write_packet_shorter_than_its_data_is_refused() {
    for piece in [1000, usize::MAX] {
        let mut world = World::connected();
        let handle = world.open_handle(open_file(b"hello", open::WRITE));
        let more = write(&handle, 0, b"HE").raw(&[b'x'; 600]);
        let mut less = write(&handle, 0, &[b'y'; 5000]);
        less.0.truncate(4000);
        let mut least = write(&handle, 0, b"yyy");
        least.0.truncate(25);
        let mut most = write(&handle, 0, b"yyyy");
        let count = most.0.len() - 8;
        most.0[count..count + 4].fill(0xff);
        let empty = Packet::new(kind::WRITE, 1);
        let long = write(&handle, 0, &[b'z'; 70_000]).raw(&[b'x'; 70_000]);
        let packets = [
            more,
            less,
            least,
            most,
            empty,
            long,
            write(&handle, 2, b"LLO"),
        ];
        let talk = world.talk(&stream(&packets), || piece);
        let bad = BadMessage as u32;
        assert_eq!(
            statuses(&talk.output),
            [0, bad, bad, bad, bad, 0, 0],
            "{piece}"
        );
        let there = world.content(b"hello");
        assert_eq!(there[..6], *b"zzLLOz");
    }
}

#[test]
fn acknowledged_writes_survive_a_disconnect() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"new", open::WRITE | open::CREATE));
    world.expect_ok(write(&handle, 0, b"acknowledged"));
    let mut halfway = write(&handle, 12, &[7; 100_000]).bytes();
    halfway.truncate(50_000);
    let talk = world.talk(&halfway, || 9000);
    assert!(talk.output.is_empty());
    world.hang_up();
    world.reconnect();
    let mut file = world.content(b"new");
    file.truncate(12);
    assert_eq!(file, b"acknowledged");
}

#[test]
fn fsync_is_durable_or_fails() {
    let mut world = World::connected();
    let handle = world.open_handle(open_file(b"hello", open::WRITE));
    world.expect_ok(write(&handle, 0, b"J"));
    world.expect_ok(sync(&handle));
    assert!(world.tree.ram().is_durable());
    world.tree.ram().sync_fails = Some(FsError::Io);
    world.expect_status(sync(&handle), Failure);
    // fsync of a file opened for reading only succeeds too.
    let reading = world.open_handle(open_file(b"hello", open::READ));
    world.expect_ok(sync(&reading));
    let packets = [
        write(&handle, 0, b"K"),
        sync(&handle),
        close(&handle),
        sync(&handle),
    ];
    let talk = world.talk(&stream(&packets), || usize::MAX);
    assert_eq!(statuses(&talk.output), [0, 0, 0, NoSuchFile as u32]);
    assert_eq!(world.content(b"hello"), b"Kello world");
    world.hang_up();
}

#[test]
fn random_pieces_of_writes_give_equal_files() {
    for_seeds(200, |seed| {
        let mut random = Random::new(seed);
        let mut whole = World::connected();
        let handle = whole.open_handle(open_file(b"hello", open::READ | open::WRITE));
        let packets: Vec<_> = (0..20)
            .map(|id| {
                let offset = random.below(100_000) as u64;
                let len = random.below(40_000) >> random.below(12);
                match random.below(4) {
                    0 => read(&handle, offset, len as u32 * 5),
                    1 => sync(&handle),
                    _ => write(&handle, offset, &vec![id; len]),
                }
            })
            .collect();
        let input = stream(&packets);
        let expect = whole.talk(&input, || usize::MAX).output;
        let mut pieces = World::connected();
        assert_eq!(
            pieces.open_handle(open_file(b"hello", open::READ | open::WRITE)),
            handle
        );
        let talk = pieces.talk(&input, || random.below(5000) >> random.below(10));
        assert!(talk.output == expect, "{:?}", talk.replies());
        assert!(whole.content(b"hello") == pieces.content(b"hello"));
    });
}
