//! Regular files that are replaced or removed while a client uses them: by another program of the host, or by a client.

use super::again::serving;
use super::loops::another_loop;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};
use xtask::clients::nfs::nfsstat3::{NFS3ERR_NOTDIR, NFS3ERR_STALE};
use xtask::clients::nfs::{Call, Client};
use xtask::machines::port::Port;
use xtask::machines::server::{Server, ServerOptions, public_dir};

/// Size (bytes) of a file that is replaced: the whole file has the same byte.
const LEN: usize = 64;
/// Time between two replacements.
const PERIOD: Duration = Duration::from_millis(20);

/// Runs `test` at the same time with kernel and path handles, and with one loop and two; the clients belong to different loops if
/// there are two.
fn with_each(test: impl Fn(&Server, [Client; 2], &[u8], &Path) -> Result<()> + Sync) -> Result<()> {
    let run = |handles: &str, loops: &str| {
        let (directory, port) = (public_dir()?, Port::reserve()?);
        let words = ["--no-mdns", "--loops", loops, "--handles", handles];
        let server = Server::start(ServerOptions {
            role: "serve",
            exports: vec![format!("{}:rw,no_root_squash", directory.path().display())],
            port: port.number(),
            arguments: words.map(Into::into).to_vec(),
            ..ServerOptions::default()
        })?;
        let (first, root) = server.open(directory.path())?;
        let second = match loops {
            "2" => another_loop(&server, serving(&server, &first)?)?,
            _ => server.connect()?,
        };
        test(&server, [first, second], &root, directory.path())
            .with_context(|| format!("{handles} handles, {loops} loops"))
    };
    let run = &run;
    scope(|threads| {
        let all = [
            ("kernel", "1"),
            ("kernel", "2"),
            ("path", "1"),
            ("path", "2"),
        ];
        let all = all.map(|(handles, loops)| threads.spawn(move || run(handles, loops)));
        all.into_iter().try_for_each(|one| one.join().unwrap())
    })
}

/// Replaces `file` by a new file with another byte.
fn replace(directory: &Path, byte: u8) -> Result<()> {
    fs::write(directory.join("new"), [byte; LEN])?;
    Ok(fs::rename(directory.join("new"), directory.join("file"))?)
}

/// Number of descriptors of removed files in the loops.
fn removed_count(server: &Server) -> Result<usize> {
    let mut count = 0;
    for child in server.children()? {
        for file in fs::read_dir(format!("/proc/{child}/fd"))? {
            let target = fs::read_link(file?.path()).unwrap_or_default();
            count += usize::from(target.to_string_lossy().ends_with(" (deleted)"));
        }
    }
    Ok(count)
}

#[test]
fn file_replaced_fifty_times_a_second_is_read() -> Result<()> {
    with_each(|_, clients, root, directory| {
        replace(directory, 0)?;
        let ends = AtomicBool::new(false);
        scope(|threads| {
            let replacing = threads.spawn(|| -> Result<()> {
                for number in 1.. {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    replace(directory, number as u8)?;
                    sleep(PERIOD);
                }
                Ok(())
            });
            let reading = clients.map(|mut client| {
                threads.spawn(move || -> Result<()> {
                    for number in 0..50 {
                        let file = client.lookup(root, "file").context("LOOKUP")?;
                        let mut first = None;
                        for _ in 0..5 {
                            let what = || format!("file {number}");
                            ensure!(client.attr(&file).with_context(what)?.size == LEN as u64);
                            let (bytes, _) = client.read(&file, 0, 100).with_context(what)?;
                            let byte = *first.get_or_insert(bytes[0]);
                            ensure!(bytes == [byte; LEN], "{number}: {bytes:?}");
                            sleep(PERIOD / 2);
                        }
                    }
                    Ok(())
                })
            });
            let read = reading.map(|reader| reader.join().unwrap());
            ends.store(true, Ordering::Relaxed);
            replacing.join().unwrap()?;
            read.into_iter().collect()
        })
    })
}

#[test]
fn replaced_file_is_open_for_two_seconds_after_last_call() -> Result<()> {
    with_each(|server, [mut client, _], root, directory| {
        replace(directory, 1)?;
        let file = client.lookup(root, "file")?;
        replace(directory, 2)?;
        for _ in 0..3 {
            sleep(Duration::from_millis(1900));
            ensure!(client.read(&file, 0, 100)?.0 == [1; LEN]);
        }
        ensure!(removed_count(server)? == 1, "the file is not open");
        let begun = Instant::now();
        while removed_count(server)? > 0 {
            ensure!(begun.elapsed() < Duration::from_secs(4), "it stays open");
            sleep(PERIOD);
        }
        ensure!(begun.elapsed() > Duration::from_millis(1900));
        client.expect_status(&Call::get_attr(&file), NFS3ERR_STALE)
    })
}

#[test]
fn object_removed_by_client_or_no_file_is_stale_at_once() -> Result<()> {
    with_each(|_, [mut first, mut second], root, directory| {
        for name in ["file", "over", "again"] {
            fs::write(directory.join(name), name)?;
        }
        fs::create_dir(directory.join("directory"))?;
        symlink("file", directory.join("link"))?;
        let names = ["file", "again", "directory", "link"];
        let mut handles = Vec::new();
        for name in names {
            handles.push(first.lookup(root, name)?);
            let same = second.lookup(root, name)?;
            second.attr(&same)?;
        }
        first.remove(root, "file")?;
        first.rename(root, "over", root, "again")?;
        fs::remove_dir(directory.join("directory"))?;
        fs::remove_file(directory.join("link"))?;
        for (name, handle) in names.iter().zip(&handles) {
            for client in [&mut second, &mut first] {
                let stale = client.expect_status(&Call::get_attr(handle), NFS3ERR_STALE);
                stale.with_context(|| (*name).to_owned())?;
            }
        }
        // A removal that failed is no removal.
        let file = first.lookup(root, "again")?;
        first.expect_status(&Call::rmdir(root, b"again"), NFS3ERR_NOTDIR)?;
        replace(directory, 0)?;
        fs::rename(directory.join("file"), directory.join("again"))?;
        ensure!(first.read(&file, 0, 100)?.0 == b"over");
        Ok(())
    })
}
