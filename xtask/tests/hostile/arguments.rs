//! Valid calls with meaningless arguments, and calls that a read-only server must refuse.

use super::Scene;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;
use xtask::clients::nfs::{Auth, Call, How, Set, data, nfsstat3, outcome, stable_how};
use xtask::machines::server::users;

const LENGTH: u64 = 2 << 20;

#[test]
fn lookup_of_invalid_names_fails() -> Result<()> {
    for user in users() {
        let mut scene = Scene::new(user)?;
        let sub = scene.client.lookup(&scene.root, "sub")?;
        let long = vec![b'n'; 256];
        let names: [&[u8]; 10] = [
            b"",
            b"/",
            b"a/b",
            b"sub/inner",
            b"../small",
            b"small\0",
            b"\0",
            b"inner\0x",
            &long,
            b"sub/../small",
        ];
        for dir in [scene.root.clone(), sub] {
            for name in names {
                let status = scene.client.status(&Call::lookup(&dir, name))?;
                let expected = match name {
                    b"" => nfsstat3::NFS3ERR_ACCES,
                    _ if name.len() > 255 => nfsstat3::NFS3ERR_NAMETOOLONG,
                    _ => status,
                };
                ensure!(
                    status == expected && status != nfsstat3::NFS3_OK,
                    "LOOKUP of {:?} was answered {status:?}",
                    name.escape_ascii()
                );
            }
            let status = scene.client.status(&Call::lookup(&dir, &[b'n'; 255]))?;
            ensure!(
                status == nfsstat3::NFS3ERR_NOENT,
                "LOOKUP of 255 bytes was answered {status:?}"
            );
        }
        let file = scene.client.lookup(&scene.root, "small")?;
        scene
            .client
            .expect_status(&Call::lookup(&file, b"x"), nfsstat3::NFS3ERR_NOTDIR)?;
        scene.check_alive()?;
    }
    Ok(())
}

#[test]
fn reads_at_extreme_offsets_are_short_with_eof() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let file = scene.client.lookup(&scene.root, "large")?;
    const FAR: [u64; 5] = [
        LENGTH,
        LENGTH + 1,
        0x7fff_ffff_ffff_f000,
        (1 << 63) - 1,
        u64::MAX,
    ];
    for count in [0, 1, 4096, 65536, 65537, 1 << 20, (1 << 20) + 1, u32::MAX] {
        for offset in FAR {
            let body = scene.client.call(&Call::read(&file, offset, count))?;
            let outcome = data(body);
            // Offsets beyond the largest file size may also be refused.
            let is_valid = match &outcome {
                Ok((data, eof)) => data.is_empty() && *eof,
                Err(e) => offset >= 1 << 63 && e.downcast_ref() == Some(&nfsstat3::NFS3ERR_INVAL),
            };
            ensure!(
                is_valid,
                "READ of {count} at {offset:#x} was answered {outcome:?}"
            );
        }
        for offset in [0, 1, LENGTH - 1, LENGTH - 4096] {
            let (data, eof) = scene
                .client
                .read(&file, offset, count)
                .with_context(|| format!("READ of {count} at {offset}"))?;
            let remaining = LENGTH - offset;
            let expected = remaining.min(count.into()).min(1 << 20) as usize;
            ensure!(
                data.len() == expected,
                "READ of {count} at {offset} returned {} bytes",
                data.len()
            );
            ensure!(
                eof == (data.len() as u64 == remaining),
                "READ of {count} at {offset} returned eof: {eof}"
            );
            ensure!(
                data.iter().all(|&byte| byte == b'x'),
                "READ of {count} at {offset} returned other bytes than the file has"
            );
        }
    }
    for (name, expected) in [
        ("sub", nfsstat3::NFS3ERR_ISDIR),
        ("link", nfsstat3::NFS3ERR_INVAL),
    ] {
        let object = scene.client.lookup(&scene.root, name)?;
        scene
            .client
            .expect_status(&Call::read(&object, 0, 10), expected)?;
    }
    scene.check_alive()
}

