//! The subvolumes of a btrfs have the same inode numbers; clients must never take a file of one for that of another.

use super::retry_jukebox;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::clients::nfs::Client;
use xtask::machines::mounts::on_image;
use xtask::machines::server::{Server, ServerOptions, public_dir};
use xtask::setup;

/// The subvolumes. The last one is a snapshot of the first: its files also have the same birth times.
const VOLUMES: [&str; 4] = ["first", "second", "first/inner", "snapshot"];
const FILES: [&str; 2] = ["file", "directory/deeper"];

/// Makes the subvolumes, and in each the same files, whose content is their path.
fn fill(top: &Path) -> Result<Vec<String>> {
    let btrfs = |words: &[&str]| {
        let mut command = Command::new("btrfs");
        setup::run_captured(command.arg("subvolume").args(words).current_dir(top))
    };
    let mut paths = Vec::new();
    for volume in VOLUMES {
        if volume == "snapshot" {
            btrfs(&["snapshot", "first", "snapshot"])?;
            // A snapshot has an empty directory for each subvolume of its origin.
        } else {
            btrfs(&["create", volume])?;
            fs::create_dir(top.join(volume).join("directory"))?;
        }
        for file in FILES {
            let path = format!("{volume}/{file}");
            fs::write(top.join(&path), &path)?;
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Checks that each handle is that of its file.
fn check(client: &mut Client, handles: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (path, handle) in handles {
        let content = retry_jukebox(|| Ok(client.read(handle, 0, 100)?.0.to_vec()))
            .with_context(|| format!("READ of {path}"))?;
        ensure!(content == path.as_bytes(), "{path} contains {content:?}");
    }
    Ok(())
}

#[test]
fn files_of_subvolumes_are_told_apart() -> Result<()> {
    on_image(&["mkfs.btrfs", "-q"], 256, |top| {
        let (paths, keys) = (fill(top)?, public_dir()?);
        for form in ["kernel", "path"] {
            let serve = || {
                Server::start(ServerOptions {
                    key_file: Some(keys.path().join("key")),
                    arguments: ["--handles", form].map(Into::into).to_vec(),
                    ..ServerOptions::serving(&[top])
                })
            };
            let server = serve()?;
            let (mut client, root) = server.open(top)?;
            let (mut handles, mut objects) = (BTreeMap::new(), BTreeMap::new());
            for path in VOLUMES.map(str::to_owned).iter().chain(&paths) {
                let handle = client.walk(&root, path)?;
                let attr = client.attr(&handle)?;
                if let Some(other) = objects.insert((attr.fsid, attr.fileid), path.clone()) {
                    anyhow::bail!("{form}: {path} and {other} have the same fsid and fileid");
                }
                if VOLUMES.contains(&path.as_str()) {
                    let (above, _) = path.rsplit_once('/').unwrap_or_default();
                    let expected = match above {
                        "" => root.clone(),
                        above => client.walk(&root, above)?,
                    };
                    let parent = client.lookup(&handle, "..")?;
                    ensure!(parent == expected, "{form}: wrong parent of {path}");
                } else {
                    handles.insert(path.clone(), handle);
                }
            }
            check(&mut client, &handles).context(form)?;
            server.kill()?;
            let server = serve()?;
            check(&mut server.connect()?, &handles)
                .with_context(|| format!("{form}, restarted"))?;
        }
        Ok(())
    })
}
