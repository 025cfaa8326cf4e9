//! Permissions: by group and owner, for different callers of the same file, and as reported by ACCESS.

use super::identity::{NOBODY, open_to_all};
use super::{WRITABLE, create_file, fails, serve, user};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::clients::nfs::nfsstat3::{NFS3_OK, NFS3ERR_ACCES, NFS3ERR_PERM};
use xtask::clients::nfs::stable_how::{FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{Auth, Call, How, Set};
use xtask::machines::server::{ServerOptions, public_dir, root_for};
use xtask::setup;

#[test]
fn only_listed_groups_grant_access() -> Result<()> {
    if !root_for("groups") {
        return Ok(());
    }
    let mut scene = open_to_all("rw")?;
    let root = scene.root.clone();
    let groups: Vec<u32> = (5001..5017).collect();
    for (number, &gid) in groups.iter().enumerate() {
        let path = scene.path(&format!("file {number}"));
        fs::write(&path, "content")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o060))?;
        chown(&path, Some(0), Some(gid))?;
    }
    scene.client.auth = user(1000, 1000, &groups);
    for number in 0..groups.len() {
        let file = scene.client.lookup(&root, &format!("file {number}"))?;
        scene.client.auth = user(1000, 1000, &groups);
        scene
            .client
            .write(&file, 0, UNSTABLE, b"C")
            .with_context(|| format!("group {number}"))?;
        ensure!(scene.client.read(&file, 0, 100)?.0 == b"Content");
        // Repeats WRITE and READ as this user without that group.
        let without = groups.iter().copied().filter(|gid| *gid != groups[number]);
        scene.client.auth = user(1000, 1000, &without.collect::<Vec<_>>());
        for call in [
            Call::write(&file, 0, UNSTABLE, b"D"),
            Call::read(&file, 0, 100),
        ] {
            scene.client.expect_status(&call, NFS3ERR_ACCES)?;
        }
    }
    // Where root is squashed, group 0 in a call's credentials grants nothing.
    let path = scene.path("root's group");
    fs::write(&path, "content")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o060))?;
    let file = scene.client.lookup(&root, "root's group")?;
    for auth in [user(1000, 1000, &[0]), user(1000, 0, &[]), user(0, 0, &[0])] {
        scene.client.auth = auth;
        let read = Call::read(&file, 0, 100);
        scene.client.expect_status(&read, NFS3ERR_ACCES)?;
    }
    Ok(())
}

#[test]
fn owner_reads_and_writes_whatever_the_mode() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let (root, owner) = (scene.root.clone(), user(1000, 1000, &[]));
    for mode in [0o444, 0o000, 0o222] {
        let name = format!("file {mode:o}");
        let path = scene.path(&name);
        let client = &mut scene.client;
        client.auth = owner.clone();
        // open(O_CREAT, 0444) of a client: the file is created read-only, and then written by its owner.
        let file = client.create(&root, &name, How::Guarded(Set::mode(mode)))?;
        client.write_all(&file, 0, UNSTABLE, b"content", 7)?;
        client.commit(&file, 0, 0)?;
        ensure!(client.read(&file, 0, 100)?.0 == b"content", "{mode:o}");
        client.set_attr(&file, Set::size(4))?;
        ensure!(fs::read(&path)? == b"cont");
        ensure!(fs::metadata(&path)?.mode() & 0o7777 == mode);
        // For other callers, the mode decides. Each mode of this test has equal bits for the group and for others.
        let allowed = |bit| match mode & bit {
            0 => NFS3ERR_ACCES,
            _ => NFS3_OK,
        };
        for auth in [(1001, 1000, 1000), (1001, 1001, 1000), (1002, 1002, 1002)] {
            client.auth = user(auth.0, auth.1, &[auth.2]);
            let write = Call::write(&file, 0, UNSTABLE, b"c");
            let size = Call::set_attr(&file, Set::size(4), None);
            client.expect_status(&write, allowed(2))?;
            client.expect_status(&size, allowed(2))?;
            client.expect_status(&Call::read(&file, 0, 100), allowed(4))?;
            let chmod = client.set_attr(&file, Set::mode(0o777));
            fails(chmod, &[NFS3ERR_PERM, NFS3ERR_ACCES], "chmod by another")?;
        }
    }
    // A client must READ a program to execute it: the server allows READ with the execute bit.
    fs::write(scene.path("program"), "program")?;
    fs::set_permissions(scene.path("program"), fs::Permissions::from_mode(0o111))?;
    scene.client.auth = owner;
    let file = scene.client.lookup(&root, "program")?;
    ensure!(scene.client.read(&file, 0, 100)?.0 == b"program");
    let write = Call::write(&file, 0, UNSTABLE, b"P");
    scene.client.expect_status(&write, NFS3ERR_ACCES)
}

