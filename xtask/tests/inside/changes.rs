//! Images that are replaced, overwritten, cut short or removed while somebody uses them.

use super::{Sample, Scene, content, ensure_at_rest, sample, wait_until_closed};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use xtask::clients::nfs::{Auth, Call, Client, Outcome, data, failure, nfsstat3, outcome, record};
use xtask::clients::sftp::{self, Sftp, SftpOptions};
use xtask::machines::server::users;

/// What happens to an image.
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
        // A clock of files may tick a hundred times a second: the image must not look as it did before.
        sleep(Duration::from_millis(20));
        let file = || File::options().write(true).open(image);
        match self {
            Self::Replaced => {
                let next = image.with_extension("next");
                fs::write(&next, &new.image)?;
                fs::rename(next, image)?;
            }
            Self::Overwritten => file()?.write_all_at(&new.image, 0)?,
            // The directories are still there.
            Self::Truncated => file()?.set_len(1 << 20)?,
            Self::Removed => fs::remove_file(image)?,
        }
        Ok(())
    }

    /// The image that is there afterwards has this content.
    fn leaves_new(self) -> bool {
        matches!(self, Self::Replaced | Self::Overwritten)
    }
}

/// Each thing that can be asked for inside an image is answered STALE or IO.
fn ensure_gone(client: &mut Client, nodes: &[Vec<u8>; 3]) -> Result<()> {
    let [top, sub, large] = nodes;
    for call in [
        Call::get_attr(top),
        Call::get_attr(large),
        Call::access(sub, 1),
        Call::lookup(top, b"name"),
        Call::lookup(sub, b"deep"),
        Call::read(large, 0, 4096),
        Call::read(large, 5 << 20, 64 << 10),
        Call::read_dir(top, 0, [0; 8], 4096),
        Call::read_dir_plus(sub, 0, [0; 8], 4096, 4096),
        Call::fs_stat(top),
    ] {
        let status = client.status(&call)?;
        ensure!(
            [nfsstat3::NFS3ERR_STALE, nfsstat3::NFS3ERR_IO].contains(&status),
            "{call:?} was answered {status:?}"
        );
    }
    Ok(())
}

/// READs of 1 MiB that are asked for before the change and taken in after it: an error, or bytes of the old or the new image.
fn ensure_ends_well(client: &mut Client, change: Change, count: u32, new: &Sample) -> Result<()> {
    let old = sample(1)?;
    for index in 0..count {
        let Some(reply) = client.receive()? else {
            // What was promised is no longer there.
            ensure!(change == Change::Truncated, "the connection was closed");
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
                    matches!(
                        status,
                        Some(&nfsstat3::NFS3ERR_STALE | &nfsstat3::NFS3ERR_IO)
                    ),
                    "READ {index}: {error:#}"
                );
                continue;
            }
        };
        let at = (index as usize) << 20;
        let (before, after) = (&old.large[at..][..1 << 20], &new.large[at..][..1 << 20]);
        let bytes = data.iter().zip(before.iter().zip(after));
        let known = |(byte, (before, after)): (&u8, (&u8, &u8))| match change {
            Change::Overwritten => byte == before || byte == after,
            // What the kernel was about to send of a page it clears when the file is cut there, as it does for any file.
            Change::Truncated => byte == before || *byte == 0,
            Change::Replaced | Change::Removed => byte == before,
        };
        ensure!(
            data.len() == 1 << 20 && bytes.into_iter().all(known),
            "READ {index} brought other bytes"
        );
    }
    Ok(())
}

#[test]
fn what_was_inside_is_stale_and_everything_else_goes_on() -> Result<()> {
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
    let top = scene.mount("one.iso")?;
    let mut client = scene.server.connect()?;
    let large = client.walk(&top, "large")?;
    let nodes = [top.clone(), client.walk(&top, "sub")?, large.clone()];
    let other = scene.mount("other.iso/sub/deep")?;
    let bottom = client.lookup(&other, "bottom")?;
    let plain = client.lookup(&scene.mount("")?, "plain")?;
    ensure!(content(&mut client, &large)? == sample(1)?.large);

    // The server has begun to answer, and its socket is full, when the image changes.
    let mut reading = scene.server.connect()?;
    for index in 0..IN_FLIGHT {
        let call = Call::read(&large, u64::from(index) << 20, 1 << 20);
        reading.send(&record(&call.message(index, &Auth::root())))?;
    }
    sleep(Duration::from_millis(100));
    change.happen(&scene.path("one.iso"), &new)?;
    ensure_gone(&mut client, &nodes)?;
    ensure!(content(&mut client, &bottom)? == b"00002", "another image");
    ensure!(content(&mut client, &plain)? == sample(2)?.large, "a file");
    ensure_ends_well(&mut reading, change, IN_FLIGHT, &new)?;
    ensure_gone(&mut client, &nodes)?;

    let fresh = scene.mount("one.iso");
    if change.leaves_new() {
        let fresh = client.walk(&fresh?, "large")?;
        ensure!(content(&mut client, &fresh)? == new.large, "the new image");
    } else if change == Change::Truncated {
        // What is left of it can be seen; what is not, is an error.
        let fresh = client.walk(&fresh?, "large")?;
        let status = client.status(&Call::read(&fresh, 8 << 20, 4096))?;
        ensure!(status == nfsstat3::NFS3ERR_IO, "behind the end: {status:?}");
    } else {
        let status = failure(fresh)?;
        ensure!(
            status == Some(nfsstat3::NFS3ERR_NOENT),
            "a fresh MNT: {status:?}"
        );
    }
    ensure_gone(&mut client, &nodes)?;
    drop(reading);
    // Nobody keeps the room on the disk that the old image took.
    wait_until_closed(scene.server.pid(), scene.directory.path())?;
    ensure_at_rest(|| scene.server.cpu_ticks())?;
    ensure!(content(&mut client, &bottom)? == b"00002", "after a rest");
    ensure!(scene.server.is_alive()?);
    Ok(())
}

