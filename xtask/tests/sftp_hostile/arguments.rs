//! Complete requests with impossible contents: ranges, sizes, attributes and lists.

use super::samples::Opened;
use super::{Scene, ensure_unchanged, snapshot};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use xtask::clients::sftp::request::packet;
use xtask::clients::sftp::{Attrs, Ids, READ_MAX, Reply, Request, Status, open};

const MAX: u64 = i64::MAX as u64;
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn read_of_any_range_is_answered() -> Result<()> {
    Scene::for_each_server(|scene| {
        let client = &mut scene.client;
        let handle = client.open_read("large")?;
        for (len, expected) in [
            (0, 0),
            (1, 1),
            (65_536, 65_536),
            (65_537, 65_537),
            (u32::MAX, 200_000),
        ] {
            let data = client.read(&handle, 0, len)?.unwrap_or_default();
            ensure!(
                data == vec![b'x'; expected],
                "{} of {len} bytes",
                data.len()
            );
        }
        for offset in [
            199_999,
            200_000,
            200_001,
            1 << 40,
            MAX - READ_MAX as u64,
            MAX - 1,
            MAX,
            MAX + 1,
            u64::MAX,
        ] {
            for len in [0, 1, 4096, 65_537, u32::MAX] {
                let request = Request::Read(&handle, offset, len);
                match client.exchange(&request)? {
                    Reply::Data(data) => ensure!(
                        data.len() as u64 <= 200_000_u64.saturating_sub(offset)
                            && (len == 0 || !data.is_empty()),
                        "{} bytes to {request:?}",
                        data.len()
                    ),
                    Reply::Status(Status::EOF, _) if offset <= MAX => {}
                    Reply::Status(Status::BAD_MESSAGE, _)
                        if offset.saturating_add(len.into()) > MAX || offset > MAX => {}
                    other => anyhow::bail!("{other:?} to {request:?}"),
                }
            }
        }
        Ok(())
    })
}

#[test]
fn oversized_read_returns_maximum_length() -> Result<()> {
    Scene::for_each_server(|scene| {
        let data = vec![b'q'; 600_000];
        scene.client.write_file("long", &data)?;
        let handle = scene.client.open_read("long")?;
        for len in [READ_MAX, READ_MAX + 1, 1 << 20, u32::MAX] {
            let read = scene.client.read(&handle, 3, len)?.unwrap_or_default();
            ensure!(read == data[..READ_MAX as usize], "{} bytes", read.len());
        }
        Ok(())
    })
}

#[test]
fn writes_beyond_largest_offset_change_nothing() -> Result<()> {
    Scene::for_each_server(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let before = snapshot(scene.directory.path())?;
        let large = vec![1; 200_000];
        for offset in [MAX, MAX - 3, MAX + 1, u64::MAX - 3, u64::MAX] {
            for data in [&b"data"[..], &large] {
                let request = Request::Write(&opened.file, offset, data);
                let status = scene.client.error_status(&request)?;
                ensure!(
                    matches!(status, Some(Status::BAD_MESSAGE | Status::FAILURE)),
                    "a WRITE at {offset:#x} was answered {status:?}"
                );
                ensure_unchanged(
                    scene.directory.path(),
                    &before,
                    "a WRITE beyond the largest offset",
                )?;
            }
        }
        // A WRITE without data succeeds and changes nothing.
        scene.expect_status(&Request::Write(&opened.file, 0, b""), &[Status::OK])?;
        ensure_unchanged(scene.directory.path(), &before, "a WRITE of nothing")
    })
}

#[test]
fn write_shorter_than_its_length_is_malformed() -> Result<()> {
    Scene::for_each_server(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let before = snapshot(scene.directory.path())?;
        for len in [
            5,
            100,
            65_536,
            262_144,
            1 << 30,
            1 << 31,
            u32::MAX - 3,
            u32::MAX,
        ] {
            for actual in [0, 4, 3000, 100_000] {
                if len as usize <= actual {
                    continue;
                }
                let write = Request::Write(&opened.file, 0, b"");
                let mut message = write.message(7);
                let index = message.len() - 4;
                message[index..].copy_from_slice(&len.to_be_bytes());
                message.resize(message.len() + actual, b'!');
                scene.client.send(&packet(&message))?;
                let reply = scene.client.answer(7, &write)?;
                ensure!(
                    reply.status() == Some(Status::BAD_MESSAGE),
                    "a WRITE of {len} bytes with {actual} in the packet was answered {reply:?}"
                );
                ensure_unchanged(
                    scene.directory.path(),
                    &before,
                    "a WRITE with too few bytes",
                )?;
            }
        }
        Ok(())
    })
}

