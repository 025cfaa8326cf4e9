//! Handles that the server never issued, or issued for another export: all are refused.

use super::{Scene, is_refused, sample};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use xtask::clients::nfs::{Auth, Call, Client, Outcome, body, nfsstat3, unpadded};
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for, users};

/// Status of GETATTR with this handle; a rejected call or a closed connection counts as BADHANDLE.
fn status(client: &mut Client, handle: &[u8]) -> Result<nfsstat3> {
    let call = Call::get_attr(handle);
    match client.exchange(&call.message(1, &Auth::root()))? {
        Some(Outcome::Success(results)) => body(call.procedure, results)?.status(),
        outcome => {
            ensure!(is_refused(outcome));
            Ok(nfsstat3::NFS3ERR_BADHANDLE)
        }
    }
}

fn expect_bad(client: &mut Client, handle: &[u8]) -> Result<()> {
    let status = status(client, handle).with_context(|| format!("handle {handle:02x?}"))?;
    let bad = matches!(
        status,
        nfsstat3::NFS3ERR_BADHANDLE | nfsstat3::NFS3ERR_STALE
    );
    ensure!(bad, "handle {handle:02x?} was answered {status:?}");
    Ok(())
}

/// The rule for forged handles. A kernel handle has a MAC, so the server must refuse a forged one. A path handle has none, because
/// it reaches only objects that a client can also reach by names: a forged one is refused or denotes an object of the exports.
struct HandleRule {
    has_mac: bool,
    inside: BTreeSet<u64>,
}

impl HandleRule {
    fn new(user: Option<u32>, exports: &[&Path]) -> Result<Self> {
        let all = exports.iter().flat_map(walkdir::WalkDir::new);
        let inside = all
            .map(|entry| Ok(entry?.path().symlink_metadata()?.ino()))
            .collect::<Result<_>>()?;
        Ok(Self {
            has_mac: user.is_none() && nix::unistd::geteuid().is_root(),
            inside,
        })
    }

    fn check(&self, client: &mut Client, handle: &[u8]) -> Result<()> {
        if self.has_mac {
            return expect_bad(client, handle);
        }
        match client.attr(handle) {
            Ok(attr) => ensure!(
                self.inside.contains(&attr.fileid),
                "handle {handle:02x?} denotes an object outside the exports: {attr:?}"
            ),
            Err(_) => expect_bad(client, handle)?,
        }
        Ok(())
    }
}

#[test]
fn handles_of_wrong_length_are_refused() -> Result<()> {
    for user in users() {
        let mut scene = Scene::new(user)?;
        let file = scene.client.lookup(&scene.root, "small")?;
        // The test omits lengths that are 1 to 3 bytes short: the server accepts handles of earlier versions, which had no padding.
        for len in [0, 1, file.len() - 4, file.len() + 1, 63, 64, 65, 128] {
            let mut cut = file.clone();
            cut.resize(len, 0);
            for handle in [cut, vec![0; len], vec![0xff; len]] {
                if handle == file {
                    continue;
                }
                // For a handle longer than NFS3_FHSIZE, the server may close the connection.
                expect_bad(&mut scene.server.connect()?, &handle)?;
            }
        }
        scene.check_alive()?;
    }
    Ok(())
}

#[test]
fn handles_with_flipped_bits_reach_nothing_outside() -> Result<()> {
    for user in users() {
        let mut scene = Scene::new(user)?;
        let inner = scene.client.walk(&scene.root, "sub/inner")?;
        let rule = HandleRule::new(user, &[scene.directory.path()])?;
        for handle in [scene.root.clone(), inner] {
            ensure!(status(&mut scene.client, &handle)? == nfsstat3::NFS3_OK);
            for bit in 0..handle.len() * 8 {
                let mut flipped = handle.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                rule.check(&mut scene.client, &flipped)
                    .with_context(|| format!("bit {bit} as user {user:?}"))?;
            }
        }
        scene.check_alive()?;
    }
    Ok(())
}

#[test]
fn handles_are_valid_in_their_export_only() -> Result<()> {
    for user in users() {
        let (first, second, keys) = (sample()?, sample()?, public_dir()?);
        let key_file = Some(keys.path().join("key"));
        let server = ServerOptions {
            user,
            key_file: key_file.clone(),
            ..ServerOptions::serving(&[first.path(), second.path()])
        };
        let server = Server::start(server)?;
        let (mut client, root) = server.open(first.path())?;
        let (_, other_root) = server.open(second.path())?;
        ensure!(root != other_root, "two exports have one handle");
        let file = client.walk(&root, "sub/inner")?;
        let other_file = client.walk(&other_root, "sub/inner")?;

        let rule = HandleRule::new(user, &[first.path(), second.path()])?;
        // Handles of one export, in which a range of bytes is copied from a handle of the other export. Tries every range.
        for (one, two) in [
            (&file, &other_file),
            (&file, &other_root),
            (&root, &other_root),
        ] {
            for start in 0..one.len().min(two.len()) {
                for end in start + 1..=one.len().min(two.len()) {
                    let mut spliced = one.clone();
                    spliced[start..end].copy_from_slice(&two[start..end]);
                    if [&file, &other_file, &root, &other_root].contains(&&spliced) {
                        continue;
                    }
                    rule.check(&mut client, &spliced).with_context(|| {
                        format!("bytes {start}..{end} from another export, user {user:?}")
                    })?;
                }
            }
        }
        drop(server);

        // Restart with the same key, but without the first export.
        let options = ServerOptions {
            user,
            key_file,
            ..ServerOptions::serving(&[second.path()])
        };
        let server = Server::start(options)?;
        let mut client = server.connect()?;
        expect_bad(&mut client, &file)?;
        expect_bad(&mut client, &root)?;
        ensure!(
            status(&mut client, &other_file)? == nfsstat3::NFS3_OK,
            "the handles of the remaining export are no longer valid"
        );
    }
    Ok(())
}

#[test]
fn padded_and_older_unpadded_handles_work() -> Result<()> {
    for user in users() {
        let (directory, keys) = (sample()?, public_dir()?);
        let start = || {
            Server::start(ServerOptions {
                user,
                key_file: Some(keys.path().join("key")),
                ..ServerOptions::serving(&[directory.path()])
            })
        };
        let server = start()?;
        let (mut client, root) = server.open(directory.path())?;
        let mut known = Vec::new();
        for path in ["small", "link", "sub", "sub/inner"] {
            let handle = client.walk(&root, path)?;
            ensure!(handle.len() % 4 == 0, "{path} has {handle:02x?}");
            known.push((client.attr(&handle)?.fileid, handle));
        }
        drop(server);
        // Restart: the new server has not seen these handles.
        let server = start()?;
        let mut client = server.connect()?;
        let mut padded = 0;
        for (fileid, handle) in known {
            let before = unpadded(&handle);
            padded += usize::from(before.len() < handle.len());
            for handle in [before, &handle] {
                ensure!(client.attr(handle)?.fileid == fileid, "{handle:02x?}");
            }
        }
        ensure!(padded > 2, "only {padded} handles have padding");
    }
    Ok(())
}

#[test]
fn kernel_handles_of_another_key_are_refused() -> Result<()> {
    if !root_for("kernel handles") {
        return Ok(());
    }
    let mut scene = Scene::new(None)?;
    let file = scene.client.lookup(&scene.root, "small")?;
    let other = Server::start(ServerOptions::serving(&[scene.directory.path()]))?;
    let mut client = other.connect()?;
    expect_bad(&mut client, &file)?;
    scene.check_alive()
}
