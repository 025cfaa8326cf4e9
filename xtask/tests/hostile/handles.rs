//! Handles that the server never issued, or issued for another export: all are refused.

use super::{Scene, is_refused, sample};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use xtask::clients::nfs::nfsstat3::{NFS3_OK, NFS3ERR_BADHANDLE, NFS3ERR_STALE};
use xtask::clients::nfs::{Auth, Call, Client, Outcome, body, nfsstat3};
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for, users};

/// Status of GETATTR with this handle; a rejected call or a closed connection counts as BADHANDLE.
fn status(client: &mut Client, handle: &[u8]) -> Result<nfsstat3> {
    let call = Call::get_attr(handle);
    match client.exchange(&call.message(1, &Auth::root()))? {
        Some(Outcome::Success(results)) => body(call.procedure, results)?.status(),
        outcome => {
            ensure!(is_refused(outcome));
            Ok(NFS3ERR_BADHANDLE)
        }
    }
}

fn expect_bad(client: &mut Client, handle: &[u8]) -> Result<()> {
    let status = status(client, handle).with_context(|| format!("handle {handle:02x?}"))?;
    let bad = matches!(status, NFS3ERR_BADHANDLE | NFS3ERR_STALE);
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
        for handle in [&root, &file] {
            for bit in 0..handle.len() * 8 {
                let mut flipped = handle.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let checked = rule.check(&mut client, &flipped);
                checked.with_context(|| format!("bit {bit}, user {user:?}"))?;
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
            status(&mut client, &other_file)? == NFS3_OK,
            "the handles of the remaining export are no longer valid"
        );
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
