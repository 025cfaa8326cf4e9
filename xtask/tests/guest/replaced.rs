//! A file that the host replaces while the client reads it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xtask::machines::server::{ServerOptions, public_dir};
use xtask::testing::is_full_run;

use crate::world::{World, in_mount, ports_of};

/// Copies the file $count times in pieces of 4 KiB. Prints each failure, and the number of different files that were seen.
const COPY: &str = "
    rm -f /tmp/numbers
    for i in $(seq $count); do
        cat file >/tmp/copy || echo cannot copy $i
        test $(uniq /tmp/copy | tee -a /tmp/numbers | wc -l) = 1 || echo $i is mixed
    done
    sort -u /tmp/numbers | wc -l
";

/// Replaces the file 50 times a second until `ends`. Each line of a file has the file's number.
fn replace(directory: &Path, ends: &AtomicBool) -> Result<()> {
    for number in 0.. {
        fs::write(directory.join("new"), format!("{number:07}\n").repeat(8192))?;
        fs::rename(directory.join("new"), directory.join("file"))?;
        if ends.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn file_replaced_by_the_host_is_read(world: &mut World) -> Result<()> {
    let count = if is_full_run() { 500 } else { 125 };
    for words in [
        ["kernel", "1"],
        ["kernel", "2"],
        ["path", "1"],
        ["path", "2"],
    ] {
        let (directory, port) = (public_dir()?, world.reserve()?);
        let [handles, loops] = words;
        let arguments = ["--no-mdns", "--handles", handles, "--loops", loops];
        let server = world.serve(ServerOptions {
            role: "serve",
            port: port.number(),
            arguments: arguments.map(Into::into).to_vec(),
            ..ServerOptions::serving(&[directory.path()])
        })?;
        replace(directory.path(), &AtomicBool::new(true))?;
        let ends = AtomicBool::new(false);
        let printed = thread::scope(|threads| {
            let replacing = threads.spawn(|| replace(directory.path(), &ends));
            let mount = in_mount(directory.path(), &(ports_of(&server) + ",rsize=4096"));
            let printed = world.guest.run_ok(&format!("count={count}\n{mount}{COPY}"));
            ends.store(true, Ordering::Relaxed);
            replacing.join().unwrap()?;
            printed
        })?;
        let seen: u32 = printed
            .trim()
            .parse()
            .with_context(|| format!("{words:?}: {printed}"))?;
        ensure!(seen > 20, "{words:?}: only {seen} files were seen");
    }
    Ok(())
}
