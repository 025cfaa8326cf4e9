//! Errors and unusual cases for clients that write: full and failing file systems, odd arguments, retransmissions, other users.
//!
//! Data that was acknowledged is in the file, byte for byte; a call that failed has the right status and changed nothing.

mod creating;
mod faults;
mod fragments;
mod identity;
pub(crate) mod laws;
mod limits;
mod names;
mod overlays;
mod programs;
mod rights;
mod room;
mod slow;

use anyhow::{Context, Result, ensure};
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use xtask::clients::nfs::nfs3::{fattr3, ftype3, specdata3};
use xtask::clients::nfs::{Auth, Client, failed_status, nfsstat3, pack, time};
use xtask::machines::mounts;
use xtask::machines::server::Server;
use xtask::testing::{self, Sample, create_file, pattern, serve};

/// Export options that let a test act as root.
const WRITABLE: &str = "rw,no_root_squash";

/// An export that is empty at first, with full rights for root.
struct Empty;

type Scene = testing::Scene<Empty>;

impl Sample for Empty {
    const OPTIONS: &str = WRITABLE;

    fn fill(_directory: &Path) -> Result<()> {
        Ok(())
    }

    /// Writes and reads a file.
    fn check(client: &mut Client, root: &[u8]) -> Result<()> {
        let file = create_file(client, root, "is well", b"well")?;
        ensure!(client.read(&file, 0, 100)? == (b"well".as_slice(), true));
        client.remove(root, "is well")
    }
}

fn check_alive(server: &mut Server, directory: &Path) -> Result<()> {
    testing::check_alive::<Empty>(server, directory)
}

/// AUTH_SYS for an ordinary user.
fn user(uid: u32, gid: u32, groups: &[u32]) -> Auth {
    Auth::sys(b"client", uid, gid, groups)
}

/// Checks that the call failed with one of the `expected` statuses.
fn fails<T>(result: Result<T>, expected: &[nfsstat3], what: impl Debug) -> Result<()> {
    let status = failed_status(result).with_context(|| format!("{what:?}"))?;
    ensure!(
        status.is_some_and(|status| expected.contains(&status)),
        "{what:?} was answered {:?} instead of one of {expected:?}",
        status.unwrap_or(nfsstat3::NFS3_OK)
    );
    Ok(())
}

/// Checks that the attributes in a reply are those of the host's file.
fn is_as_on_the_host(attr: &fattr3, path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let at = |seconds: i64, nanoseconds: i64| time((seconds as u32, nanoseconds as u32));
    let rdev = meta.rdev();
    let host = fattr3 {
        type_: match meta.mode() >> 12 {
            0o10 => ftype3::NF3REG,
            0o04 => ftype3::NF3DIR,
            0o06 => ftype3::NF3BLK,
            0o02 => ftype3::NF3CHR,
            0o12 => ftype3::NF3LNK,
            0o14 => ftype3::NF3SOCK,
            _ => ftype3::NF3FIFO,
        },
        mode: meta.mode() & 0o7777,
        nlink: meta.nlink() as u32,
        uid: meta.uid(),
        gid: meta.gid(),
        size: meta.size(),
        // Not compared: the kernel may still change the blocks of a directory, and those of a file with delayed allocation.
        used: attr.used,
        rdev: specdata3 {
            specdata1: nix::sys::stat::major(rdev) as u32,
            specdata2: nix::sys::stat::minor(rdev) as u32,
        },
        fsid: attr.fsid,
        fileid: meta.ino(),
        atime: at(meta.atime(), meta.atime_nsec()),
        mtime: at(meta.mtime(), meta.mtime_nsec()),
        ctime: at(meta.ctime(), meta.ctime_nsec()),
    };
    ensure!(
        pack(attr) == pack(&host),
        "attributes from the server: {attr:?}, from the host: {host:?}"
    );
    Ok(())
}