#[test]
fn access_is_checked_for_each_caller() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let root = scene.root.clone();
    fs::create_dir(scene.path("private"))?;
    fs::write(scene.path("private/inner"), "inner")?;
    fs::write(scene.path("file"), "secret")?;
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for (name, mode) in [("file", 0o600), ("private", 0o700)] {
        chown(scene.path(name), Some(1000), Some(1000))?;
        set_mode(&scene.path(name), mode)?;
    }
    let file = scene.client.lookup(&root, "file")?;
    let dir = scene.client.lookup(&root, "private")?;
    let (mut owner, mut stranger) = (scene.server.connect()?, scene.server.connect()?);
    owner.auth = user(1000, 1000, &[]);
    stranger.auth = user(1001, 1001, &[]);
    let read = Call::read(&file, 0, 100);
    let write = Call::write(&file, 0, UNSTABLE, b"secret");
    // The server keeps files open between requests, also for writing; it must still check each caller.
    for _ in 0..10 {
        for call in [
            read.clone(),
            write.clone(),
            Call::lookup(&dir, b"inner"),
            Call::read_dir_plus(&dir, 0, [0; 8], 4096, 4096),
            Call::mkdir(&dir, b"new", Set::mode(0o755)),
            Call::rmdir(&dir, b"new"),
        ] {
            stranger.expect_status(&call, NFS3ERR_ACCES)?;
            owner.expect_status(&call, NFS3_OK)?;
        }
    }
    // A permission that the host or SETATTR grants or revokes takes effect at once.
    for (mode, status) in [(0o666, NFS3_OK), (0o600, NFS3ERR_ACCES)] {
        set_mode(&scene.path("file"), mode)?;
        stranger.expect_status(&read, status)?;
        stranger.expect_status(&write, status)?;
    }
    for (mode, status) in [(0o666, NFS3_OK), (0o600, NFS3ERR_ACCES)] {
        owner.set_attr(&file, Set::mode(mode))?;
        stranger.expect_status(&read, status)?;
    }
    ensure!(fs::read(scene.path("file"))? == b"secret");
    Ok(())
}

#[test]
fn writes_clear_setuid_and_setgid() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let root = scene.root.clone();
    let path = scene.path("file");
    let file = create_file(&mut scene.client, &root, "file", b"")?;
    let client = &mut scene.client;
    for (by, mode) in [1000, 1001]
        .into_iter()
        .flat_map(|by| [0o6777, 0o4777, 0o2777].map(|mode| (by, mode)))
    {
        client.auth = user(by, by, &[]);
        for call in [
            Call::write(&file, 0, UNSTABLE, b"C"),
            Call::write(&file, 0, FILE_SYNC, b"C"),
            Call::set_attr(&file, Set::size(3), None),
        ] {
            fs::write(&path, "content")?;
            chown(&path, Some(1000), Some(1000))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            client.expect_status(&call, NFS3_OK)?;
            let left = fs::metadata(&path)?.mode() & 0o6000;
            ensure!(left == 0, "{call:?} by {by} left {left:o} of {mode:o}");
        }
    }
    // SETATTR must not set the setgid bit if the owner is not a member of the file's group.
    chown(&path, Some(1000), Some(2000))?;
    client.auth = user(1000, 1000, &[]);
    let _ = client.set_attr(&file, Set::mode(0o2755));
    ensure!(fs::metadata(&path)?.mode() & 0o2000 == 0);
    // An owner may give the file to a group of his own only, and to no other owner.
    let owners = |uid, gid| Set {
        uid,
        gid,
        ..Set::default()
    };
    for (groups, set, status) in [
        (&[][..], owners(None, Some(2001)), NFS3ERR_PERM),
        (&[], owners(Some(1001), None), NFS3ERR_PERM),
        (&[2001], owners(None, Some(2001)), NFS3_OK),
    ] {
        client.auth = user(1000, 1000, groups);
        client.expect_status(&Call::set_attr(&file, set, None), status)?;
    }
    Ok(())
}