#[test]
fn directories_are_listed_completely_at_any_count() -> Result<()> {
    for user in users() {
        let mut scene = Scene::new(user)?;
        let sub = scene.path("sub");
        for number in 0..300 {
            fs::write(sub.join(format!("{number:0>100}")), "")?;
        }
        let expected: BTreeSet<Vec<u8>> = fs::read_dir(&sub)?
            .map(|entry| Ok(entry?.file_name().into_encoded_bytes()))
            .collect::<Result<_>>()?;
        let dir = scene.client.lookup(&scene.root, "sub")?;
        for plus in [false, true] {
            for count in [
                0,
                1,
                100,
                512,
                1024,
                4096,
                8192,
                32768,
                65536,
                1 << 20,
                u32::MAX,
            ] {
                let (mut names, mut cookie, mut verifier) = (Vec::new(), 0, [0; 8]);
                loop {
                    let start = Instant::now();
                    let (dir, dir_count, max_count) = (&dir[..], count, count);
                    let call = if plus {
                        Call::read_dir_plus(dir, cookie, verifier, dir_count, max_count)
                    } else {
                        Call::read_dir(dir, cookie, verifier, count)
                    };
                    let result = scene.client.page(&call);
                    let list = match result {
                        Err(e)
                            if e.downcast_ref() == Some(&nfsstat3::NFS3ERR_TOOSMALL)
                                && count <= 512 =>
                        {
                            break;
                        }
                        list => list.with_context(|| format!("plus {plus}, count {count}"))?,
                    };
                    ensure!(
                        start.elapsed().as_secs() < 1,
                        "a page took {:?}",
                        start.elapsed()
                    );
                    verifier = list.verifier;
                    cookie = list.entries.last().map_or(cookie, |entry| entry.cookie);
                    names.extend(
                        list.entries
                            .into_iter()
                            .map(|entry| entry.name)
                            .filter(|name| !matches!(&name[..], b"." | b"..")),
                    );
                    if list.eof {
                        let listed: BTreeSet<_> = names.iter().cloned().collect();
                        ensure!(
                            listed == expected && listed.len() == names.len(),
                            "plus {plus}, count {count}: {} names",
                            names.len()
                        );
                        break;
                    }
                }
            }
        }
        scene.check_alive()?;
    }
    Ok(())
}

#[test]
fn unknown_cookies_are_answered() -> Result<()> {
    let mut scene = Scene::new(None)?;
    for cookie in [
        1,
        2,
        3,
        1000,
        u64::from(u32::MAX),
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX,
    ] {
        for verifier in [[0; 8], [0xff; 8]] {
            let dir = &scene.root;
            // Any status is valid, also NFS3_OK with entries; `status` checks that the result is well-formed.
            scene
                .client
                .status(&Call::read_dir(dir, cookie, verifier, 4096))
                .with_context(|| format!("cookie {cookie:#x}"))?;
            let plus = Call::read_dir_plus(dir, cookie, verifier, 4096, 4096);
            scene
                .client
                .status(&plus)
                .with_context(|| format!("cookie {cookie:#x}"))?;
        }
    }
    let file = scene.client.lookup(&scene.root, "small")?;
    for call in [
        Call::read_dir(&file, 0, [0; 8], 4096),
        Call::read_dir_plus(&file, 0, [0; 8], 4096, 4096),
    ] {
        scene
            .client
            .expect_status(&call, nfsstat3::NFS3ERR_NOTDIR)?;
    }
    scene.check_alive()
}

#[test]
fn read_only_server_refuses_every_modifying_call() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let before = fs::read(scene.path("small"))?;
    let (root, file) = (
        scene.root.clone(),
        scene.client.lookup(&scene.root, "small")?,
    );
    let (dir, name, set) = (
        &root[..],
        b"new".as_slice(),
        Set {
            mode: Some(0o777),
            size: Some(0),
            ..Set::default()
        },
    );
    let data = vec![b'w'; 1 << 20];
    let calls = [
        Call::set_attr(&file, set, None),
        Call::write(&file, 0, stable_how::FILE_SYNC, b""),
        Call::write(&file, 0, stable_how::UNSTABLE, b"four"),
        Call::write(&file, u64::MAX, stable_how::FILE_SYNC, &data[..65536]),
        Call::write(&file, 0, stable_how::FILE_SYNC, &data),
        Call::create(dir, name, How::Guarded(set)),
        Call::mkdir(dir, name, set),
        Call::symlink(dir, name, set, b"/etc/passwd"),
        Call::fifo(dir, name, set),
        Call::remove(dir, b"small"),
        Call::rmdir(dir, b"sub"),
        Call::rename(dir, b"small", dir, name),
        Call::link(&file, dir, name),
    ];
    for call in &calls {
        scene.client.expect_status(call, nfsstat3::NFS3ERR_ROFS)?;
        // The connection is still usable: the server has skipped exactly the call's data.
        ensure!(scene.client.lookup(dir, "small")? == file);
    }
    // All calls in one segment, with the large WRITE in the middle.
    let bytes: Vec<u8> = (0..)
        .zip(&calls)
        .flat_map(|(xid, call)| xtask::clients::nfs::record(&call.message(xid, &Auth::root())))
        .collect();
    scene.client.send(&bytes)?;
    for expected in 0..calls.len() as u32 {
        let reply = scene.client.receive()?.context("closed")?;
        ensure!(outcome(reply)?.0 == expected);
    }
    ensure!(
        fs::read(scene.path("small"))? == before
            && fs::read_dir(scene.directory.path())?.count() == 4,
        "the read-only export changed"
    );
    scene.check_alive()
}
