//! Handles of the wrong kind, and opens beyond the limit.

use super::Scene;
use anyhow::{Result, ensure};
use xtask::clients::sftp::{Attrs, Reply, Request, SftpOptions, Status, open};

/// Sends `count` OPENs of `small` in pipelines; returns the handles and the number of refused OPENs.
fn open_many(scene: &mut Scene, count: usize) -> Result<(Vec<Vec<u8>>, usize)> {
    let request = Request::Open(b"small", open::READ, Attrs::default());
    let (mut handles, mut refused) = (Vec::new(), 0);
    for _ in 0..count.div_ceil(500) {
        for reply in scene
            .client
            .pipeline(&vec![request.clone(); 500.min(count)])?
        {
            match reply {
                Reply::Handle(handle) => handles.push(handle),
                other => {
                    ensure!(other.status() == Some(Status::FAILURE), "{other:?}");
                    refused += 1;
                }
            }
        }
    }
    Ok((handles, refused))
}

/// A server with a limit on open descriptors.
fn limited(scene: impl Fn(&std::path::Path) -> SftpOptions, descriptors: usize) -> Result<Scene> {
    let script = format!("ulimit -n {descriptors} && exec \"$@\"");
    Scene::with_options(|path| scene(path).through_shell(&script))
}

#[test]
fn opens_beyond_the_limit_are_refused() -> Result<()> {
    for jailed in [false, true] {
        for descriptors in [40, 1024, 20_000] {
            let options = |path: &std::path::Path| SftpOptions::serving(path, jailed);
            let mut scene = limited(options, descriptors)?;
            let promised = scene.client.limits()?.open_handles;
            scene.check_alive()?;
            works_without_handles(&mut scene)?;
            let idle = scene.client.process.fd_count()?;
            let (handles, refused) = open_many(&mut scene, 10_000)?;
            let context = format!("{} of {descriptors}, in a jail: {jailed}", handles.len());
            ensure!(
                handles.len() as u64 == promised,
                "{context}: {promised} were promised"
            );
            // The server keeps twenty descriptors for itself, and has at most 2048 handles.
            ensure!(handles.len() == (descriptors - 20).min(2048), "{context}");
            ensure!(
                refused == 10_000 - handles.len(),
                "{context}: {refused} refused"
            );
            // OPENDIR needs a handle, too. An OPEN that is refused for want of handles neither creates nor truncates a file.
            for request in [
                Request::OpenDir(b"sub"),
                Request::Open(b"made", open::WRITE | open::CREATE, Attrs::default()),
                Request::Open(b"small", open::WRITE | open::TRUNCATE, Attrs::default()),
            ] {
                scene.expect_status(&request, &[Status::FAILURE])?;
            }
            ensure!(
                !scene.path("made").exists(),
                "{context}: a refused OPEN created the file"
            );
            works_without_handles(&mut scene)?;
            // The first and the last handle work.
            for handle in [&handles[0], &handles[handles.len() - 1]] {
                ensure!(scene.client.read(handle, 0, 9)?.as_deref() == super::SMALL);
            }
            let closes: Vec<_> = handles
                .iter()
                .map(|handle| Request::Close(handle))
                .collect();
            for reply in scene.client.pipeline(&closes)? {
                ensure!(reply.status() == Some(Status::OK), "{reply:?}");
            }
            scene.check_alive()?;
            let now = scene.client.process.fd_count()?;
            ensure!(
                now <= idle,
                "{context}: {now} descriptors instead of {idle}"
            );
            let (reopened, _) = open_many(&mut scene, 10_000)?;
            ensure!(
                reopened.len() == handles.len(),
                "{context}: {} handles the second time",
                reopened.len()
            );
        }
    }
    Ok(())
}

/// OpenSSH opens four files beside one directory.
#[test]
fn eight_descriptors_suffice_for_a_directory_and_files() -> Result<()> {
    let options = |path: &std::path::Path| SftpOptions::serving(path, false);
    let mut scene = limited(options, 8)?;
    let opened = scene.client.open_dir("sub");
    ensure!(opened.is_ok(), "{opened:?}");
    let (handles, _) = open_many(&mut scene, 10)?;
    ensure!(handles.len() == 4, "{} files", handles.len());
    ensure!(scene.client.stat("small")?.size == Some(6));
    ensure!(scene.client.read(&handles[3], 0, 9)?.as_deref() == super::SMALL);
    Ok(())
}

/// Checks that requests that use no handle succeed, also while no handle is free.
fn works_without_handles(scene: &mut Scene) -> Result<()> {
    let client = &mut scene.client;
    ensure!(client.stat("small")?.size == Some(6));
    ensure!(client.lstat("link")?.size == Some(5));
    ensure!(client.read_link("link")? == b"small");
    ensure!(client.real_path("sub/../small")?.ends_with(b"/small"));
    client.mkdir("made", Attrs::mode(0o755))?;
    client.symlink("small", "made/link")?;
    client.hard_link("small", "made/hard")?;
    client.rename("made/hard", "made/renamed")?;
    client.posix_rename("made/renamed", "made/again")?;
    client.set_stat("made/again", Attrs::mode(0o640))?;
    client.set_stat("made/again", Attrs::times(7, 8))?;
    ensure!(client.stat_vfs("made/again")?.blocks > 0);
    client.remove("made/again")?;
    client.remove("made/link")?;
    client.rmdir("made")
}
