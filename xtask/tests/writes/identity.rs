//! UIDs and GIDs that calls act with: the caller's own, those of the anonymous user, or those of an unprivileged server.

use super::{Scene, WRITABLE, create_file, user};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use xtask::clients::nfs::{Auth, Set};
use xtask::machines::server::{ServerOptions, root_for};

pub(super) const NOBODY: u32 = 65534;

/// A scene with an export whose root directory every user may write to.
pub(super) fn open_to_all(export_options: &str) -> Result<Scene> {
    let scene = Scene::with_options(export_options, ServerOptions::default())?;
    fs::set_permissions(scene.directory.path(), fs::Permissions::from_mode(0o777))?;
    Ok(scene)
}

/// UID and GID of the objects that a caller with these credentials creates.
fn acts_as(scene: &mut Scene, auth: Auth) -> Result<(u32, u32)> {
    let root = scene.root.clone();
    scene.client.auth = auth;
    create_file(&mut scene.client, &root, "made", b"data")?;
    let meta = fs::metadata(scene.path("made"))?;
    let entry = fs::read(scene.path("made"))?;
    ensure!(entry == b"data");
    scene.client.remove(&root, "made")?;
    let made = scene.client.mkdir(&root, "made", Set::mode(0o755))?;
    let attr = scene.client.attr(&made)?;
    ensure!((attr.uid, attr.gid) == (meta.uid(), meta.gid()), "{attr:?}");
    scene.client.rmdir(&root, "made")?;
    scene.client.symlink(&root, "made", "target")?;
    let link = fs::symlink_metadata(scene.path("made"))?;
    ensure!((link.uid(), link.gid()) == (meta.uid(), meta.gid()));
    scene.client.remove(&root, "made")?;
    Ok((meta.uid(), meta.gid()))
}

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
    for (options, auth, expected) in [
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
        (all_squashed, user(0, 0, &[]), anon),
        (all_squashed, user(1000, 100, &[100, 101]), anon),
        (all_squashed, Auth::none(), anon),
        ("rw,all_squash", user(1000, 100, &[]), nobody),
        (WRITABLE, user(0, 0, &[]), (0, 0)),
        (WRITABLE, user(1000, 0, &[]), (1000, 0)),
        (WRITABLE, user(70_000, 70_001, &[]), (70_000, 70_001)),
        (
            WRITABLE,
            user(i32::MAX as u32, 5, &[]),
            (i32::MAX as u32, 5),
        ),
        (WRITABLE, user(u32::MAX - 1, 5, &[]), (u32::MAX - 1, 5)),
        (WRITABLE, Auth::none(), nobody),
        (WRITABLE, user(u32::MAX, u32::MAX, &[]), nobody),
    ] {
        let mut scene = open_to_all(options)?;
        let case = format!("{options} for {auth:?}");
        let host = acts_as(&mut scene, auth).with_context(|| case.clone())?;
        ensure!(host == expected, "{case}: {host:?} instead of {expected:?}");
    }
    Ok(())
}

#[test]
fn unprivileged_server_acts_as_its_own_user() -> Result<()> {
    if !root_for("a server of another user") {
        return Ok(());
    }
    for options in [WRITABLE, "rw", "rw,all_squash"] {
        let mut scene = Scene::with_options(
            options,
            ServerOptions {
                user: Some(1000),
                ..ServerOptions::default()
            },
        )?;
        for auth in [
            user(0, 0, &[0]),
            user(1000, 1000, &[]),
            user(7, 7, &[]),
            Auth::none(),
        ] {
            let case = format!("{auth:?}");
            let host = acts_as(&mut scene, auth).with_context(|| case.clone())?;
            ensure!(host == (1000, 1000), "{case}: {host:?}");
        }
    }
    Ok(())
}

/// Calls with different credentials alternate on one connection; each acts with its own.
#[test]
fn alternating_callers_keep_their_own_credentials() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let root = scene.root.clone();
    let callers = [
        user(0, 0, &[]),
        user(1000, 100, &[7]),
        user(1001, 101, &[]),
        Auth::none(),
    ];
    let expected = [(0, 0), (1000, 100), (1001, 101), (NOBODY, NOBODY)];
    for round in 0..50 {
        for (auth, expected) in callers.iter().zip(expected) {
            let name = format!("file {round} {}", expected.0);
            scene.client.auth = auth.clone();
            create_file(&mut scene.client, &root, &name, b"data")?;
            let meta = fs::metadata(scene.path(&name))?;
            ensure!((meta.uid(), meta.gid()) == expected, "{name}");
        }
    }
    Ok(())
}
