//! Permissions: by group and owner, for different callers of the same file, and as reported by ACCESS.

use super::identity::{NOBODY, open_to_all};
use super::{Scene, WRITABLE, create_file, fails, is_as_on_the_host, serve, user};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use xtask::clients::nfs::{Auth, Client, How, Set, nfsstat3, stable_how};
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
            .write(&file, 0, stable_how::UNSTABLE, b"C")
            .with_context(|| format!("group {number}"))?;
        ensure!(scene.client.read(&file, 0, 100)?.0 == b"Content");
        // Repeats WRITE and READ as this user without that group.
        let without: Vec<u32> = groups
            .iter()
            .copied()
            .filter(|g| *g != groups[number])
            .collect();
        scene.client.auth = user(1000, 1000, &without);
        let wrote = scene.client.write(&file, 0, stable_how::UNSTABLE, b"D");
        fails(wrote, &[nfsstat3::NFS3ERR_ACCES], "WRITE without the group")?;
        let read = scene.client.read(&file, 0, 100).map(drop);
        fails(read, &[nfsstat3::NFS3ERR_ACCES], "READ without the group")?;
    }
    // Where root is squashed, group 0 in a call's credentials grants nothing.
    let path = scene.path("root's group");
    fs::write(&path, "content")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o060))?;
    let file = scene.client.lookup(&root, "root's group")?;
    for auth in [user(1000, 1000, &[0]), user(1000, 0, &[]), user(0, 0, &[0])] {
        scene.client.auth = auth;
        let read = scene.client.read(&file, 0, 100).map(drop);
        fails(
            read,
            &[nfsstat3::NFS3ERR_ACCES],
            format!("READ by {:?}", scene.client.auth),
        )?;
    }
    Ok(())
}

#[test]
fn owner_reads_and_writes_whatever_the_mode() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let root = scene.root.clone();
    for mode in [0o444, 0o000, 0o222] {
        let name = format!("file {mode:o}");
        scene.client.auth = user(1000, 1000, &[]);
        // open(O_CREAT, 0444) of a client: the file is created read-only, and then written by its owner.
        let how = How::Guarded(Set::mode(mode));
        let file = scene.client.create(&root, &name, how)?;
        ensure!(
            scene
                .client
                .write(&file, 0, stable_how::UNSTABLE, b"content")?
                .count
                == 7
        );
        scene.client.commit(&file, 0, 0)?;
        ensure!(
            scene.client.read(&file, 0, 100)?.0 == b"content",
            "{mode:o}"
        );
        scene.client.set_attr(&file, Set::size(4))?;
        ensure!(fs::read(scene.path(&name))? == b"cont");
        ensure!(fs::metadata(scene.path(&name))?.mode() & 0o7777 == mode);
        // For callers other than the owner, the mode decides. Each mode of this test has equal bits for the group and for others.
        for auth in [
            user(1001, 1000, &[]),
            user(1001, 1001, &[1000]),
            user(1002, 1002, &[]),
        ] {
            scene.client.auth = auth;
            let (may_read, may_write) = (mode & 4 != 0, mode & 2 != 0);
            let wrote = scene.client.write(&file, 0, stable_how::UNSTABLE, b"c");
            if may_write {
                wrote?;
            } else {
                fails(
                    wrote,
                    &[nfsstat3::NFS3ERR_ACCES],
                    format!("WRITE by another, mode {mode:o}"),
                )?;
                let set = scene.client.set_attr(&file, Set::size(0));
                fails(set, &[nfsstat3::NFS3ERR_ACCES], "SETATTR by another")?;
            }
            let read = scene.client.read(&file, 0, 100).map(drop);
            if may_read {
                read?;
            } else {
                fails(
                    read,
                    &[nfsstat3::NFS3ERR_ACCES],
                    format!("READ by another, mode {mode:o}"),
                )?;
            }
            let set = scene.client.set_attr(&file, Set::mode(0o777));
            fails(
                set,
                &[nfsstat3::NFS3ERR_PERM, nfsstat3::NFS3ERR_ACCES],
                "chmod by another",
            )?;
        }
    }
    // A client must READ a program to execute it: the server allows READ with the execute bit.
    fs::write(scene.path("program"), "program")?;
    fs::set_permissions(scene.path("program"), fs::Permissions::from_mode(0o111))?;
    scene.client.auth = user(1000, 1000, &[]);
    let file = scene.client.lookup(&root, "program")?;
    ensure!(scene.client.read(&file, 0, 100)?.0 == b"program");
    fails(
        scene.client.write(&file, 0, stable_how::UNSTABLE, b"P"),
        &[nfsstat3::NFS3ERR_ACCES],
        "WRITE to a program",
    )
}

