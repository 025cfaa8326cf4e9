//! WRITEs that no well-behaved client sends: wrong counts, impossible offsets, no data, and targets that are not regular files.

use super::{Scene, fails, mounts, serve};
use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{
    Auth, Call, Client, Outcome, Set, body, mknoddata3, nfsstat3, outcome, parse_write, record,
    stable_how, status_of,
};
use xtask::machines::server::{ServerOptions, root_for};

const MAX: u64 = i64::MAX as u64;
/// Longest time for an answer: the server must not block on a FIFO or a device.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Sends a call and returns its status. None if the server replied GARBAGE_ARGS; another outcome is an error.
fn status_or_garbage(client: &mut Client, call: &Call<'_>) -> Result<Option<nfsstat3>> {
    match client.exchange(&call.message(0x0dd, &client.auth.clone()))? {
        Some(Outcome::Success(results)) => body(call.procedure, results)?.status().map(Some),
        Some(Outcome::GarbageArguments) => Ok(None),
        other => anyhow::bail!("answered {other:?}"),
    }
}

#[test]
fn count_differing_from_length_stores_nothing() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"before")?;
        for (count, data) in [
            (3, &b"four"[..]),
            (5, b"four"),
            (0, b"four"),
            (u32::MAX, b"four"),
            (1 << 20, b"four"),
            (4, b""),
            (65_536, &[b'x'; 65_535]),
            (65_535, &[b'x'; 65_536]),
            (1 << 16, &[b'x'; 1 << 18]),
        ] {
            let (stable, len) = (stable_how::FILE_SYNC, data.len());
            let call = Call::write_of(&file, 0, count, stable as u32, data);
            let status = status_or_garbage(&mut scene.client, &call)
                .with_context(|| format!("count {count} and {len} bytes"))?;
            ensure!(
                matches!(status, None | Some(nfsstat3::NFS3ERR_INVAL)),
                "count {count} and {len} bytes were answered {status:?}"
            );
            ensure!(
                fs::read(scene.path("file"))? == b"before",
                "count {count} and {len} bytes were written"
            );
        }
        scene.check_alive()
    })
}

#[test]
fn length_beyond_the_record_stores_nothing() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"before")?;
        for (claimed, actual) in [(8, 4), (1 << 20, 4), (5, 4), (9, 8), (u32::MAX, 4)] {
            let mut client = scene.server.connect()?;
            let outcome = client.exchange(&write_with_wrong_length(
                &file,
                claimed,
                actual,
                &client.auth.clone(),
            ))?;
            ensure!(
                !matches!(outcome, Some(Outcome::Success(results)) if status_of(results)? == nfsstat3::NFS3_OK),
                "{claimed} bytes of which the record has {actual} are written"
            );
            ensure!(fs::read(scene.path("file"))? == b"before");
        }
        // Surplus bytes after the data are ignored, as in any other call, and the next call is parsed correctly.
        for (claimed, actual) in [(4, 8), (3, 8), (4, 400), (0, 4)] {
            let message =
                write_with_wrong_length(&file, claimed, actual, &scene.client.auth.clone());
            let _ = scene.client.exchange(&message)?.context("closed")?;
            let mut expected = b"before".to_vec();
            expected[..claimed as usize].fill(b'x');
            let now = fs::read(scene.path("file"))?;
            ensure!(
                now == expected || now == b"before",
                "{now:?} of {actual} bytes"
            );
            scene
                .client
                .write(&file, 0, stable_how::FILE_SYNC, b"before")?;
        }
        scene.check_alive()
    })
}

/// A WRITE whose data length is `says`, with `has` bytes of data at the end of its record.
fn write_with_wrong_length(file: &[u8], says: u32, has: usize, auth: &Auth) -> Vec<u8> {
    let mut call = Call::write_of(file, 0, says, stable_how::FILE_SYNC as u32, b"");
    // Replaces the empty data by another length and bytes.
    call.arguments.truncate(call.arguments.len() - 4);
    let data = vec![b'x'; has];
    Call {
        data: &data,
        ..call.append(&says)
    }
    .message(1, auth)
}

