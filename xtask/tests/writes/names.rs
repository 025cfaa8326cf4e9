//! Read-only exports, and calls that would cross from one export or file system to another.

use super::{WRITABLE, create_file, fails};
use anyhow::{Result, ensure};
use std::fs;
use xtask::clients::nfs::nfsstat3::{NFS3ERR_ROFS, NFS3ERR_XDEV};
use xtask::clients::nfs::{Call, Client, How, Set, stable_how};
use xtask::machines::server::{Server, ServerOptions, public_dir};

/// A server with a writable and a read-only export.
struct TwoExports {
    server: Server,
    writable: tempfile::TempDir,
    read_only: tempfile::TempDir,
}

impl TwoExports {
    fn new() -> Result<Self> {
        let (writable, read_only) = (public_dir()?, public_dir()?);
        for dir in [&writable, &read_only] {
            fs::write(dir.path().join("file"), "content")?;
            fs::create_dir(dir.path().join("dir"))?;
        }
        let server = Server::start(ServerOptions {
            exports: vec![
                format!("{}:{WRITABLE}", writable.path().display()),
                format!("{}:ro,no_root_squash", read_only.path().display()),
            ],
            ..ServerOptions::default()
        })?;
        Ok(Self {
            server,
            writable,
            read_only,
        })
    }

    /// Opens a connection; returns it and, for each export, the handles of its root, `file` and `dir`.
    fn open(&self) -> Result<(Client, [[Vec<u8>; 3]; 2])> {
        let mut client = self.server.connect()?;
        let mut handles = |dir: &tempfile::TempDir| -> Result<_> {
            let (_, root) = self.server.open(dir.path())?;
            let file = client.lookup(&root, "file")?;
            let dir = client.lookup(&root, "dir")?;
            Ok([root, file, dir])
        };
        let both = [handles(&self.writable)?, handles(&self.read_only)?];
        Ok((client, both))
    }
}

#[test]
fn read_only_export_leaves_its_neighbour_writable() -> Result<()> {
    let two = TwoExports::new()?;
    let (mut client, [[root, file, _], [ro_root, ro_file, _]]) = two.open()?;
    for call in [
        Call::set_attr(&ro_file, Set::size(0), None),
        Call::write(&ro_file, 0, stable_how::UNSTABLE, b"data"),
        Call::create(&ro_root, b"file", How::Unchecked(Set::size(0))),
        Call::remove(&ro_root, b"file"),
        Call::rename(&ro_root, b"file", &ro_root, b"new"),
    ] {
        client.expect_status(&call, NFS3ERR_ROFS)?;
    }
    // Bits of ACCESS: MODIFY, EXTEND and DELETE are not granted, READ and LOOKUP may be.
    const ALL: u32 = 0x3f;
    const CHANGES: u32 = 0x1c;
    ensure!(client.access(&ro_root, ALL)? & CHANGES == 0);
    ensure!(client.access(&ro_file, ALL)? & CHANGES == 0);
    ensure!(client.access(&root, ALL)? & CHANGES == CHANGES);
    ensure!(
        fs::read_dir(two.read_only.path())?.count() == 2
            && fs::read(two.read_only.path().join("file"))? == b"content",
        "the read-only export changed"
    );
    // The writable export accepts changes.
    create_file(&mut client, &root, "new", b"data")?;
    ensure!(client.write(&file, 0, stable_how::FILE_SYNC, b"C")?.count == 1);
    client.rename(&root, "new", &root, "newer")?;
    client.remove(&root, "newer")?;
    ensure!(fs::read(two.writable.path().join("file"))? == b"Content");
    Ok(())
}

#[test]
fn rename_and_link_across_exports_return_xdev() -> Result<()> {
    let (first, second) = (public_dir()?, public_dir()?);
    let directories = [first.path(), second.path()];
    for dir in directories {
        fs::create_dir(dir.join("dir"))?;
        fs::write(dir.join("file"), "content")?;
    }
    let server = Server::start(ServerOptions {
        exports: directories
            .iter()
            .map(|dir| format!("{}:{WRITABLE}", dir.display()))
            .collect(),
        ..ServerOptions::default()
    })?;
    let (mut client, one) = server.open(directories[0])?;
    let (_, two) = server.open(directories[1])?;
    let file = client.lookup(&one, "file")?;
    for (from, to) in [(&one, &two), (&two, &one)] {
        for name in ["file", "dir"] {
            let renamed = client.rename(from, name, to, "new");
            fails(renamed, &[NFS3ERR_XDEV], format!("RENAME of {name}"))?;
            let onto = client.rename(from, name, to, name);
            fails(onto, &[NFS3ERR_XDEV], format!("RENAME onto {name}"))?;
        }
    }
    fails(client.link(&file, &two, "new"), &[NFS3ERR_XDEV], "LINK")?;
    for dir in directories {
        ensure!(
            fs::read_dir(dir)?.count() == 2,
            "an object moved to the other export"
        );
    }

    // RENAME and LINK between a writable and a read-only export, in both directions.
    let pair = TwoExports::new()?;
    let (mut client, [[root, file, _], [ro_root, ro_file, _]]) = pair.open()?;
    let either = [NFS3ERR_XDEV, NFS3ERR_ROFS];
    fails(client.rename(&root, "file", &ro_root, "new"), &either, "in")?;
    fails(
        client.rename(&ro_root, "file", &root, "new"),
        &either,
        "out",
    )?;
    fails(client.link(&file, &ro_root, "new"), &either, "LINK in")?;
    fails(client.link(&ro_file, &root, "new"), &either, "LINK out")?;
    for dir in [&pair.writable, &pair.read_only] {
        ensure!(fs::read_dir(dir.path())?.count() == 2);
    }
    Ok(())
}
