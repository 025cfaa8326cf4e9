//! ISO images that are replaced, overwritten, truncated or removed while clients read files in them.

use super::{Sample, Scene, content, ensure_at_rest, sample, wait_until_closed};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::nfs::nfsstat3::{NFS3ERR_IO, NFS3ERR_NOENT, NFS3ERR_STALE};
use xtask::clients::nfs::{
    Auth, Call, Client, Outcome, data, failed_status, nfsstat3, outcome, record,
};
use xtask::clients::sftp::{self, Sftp, SftpOptions};
use xtask::machines::server::users;

/// A change of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Replaced,
    Overwritten,
    Truncated,
    Removed,
}

impl Change {
    const ALL: [Self; 4] = [
        Self::Replaced,
        Self::Overwritten,
        Self::Truncated,
        Self::Removed,
    ];

    fn happen(self, image: &Path, new: &Sample) -> Result<()> {
        // File timestamps may have a resolution of 10 ms. The pause ensures that the image's timestamps differ after the change.
        sleep(Duration::from_millis(20));
        let file = || File::options().write(true).open(image);
        match self {
            Self::Replaced => {
                let next = image.with_extension("next");
                fs::write(&next, &new.image)?;
                fs::rename(next, image)?;
            }
            Self::Overwritten => file()?.write_all_at(&new.image, 0)?,
            // All directories are in the first MiB, so the truncation removes only data of files.
            Self::Truncated => file()?.set_len(1 << 20)?,
            Self::Removed => fs::remove_file(image)?,
        }
        Ok(())
    }

    /// Returns true if the path refers to the new image after the change.
    fn leaves_new(self) -> bool {
        matches!(self, Self::Replaced | Self::Overwritten)
    }
}

/// Ensures that every request for an object inside the image fails with STALE or IO.
fn ensure_gone(client: &mut Client, nodes: &[Vec<u8>; 3]) -> Result<()> {
    let [root, sub, large] = nodes;
    for call in [
        Call::get_attr(root),
        Call::get_attr(large),
        Call::access(sub, 1),
        Call::lookup(root, b"name"),
        Call::lookup(sub, b"deep"),
        Call::read(large, 0, 4096),
        Call::read(large, 5 << 20, 64 << 10),
        Call::read_dir(root, 0, [0; 8], 4096),
        Call::read_dir_plus(sub, 0, [0; 8], 4096, 4096),
        Call::fs_stat(root),
    ] {
        let status = client.status(&call)?;
        ensure!(
            [NFS3ERR_STALE, NFS3ERR_IO].contains(&status),
            "{call:?} was answered {status:?}"
        );
    }
    Ok(())
}

/// Receives the replies to READs of 1 MiB that were sent before the change. Each must be an error or have bytes of the old image.
/// Bytes of the new image are valid after an overwrite, zeros after a truncation.
fn ensure_replies_are_valid(
    client: &mut Client,
    change: Change,
    count: u32,
    new: &Sample,
) -> Result<()> {
    let old = sample(1)?;
    for index in 0..count {
        let Some(reply) = client.receive()? else {
            // After a truncation the server cannot send all bytes that its reply head announced, so it closes the connection.
            ensure!(
                change == Change::Truncated,
                "the server closed the connection"
            );
            return Ok(());
        };
        let (xid, outcome) = outcome(reply)?;
        let Outcome::Success(body) = outcome else {
            bail!("READ {index} was answered {outcome:?}")
        };
        ensure!(xid == index, "reply {xid} came instead of {index}");
        let data = match data(body) {
            Ok((data, _)) => data,
            Err(error) => {
                let status = error.downcast_ref::<nfsstat3>();
                ensure!(
                    matches!(status, Some(&NFS3ERR_STALE | &NFS3ERR_IO)),
                    "READ {index}: {error:#}"
                );
                continue;
            }
        };
        let offset = (index as usize) << 20;
        let (before, after) = (
            &old.large[offset..][..1 << 20],
            &new.large[offset..][..1 << 20],
        );
        let bytes = data.iter().zip(before.iter().zip(after));
        let known = |(byte, (before, after)): (&u8, (&u8, &u8))| match change {
            Change::Overwritten => byte == before || byte == after,
            // The kernel may zero truncated pages that sendfile has queued but not sent. This happens with every file.
            Change::Truncated => byte == before || *byte == 0,
            Change::Replaced | Change::Removed => byte == before,
        };
        ensure!(
            data.len() == 1 << 20 && bytes.into_iter().all(known),
            "READ {index} returned wrong bytes"
        );
    }
    Ok(())
}

#[test]
fn changed_image_is_stale_other_files_stay_readable() -> Result<()> {
    for user in users() {
        for change in Change::ALL {
            stale_over_nfs(user, change)
                .with_context(|| format!("as user {user:?}, {change:?}"))?;
        }
    }
    Ok(())
}

