//! Invalid names, read-only exports, and calls that would cross from one export or file system to another.

use super::{Scene, WRITABLE, create_file, fails, serve};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use xtask::clients::nfs::{Call, Client, How, Set, nfsstat3, stable_how};
use xtask::machines::server::{Server, ServerOptions, public_dir};

/// Every call that takes a name, with `name` in each position. `file` and `present` exist in `dir`.
fn calls_with_name<'a>(dir: &'a [u8], file: &'a [u8], name: &'a [u8]) -> Vec<Call<'a>> {
    let set = Set::default();
    let (present, absent) = (b"present".as_slice(), b"absent".as_slice());
    vec![
        Call::create(dir, name, How::Unchecked(set)),
        Call::create(dir, name, How::Guarded(set)),
        Call::create(dir, name, How::Exclusive([1; 8])),
        Call::mkdir(dir, name, set),
        Call::symlink(dir, name, Set::default(), b"target"),
        Call::fifo(dir, name, set),
        Call::remove(dir, name),
        Call::rmdir(dir, name),
        Call::rename(dir, name, dir, absent),
        Call::rename(dir, present, dir, name),
        Call::link(file, dir, name),
    ]
}

/// Path and size of every object in the export.
fn list_objects(scene: &Scene) -> Result<Vec<(Vec<u8>, u64)>> {
    let entries = walkdir::WalkDir::new(scene.directory.path()).sort_by_file_name();
    entries
        .into_iter()
        .map(|entry| {
            let entry = entry?;
            let len = entry.metadata()?.len();
            Ok((entry.path().as_os_str().as_bytes().to_vec(), len))
        })
        .collect()
}

#[test]
fn invalid_names_are_refused_by_every_call() -> Result<()> {
    // Statuses with which the server may refuse an invalid name. RFC 1813 allows several.
    const REFUSALS: [nfsstat3; 9] = [
        nfsstat3::NFS3ERR_INVAL,
        nfsstat3::NFS3ERR_ACCES,
        nfsstat3::NFS3ERR_EXIST,
        nfsstat3::NFS3ERR_ISDIR,
        nfsstat3::NFS3ERR_NOTEMPTY,
        nfsstat3::NFS3ERR_NOENT,
        nfsstat3::NFS3ERR_PERM,
        nfsstat3::NFS3ERR_NOTDIR,
        nfsstat3::NFS3ERR_NAMETOOLONG,
    ];
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let dir = scene.client.mkdir(&root, "dir", Set::mode(0o755))?;
        let file = create_file(&mut scene.client, &dir, "present", b"content")?;
        let before = list_objects(scene)?;
        let outside = fs::read_dir(scene.directory.path().parent().context("no parent")?)?.count();
        let names: [&[u8]; 12] = [
            b"",
            b".",
            b"..",
            b"/",
            b"a/b",
            b"/absolute",
            b"../escape",
            b"trailing/",
            b"./present",
            b"nul\0inside",
            b"\0",
            b"present\0",
        ];
        for name in names {
            for call in calls_with_name(&dir, &file, name) {
                let status = scene.client.status(&call)?;
                ensure!(
                    REFUSALS.contains(&status),
                    "{call:?} was answered {:?}",
                    status
                );
            }
        }
        ensure!(
            list_objects(scene)? == before,
            "a refused call changed the export"
        );
        let now = fs::read_dir(scene.directory.path().parent().context("no parent")?)?.count();
        // Other programs use the parent directory, too, but not these names.
        if now != outside {
            for name in ["absent", "escape"] {
                let beside = scene.directory.path().with_file_name(name);
                ensure!(!beside.exists(), "{} was made", beside.display());
            }
        }
        scene.check_alive()
    })
}

