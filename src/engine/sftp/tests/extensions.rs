//! Extensions that return file system space, account names and limits.

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
fn limits_match_openssh() {
    let mut world = World::connected();
    let reply = world.ask(openssh("limits", &[]));
    assert_eq!(
        words(&reply),
        [262_144, 261_120, 261_120, HANDLE_COUNT as u64]
    );
}

#[test]
fn statvfs_and_fstatvfs_agree() {
    let mut world = World::connected();
    world.tree.ram().capacity_bytes = 1 << 20;
    let stat = words(&world.ask(openssh("statvfs", &[b"dir"])));
    // Block size, fragment size; blocks: total, free, available; files: total, free, available; fsid, flags, longest name.
    assert_eq!(stat[..3], [512, 512, 2048]);
    assert_eq!(stat[4], stat[3] / 2);
    assert!(stat[3] < 2048 && stat[5] > stat[6] && stat[6] == stat[7]);
    assert_eq!(stat[8..], [7, 0, 255]);
    let handle = world.open_handle(open_file(b"hello", open::READ));
    assert_eq!(words(&world.ask(openssh("fstatvfs", &[&handle]))), stat);
    world.expect_status(openssh("statvfs", &[b"none"]), NoSuchFile);
    world.expect_status(openssh("statvfs", &[b"link"]), NoSuchFile);
    world.tree.ram().writable = false;
    assert_eq!(words(&world.ask(openssh("statvfs", &[b""])))[9], 1);
}

#[test]
fn space_available_follows_the_draft() {
    let mut world = World::connected();
    world.tree.ram().capacity_bytes = 1 << 20;
    let ask = |path: &[u8]| Packet::extended(b"space-available", 3).string(path);
    let reply = world.ask(ask(b"dir"));
    assert_eq!((reply.kind, reply.body.len()), (kind::EXTENDED_REPLY, 36));
    let mut body = Reader::new(&reply.body);
    let [total, free, mine, mine_free] = [(); 4].map(|()| body.u64());
    assert_eq!((total, body.u32()), (1 << 20, 512));
    assert_eq!(mine_free, free / 2);
    assert_eq!(mine, total - (free - mine_free));
    world.expect_status(ask(b"none"), NoSuchFile);
}

#[test]
fn users_groups_by_id_reads_passwd_and_group() {
    let mut world = World::connected();
    world.limit_output(REPLY_BYTES);
    world.add_accounts(b"root:x:0:0::/:\nme:x:1000:1::/:\n", b"wheel:x:0:\n");
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
    for len in [1, 2, 3, 5, 7] {
        let list = vec![0; len];
        world.expect_status(openssh("users-groups-by-id", &[&list, b""]), BadMessage);
    }
    world.expect_status(openssh("users-groups-by-id", &[b""]), BadMessage);
    // Two replies that each fit only an empty output buffer are sent one after the other. A reply that is larger than the buffer
    // fails.
    let many = ask(&[0; 4000], &[0; 4000]);
    let talk = world.talk(&stream(&[many.clone(), many]), || usize::MAX);
    let all = talk.replies();
    assert_eq!(all.len(), 2);
    assert!(all[0] == all[1] && all[0].body.len() == 8 + 4000 * 8 + 4000 * 9);
    world.expect_status(ask(&[0; 9000], &[0; 1000]), Failure);
}