fn stale_over_nfs(user: Option<u32>, change: Change) -> Result<()> {
    const IN_FLIGHT: u32 = 10;
    let mut scene = Scene::new(user)?;
    let new = sample(3)?;
    let root = scene.mount("one.iso")?;
    let mut client = scene.server.connect()?;
    let large = client.walk(&root, "large")?;
    let nodes = [root.clone(), client.walk(&root, "sub")?, large.clone()];
    let other = scene.mount("other.iso/sub/deep")?;
    let bottom = client.lookup(&other, "bottom")?;
    let plain = client.lookup(&scene.mount("")?, "plain")?;
    ensure!(content(&mut client, &large)? == sample(1)?.large);

    // When the image changes, the server is still answering these READs, and the socket's send buffer is full.
    let mut reading = scene.server.connect()?;
    for index in 0..IN_FLIGHT {
        let call = Call::read(&large, u64::from(index) << 20, 1 << 20);
        reading.send(&record(&call.message(index, &Auth::root())))?;
    }
    sleep(Duration::from_millis(100));
    change.happen(&scene.path("one.iso"), &new)?;
    ensure_gone(&mut client, &nodes)?;
    ensure!(
        content(&mut client, &bottom)? == b"00002",
        "a file in another image"
    );
    ensure!(
        content(&mut client, &plain)? == sample(2)?.large,
        "a plain file"
    );
    ensure_replies_are_valid(&mut reading, change, IN_FLIGHT, &new)?;
    ensure_gone(&mut client, &nodes)?;

    let fresh = scene.mount("one.iso");
    if change.leaves_new() {
        let fresh = client.walk(&fresh?, "large")?;
        ensure!(
            content(&mut client, &fresh)? == new.large,
            "a file in the new image"
        );
    } else if change == Change::Truncated {
        // A new MNT of the truncated image succeeds. READs beyond the end of the image must fail.
        let fresh = client.walk(&fresh?, "large")?;
        client.expect_status(&Call::read(&fresh, 8 << 20, 4096), NFS3ERR_IO)?;
    } else {
        let status = failed_status(fresh)?;
        ensure!(status == Some(NFS3ERR_NOENT), "a fresh MNT: {status:?}");
    }
    ensure_gone(&mut client, &nodes)?;
    drop(reading);
    // The server must close the old image, so that its disk space is freed.
    wait_until_closed(scene.server.pid(), scene.directory.path())?;
    ensure_at_rest(|| scene.server.cpu_ticks())?;
    ensure!(
        content(&mut client, &bottom)? == b"00002",
        "after the idle period"
    );
    ensure!(scene.server.is_alive()?);
    Ok(())
}

#[test]
fn open_files_in_changed_image_fail_session_continues() -> Result<()> {
    for change in Change::ALL {
        stale_over_sftp(change).with_context(|| format!("{change:?}"))?;
    }
    Ok(())
}

fn stale_over_sftp(change: Change) -> Result<()> {
    // The scene's NFS server is not used.
    let scene = Scene::new(None)?;
    let (old, new) = (sample(1)?, sample(3)?);
    let mut session = Sftp::start(&SftpOptions::in_directory(scene.directory.path()))?;
    let large = session.open_read("one.iso/large")?;
    let list = session.open_dir("one.iso/sub")?;
    let other = session.open_read("other.iso/large")?;
    let data = session.read(&large, 1 << 20, 100)?.context("no bytes")?;
    ensure!(data == old.large[1 << 20..][..100]);
    change.happen(&scene.path("one.iso"), &new)?;

    for _ in 0..2 {
        let failed = sftp::failed_status(session.fstat(&large))?;
        ensure!(failed.is_some(), "FSTAT of a stale file succeeded");
        // The server does not check at every READ whether the image has changed, so at least one of eight READs must fail. A
        // READ at the end of the file must always fail.
        for count in [100, 1 << 15, 1 << 17] {
            let mut failed = None;
            for _ in 0..8 {
                // A READ from another image, sent in between, must succeed.
                ensure!(session.read(&other, 0, 100)?.is_some());
                failed = failed.or(sftp::failed_status(session.read(&large, 8 << 20, count))?);
            }
            ensure!(
                failed.is_some(),
                "no READ of {count} bytes of a stale file failed"
            );
            let end = old.large.len() as u64 - u64::from(count);
            let failed = sftp::failed_status(session.read(&large, end, count))?;
            ensure!(
                failed.is_some(),
                "READ of the last {count} bytes of a stale file succeeded"
            );
        }
        let failed = sftp::failed_status(session.read_dir(&list))?;
        ensure!(failed.is_some(), "READDIR of a stale directory succeeded");
    }
    ensure!(session.read_file("other.iso/sub/deep/bottom")? == b"00002");
    ensure!(session.read_file("plain")? == sample(2)?.large);
    session.close(&large)?;
    session.close(&list)?;
    session.close(&other)?;
    if change.leaves_new() {
        ensure!(session.read_file("one.iso/large")? == new.large);
        ensure!(session.read_file("one.iso/sub/../link")? == b"00003");
    } else {
        let opened = session.open_read("one.iso/large");
        let failed = match opened {
            Ok(handle) => sftp::failed_status(session.read(&handle, 8 << 20, 1 << 15))?,
            Err(error) => sftp::failed_status::<()>(Err(error))?,
        };
        ensure!(failed.is_some(), "READ of a missing part succeeded");
    }
    ensure_at_rest(|| session.process.cpu_ticks())?;
    ensure!(session.read_file("other.iso/name")? == b"00002");
    let (_, ended) = session.finish()?;
    ensure!(ended.code() == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn idle_session_closes_removed_image() -> Result<()> {
    let scene = Scene::new(None)?;
    let mut session = Sftp::start(&SftpOptions::in_directory(scene.directory.path()))?;
    session.read_file("one.iso/name")?;
    Change::Removed.happen(&scene.path("one.iso"), &sample(3)?)?;
    wait_until_closed(session.process.pid(), scene.directory.path())
}
