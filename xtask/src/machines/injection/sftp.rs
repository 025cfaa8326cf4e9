//! The session of `sftp-server`: every request, with three files whose bytes are acknowledged.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::process::watch_idle;
use super::session::{Dirs, Notes};
use super::strace::Disturbance;
use crate::clients::sftp::{Attrs, Sftp, SftpOptions};
use crate::testing::pattern;

/// Time limit of a request.
const REQUEST_MAX: Duration = Duration::from_secs(4);
/// Length (bytes) of the file that exists before the session.
const LEN: usize = 200_003;

/// Plays the session. The server runs in the served directory, or with it as a jail.
pub(super) fn play(jailed: bool, disturbance: Option<&Disturbance>) -> Result<Notes> {
    let dirs = Dirs::new()?;
    let old = pattern(1, 0, LEN);
    for name in ["old", "to move", "to replace", "to remove"] {
        dirs.fill(name, &old)?;
    }
    let mut options = SftpOptions::serving(dirs.served.path(), jailed);
    options.wrapper = dirs.wrapper(disturbance);
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
    notes.trace = dirs.trace()?;
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
    if let Some(found) = notes.step("READ", || client.read_file("old")) {
        notes.check("READ", found == old);
    }
    let attributes = || {
        let handle = client.open_both("old")?;
        let attrs = client.fstat(&handle)?;
        client.set_fstat(&handle, Attrs::times(1, 2))?;
        client.fstat_vfs(&handle)?;
        client.close(&handle)?;
        Ok(attrs.size)
    };
    if let Some(size) = notes.step("FSTAT", attributes) {
        notes.check("FSTAT", size == Some(LEN as u64));
    }
    if let Some(attrs) = notes.step("LSTAT", || client.lstat("old")) {
        notes.check("LSTAT", attrs.size == Some(LEN as u64));
    }
    if notes
        .step("SETSTAT", || client.set_stat("old", Attrs::mode(0o600)))
        .is_some()
        && let Some(attrs) = notes.step("STAT", || client.stat("old"))
    {
        notes.check("SETSTAT", attrs.mode == Some(0o100_600));
    }
}

fn change_names(notes: &mut Notes, client: &mut Sftp, dirs: &Dirs) {
    let exists = |name: &str| dirs.path(name).symlink_metadata().is_ok();
    if notes
        .step("RENAME", || client.rename("to move", "moved"))
        .is_some()
    {
        notes.check("RENAME", exists("moved") && !exists("to move"));
    }
    if notes
        .step("posix-rename", || {
            client.posix_rename("to replace", "closed too")
        })
        .is_some()
    {
        notes.check("posix-rename", exists("closed too"));
    }
    if notes
        .step("REMOVE", || client.remove("to remove"))
        .is_some()
    {
        notes.check("REMOVE", !exists("to remove"));
    }
    if notes
        .step("MKDIR", || client.mkdir("dir", Attrs::mode(0o755)))
        .is_some()
    {
        notes.check("MKDIR", exists("dir"));
        if notes
            .step("hardlink", || client.hard_link("old", "dir/link"))
            .is_some()
        {
            notes.check("hardlink", exists("dir/link"));
        }
        if notes
            .step("SYMLINK", || client.symlink("old", "dir/symlink"))
            .is_some()
        {
            let target = notes.step("READLINK", || client.read_link("dir/symlink"));
            notes.check("READLINK", target.is_none_or(|target| target == b"old"));
        }
        if let Some(entries) = notes.step("READDIR", || client.list("dir")) {
            let mut expected = 2;
            expected += usize::from(exists("dir/link")) + usize::from(exists("dir/symlink"));
            notes.check("READDIR", entries.len() == expected);
        }
    }
    if notes
        .step("second MKDIR", || client.mkdir("other", Attrs::mode(0o755)))
        .is_some()
        && notes.step("RMDIR", || client.rmdir("other")).is_some()
    {
        notes.check("RMDIR", !exists("other"));
    }
}

fn use_extensions(notes: &mut Notes, client: &mut Sftp, old: &[u8]) {
    notes.step("limits", || client.limits());
    notes.step("statvfs", || client.stat_vfs("old"));
    notes.step("expand-path", || client.expand_path("old"));
    notes.step("users-groups-by-id", || client.account_names(&[0], &[0]));
    if let Some(path) = notes.step("REALPATH", || client.real_path("dir/../old")) {
        notes.check("REALPATH", path.ends_with(b"/old"));
    }
    let sum = || {
        client
            .check_name("old", "sha256", (0, 0), 0)
            .context("check-file")
    };
    if let Some(sum) = notes.step("check-file", sum) {
        use sha2::{Digest as _, Sha256};
        notes.check("check-file", sum.bytes == Sha256::digest(old).to_vec());
    }
}
