//! What is told of file systems, accounts and limits.

use super::*;
use crate::config::REPLY_BYTES;
use crate::engine::sftp::testing::HANDLE_COUNT;

fn words(reply: &Reply) -> Vec<u64> {
    assert_eq!(reply.kind, kind::EXTENDED_REPLY, "{reply:?}");
    let (words, rest) = reply.body.as_chunks();
    assert!(rest.is_empty());
    words.iter().map(|word| u64::from_be_bytes(*word)).collect()
}

#[test]
fn limits_are_those_of_openssh() {
    let mut world = World::begun();
    let reply = world.ask(openssh("limits", &[]));
    assert_eq!(
        words(&reply),
        [262_144, 261_120, 261_120, HANDLE_COUNT as u64]
    );
}

#[test]
fn the_file_system_is_told_of_a_path_and_of_a_file() {
    let mut world = World::begun();
    world.tree.ram().capacity_bytes = 1 << 20;
    let told = words(&world.ask(openssh("statvfs", &[b"dir"])));
    // Unit, units in all, free, available; files in all, free, available; number, flags, longest name.
    assert_eq!(told[..3], [512, 512, 2048]);
    assert_eq!(told[4], told[3] / 2);
    assert!(told[3] < 2048 && told[5] > told[6] && told[6] == told[7]);
    assert_eq!(told[8..], [7, 0, 255]);
    let handle = world.opens(open_file(b"hello", open::READ));
    assert_eq!(words(&world.ask(openssh("fstatvfs", &[&handle]))), told);
    world.refuses(openssh("statvfs", &[b"none"]), Status::NoSuchFile);
    world.refuses(openssh("statvfs", &[b"link"]), Status::NoSuchFile);
    world.tree.ram().writable = false;
    assert_eq!(words(&world.ask(openssh("statvfs", &[b""])))[9], 1);
}

#[test]
fn available_space_is_told_as_the_draft_has_it() {
    let mut world = World::begun();
    world.tree.ram().capacity_bytes = 1 << 20;
    let ask = |path: &[u8]| Packet::extended(b"space-available", 3).string(path);
    let reply = world.ask(ask(b"dir"));
    assert_eq!((reply.kind, reply.body.len()), (kind::EXTENDED_REPLY, 36));
    let mut body = Reader::new(&reply.body);
    let [total, free, mine, mine_free] = [(); 4].map(|()| body.u64());
    assert_eq!((total, body.u32()), (1 << 20, 512));
    assert_eq!(mine_free, free / 2);
    assert_eq!(mine, total - (free - mine_free));
    world.refuses(ask(b"none"), Status::NoSuchFile);
}

#[test]
fn numbers_have_the_names_that_are_in_the_tree() {
    let mut world = World::begun();
    world.limit_output(REPLY_BYTES);
    world.tree.ram().dir("etc");
    world
        .tree
        .ram()
        .file("etc/passwd", b"root:x:0:0::/:\nme:x:1000:1::/:\n");
    world.tree.ram().file("etc/group", b"wheel:x:0:\n");
    let list = |numbers: &[u32]| {
        numbers
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect::<Vec<_>>()
    };
    let ask = |users: &[u32], groups: &[u32]| {
        openssh("users-groups-by-id", &[&list(users), &list(groups)])
    };
    let reply = world.ask(ask(&[1000, 7, 0], &[0, u32::MAX]));
    assert_eq!(reply.kind, kind::EXTENDED_REPLY);
    assert_eq!(
        reply.body,
        b"\0\0\0\x12\0\0\0\x02me\0\0\0\0\0\0\0\x04root\0\0\0\x0d\0\0\0\x05wheel\0\0\0\0"
    );
    assert_eq!(world.ask(ask(&[], &[])).body, [0; 8]);
    world.refuses(
        openssh("users-groups-by-id", &[b"\0\0\0", b""]),
        Status::BadMessage,
    );
    world.refuses(openssh("users-groups-by-id", &[b""]), Status::BadMessage);
    // What fits no output fails, what fits an empty one waits for that.
    let many = ask(&[0; 4000], &[0; 4000]);
    let talk = world.talk(&stream(&[many.clone(), many]), || usize::MAX);
    let all = talk.replies();
    assert_eq!(all.len(), 2);
    assert!(all[0] == all[1] && all[0].body.len() == 8 + 4000 * 8 + 4000 * 9);
    world.refuses(ask(&[0; 9000], &[0; 1000]), Status::Failure);
}