#[test]
fn open_files_inside_fail_and_the_session_goes_on() -> Result<()> {
    for change in Change::ALL {
        stale_over_sftp(change).with_context(|| format!("{change:?}"))?;
    }
    Ok(())
}

fn stale_over_sftp(change: Change) -> Result<()> {
    // Its server of NFS is not asked.
    let scene = Scene::new(None)?;
    let (old, new) = (sample(1)?, sample(3)?);
    let mut session = Sftp::start(&SftpOptions::at(scene.directory.path()))?;
    let large = session.open_read("one.iso/large")?;
    let list = session.open_dir("one.iso/sub")?;
    let other = session.open_read("other.iso/large")?;
    let data = session.read(&large, 1 << 20, 100)?.context("no bytes")?;
    ensure!(data == old.large[1 << 20..][..100]);
    change.happen(&scene.path("one.iso"), &new)?;

    for _ in 0..2 {
        let failed = sftp::failure(session.fstat(&large))?;
        ensure!(failed.is_some(), "FSTAT of what is gone");
        // Few bytes are answered at once, many are handed on by the kernel. Not every READ asks whether the image changed, but
        // nobody comes to the end of a file without being told.
        for count in [100, 1 << 15, 1 << 17] {
            let mut failed = None;
            for _ in 0..8 {
                // Who reads in another image in between is not the one who is told.
                ensure!(session.read(&other, 0, 100)?.is_some());
                failed = failed.or(sftp::failure(session.read(&large, 8 << 20, count))?);
            }
            ensure!(failed.is_some(), "READs of {count} bytes of what is gone");
            let end = old.large.len() as u64 - u64::from(count);
            let failed = sftp::failure(session.read(&large, end, count))?;
            ensure!(
                failed.is_some(),
                "READ of the last {count} bytes of what is gone"
            );
        }
        let failed = sftp::failure(session.read_dir(&list))?;
        ensure!(failed.is_some(), "READDIR of what is gone");
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
        let gone = session.open_read("one.iso/large");
        let failed = match gone {
            Ok(handle) => sftp::failure(session.read(&handle, 8 << 20, 1 << 15))?,
            Err(error) => sftp::failure::<()>(Err(error))?,
        };
        ensure!(failed.is_some(), "READ of what is gone");
    }
    ensure_at_rest(|| session.process.cpu_ticks())?;
    ensure!(session.read_file("other.iso/name")? == b"00002");
    let (_, ended) = session.finish()?;
    ensure!(ended.code() == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn a_session_at_rest_keeps_no_removed_image() -> Result<()> {
    let scene = Scene::new(None)?;
    let mut session = Sftp::start(&SftpOptions::at(scene.directory.path()))?;
    session.read_file("one.iso/name")?;
    Change::Removed.happen(&scene.path("one.iso"), &sample(3)?)?;
    wait_until_closed(session.process.pid(), scene.directory.path())
}

#[test]
fn what_an_incomplete_image_lacks_is_an_error_however_much_is_asked_for() -> Result<()> {
    let scene = Scene::new(None)?;
    Change::Truncated.happen(&scene.path("one.iso"), &sample(3)?)?;
    let top = scene.mount("one.iso")?;
    let mut client = scene.server.connect()?;
    let file = client.walk(&top, "large")?;
    // 4 KiB are read at once, the others are orders to the driver.
    for count in [4 << 10, 128 << 10, 1 << 20] {
        let status = client.status(&Call::read(&file, 8 << 20, count));
        let status = status.with_context(|| format!("READ of {count} bytes over NFS"))?;
        ensure!(status == nfsstat3::NFS3ERR_IO, "{count} bytes: {status:?}");
    }
    let mut session = Sftp::start(&SftpOptions::at(scene.directory.path()))?;
    let opened = sftp::failure(session.open_read("one.iso/large"))?;
    ensure!(opened.is_some(), "what is not all there was opened");
    // The session goes on.
    ensure!(session.read_file("other.iso/name")? == b"00002");
    Ok(())
}