/// Permissions of a user on each of `paths`, by test(1) as that user: 1 read, 2 write, 4 execute.
fn host_says(auth: &Auth, paths: &[PathBuf]) -> Result<Vec<u32>> {
    let caller = auth.caller().context("the credentials have no UID")?;
    let (uid, gid, groups) = (caller.uid, caller.gid, caller.gids);
    let script = r#"for f; do n=0; [ -r "$f" ] && n=$((n+1)); [ -w "$f" ] && n=$((n+2)); [ -x "$f" ] && n=$((n+4)); echo $n; done"#;
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={gid}"));
    if groups.is_empty() {
        command.arg("--clear-groups");
    } else {
        let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
        command.arg(format!("--groups={}", groups.join(",")));
    }
    let output = setup::run_captured(command.args(["sh", "-c", script, "sh"]).args(paths))?;
    output.lines().map(|line| Ok(line.parse()?)).collect()
}

/// Creates files and directories of several owners and groups with several modes. Returns their names, and true for directories.
fn fill_with_modes(directory: &Path) -> Result<Vec<(String, bool)>> {
    let mut names = Vec::new();
    for (owner, group) in [
        (0, 0),
        (1000, 1000),
        (1000, 2000),
        (2000, 1000),
        (2000, 3000),
    ] {
        for mode in [
            0, 0o400, 0o640, 0o060, 0o004, 0o755, 0o711, 0o071, 0o007, 0o777,
        ] {
            for is_dir in [false, true] {
                let name = format!("{owner} {group} {mode:03o} {is_dir}");
                let path = directory.join(&name);
                if is_dir {
                    fs::create_dir(&path)?;
                } else {
                    fs::write(&path, "content")?;
                }
                chown(&path, Some(owner), Some(group))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
                names.push((name, is_dir));
            }
        }
    }
    Ok(names)
}

#[test]
fn access_agrees_with_host_permissions() -> Result<()> {
    const ALL: u32 = 0x3f;
    if !root_for("identities") {
        return Ok(());
    }
    let directory = public_dir()?;
    let names = fill_with_modes(directory.path())?;
    let paths = names.iter().map(|(name, _)| directory.path().join(name));
    let paths: Vec<PathBuf> = paths.collect();
    let (_server, mut client, root) = serve(directory.path(), WRITABLE, ServerOptions::default())?;
    for auth in [
        user(0, 0, &[]),
        user(1000, 1000, &[]),
        user(1000, 4000, &[2000, 3000]),
        user(4000, 4000, &[3000]),
        user(4000, 4000, &[]),
        user(NOBODY, NOBODY, &[]),
    ] {
        let host = host_says(&auth, &paths)?;
        ensure!(host.len() == names.len());
        client.auth = auth;
        for ((name, is_dir), host) in names.iter().zip(host) {
            let object = client.lookup(&root, name)?;
            let (read, write, execute) = (host & 1 != 0, host & 2 != 0, host & 4 != 0);
            let bit = |has: bool, bit: u32| if has { bit } else { 0 };
            let (expected, mask) = if *is_dir {
                let change = write && execute;
                // For a directory, the ACCESS bits LOOKUP, MODIFY, EXTEND and DELETE concern its entries.
                (
                    bit(read, 1) | bit(execute, 2) | bit(change, 4 | 8 | 0x10),
                    0x1f,
                )
            } else {
                (bit(read, 1) | bit(write, 4 | 8) | bit(execute, 0x20), 0x2d)
            };
            let granted = client.access(&object, ALL)?;
            ensure!(
                granted & mask == expected,
                "{name} for {:?}: {granted:#x} instead of {expected:#x} on the host",
                client.auth
            );
            ensure!(
                client.access(&object, 1)? == granted & 1,
                "more than asked for"
            );
        }
    }
    Ok(())
}