#[test]
fn invalid_stable_how_stores_nothing() -> Result<()> {
    let mut scene = Scene::new(None)?;
    let file = scene.create_file("file", b"before")?;
    for stable in [3, 4, 1 << 31, u32::MAX] {
        let call = Call::write_of(&file, 0, 5, stable, b"after");
        let status = status_or_garbage(&mut scene.client, &call)?;
        ensure!(
            matches!(status, None | Some(nfsstat3::NFS3ERR_INVAL)),
            "{status:?}"
        );
        ensure!(fs::read(scene.path("file"))? == b"before");
    }
    scene.check_alive()
}

#[test]
fn offsets_beyond_63_bits_return_fbig() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"before")?;
        for (offset, len) in [
            // The last writable byte is at 2^63 - 2, so that every size fits a signed 64-bit number.
            (MAX, 1),
            (MAX - 3, 4),
            (MAX + 1, 0),
            (MAX + 1, 1),
            (u64::MAX, 0),
            (u64::MAX, 1),
            (u64::MAX - 3, 4),
            (MAX - 65_535, 1 << 16),
            (u64::MAX - 10, 1 << 20),
        ] {
            for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
                let status = status_or_garbage(
                    &mut scene.client,
                    &Call::write(&file, offset, stable, &vec![b'x'; len]),
                )?;
                ensure!(
                    status == Some(nfsstat3::NFS3ERR_FBIG)
                        || (len == 0
                            && matches!(status, Some(nfsstat3::NFS3_OK | nfsstat3::NFS3ERR_INVAL))),
                    "{len} bytes at {offset:#x} were answered {status:?}"
                );
            }
            ensure!(fs::read(scene.path("file"))? == b"before");
        }
        for size in [MAX + 1, u64::MAX] {
            let set = scene.client.set_attr(&file, Set::size(size));
            fails(
                set,
                &[nfsstat3::NFS3ERR_FBIG, nfsstat3::NFS3ERR_INVAL],
                "SETATTR of such a size",
            )?;
        }
        // The range in COMMIT is a hint: the server may sync the whole file.
        for (offset, count) in [(MAX, u32::MAX), (u64::MAX, 1), (5, 0), (0, u32::MAX)] {
            let status = scene.client.status(&Call::commit(&file, offset, count))?;
            ensure!(
                matches!(
                    status,
                    nfsstat3::NFS3_OK | nfsstat3::NFS3ERR_INVAL | nfsstat3::NFS3ERR_FBIG
                ),
                "COMMIT at {offset:#x}: {status:?}"
            );
        }
        ensure!(fs::read(scene.path("file"))? == b"before");
        scene.check_alive()
    })
}

#[test]
fn largest_offset_is_written_and_read() -> Result<()> {
    // tmpfs has no smaller limit of its own.
    mounts::on_tmpfs("size=8m", |path| {
        let (_server, mut client, root) = serve(path, super::WRITABLE, ServerOptions::default())?;
        let file = super::create_file(&mut client, &root, "file", b"before")?;
        for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
            let wrote = client.write(&file, MAX - 1, stable, b"z")?;
            ensure!(wrote.count == 1);
        }
        client.commit(&file, 0, 0)?;
        ensure!(fs::metadata(path.join("file"))?.size() == MAX);
        ensure!(client.attr(&file)?.size == MAX);
        ensure!(client.read(&file, MAX - 1, 1)? == (b"z".as_slice(), true));
        ensure!(client.read(&file, 0, 6)? == (b"before".as_slice(), false));
        Ok(())
    })
}

#[test]
fn empty_write_changes_nothing() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"before")?;
        let before = fs::metadata(scene.path("file"))?;
        for offset in [0, 3, 6, 7, 1 << 40, MAX] {
            for stable in [
                stable_how::UNSTABLE,
                stable_how::DATA_SYNC,
                stable_how::FILE_SYNC,
            ] {
                let wrote = scene.client.write(&file, offset, stable, b"")?;
                ensure!(wrote.count == 0, "{} bytes of none", wrote.count);
            }
        }
        let after = fs::metadata(scene.path("file"))?;
        ensure!(
            (after.size(), after.modified()?, after.ctime_nsec())
                == (before.size(), before.modified()?, before.ctime_nsec()),
            "the file changed"
        );
        scene.check_alive()
    })
}

