//! INIT, OPEN, CLOSE and handles.

use super::*;

#[test]
fn version_tells_of_the_extensions_in_their_order() {
    let mut world = World::begun();
    let talk = world.talk(&Packet::init().bytes(), || usize::MAX);
    let golden = b"\x02\0\0\0\x03\0\0\0\x18posix-rename@openssh.com\0\0\0\x011\0\0\0\x13statvfs@openssh.com\0\0\0\x012\
        \0\0\0\x14fstatvfs@openssh.com\0\0\0\x012\0\0\0\x14hardlink@openssh.com\0\0\0\x011\0\0\0\x11fsync@openssh.com\0\0\0\x011\
        \0\0\0\x14lsetstat@openssh.com\0\0\0\x011\0\0\0\x12limits@openssh.com\0\0\0\x011\
        \0\0\0\x17expand-path@openssh.com\0\0\0\x011\0\0\0\x09copy-data\0\0\0\x011\0\0\0\x0ehome-directory\0\0\0\x011\
        \0\0\0\x1eusers-groups-by-id@openssh.com\0\0\0\x011\0\0\0\x0acheck-file\0\0\0\x011\0\0\0\x0fspace-available\0\0\0\x011\
        \0\0\0\x09vendor-id\0\0\0\x29\0\0\0\x08stowaway\0\0\0\x08stowaway\0\0\0\x050.1.0\0\0\0\0\0\0\0\0";
    assert_eq!(
        talk.output[4..].escape_ascii().to_string(),
        golden.escape_ascii().to_string()
    );
    assert_eq!(talk.output[..4], (golden.len() as u32).to_be_bytes());
}

#[test]
fn a_file_is_opened_read_and_closed() {
    let mut world = World::begun();
    let handle = world.opens(open_file(b"hello", open::READ));
    let reply = world.ask(read(&handle, 6, 100));
    assert_eq!((reply.kind, reply.id), (kind::DATA, 8));
    assert_eq!(reply.body, b"\0\0\0\x05world");
    world.refuses(read(&handle, 11, 1), Status::Eof);
    let close = || Packet::new(kind::CLOSE, 9).string(&handle);
    world.does(close());
    world.refuses(close(), Status::NoSuchFile);
    world.refuses(read(&handle, 0, 1), Status::Failure);
    world.hang_up();
}
