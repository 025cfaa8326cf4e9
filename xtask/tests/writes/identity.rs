//! UIDs and GIDs that calls act with: the caller's own, those of the anonymous user, or those of an unprivileged server.

use super::{Scene, WRITABLE, create_file, user};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::clients::nfs::{Auth, Client, Set};
use xtask::machines::mounts;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for};
use xtask::setup;

pub(super) const NOBODY: u32 = 65534;

/// A scene with an export whose root directory every user may write to.
pub(super) fn open_to_all(export_options: &str) -> Result<Scene> {
    let scene = Scene::with_options(export_options, ServerOptions::default())?;
    fs::set_permissions(scene.directory.path(), fs::Permissions::from_mode(0o777))?;
    Ok(scene)
}

/// UID and GID of the objects that a caller with these credentials creates in the directory `root`, which is `path` on the host.
fn acts_as(client: &mut Client, root: &[u8], path: &Path, auth: Auth) -> Result<(u32, u32)> {
    client.auth = auth;
    let path = path.join("made");
    create_file(client, root, "made", b"data")?;
    let meta = fs::metadata(&path)?;
    ensure!(fs::read(&path)? == b"data");
    client.remove(root, "made")?;
    let made = client.mkdir(root, "made", Set::mode(0o755))?;
    let attr = client.attr(&made)?;
    ensure!((attr.uid, attr.gid) == (meta.uid(), meta.gid()), "{attr:?}");
    client.rmdir(root, "made")?;
    client.symlink(root, "made", "target")?;
    let link = fs::symlink_metadata(&path)?;
    ensure!((link.uid(), link.gid()) == (meta.uid(), meta.gid()));
    client.remove(root, "made")?;
    Ok((meta.uid(), meta.gid()))
}

/// All calls come over one connection, so that callers alternate; a server that is not root acts as its own user for each.
#[test]
fn export_options_determine_uid_and_gid() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let nobody = (NOBODY, NOBODY);
    let anon = (1234, 4321);
    let squashed = "rw,anonuid=1234,anongid=4321";
    let all_squashed = "rw,all_squash,anonuid=1234,anongid=4321";
    let unknown = Auth {
        flavor: 0,
        body: Vec::new(),
    };
    let rows = [
        ("rw", user(0, 0, &[]), nobody),
        ("rw,root_squash", user(0, 0, &[0]), nobody),
        ("rw", user(1000, 100, &[]), (1000, 100)),
        ("rw", user(1000, 0, &[]), (1000, NOBODY)),
        ("rw", Auth::none(), nobody),
        ("rw", unknown, nobody),
        ("rw", user(u32::MAX, 100, &[]), (NOBODY, 100)),
        ("rw", user(1000, u32::MAX, &[]), (1000, NOBODY)),
        ("rw", user(1000, 100, &[u32::MAX]), (1000, 100)),
        (squashed, user(0, 0, &[]), anon),
        (squashed, user(1000, 100, &[]), (1000, 100)),
        (squashed, Auth::none(), anon),
        ("rw,anonuid=0,anongid=0", user(0, 0, &[]), (0, 0)),
        (all_squashed, user(0, 0, &[]), anon),
        (all_squashed, user(1000, 100, &[100, 101]), anon),
        (all_squashed, Auth::none(), anon),
        ("rw,all_squash", user(1000, 100, &[]), nobody),
        (WRITABLE, user(0, 0, &[]), (0, 0)),
        (WRITABLE, user(1000, 0, &[]), (1000, 0)),
        (WRITABLE, user(70_000, 70_001, &[]), (70_000, 70_001)),
        (WRITABLE, user(1 << 31, 5, &[]), (1 << 31, 5)),
        (WRITABLE, user(u32::MAX - 1, 5, &[]), (u32::MAX - 1, 5)),
        (WRITABLE, Auth::none(), nobody),
        (WRITABLE, user(u32::MAX, u32::MAX, &[]), nobody),
    ];
    for server_user in [None, Some(1000)] {
        let place = public_dir()?;
        let mut exports = BTreeMap::new();
        for (options, ..) in &rows {
            let path = place.path().join(options);
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
            exports.insert(options, path);
        }
        let lines = exports.iter();
        let server = Server::start(ServerOptions {
            user: server_user,
            exports: lines
                .map(|(options, path)| format!("{}:{options}", path.display()))
                .collect(),
            ..ServerOptions::default()
        })?;
        let mut client = server.connect()?;
        for (options, auth, expected) in &rows {
            let (path, case) = (&exports[options], format!("{options} for {auth:?}"));
            let (_, root) = server.open(path)?;
            let made = acts_as(&mut client, &root, path, auth.clone());
            let host = made.with_context(|| case.clone())?;
            let expected = server_user.map_or(*expected, |id| (id, id));
            ensure!(host == expected, "{case}: {host:?} instead of {expected:?}");
        }
    }
    Ok(())
}

