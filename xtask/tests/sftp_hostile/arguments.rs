//! Requests that are whole and mean nothing good: impossible ranges, paths and attributes.

use super::samples::{Opened, with_path};
use super::{Scene, look, unchanged};
use anyhow::{Result, ensure};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};
use xtask::sftp::request::packet;
use xtask::sftp::{Attrs, READ_MAX, Reply, Request, Status, open};

const MAX: u64 = i64::MAX as u64;
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn reads_of_any_range_are_answered() -> Result<()> {
    Scene::each(|scene| {
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
                let request = Request::Read {
                    handle: &handle,
                    offset,
                    len,
                };
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
fn a_file_longer_than_a_read_is_cut_to_what_was_promised() -> Result<()> {
    Scene::each(|scene| {
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
fn writes_beyond_all_files_change_nothing() -> Result<()> {
    Scene::each(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let before = look(scene.directory.path())?;
        let large = vec![1; 200_000];
        for offset in [MAX, MAX - 3, MAX + 1, u64::MAX - 3, u64::MAX] {
            for data in [&b"data"[..], &large] {
                let request = Request::Write {
                    handle: &opened.file,
                    offset,
                    data,
                };
                let status = scene.client.told(&request)?;
                ensure!(
                    matches!(status, Some(Status::BAD_MESSAGE | Status::FAILURE)),
                    "a WRITE at {offset:#x} was answered {status:?}"
                );
                unchanged(scene.directory.path(), &before, "an impossible WRITE")?;
            }
        }
        // Nothing at the end of everything is still nothing.
        scene.told(
            &Request::Write {
                handle: &opened.file,
                offset: 0,
                data: b"",
            },
            &[Status::OK],
        )?;
        unchanged(scene.directory.path(), &before, "a WRITE of nothing")
    })
}

#[test]
fn data_that_is_not_as_long_as_it_says_is_not_written() -> Result<()> {
    Scene::each(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let before = look(scene.directory.path())?;
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
            for there in [0, 4, 3000, 100_000] {
                if len as usize <= there {
                    continue;
                }
                let write = Request::Write {
                    handle: &opened.file,
                    offset: 0,
                    data: b"",
                };
                let mut message = write.message(7);
                let at = message.len() - 4;
                message[at..].copy_from_slice(&len.to_be_bytes());
                message.resize(message.len() + there, b'!');
                scene.client.send(&packet(&message))?;
                let reply = scene.client.answer(7, &write)?;
                ensure!(
                    reply.status() == Some(Status::BAD_MESSAGE),
                    "{there} bytes that should be {len} were answered {reply:?}"
                );
                unchanged(scene.directory.path(), &before, "a WRITE with too little")?;
            }
        }
        Ok(())
    })
}

#[test]
fn sizes_that_no_file_has_are_refused() -> Result<()> {
    Scene::each(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let before = look(scene.directory.path())?;
        for size in [MAX + 1, u64::MAX, MAX] {
            let attrs = Attrs::size(size);
            let (path, handle) = (b"small".as_slice(), &opened.file[..]);
            for request in [
                Request::SetStat {
                    path,
                    attrs: attrs.clone(),
                },
                Request::FSetStat {
                    handle,
                    attrs: attrs.clone(),
                },
                Request::LSetStat { path, attrs },
            ] {
                let status = scene.client.told(&request)?;
                // One file system or another may hold the longest one.
                let held = size == MAX && status.is_none();
                let refused = matches!(
                    status,
                    Some(Status::BAD_MESSAGE | Status::FAILURE | Status::OP_UNSUPPORTED)
                );
                ensure!(held || refused, "{request:?} was answered {status:?}");
                if held {
                    std::fs::write(scene.path("small"), "small\n")?;
                } else {
                    unchanged(scene.directory.path(), &before, &format!("{request:?}"))?;
                }
            }
        }
        Ok(())
    })
}

/// A request with attributes whose flags say that there are `count` extended ones, of which none follows.
fn with_extended(request: &Request<'_>, count: u32) -> Vec<u8> {
    let mut message = request.message(7);
    let at = message.len() - 4;
    message[at..].copy_from_slice(&(1_u32 << 31).to_be_bytes());
    message.extend(count.to_be_bytes());
    message
}

#[test]
fn extended_attributes_are_counted_by_what_is_there() -> Result<()> {
    Scene::each(|scene| {
        let opened = Opened::new(&mut scene.client)?;
        let attrs = Attrs::default();
        let before = look(scene.directory.path())?;
        for request in [
            Request::Open {
                path: b"made",
                flags: open::WRITE | open::CREATE,
                attrs: attrs.clone(),
            },
            Request::SetStat {
                path: b"small",
                attrs: attrs.clone(),
            },
            Request::FSetStat {
                handle: &opened.file,
                attrs: attrs.clone(),
            },
            Request::MkDir {
                path: b"made",
                attrs: attrs.clone(),
            },
            Request::LSetStat {
                path: b"link",
                attrs: attrs.clone(),
            },
        ] {
            for count in [1, 2, 1 << 16, i32::MAX as u32, 1 << 31, u32::MAX] {
                for rest in [0, 7, 8, 30_000] {
                    let mut message = with_extended(&request, count);
                    message.resize(message.len() + rest, 0);
                    // So many pairs of nothing there are.
                    if rest as u64 >= u64::from(count) * 8 {
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
        unchanged(scene.directory.path(), &before, "an impossible count")?;
        // What is there is passed over.
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
fn a_path_with_a_nul_is_malformed_wherever_it_stands() -> Result<()> {
    Scene::each(|scene| {
        let before = look(scene.directory.path())?;
        for path in [
            &b"small\0"[..],
            b"\0",
            b"\0small",
            b"sm\0all",
            b"small\0/../other",
            b"free\0x",
        ] {
            for request in with_path(path) {
                scene.told(&request, &[Status::BAD_MESSAGE])?;
            }
            let target = Request::SymLink {
                target: path,
                link: b"free",
            };
            scene.told(&target, &[Status::BAD_MESSAGE])?;
        }
        unchanged(scene.directory.path(), &before, "a path with a NUL")
    })
}

#[test]
fn paths_of_every_length_are_answered_at_once() -> Result<()> {
    Scene::each(|scene| {
        let before = look(scene.directory.path())?;
        let missing = [
            vec![b'n'; 256],
            vec![b'n'; 4096],
            vec![b'n'; 39_000],
            vec![b'n'; 200_000],
            b"no/such/".repeat(511),
            b"no/such/".repeat(513),
            [b"sub/../".repeat(600), b"missing/x".to_vec()].concat(),
            [vec![b'/'; 30_000], b"no/such".to_vec()].concat(),
            [b"./".repeat(2060), b"no/such".to_vec()].concat(),
        ];
        for path in &missing {
            for request in with_path(path) {
                // What is too long for the kernel does not exist either, whoever says so.
                let start = Instant::now();
                let reply = scene.client.exchange(&request)?;
                let failed = matches!(
                    reply.status(),
                    Some(Status::NO_SUCH_FILE | Status::BAD_MESSAGE | Status::FAILURE)
                );
                ensure!(
                    failed && start.elapsed() < AT_ONCE,
                    "a path of {} bytes in type {} was answered {reply:?}",
                    path.len(),
                    request.kind()
                );
            }
        }
        unchanged(scene.directory.path(), &before, "a path too long")?;
        // And one that is long and right.
        let path = [b"sub/../".repeat(500), b"small".to_vec()].concat();
        ensure!(scene.client.read_file(&path)? == b"small\n");
        ensure!(scene.client.real_path(&path)?.ends_with(b"/small"));
        Ok(())
    })
}

#[test]
fn names_of_every_length_are_made_or_refused() -> Result<()> {
    Scene::each(|scene| {
        for len in [1, 63, 64, 254, 255, 256, 257, 1000, 4095] {
            let name = vec![b'n'; len];
            let made = scene.client.told(&Request::MkDir {
                path: &name,
                attrs: Attrs::default(),
            })?;
            let there = scene
                .path(std::str::from_utf8(&name)?)
                .symlink_metadata()
                .is_ok();
            ensure!(
                made.is_none() == (len < 256) && there == (len < 256),
                "{len}: {made:?}"
            );
            if there {
                let listed = scene.client.list(".")?;
                ensure!(
                    listed.iter().any(|entry| entry.name == name),
                    "{len}: not listed"
                );
                scene.client.rmdir(&name)?;
            } else {
                ensure!(made == Some(Status::BAD_MESSAGE), "{len}: {made:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn names_may_be_any_bytes() -> Result<()> {
    Scene::each(|scene| {
        let all: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
        for name in [
            &all[..],
            b"\n",
            b"\x1b[2J\x07",
            b"\xff\xfe",
            b"...",
            b" ",
            b"-R",
            b"~",
            b"%d",
            b"a\rb",
        ] {
            let path = [b"sub/", name].concat();
            scene.client.write_file(&path, name)?;
            ensure!(scene.client.read_file(&path)? == name, "{name:02x?}");
            let listed = scene.client.list("sub")?;
            ensure!(
                listed
                    .iter()
                    .any(|entry| entry.name == name && entry.long_name.ends_with(name)),
                "{name:02x?} is not listed"
            );
            ensure!(scene.client.real_path(&path)?.ends_with(name));
            let renamed = [b"sub/renamed ", &name[..name.len().min(200)]].concat();
            scene.client.rename(&path, &renamed)?;
            scene.client.symlink(name, "sub/to")?;
            ensure!(scene.client.read_link("sub/to")? == name, "{name:02x?}");
            scene.client.remove("sub/to")?;
            scene.client.remove(&renamed)?;
        }
        Ok(())
    })
}

#[test]
fn links_that_go_in_circles_lead_nowhere() -> Result<()> {
    Scene::each(|scene| {
        symlink("circle", scene.path("circle"))?;
        symlink("there", scene.path("here"))?;
        symlink("here", scene.path("there"))?;
        symlink(".", scene.path("self"))?;
        for number in 0..60 {
            symlink(
                format!("chain {}", number + 1),
                scene.path(&format!("chain {number}")),
            )?;
        }
        symlink("small", scene.path("chain 60"))?;
        for path in [
            "circle",
            "here",
            "there",
            "chain 0",
            "circle/x",
            "here/there/x",
        ] {
            let path = path.as_bytes();
            for request in [
                Request::Stat { path },
                Request::OpenDir { path },
                Request::RealPath { path },
                Request::Open {
                    path,
                    flags: open::READ,
                    attrs: Attrs::default(),
                },
                Request::StatVfs { path },
                Request::SetStat {
                    path,
                    attrs: Attrs::mode(0o600),
                },
            ] {
                scene.told(&request, &[Status::NO_SUCH_FILE])?;
            }
        }
        ensure!(scene.client.read_link("circle")? == b"circle");
        ensure!(scene.client.read_link("chain 0")? == b"chain 1");
        // Forty is what the kernel follows, and what we do.
        ensure!(scene.client.read_file("chain 40")? == b"small\n");
        ensure!(scene.client.read_file("self/self/self/small")? == b"small\n");
        let deep = [b"self/".repeat(100), b"small".to_vec()].concat();
        let request = Request::Stat { path: &deep };
        scene.told(&request, &[Status::NO_SUCH_FILE])?;
        Ok(())
    })
}

#[test]
fn what_must_stay_is_not_removed_renamed_or_replaced() -> Result<()> {
    Scene::each(|scene| {
        let before = look(scene.directory.path())?;
        for path in [".", "..", "/", "./", "//", "sub/.", "sub/..", "/.", "/.."] {
            let path = path.as_bytes();
            for request in [
                Request::Remove { path },
                Request::RmDir { path },
                Request::Rename {
                    from: path,
                    to: b"free",
                },
                Request::Rename {
                    from: b"sub",
                    to: path,
                },
                Request::PosixRename {
                    from: path,
                    to: b"free",
                },
                Request::PosixRename {
                    from: b"sub",
                    to: path,
                },
                Request::HardLink {
                    from: path,
                    to: b"free",
                },
                Request::HardLink {
                    from: b"small",
                    to: path,
                },
                Request::SymLink {
                    target: b"small",
                    link: path,
                },
                Request::MkDir {
                    path,
                    attrs: Attrs::default(),
                },
            ] {
                let status = scene.client.told(&request)?;
                ensure!(status.is_some(), "{request:?} was answered OK");
            }
        }
        for (from, to) in [
            ("sub", "sub/into"),
            ("sub", "sub/into/deeper"),
            ("sub", "small"),
            ("small", "sub"),
        ] {
            for request in [
                Request::Rename {
                    from: from.as_bytes(),
                    to: to.as_bytes(),
                },
                Request::PosixRename {
                    from: from.as_bytes(),
                    to: to.as_bytes(),
                },
            ] {
                let status = scene.client.told(&request)?;
                ensure!(status.is_some(), "{request:?} was answered OK");
            }
        }
        unchanged(scene.directory.path(), &before, "what cannot be")
    })
}

#[test]
fn lists_of_accounts_of_any_length_are_answered() -> Result<()> {
    Scene::each(|scene| {
        let name = b"users-groups-by-id@openssh.com".as_slice();
        for wrong in [1, 2, 3, 5, 7] {
            let data = [&[0, 0, 0, wrong][..], &vec![0; wrong as usize], &[0; 4]].concat();
            let request = Request::Extended { name, data: &data };
            scene.told(&request, &[Status::BAD_MESSAGE])?;
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
                let request = Request::UsersGroupsById {
                    users: &vec![id; users],
                    groups: &vec![id; groups],
                };
                let reply = scene.client.exchange(&request)?;
                let told = matches!(reply.status(), Some(Status::FAILURE | Status::BAD_MESSAGE));
                // A listing asks for those of one page.
                ensure!(
                    reply.status().is_none() || (told && users + groups > 1000),
                    "{users} users and {groups} groups were answered {reply:?}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn unknown_bits_are_answered() -> Result<()> {
    Scene::each(|scene| {
        for bit in 0..32 {
            let path = b"small".as_slice();
            let flags = open::READ | 1 << bit;
            scene.client.exchange(&Request::Open {
                path,
                flags,
                attrs: Attrs::default(),
            })?;
            let mut message = Request::SetStat {
                path,
                attrs: Attrs::default(),
            }
            .message(7);
            let at = message.len() - 4;
            message[at..].copy_from_slice(&(1_u32 << bit).to_be_bytes());
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
