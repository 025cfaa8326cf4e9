//! The session of `sftp-server`: every request, with three files whose bytes are acknowledged.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::fault::Disturbance;
use super::process::watch_idle;
use super::session::{Change, Dirs, Notes};
use crate::clients::sftp::{Attrs, Sftp, SftpOptions};
use crate::machines::pattern;

/// Time limit of a request.
const REQUEST_MAX: Duration = Duration::from_secs(4);
/// Length (bytes) of the file that exists before the session.
const LEN: usize = 200_003;

/// Plays the session. The server runs in the served directory, or with it as a jail.
pub(super) fn play(jailed: bool, disturbance: Option<&Disturbance>) -> Result<Notes> {
    let dirs = Dirs::new(disturbance)?;
    let old = pattern(1, 0, LEN);
    for name in ["old", "to move", "to replace", "to remove"] {
        dirs.fill(name, &old)?;
    }
    let mut options = SftpOptions::serving(dirs.served.path(), jailed);
    options.wrapper = dirs.wrapper()?;
    let mut client = Sftp::spawn(&options)?;
    client.time_max = REQUEST_MAX;
    let mut notes = Notes::default();
    if notes.step("INIT", || client.init(3).map(drop)).is_some() {
        write_files(&mut notes, &mut client);
        read_files(&mut notes, &mut client, &old);
        change_names(&mut notes, &mut client, &dirs);
        use_extensions(&mut notes, &mut client, &old);
        // The connection still works, whatever failed before. The last use of a call may be in the first STAT.
        let mut stat = || notes.step("last STAT", || client.stat("old"));
        let attrs = stat().or_else(stat);
        let is_right = attrs.is_some_and(|attrs| attrs.size == Some(LEN as u64));
        let is_cut = notes.is_cut();
        notes.check("last STAT", is_right || is_cut);
        if client.process.is_alive()? {
            notes.spun.extend(watch_idle(client.process.pid()));
        }
    }
    finish(&mut notes, client)?;
    notes.find_losses(dirs.served.path());
    notes.trace = dirs.trace();
    Ok(notes)
}

/// Closes the connection and waits for the end of the server.
fn finish(notes: &mut Notes, mut client: Sftp) -> Result<()> {
    /// Time (ms) for a server to end after it closed the connection.
    const END_MS: u64 = 1000;
    if notes.is_cut() {
        let ended = crate::machines::wait_for(Duration::from_millis(END_MS), || {
            Ok((!client.process.is_alive()?).then_some(()))
        })?;
        notes.is_ended_early = ended.is_some();
        if ended.is_none() {
            let lines = client.process.lines();
            notes
                .unanswered
                .push(format!("the server lives: {lines:?}"));
        }
    }
    client.hang_up();
    notes.end = client.wait().ok();
    Ok(())
}

/// Three ways to write bytes, each acknowledged by the last status.
fn write_files(notes: &mut Notes, client: &mut Sftp) {
    let data = pattern(2, 0, 100_003);
    let mut synced = || {
        let handle = client.create("synced")?;
        for (number, part) in data.chunks(40_000).enumerate() {
            client.write_at(&handle, number as u64 * 40_000, part)?;
        }
        client.fsync(&handle)?;
        Ok(handle)
    };
    if let Some(handle) = notes.step("WRITE and fsync", &mut synced) {
        notes.acknowledge("synced", &data);
        notes.step("CLOSE", || client.close(&handle));
    }
    if notes
        .step("WRITE and CLOSE", || client.write_file("closed", &data))
        .is_some()
    {
        notes.acknowledge("closed", &data);
    }
    let copy = || {
        let from = client.open_read("old")?;
        let to = client.create("copy")?;
        client.copy_data((&from, 0), 0, (&to, 0))?;
        client.fsync(&to)?;
        client.close(&to)?;
        client.close(&from)
    };
    if notes.step("copy-data", copy).is_some() {
        notes.acknowledge("copy", &pattern(1, 0, LEN));
    }
}

fn read_files(notes: &mut Notes, client: &mut Sftp, old: &[u8]) {
    let is_whole = |size| size == Some(LEN as u64);
    notes.verify("READ", || client.read_file("old"), |found| found == old);
    let attributes = || {
        let handle = client.open_both("old")?;
        let attrs = client.fstat(&handle)?;
        client.set_fstat(&handle, Attrs::times(1, 2))?;
        client.fstat_vfs(&handle)?;
        client.close(&handle)?;
        Ok(attrs.size)
    };
    notes.verify("FSTAT", attributes, is_whole);
    notes.verify("LSTAT", || client.lstat("old"), |it| is_whole(it.size));
    let set = || {
        client.set_stat("old", Attrs::mode(0o600))?;
        client.stat("old")
    };
    notes.verify("SETSTAT", set, |attrs| attrs.mode == Some(0o100_600));
}

fn change_names(notes: &mut Notes, client: &mut Sftp, dirs: &Dirs) {
    let mkdir = |client: &mut Sftp, name| client.mkdir(name, Attrs::mode(0o755));
    let changes: &[Change<'_, Sftp>] = &[
        (
            "RENAME",
            &|it| it.rename("to move", "moved"),
            &["moved"],
            &["to move"],
        ),
        (
            "posix-rename",
            &|it| it.posix_rename("to replace", "new"),
            &["new"],
            &[],
        ),
        ("REMOVE", &|it| it.remove("to remove"), &[], &["to remove"]),
        ("MKDIR", &|it| mkdir(it, "dir"), &["dir"], &[]),
        (
            "hardlink",
            &|it| it.hard_link("old", "dir/link"),
            &["dir/link"],
            &[],
        ),
        (
            "SYMLINK",
            &|it| it.symlink("old", "dir/symlink"),
            &["dir/symlink"],
            &[],
        ),
        ("second MKDIR", &|it| mkdir(it, "other"), &["other"], &[]),
        ("RMDIR", &|it| it.rmdir("other"), &[], &["other"]),
    ];
    notes.change(client, dirs, changes);
    let exists = |name: &&str| dirs.path(name).symlink_metadata().is_ok();
    if exists(&"dir/symlink") {
        notes.verify(
            "READLINK",
            || client.read_link("dir/symlink"),
            |to| to == b"old",
        );
    }
    if exists(&"dir") {
        let expected = 2 + ["dir/link", "dir/symlink"]
            .iter()
            .filter(|it| exists(it))
            .count();
        notes.verify("READDIR", || client.list("dir"), |it| it.len() == expected);
    }
}

fn use_extensions(notes: &mut Notes, client: &mut Sftp, old: &[u8]) {
    notes.step("limits", || client.limits());
    notes.step("statvfs", || client.stat_vfs("old"));
    notes.step("expand-path", || client.expand_path("old"));
    notes.step("users-groups-by-id", || client.account_names(&[0], &[0]));
    let is_right = |path: Vec<u8>| path.ends_with(b"/old");
    notes.verify("REALPATH", || client.real_path("dir/../old"), is_right);
    let sum = || {
        client
            .check_name("old", "sha256", (0, 0), 0)
            .context("check-file")
    };
    let expected = Sha256::digest(old).to_vec();
    notes.verify("check-file", sum, |sum| sum.bytes == expected);
}