/// Mounts the file `group`, and a file of users beside it, over those of the host.
fn bind_accounts(group: &Path) -> Result<()> {
    let passwd = group.with_file_name("passwd");
    let users = "root:x:0:0::/:/bin/sh\nalice:x:1000:100::/:/bin/sh\n";
    fs::write(&passwd, users)?;
    for (file, target) in [(&*passwd, "/etc/passwd"), (group, "/etc/group")] {
        setup::run_captured(Command::new("mount").arg("--bind").arg(file).arg(target))?;
    }
    Ok(())
}

/// A user with 20 groups, of which a credential carries 16, and a file of the 18th.
#[test]
fn managed_groups_replace_those_of_the_credential() -> Result<()> {
    let sent: Vec<u32> = (200..216).collect();
    let etc = public_dir()?;
    let group = etc.path().join("group");
    let groups: String = (200..220)
        .map(|gid| format!("g{gid}:x:{gid}:bob, alice\n"))
        .collect();
    mounts::private("files of users and groups", || {
        fs::write(&group, &groups)?;
        bind_accounts(&group)?;
        for is_managed in [false, true] {
            let flag = is_managed.then(|| "--manage-gids".to_owned());
            let options = ServerOptions {
                arguments: flag.into_iter().collect(),
                ..ServerOptions::default()
            };
            let mut scene = Scene::with_options("rw", options)?;
            fs::set_permissions(scene.directory.path(), fs::Permissions::from_mode(0o755))?;
            let path = scene.path("file");
            fs::write(&path, "data")?;
            chown(&path, Some(0), Some(217))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
            let (root, mut reads) = (scene.root.clone(), Vec::new());
            for (uid, gid) in [(1000, 100), (1001, 217), (1001, 100)] {
                scene.client.auth = user(uid, gid, &sent);
                let file = scene.client.lookup(&root, "file")?;
                reads.push(scene.client.read(&file, 0, 9).is_ok());
                reads.push(scene.client.read(&file, 0, 9).is_ok());
            }
            let expect = [is_managed, is_managed, true, true, false, false];
            ensure!(reads == expect, "{is_managed}: {reads:?}");
            if !is_managed {
                // The last refusal, whose line may arrive after the reply.
                let last = "was refused as user 1001";
                scene.server.wait_for_line(last, Duration::from_secs(10))?;
            }
            let lines = scene.server.lines();
            for uid in [1000, 1001] {
                let part = format!("was refused as user {uid}: sends 16 groups");
                let named = lines
                    .iter()
                    .filter(|line| line.contains(&part) && line.contains("--manage-gids"));
                ensure!(named.count() == usize::from(!is_managed), "{lines:#?}");
            }
            if !is_managed {
                continue;
            }
            // The user leaves the group; before that, the file is too long, and the table stays.
            scene.client.auth = user(1000, 100, &sent);
            let file = scene.client.lookup(&root, "file")?;
            let long = "cannot read /etc/group: longer than 256 KiB";
            for (text, line, may_read) in [
                ("#".repeat(300 << 10), long, true),
                (groups.replace("alice", "carol"), "", false),
            ] {
                fs::write(&group, text)?;
                scene.server.signal(Signal::SIGHUP)?;
                scene.server.wait_for_line(line, Duration::from_secs(10))?;
                let end = Instant::now() + Duration::from_secs(10);
                while scene.client.read(&file, 0, 9).is_ok() != may_read {
                    ensure!(Instant::now() < end, "the groups were not read again");
                }
            }
        }
        Ok(())
    })
}
