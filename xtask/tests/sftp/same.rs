//! Our server and OpenSSH's get identical requests in the same directory: replies and effects on the files are the same.

use super::{Direct, REFERENCE};
use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};
use xtask::setup;
use xtask::setup::PythonPackage;

/// Output of `answers.py` with a server that runs in its directory; `questions` selects the requests.
fn run_questions(direct: &Direct, server: &Path, questions: &str) -> Result<String> {
    let mut python = direct.program(PythonPackage::PYTHON);
    let script = direct.directory.path().join("answers.py");
    fs::write(&script, include_str!("answers.py"))?;
    python
        .arg(script)
        .args([server, &direct.server_dir()])
        .arg(questions);
    setup::run_captured(&mut python)
}

/// Checks that both servers give the same replies to the requests that `questions` selects.
fn ensure_same(direct: &Direct, questions: &str) -> Result<()> {
    setup::install_packages(&["openssh-sftp-server", "python3"])?;
    let theirs = run_questions(direct, Path::new(REFERENCE), questions)?;
    let ours = run_questions(direct, &direct.server(), questions)?;
    let (theirs, ours) = (by_question(&theirs), by_question(&ours));
    let (asked, answered) = (theirs.len(), ours.len());
    let mut different: Vec<String> = theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours)
        .map(|(theirs, ours)| format!("OpenSSH's: {theirs}\nours:      {ours}"))
        .collect();
    let count = different.len();
    different.truncate(40);
    ensure!(
        different.is_empty() && asked == answered,
        "{count} of {asked} replies differ (ours gave {answered}):\n{}",
        different.join("\n")
    );
    ensure!(asked > 10, "only {asked} replies");
    Ok(())
}

/// Groups the lines: a reply, and the indented lines below it with the effects on files.
fn by_question(answers: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in answers.lines() {
        match all.last_mut() {
            Some(last) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line);
            }
            _ => all.push(line.to_owned()),
        }
    }
    all
}

#[test]
fn path_requests_agree_with_openssh() -> Result<()> {
    Direct::for_each_user(|direct| ensure_same(direct, "paths"))
}

#[test]
fn handle_requests_agree_with_openssh() -> Result<()> {
    Direct::for_each_user(|direct| ensure_same(direct, "handles"))
}

/// Creates files of every type, with various modes, sizes, owners and times.
fn kinds(directory: &Path, root: bool) -> Result<()> {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    // For files that are 182 days old, listings show the year instead of the time of day. The hour keeps each file on the same side
    // of that limit in the listings of both servers.
    let hour = Duration::from_secs(60 * 60);
    let ages = [0, 1, 100, 181, 182, 183, 184, 365, 10_000];
    for days in ages {
        for (name, time) in [
            ("before", now - day * days - hour),
            ("after", now + day * days + hour),
        ] {
            let file = File::create(directory.join(format!("{days} days {name}")))?;
            file.set_times(FileTimes::new().set_accessed(time).set_modified(time))?;
        }
    }
    for size in [9, 99_999_999, 999_999_999, 1 << 32, 1 << 40] {
        File::create(directory.join(format!("size {size}")))?.set_len(size)?;
    }
    for mode in [
        0, 0o111, 0o222, 0o444, 0o777, 0o1666, 0o1777, 0o2666, 0o2777, 0o4666, 0o4777, 0o7000,
        0o7777,
    ] {
        let path = directory.join(format!("mode {mode:o}"));
        File::create(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        let path = directory.join(format!("directory {mode:o}"));
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    for name in ["ä".to_owned(), "two\nlines".to_owned(), "x".repeat(255)] {
        File::create(directory.join(name))?;
    }
    fs::hard_link(directory.join("size 9"), directory.join("second name"))?;
    symlink("nowhere", directory.join("link"))?;
    drop(UnixListener::bind(directory.join("socket"))?);
    nix::unistd::mkfifo(&directory.join("fifo"), Mode::S_IRWXU)?;
    if root {
        for id in [1, 4242, 99_999_999, 4_294_967_294] {
            let path = directory.join(format!("owner {id}"));
            File::create(&path)?;
            chown(path, Some(id), Some(id))?;
        }
        for (name, kind) in [("character", SFlag::S_IFCHR), ("block", SFlag::S_IFBLK)] {
            // Some containers do not permit mknod.
            let _ = mknod(&directory.join(name), kind, Mode::S_IRWXU, makedev(1, 3));
        }
    }
    Ok(())
}

#[test]
fn long_names_agree_with_openssh() -> Result<()> {
    Direct::for_each_user(|direct| {
        kinds(&direct.server_dir(), direct.user.is_none()).context("cannot make the files")?;
        ensure_same(direct, "listing")
    })
}
