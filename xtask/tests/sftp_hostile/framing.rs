//! Malformed or incomplete packets, and sessions that do not start with INIT.

use super::samples::Opened;
use super::{Scene, ensure_unchanged, snapshot};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use xtask::clients::sftp::request::{init, packet};
use xtask::clients::sftp::{
    Attrs, PACKET_MAX, Reply, Request, ServerExit, Sftp, SftpOptions, Status, kind, open,
};

/// Longest time for an answer that needs no work.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Checks that the server ended the session by itself, with exit code 11 and one message.
fn ended_as_malformed(ended: &ServerExit) -> Result<()> {
    ensure!(
        ended.code() == Some(11) && ended.lines.len() == 1,
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn impossible_packet_length_ends_the_session() -> Result<()> {
    let most = PACKET_MAX as u32;
    let lengths = [
        0,
        1,
        2,
        3,
        4,
        most + 1,
        1 << 20,
        1 << 24,
        i32::MAX as u32,
        1 << 31,
        u32::MAX,
    ];
    for len in lengths {
        for kind in [kind::INIT, kind::STAT, kind::WRITE, kind::EXTENDED, 255] {
            for padding in [0, 4, 5000] {
                let mut scene = Scene::unjailed()?;
                let bytes = [&len.to_be_bytes()[..], &[kind], &vec![0; padding]].concat();
                // The server refuses a length of 1 to 4 only once the whole packet has arrived; without padding, it would wait.
                if padding == 0 && (1..5).contains(&len) {
                    continue;
                }
                scene.client.push(&bytes, AT_ONCE)?;
                let context = || format!("a length of {len} and type {kind}, with {padding} bytes");
                let more = scene.client.receive().with_context(context)?;
                ensure!(more.is_none(), "{} was answered {more:?}", context());
                ended_as_malformed(&scene.client.wait()?).with_context(context)?;
            }
        }
    }
    Ok(())
}

#[test]
fn request_before_malformed_packet_is_answered() -> Result<()> {
    let mut scene = Scene::unjailed()?;
    let request = Request::Stat(b"small");
    let id = scene.client.next_id();
    let bytes = [request.packet(id), vec![0xff; 100]].concat();
    scene.client.push(&bytes, AT_ONCE)?;
    let reply = scene.client.answer(id, &request)?;
    ensure!(matches!(reply, Reply::Attrs(_)), "{reply:?}");
    ensure!(scene.client.receive()?.is_none());
    ended_as_malformed(&scene.client.wait()?)
}

#[test]
fn packet_of_maximum_length_is_accepted() -> Result<()> {
    Scene::for_each_server(|scene| {
        let handle = scene.client.create("longest")?;
        let head = Request::Write(&handle, 0, b"");
        let data = vec![b'y'; PACKET_MAX - head.message(0).len()];
        scene.client.write_at(&handle, 0, &data)?;
        scene.client.close(&handle)?;
        ensure!(scene.client.read_file("longest")? == data);
        // STAT with a path of this length is malformed; an unknown request of this length is unsupported.
        let name = vec![b'n'; PACKET_MAX - 9];
        let request = Request::Stat(&name);
        ensure!(request.message(0).len() == PACKET_MAX);
        scene.expect_status(&request, &[Status::BAD_MESSAGE])?;
        let data = vec![0; PACKET_MAX - 5];
        let other = Request::Other(150, &data);
        scene.expect_status(&other, &[Status::OP_UNSUPPORTED])?;
        Ok(())
    })
}

#[test]
fn request_before_init_ends_the_session() -> Result<()> {
    for request in [
        Request::Open(b"made", open::WRITE | open::CREATE, Attrs::default()),
        Request::Remove(b"small"),
        Request::Limits,
        Request::Other(77, b""),
    ] {
        let directory = super::sample()?;
        let before = snapshot(directory.path())?;
        let mut client = Sftp::spawn(&SftpOptions::in_directory(directory.path()))?;
        client.push(&[request.packet(1), init(3)].concat(), AT_ONCE)?;
        ensure!(client.receive()?.is_none(), "{request:?} was answered");
        ended_as_malformed(&client.wait()?)?;
        ensure_unchanged(directory.path(), &before, "a request before INIT")?;
    }
    Ok(())
}

#[test]
fn init_of_any_version_gets_version_3() -> Result<()> {
    for version in [0, 1, 2, 3, 4, 6, 7, u32::MAX] {
        let directory = super::sample()?;
        let mut client = Sftp::spawn(&SftpOptions::in_directory(directory.path()))?;
        ensure!(client.init(version)?.version == 3, "INIT {version}");
        ensure!(client.read_file("small")? == b"small\n");
    }
    Ok(())
}

#[test]
fn repeated_init_with_extensions_is_answered() -> Result<()> {
    Scene::for_each_server(|scene| {
        let first = scene.client.version.clone();
        let opened = Opened::new(&mut scene.client)?;
        for _ in 0..100 {
            ensure!(*scene.client.init(3)? == first, "another VERSION");
        }
        // INIT must close no handle.
        ensure!(scene.client.read(&opened.file, 0, 100)?.as_deref() == super::SMALL);
        let client = &mut scene.client;
        // INIT may have extensions, also malformed ones, which the server ignores.
        for rest in [
            &b"\0\0\0\x07newline\0\0\0\x01\n"[..],
            b"\xff\xff\xff\xff",
            &[0; 5000],
            &[7; 200_000],
        ] {
            client.send(&packet(&[&b"\x01\0\0\0\x03"[..], rest].concat()))?;
            let version = client.receive()?.context("INIT was not answered")?;
            ensure!(version.starts_with(b"\x02\0\0\0\x03"), "{version:02x?}");
        }
        // Several INITs in one segment with another request.
        let request = Request::Limits;
        let id = client.next_id();
        client.send(&[init(3), init(6), request.packet(id), init(0)].concat())?;
        for kind in [
            kind::VERSION,
            kind::VERSION,
            kind::EXTENDED_REPLY,
            kind::VERSION,
        ] {
            let message = client.receive()?.context("no answer")?;
            ensure!(message[0] == kind, "{message:02x?} instead of type {kind}");
        }
        Ok(())
    })
}

#[test]
fn unknown_request_types_are_unsupported() -> Result<()> {
    let known = |kind: u8| {
        matches!(
            kind,
            kind::INIT | kind::OPEN..=kind::SYMLINK | kind::EXTENDED
        )
    };
    Scene::for_each_server(|scene| {
        for kind in (0..=255).filter(|&kind| !known(kind)) {
            for data in [&b""[..], b"\0", b"\xff\xff\xff\xff", &[7; 1000]] {
                let start = Instant::now();
                scene.expect_status(&Request::Other(kind, data), &[Status::OP_UNSUPPORTED])?;
                ensure!(start.elapsed() < AT_ONCE, "type {kind} was answered late");
            }
        }
        // A STAT that arrives in one segment with unknown requests is answered at once. OpenSSH's server delays it.
        let client = &mut scene.client;
        let other = Request::Other(255, b"");
        let replies = client.pipeline(&[other.clone(), Request::Stat(b"small"), other])?;
        ensure!(matches!(replies[1], Reply::Attrs(_)), "{replies:?}");
        Ok(())
    })
}

#[test]
fn unknown_extensions_are_unsupported() -> Result<()> {
    Scene::for_each_server(|scene| {
        let long = vec![b'e'; 30_000];
        let names: [&[u8]; 9] = [
            b"",
            b"@openssh.com",
            b"posix-rename",
            b"posix-rename@openssh.comx",
            b"statvfs@openssh.com\0",
            b"copy-data@openssh.com",
            b"STATVFS@OPENSSH.COM",
            b"\xff\xfe\x1b[2J",
            &long,
        ];
        for name in names {
            for data in [&b""[..], b"\xff\xff\xff\xff", b"\0\0\0\x01."] {
                scene.expect_status(&Request::Extended(name, data), &[Status::OP_UNSUPPORTED])?;
            }
        }
        Ok(())
    })
}

#[test]
fn request_ids_are_returned_unchanged() -> Result<()> {
    Scene::for_each_server(|scene| {
        let request = Request::Stat(b"small");
        for id in [0, 1, 1, 1, 0, u32::MAX, 1 << 31, u32::MAX] {
            scene.client.send(&request.packet(id))?;
            scene.client.answer(id, &request)?;
        }
        // Three requests with the same ID get three replies.
        scene.client.send(&request.packet(7).repeat(3))?;
        for _ in 0..3 {
            scene.client.answer(7, &request)?;
        }
        Ok(())
    })
}

#[test]
fn truncated_request_is_malformed_and_changes_nothing() -> Result<()> {
    Scene::for_each_server(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let before = snapshot(scene.directory.path())?;
        for request in opened.requests() {
            if matches!(request, Request::Other(..)) {
                continue;
            }
            let message = request.message(0x0bad_0bad);
            // For an unknown extension, the data after its name may be empty.
            let whole = match &request {
                Request::Extended(name, _) => 9 + name.len(),
                _ => message.len(),
            };
            for len in 5..whole {
                scene.client.send(&packet(&message[..len]))?;
                let context = || format!("{request:?} in {len} of {whole} bytes");
                let reply = scene.client.receive().with_context(context)?;
                let (id, reply) = Reply::parse(&reply.with_context(context)?)?;
                ensure!(
                    id == 0x0bad_0bad && reply.status() == Some(Status::BAD_MESSAGE),
                    "{} was answered {reply:?}",
                    context()
                );
            }
            ensure_unchanged(
                scene.directory.path(),
                &before,
                &format!("a truncated {request:?}"),
            )?;
        }
        // The handles in truncated requests are still valid.
        ensure!(scene.client.read(&opened.file, 0, 9)?.as_deref() == super::SMALL);
        Ok(())
    })
}

#[test]
fn strings_beyond_their_packet_are_malformed() -> Result<()> {
    Scene::for_each_server(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let before = snapshot(scene.directory.path())?;
        for request in opened.requests() {
            if matches!(request, Request::Other(..) | Request::Limits) {
                continue;
            }
            // The first string of each request: a path, a handle or the name of an extension.
            let message = request.message(7);
            let len = u32::from_be_bytes(message[5..9].try_into()?);
            let remaining = message.len() as u32 - 9;
            for wrong in [
                remaining + 1,
                len | 1 << 31,
                len | 1 << 24,
                i32::MAX as u32,
                u32::MAX,
            ] {
                let mut message = message.clone();
                message[5..9].copy_from_slice(&wrong.to_be_bytes());
                scene.client.send(&packet(&message))?;
                let reply = scene.client.receive()?.context("no answer")?;
                let (_, reply) = Reply::parse(&reply)?;
                ensure!(
                    reply.status() == Some(Status::BAD_MESSAGE),
                    "{request:?} whose string has {wrong} bytes was answered {reply:?}"
                );
            }
            ensure_unchanged(scene.directory.path(), &before, &format!("{request:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn packets_sent_byte_by_byte_are_answered() -> Result<()> {
    Scene::for_each_server(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let large = vec![b'z'; 5000];
        let mut requests = opened.requests();
        requests.insert(0, Request::Write(&opened.other, 0, &large));
        for request in &requests {
            let id = scene.client.next_id();
            for byte in request.packet(id) {
                scene.client.send(&[byte])?;
            }
            scene.client.answer(id, request)?;
        }
        std::fs::write(scene.path("small"), "small\n")?;
        Ok(())
    })
}
