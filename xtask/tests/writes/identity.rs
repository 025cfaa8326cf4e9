//! Who does it: callers as they say they are, as nobody, or as one person for all.

use super::{Scene, WRITABLE, make, user};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use xtask::clients::nfs::{Auth, Set};
use xtask::machines::server::{ServerOptions, root_for};

pub(super) const NOBODY: u32 = 65534;

/// A directory that everybody may write to, served with these options.
pub(super) fn open_to_all(export_options: &str) -> Result<Scene> {
    let scene = Scene::with(export_options, ServerOptions::default())?;
    fs::set_permissions(scene.directory.path(), fs::Permissions::from_mode(0o777))?;
    Ok(scene)
}

/// Who a caller is to the host, by the owner and the group of a file that the caller makes.
fn acts_as(scene: &mut Scene, auth: Auth) -> Result<(u32, u32)> {
    let root = scene.root.clone();
    scene.client.auth = auth;
    make(&mut scene.client, &root, "made", b"data")?;
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
fn callers_are_who_the_export_makes_them() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let nobody = (NOBODY, NOBODY);
    let anon = (1234, 4321);
    let squashed = "rw,anonuid=1234,anongid=4321";
    let everybody = "rw,all_squash,anonuid=1234,anongid=4321";
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
        ("rw", user(u32::MAX, 100, &[]), nobody),
        (squashed, user(0, 0, &[]), anon),
        (squashed, user(1000, 100, &[]), (1000, 100)),
        (squashed, Auth::none(), anon),
        (everybody, user(0, 0, &[]), anon),
        (everybody, user(1000, 100, &[100, 101]), anon),
        (everybody, Auth::none(), anon),
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
        let what = format!("{options} for {auth:?}");
        let host = acts_as(&mut scene, auth).with_context(|| what.clone())?;
        ensure!(host == expected, "{what}: {host:?} instead of {expected:?}");
    }
    Ok(())
}

#[test]
fn an_ordinary_server_acts_as_its_user_for_all() -> Result<()> {
    if !root_for("a server of another user") {
        return Ok(());
    }
    for options in [WRITABLE, "rw", "rw,all_squash"] {
        let mut scene = Scene::with(
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
            let what = format!("{auth:?}");
            let host = acts_as(&mut scene, auth).with_context(|| what.clone())?;
            ensure!(host == (1000, 1000), "{what}: {host:?}");
        }
    }
    Ok(())
}

/// The callers of one client follow each other closely: none may have what another has.
#[test]
fn callers_of_one_connection_are_kept_apart() -> Result<()> {
    if !root_for("identities") {
        return Ok(());
    }
    let mut scene = open_to_all(WRITABLE)?;
    let root = scene.root.clone();
    let people = [
        user(0, 0, &[]),
        user(1000, 100, &[7]),
        user(1001, 101, &[]),
        Auth::none(),
    ];
    let expected = [(0, 0), (1000, 100), (1001, 101), (NOBODY, NOBODY)];
    for round in 0..50 {
        for (auth, expected) in people.iter().zip(expected) {
            let name = format!("file {round} {}", expected.0);
            scene.client.auth = auth.clone();
            make(&mut scene.client, &root, &name, b"data")?;
            let meta = fs::metadata(scene.path(&name))?;
            ensure!((meta.uid(), meta.gid()) == expected, "{name}");
        }
    }
    Ok(())
}