#[test]
fn names_beyond_255_bytes_are_too_long() -> Result<()> {
    Scene::for_each_server(|scene| {
        let root = scene.root.clone();
        let file = scene.create_file("present", b"content")?;
        let before = list_objects(scene)?;
        for len in [256, 257, 300, 1000, 4095, 4096, 8000] {
            let name = vec![b'n'; len];
            for call in calls_with_name(&root, &file, &name) {
                let status = scene.client.status(&call);
                if len > 1000 && status.is_err() {
                    // The name exceeds the server's limit on strings, so the server may reply GARBAGE_ARGS instead of a status.
                    continue;
                }
                let status = status.with_context(|| format!("a name of {len} bytes"))?;
                ensure!(
                    status == nfsstat3::NFS3ERR_NAMETOOLONG,
                    "a name of {len} bytes was answered {:?} by {:?}",
                    status,
                    call.procedure
                );
            }
        }
        ensure!(
            list_objects(scene)? == before,
            "a refused call changed the export"
        );
        // Any bytes but `/` and NUL are a valid name.
        for name in [
            vec![b'n'; 255],
            vec![0xff; 255],
            b" ".to_vec(),
            b"...".to_vec(),
            b"\n".to_vec(),
        ] {
            let name = &name[..];
            let dir = &root[..];
            let how = How::Guarded(Set::default());
            let present = b"present".as_slice();
            for call in [
                Call::create(dir, name, how),
                Call::remove(dir, name),
                Call::mkdir(dir, name, Set::mode(0o755)),
                Call::rmdir(dir, name),
                Call::symlink(dir, name, Set::default(), b"target"),
                Call::remove(dir, name),
                Call::link(&file, dir, name),
                Call::remove(dir, name),
                Call::rename(dir, present, dir, name),
                Call::rename(dir, name, dir, present),
            ] {
                scene.client.expect_status(&call, nfsstat3::NFS3_OK)?;
            }
        }
        ensure!(list_objects(scene)? == before, "an object was not removed");
        Ok(())
    })
}

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
    let set = Set::size(0);
    let modifying_calls = |dir, file| {
        let mut calls = calls_with_name(dir, file, b"dir");
        calls.extend(calls_with_name(dir, file, b"new"));
        calls.push(Call::set_attr(file, set, None));
        calls.push(Call::write(file, 0, stable_how::UNSTABLE, b"data"));
        calls.push(Call::write(file, 0, stable_how::FILE_SYNC, b""));
        calls
    };
    for call in modifying_calls(&ro_root, &ro_file) {
        client.expect_status(&call, nfsstat3::NFS3ERR_ROFS)?;
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
            fails(
                renamed,
                &[nfsstat3::NFS3ERR_XDEV],
                format!("RENAME of {name}"),
            )?;
            let onto = client.rename(from, name, to, name);
            fails(
                onto,
                &[nfsstat3::NFS3ERR_XDEV],
                format!("RENAME onto {name}"),
            )?;
        }
    }
    fails(
        client.link(&file, &two, "new"),
        &[nfsstat3::NFS3ERR_XDEV],
        "LINK",
    )?;
    for dir in directories {
        ensure!(
            fs::read_dir(dir)?.count() == 2,
            "an object moved to the other export"
        );
    }

    // RENAME and LINK between a writable and a read-only export, in both directions.
    let pair = TwoExports::new()?;
    let (mut client, [[root, file, _], [ro_root, ro_file, _]]) = pair.open()?;
    let either = [nfsstat3::NFS3ERR_XDEV, nfsstat3::NFS3ERR_ROFS];
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

#[test]
fn mounts_inside_an_export_are_not_written() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    super::mounts::private("a mount beneath an export", || {
        for name in ["mounted", "dir"] {
            fs::create_dir(path.join(name))?;
        }
        fs::write(path.join("file"), "content")?;
        super::mounts::mount("tmpfs", "size=1m", &path.join("mounted"))?;
        fs::write(path.join("mounted/file"), "other")?;
        let (_server, mut client, root) = serve(path, WRITABLE, ServerOptions::default())?;
        let file = client.lookup(&root, "file")?;
        for result in [
            client.remove(&root, "mounted"),
            client.rmdir(&root, "mounted"),
            client.rename(&root, "mounted", &root, "moved"),
            client.rename(&root, "dir", &root, "mounted"),
        ] {
            ensure!(result.is_err(), "a mount was changed");
        }
        // The mount point may be listed. If LOOKUP succeeds, objects cannot be moved, linked or created in it.
        if let Ok(mounted) = client.lookup(&root, "mounted") {
            ensure!(client.rename(&root, "file", &mounted, "new").is_err());
            ensure!(client.link(&file, &mounted, "new").is_err());
            let how = How::Guarded(Set::default());
            ensure!(
                client.create(&mounted, "new", how).is_err(),
                "CREATE succeeded in another file system"
            );
        }
        ensure!(fs::read(path.join("mounted/file"))? == b"other");
        ensure!(fs::read_dir(path.join("mounted"))?.count() == 1);
        ensure!(fs::read(path.join("file"))? == b"content");
        Ok(())
    })
}
