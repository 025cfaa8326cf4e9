//! Complete requests with impossible contents: ranges, sizes and flags.

use super::samples::Opened;
use super::{Scene, ensure_unchanged, snapshot};
use anyhow::{Result, ensure};
use xtask::clients::sftp::request::packet;
use xtask::clients::sftp::{Attrs, READ_MAX, Reply, Request, Status, open};

const MAX: u64 = i64::MAX as u64;

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