#[test]
fn special_files_and_directories_are_not_written() -> Result<()> {
    if !root_for("devices") {
        return Ok(());
    }
    Scene::for_each_server(|scene| {
        fs::create_dir(scene.path("directory"))?;
        symlink("/etc/passwd", scene.path("link"))?;
        mkfifo(&scene.path("fifo"), Mode::from_bits_truncate(0o666))?;
        let _listener = UnixListener::bind(scene.path("socket"))?;
        // /dev/full, and a block device that does not exist: the server must not open either.
        for (name, kind, major, minor) in [
            ("full", SFlag::S_IFCHR, 1, 7),
            ("disk", SFlag::S_IFBLK, 7, 200),
        ] {
            let mode = Mode::from_bits_truncate(0o666);
            mknod(&scene.path(name), kind, mode, makedev(major, minor))?;
        }
        for name in ["directory", "link", "fifo", "socket", "full", "disk"] {
            let expected: &[nfsstat3] = match name {
                "directory" => &[nfsstat3::NFS3ERR_ISDIR],
                _ => &[nfsstat3::NFS3ERR_INVAL],
            };
            let (root, client) = (scene.root.clone(), &mut scene.client);
            let object = client.lookup(&root, name)?;
            let start = Instant::now();
            for data in [&b"data"[..], b"", &[0; 100_000]] {
                for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
                    let wrote = client.write(&object, 0, stable, data);
                    fails(wrote, expected, format!("WRITE to {name}"))?;
                }
            }
            let sized = client.set_attr(&object, Set::size(0));
            let what = format!("SETATTR of the size of {name}");
            fails(
                sized,
                &[
                    nfsstat3::NFS3ERR_ISDIR,
                    nfsstat3::NFS3ERR_INVAL,
                    nfsstat3::NFS3ERR_ACCES,
                    nfsstat3::NFS3ERR_PERM,
                ],
                what,
            )?;
            let _ = client.status(&Call::commit(&object, 0, 0))?;
            ensure!(start.elapsed() < ANSWER_MAX, "{name} blocked the server");
        }
        scene.check_alive()
    })
}

#[test]
fn write_beyond_one_mebibyte_is_shortened_or_refused() -> Result<()> {
    Scene::for_each_server(|scene| {
        let file = scene.create_file("file", b"")?;
        let data = super::pattern(1, 0, 1 << 20);
        let count = scene
            .client
            .write(&file, 0, stable_how::FILE_SYNC, &data)?
            .count;
        ensure!(count == 1 << 20, "only {count} bytes");
        ensure!(fs::read(scene.path("file"))? == data);
        for more in [1, 3, 4096, 1 << 20] {
            let data = vec![b'x'; (1 << 20) + more];
            let mut client = scene.server.connect()?;
            let call = Call::write(&file, 1 << 20, stable_how::FILE_SYNC, &data);
            // The server may close the connection before the whole record is sent.
            let _ = client.send(&record(&call.message(1, &client.auth.clone())));
            let outcome = client.receive()?.map(outcome).transpose()?;
            let size = fs::metadata(scene.path("file"))?.size();
            if let Some((_, Outcome::Success(results))) = outcome
                && status_of(results)? == nfsstat3::NFS3_OK
            {
                let count = parse_write(results)?.count;
                ensure!(size == (1 << 20) + u64::from(count));
            } else {
                ensure!(size == 1 << 20, "{size} bytes after a refusal");
            }
            fs::File::options()
                .write(true)
                .open(scene.path("file"))?
                .set_len(1 << 20)?;
        }
        scene.check_alive()
    })
}

#[test]
fn objects_made_by_mknod_are_not_opened() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        for (name, node) in [
            ("fifo", mknoddata3::NF3FIFO(Set::mode(0o666).into())),
            ("socket", mknoddata3::NF3SOCK(Set::mode(0o666).into())),
        ] {
            let object = scene.client.mknod(&root, name, node)?;
            let start = Instant::now();
            let wrote = scene
                .client
                .write(&object, 0, stable_how::UNSTABLE, b"data");
            fails(wrote, &[nfsstat3::NFS3ERR_INVAL], name)?;
            let read = scene.client.read(&object, 0, 10).map(drop);
            fails(read, &[nfsstat3::NFS3ERR_INVAL], name)?;
            ensure!(start.elapsed() < ANSWER_MAX, "{name} blocked the server");
        }
        scene.check_alive()
    })
}
