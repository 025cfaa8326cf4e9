//! File handles and directory cookies stay valid after a kill, a restart and a rename of a directory above the export.

mod again;
mod grace;
mod loops;
mod replaced;
mod slots;
mod subvolumes;
mod xids;

use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xtask::clients::nfs::{Call, Client, nfsstat3};
use xtask::machines::server::{Server, ServerOptions, public_dir, users};

const PATHS: [&str; 5] = [
    "file",
    "dir",
    "dir/deeper",
    "dir/deeper/and deeper",
    "dir/deeper/and deeper/leaf",
];

/// An export in a directory that can be renamed, and a key file that outlives the servers.
struct Scene {
    user: Option<u32>,
    directory: TempDir,
    keys: TempDir,
}

impl Scene {
    fn new(user: Option<u32>) -> Result<Self> {
        let scene = Self {
            user,
            directory: public_dir()?,
            keys: public_dir()?,
        };
        let export = scene.export("parent");
        fs::create_dir_all(export.join("dir/deeper/and deeper"))?;
        fs::write(export.join("file"), "file")?;
        fs::write(export.join("dir/deeper/and deeper/leaf"), "leaf")?;
        fs::create_dir(export.join("many"))?;
        for number in 0..500 {
            fs::write(export.join(format!("many/{number}")), "")?;
        }
        Ok(scene)
    }

    fn export(&self, parent: &str) -> PathBuf {
        self.directory.path().join(parent).join("export")
    }

    fn rename_parent(&self, from: &str, to: &str) -> Result<()> {
        Ok(fs::rename(
            self.directory.path().join(from),
            self.directory.path().join(to),
        )?)
    }

    fn serve(&self, parent: &str) -> Result<Server> {
        let key_file = Some(self.keys.path().join("key"));
        Server::start(ServerOptions {
            user: self.user,
            key_file,
            ..ServerOptions::serving(&[&self.export(parent)])
        })
    }
}

/// Repeats a call while the server replies JUKEBOX because it still searches for the object.
fn retry_jukebox<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Err(e)
                if e.downcast_ref() == Some(&nfsstat3::NFS3ERR_JUKEBOX)
                    && start.elapsed() < Duration::from_secs(10) =>
            {
                sleep(Duration::from_millis(50))
            }
            result => return result,
        }
    }
}

type Handles = BTreeMap<&'static str, Vec<u8>>;

fn handles(client: &mut Client, root: &[u8]) -> Result<Handles> {
    PATHS
        .iter()
        .map(|&path| Ok((path, client.walk(root, path)?)))
        .collect()
}

/// Checks that every handle denotes the object for which it was issued.
fn check_handles(client: &mut Client, handles: &Handles, export: &Path) -> Result<()> {
    for (path, handle) in handles {
        let attr =
            retry_jukebox(|| client.attr(handle)).with_context(|| format!("GETATTR of {path}"))?;
        let expected = fs::metadata(export.join(path))?.ino();
        ensure!(
            attr.fileid == expected,
            "{path} has inode {} instead of {expected}",
            attr.fileid
        );
    }
    let leaf = PATHS[4];
    let content = retry_jukebox(|| Ok(client.read(&handles[leaf], 0, 100)?.0.to_vec()))?;
    ensure!(content == b"leaf", "{leaf} contains {content:?}");
    Ok(())
}

#[test]
fn handles_survive_restart_and_parent_rename() -> Result<()> {
    for user in users() {
        let scene = Scene::new(user)?;
        let server = scene.serve("parent")?;
        let (mut client, root) = server.open(&scene.export("parent"))?;
        let given = handles(&mut client, &root)?;

        // The parent is renamed while the server runs.
        scene.rename_parent("parent", "renamed")?;
        check_handles(&mut client, &given, &scene.export("renamed"))
            .context("after the parent was renamed")?;

        server.kill()?;
        let server = scene.serve("renamed")?;
        let mut client = server.connect()?;
        let context = || format!("after kill and restart as user {user:?}");
        check_handles(&mut client, &given, &scene.export("renamed")).with_context(context)?;
        ensure!(
            retry_jukebox(|| client.lookup(&given["dir"], "deeper"))? == given["dir/deeper"],
            "LOOKUP returned another handle {}",
            context()
        );

        // LOOKUPs from the root return the same handles, byte for byte.
        let (mut client, new_root) = server.open(&scene.export("renamed"))?;
        ensure!(
            new_root == root,
            "MNT returned another handle {}",
            context()
        );
        ensure!(
            handles(&mut client, &root)? == given,
            "LOOKUP returned other handles {}",
            context()
        );
    }
    Ok(())
}

#[test]
fn handles_survive_renames_of_their_files() -> Result<()> {
    for user in users() {
        let scene = Scene::new(user)?;
        let export = scene.export("parent");
        let server = scene.serve("parent")?;
        let (mut client, root) = server.open(&export)?;
        let file = client.lookup(&root, "file")?;
        let leaf = client.walk(&root, PATHS[4])?;
        fs::rename(export.join("file"), export.join("other name"))?;
        fs::rename(export.join("dir/deeper"), export.join("dir/moved"))?;
        // The second server has no open files, so that it must find the objects by their handles.
        let server = scene.serve("parent")?;
        let mut client = server.connect()?;
        for (handle, path) in [(&file, "other name"), (&leaf, "dir/moved/and deeper/leaf")] {
            let attr = retry_jukebox(|| client.attr(handle))
                .with_context(|| format!("{path}, user {user:?}"))?;
            ensure!(
                attr.fileid == fs::metadata(export.join(path))?.ino(),
                "{path} is another file, user {user:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn directory_cookies_survive_a_restart() -> Result<()> {
    for user in users() {
        let scene = Scene::new(user)?;
        let export = scene.export("parent");
        let server = scene.serve("parent")?;
        let (mut client, root) = server.open(&export)?;
        let many = client.lookup(&root, "many")?;
        let expected: BTreeSet<Vec<u8>> = client
            .list(&many)?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        ensure!(
            expected
                .iter()
                .filter(|name| !name.starts_with(b"."))
                .count()
                == 500,
            "{} names",
            expected.len()
        );
        for plus in [false, true] {
            let ask = |client: &mut Client, cookie, verifier| {
                client.page(&if plus {
                    Call::read_dir_plus(&many, cookie, verifier, 4096, 4096)
                } else {
                    Call::read_dir(&many, cookie, verifier, 4096)
                })
            };
            let first = ask(&mut client, 0, [0; 8])?;
            ensure!(!first.eof, "500 names in one small page");
            let mut names: Vec<Vec<u8>> = first
                .entries
                .iter()
                .map(|entry| entry.name.clone())
                .collect();
            let (mut cookie, mut verifier) = (
                first.entries[first.entries.len() - 1].cookie,
                first.verifier,
            );
            // Each page is read from a new server.
            loop {
                let server = scene.serve("parent")?;
                let mut client = server.connect()?;
                let page = retry_jukebox(|| ask(&mut client, cookie, verifier))
                    .with_context(|| format!("cookie {cookie:#x}, user {user:?}"))?;
                names.extend(page.entries.iter().map(|entry| entry.name.clone()));
                if page.eof {
                    break;
                }
                (cookie, verifier) = (page.entries[page.entries.len() - 1].cookie, page.verifier);
                server.kill()?;
            }
            let seen: BTreeSet<Vec<u8>> = names.iter().cloned().collect();
            ensure!(
                seen == expected && names.len() == expected.len(),
                "{} names, {} different ones, plus {plus}",
                names.len(),
                seen.len()
            );
        }
    }
    Ok(())
}