#[test]
fn access_is_checked_for_each_caller() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let root = scene.root.clone();
    let (first, second) = (user(1000, 1000, &[]), user(1001, 1001, &[]));
    fs::create_dir(scene.path("private"))?;
    fs::write(scene.path("private/inner"), "inner")?;
    for (name, mode) in [("file", 0o600), ("private", 0o700)] {
        if name == "file" {
            fs::write(scene.path(name), "secret")?;
        }
        chown(scene.path(name), Some(1000), Some(1000))?;
        fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode))?;
    }
    let (file, dir) = (
        scene.client.lookup(&root, "file")?,
        scene.client.lookup(&root, "private")?,
    );
    let mut owner = scene.server.connect()?;
    let mut stranger = scene.server.connect()?;
    owner.auth = first;
    stranger.auth = second;
    // The server keeps files open between requests, also for writing; it must still check each caller.
    for round in 0..10 {
        ensure!(owner.read(&file, 0, 100)?.0 == b"secret", "round {round}");
        fails(
            stranger.read(&file, 0, 100).map(drop),
            &[nfsstat3::NFS3ERR_ACCES],
            "READ",
        )?;
        let write = |client: &mut Client| client.write(&file, 0, stable_how::UNSTABLE, b"secret");
        write(&mut owner)?;
        fails(write(&mut stranger), &[nfsstat3::NFS3ERR_ACCES], "WRITE")?;
        owner.lookup(&dir, "inner")?;
        fails(
            stranger.lookup(&dir, "inner"),
            &[nfsstat3::NFS3ERR_ACCES],
            "LOOKUP",
        )?;
        owner.list(&dir)?;
        fails(
            stranger.list(&dir),
            &[nfsstat3::NFS3ERR_ACCES],
            "READDIRPLUS",
        )?;
        create_file(&mut owner, &dir, "new", b"")?;
        fails(
            stranger.remove(&dir, "new"),
            &[nfsstat3::NFS3ERR_ACCES],
            "REMOVE",
        )?;
        owner.remove(&dir, "new")?;
    }
    // A permission that the host revokes is revoked at once.
    fs::set_permissions(scene.path("file"), fs::Permissions::from_mode(0o666))?;
    ensure!(stranger.read(&file, 0, 100)?.0 == b"secret");
    stranger.write(&file, 0, stable_how::UNSTABLE, b"S")?;
    fs::set_permissions(scene.path("file"), fs::Permissions::from_mode(0o600))?;
    fails(
        stranger.read(&file, 0, 100).map(drop),
        &[nfsstat3::NFS3ERR_ACCES],
        "READ",
    )?;
    let wrote = stranger.write(&file, 0, stable_how::UNSTABLE, b"T");
    fails(wrote, &[nfsstat3::NFS3ERR_ACCES], "WRITE")?;
    ensure!(fs::read(scene.path("file"))? == b"Secret");
    // A permission that SETATTR grants or revokes takes effect at once.
    owner.set_attr(&file, Set::mode(0o666))?;
    ensure!(stranger.read(&file, 0, 100)?.0 == b"Secret");
    owner.set_attr(&file, Set::mode(0o600))?;
    fails(
        stranger.read(&file, 0, 100).map(drop),
        &[nfsstat3::NFS3ERR_ACCES],
        "READ",
    )
}