#[test]
fn impossible_file_sizes_are_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let mut before = snapshot(scene.directory.path())?;
        for size in [MAX + 1, u64::MAX, MAX] {
            let attrs = Attrs::size(size);
            let (path, handle) = (b"small".as_slice(), &opened.file[..]);
            for request in [
                Request::SetStat(path, attrs.clone()),
                Request::FSetStat(handle, attrs.clone()),
                Request::LSetStat(path, attrs),
            ] {
                let status = scene.client.error_status(&request)?;
                // Some file systems support files of 2^63 - 1 bytes.
                let is_accepted = size == MAX && status.is_none();
                let is_refused = matches!(
                    status,
                    Some(Status::BAD_MESSAGE | Status::FAILURE | Status::OP_UNSUPPORTED)
                );
                ensure!(
                    is_accepted || is_refused,
                    "{request:?} was answered {status:?}"
                );
                if is_accepted {
                    std::fs::write(scene.path("small"), "small\n")?;
                    before = snapshot(scene.directory.path())?;
                } else {
                    ensure_unchanged(scene.directory.path(), &before, &format!("{request:?}"))?;
                }
            }
        }
        Ok(())
    })
}

/// A request whose attributes claim to contain `count` extended attributes, but contain none.
fn with_extended(request: &Request<'_>, count: u32) -> Vec<u8> {
    let mut message = request.message(7);
    let index = message.len() - 4;
    message[index..].copy_from_slice(&(1_u32 << 31).to_be_bytes());
    message.extend(count.to_be_bytes());
    message
}

#[test]
fn wrong_extended_attribute_count_is_malformed() -> Result<()> {
    Scene::for_each_server(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let attrs = Attrs::default();
        let before = snapshot(scene.directory.path())?;
        for request in [
            Request::Open(b"made", open::WRITE | open::CREATE, attrs.clone()),
            Request::SetStat(b"small", attrs.clone()),
            Request::FSetStat(&opened.file, attrs.clone()),
            Request::MkDir(b"made", attrs.clone()),
            Request::LSetStat(b"link", attrs.clone()),
        ] {
            for count in [1, 2, 1 << 16, i32::MAX as u32, 1 << 31, u32::MAX] {
                for padding in [0, 7, 8, 30_000] {
                    let mut message = with_extended(&request, count);
                    message.resize(message.len() + padding, 0);
                    // Eight zero bytes are an empty pair, so that this padding contains as many pairs as claimed.
                    if padding as u64 >= u64::from(count) * 8 {
                        continue;
                    }
                    let start = Instant::now();
                    scene.client.send(&packet(&message))?;
                    let reply = scene.client.answer(7, &request)?;
                    ensure!(
                        reply.status() == Some(Status::BAD_MESSAGE) && start.elapsed() < AT_ONCE,
                        "{request:?} with {count} attributes was answered {reply:?}"
                    );
                }
            }
        }
        ensure_unchanged(
            scene.directory.path(),
            &before,
            "a wrong count of extended attributes",
        )?;
        // Extended attributes in the packet are ignored.
        let attrs = Attrs {
            mode: Some(0o600),
            extended: vec![(b"a".repeat(50), b"b".repeat(70)); 200],
            ..Attrs::default()
        };
        scene.client.set_stat("small", attrs)?;
        ensure!(scene.client.stat("small")?.mode == Some(0o100_600));
        Ok(())
    })
}

#[test]
fn account_lists_of_any_length_are_answered() -> Result<()> {
    Scene::for_each_server(|scene| {
        let name = b"users-groups-by-id@openssh.com".as_slice();
        for wrong in [1, 2, 3, 5, 7] {
            let data = [&[0, 0, 0, wrong][..], &vec![0; wrong as usize], &[0; 4]].concat();
            let request = Request::Extended(name, &data);
            scene.expect_status(&request, &[Status::BAD_MESSAGE])?;
        }
        for (users, groups) in [
            (0, 0),
            (1, 0),
            (0, 1),
            (4000, 4000),
            (9000, 0),
            (0, 30_000),
            (65_000, 0),
        ] {
            for id in [0, 4_000_000_000] {
                let request =
                    Request::UsersGroupsById(Ids(&vec![id; users]), Ids(&vec![id; groups]));
                let reply = scene.client.exchange(&request)?;
                let is_refused =
                    matches!(reply.status(), Some(Status::FAILURE | Status::BAD_MESSAGE));
                // A request for more than 1000 accounts may be refused, because clients only ask for those in one READDIR reply.
                ensure!(
                    reply.status().is_none() || (is_refused && users + groups > 1000),
                    "{users} users and {groups} groups were answered {reply:?}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn unknown_flag_bits_are_answered() -> Result<()> {
    Scene::for_each_server(|scene| {
        for bit in 0..32 {
            let path = b"small".as_slice();
            let flags = open::READ | 1 << bit;
            scene
                .client
                .exchange(&Request::Open(path, flags, Attrs::default()))?;
            let mut message = Request::SetStat(path, Attrs::default()).message(7);
            let index = message.len() - 4;
            message[index..].copy_from_slice(&(1_u32 << bit).to_be_bytes());
            message.resize(message.len() + 16, 0);
            scene.client.send(&packet(&message))?;
            let reply = scene.client.receive()?;
            let (id, reply) = Reply::parse(&reply.unwrap_or_default())?;
            ensure!(id == 7 && reply.status().is_some(), "bit {bit}: {reply:?}");
            std::fs::remove_file(scene.path("small"))?;
            std::fs::write(scene.path("small"), "small\n")?;
        }
        Ok(())
    })
}