#[test]
fn writes_clear_setuid_and_setgid() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let root = scene.root.clone();
    let mut client = scene.server.connect()?;
    for (name, by) in [("by owner", 1000), ("by another", 1001)] {
        let path = scene.path(name);
        for mode in [0o6777, 0o4777, 0o2777] {
            let reset = || -> Result<()> {
                fs::write(&path, "content")?;
                chown(&path, Some(1000), Some(1000))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
                Ok(())
            };
            let special_bits = || -> Result<u32> { Ok(fs::metadata(&path)?.mode() & 0o6000) };
            client.auth = user(by, by, &[]);
            reset()?;
            let file = client.lookup(&root, name)?;
            for stable in [stable_how::UNSTABLE, stable_how::FILE_SYNC] {
                reset()?;
                client.write(&file, 0, stable, b"C")?;
                ensure!(
                    special_bits()? == 0,
                    "WRITE {name} left {:o} of {mode:o}",
                    special_bits()?
                );
            }
            reset()?;
            client.set_attr(&file, Set::size(3))?;
            ensure!(
                special_bits()? == 0,
                "a size {name} left {:o} of {mode:o}",
                special_bits()?
            );
        }
    }
    // SETATTR must not set the setgid bit if the owner is not a member of the file's group.
    let file = create_file(&mut scene.client, &root, "file", b"")?;
    chown(scene.path("file"), Some(1000), Some(2000))?;
    client.auth = user(1000, 1000, &[]);
    let _ = client.set_attr(&file, Set::mode(0o2755));
    ensure!(fs::metadata(scene.path("file"))?.mode() & 0o2000 == 0);
    let set = Set {
        gid: Some(2001),
        ..Set::default()
    };
    fails(
        client.set_attr(&file, set),
        &[nfsstat3::NFS3ERR_PERM],
        "chgrp to a foreign group",
    )?;
    let set = Set {
        uid: Some(1001),
        ..Set::default()
    };
    fails(
        client.set_attr(&file, set),
        &[nfsstat3::NFS3ERR_PERM],
        "chown by its owner",
    )?;
    client.auth = user(1000, 1000, &[2001]);
    let set = Set {
        gid: Some(2001),
        ..Set::default()
    };
    client
        .set_attr(&file, set)
        .context("chgrp to a group of one's own")
}

/// Permissions of a user on each of `paths`, by test(1) as that user: 1 read, 2 write, 4 execute.
fn host_says(auth: &Auth, paths: &[&Path]) -> Result<Vec<u32>> {
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

#[test]
fn access_agrees_with_host_permissions() -> Result<()> {
    const ALL: u32 = 0x3f;
    if !root_for("identities") {
        return Ok(());
    }
    let directory = public_dir()?;
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
                let path = directory.path().join(&name);
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
    let paths: Vec<_> = names
        .iter()
        .map(|(name, _)| directory.path().join(name))
        .collect();
    let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
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

#[test]
fn only_root_changes_owners() -> Result<()> {
    if !root_for("files of others") {
        return Ok(());
    }
    Scene::for_each_server(|scene| {
        let served_by = fs::metadata(scene.directory.path())?.uid();
        let root = scene.root.clone();
        scene.create_file("file", b"")?;
        scene.client.mkdir(&root, "directory", Set::mode(0o755))?;
        scene.client.symlink(&root, "link", "file")?;
        for name in ["file", "directory", "link"] {
            let object = scene.client.lookup(&root, name)?;
            let path = scene.path(name);
            let set = Set {
                uid: Some(1234),
                gid: Some(4321),
                ..Set::default()
            };
            let result = scene.client.set_attr(&object, set);
            let meta = fs::symlink_metadata(&path)?;
            if served_by == 0 {
                result?;
                ensure!((meta.uid(), meta.gid()) == (1234, 4321), "{name}");
                // Sets only the GID; the UID must stay the same.
                let set = Set {
                    gid: Some(99),
                    ..Set::default()
                };
                scene.client.set_attr(&object, set)?;
                is_as_on_the_host(&scene.client.attr(&object)?, &path)?;
                let meta = fs::symlink_metadata(&path)?;
                ensure!((meta.uid(), meta.gid()) == (1234, 99), "{name}");
            } else {
                fails(
                    result,
                    &[nfsstat3::NFS3ERR_PERM, nfsstat3::NFS3ERR_ACCES],
                    name,
                )?;
                ensure!((meta.uid(), meta.gid()) == (served_by, served_by));
            }
        }
        ensure!(fs::read(scene.path("file"))?.is_empty());
        Ok(())
    })
}
