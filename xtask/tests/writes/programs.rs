//! Executables on an export: a running executable cannot be written, and a written one can be run a few seconds later.

use super::{Scene, fails};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use xtask::clients::nfs::nfsstat3::NFS3ERR_ACCES;
use xtask::clients::nfs::stable_how::{FILE_SYNC, UNSTABLE};
use xtask::clients::nfs::{How, Set};

/// Longest time that the server keeps a file open after the last WRITE: two seconds, plus time for a slow machine.
const IDLE_MAX: Duration = Duration::from_millis(3500);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The program may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn running_program_refuses_writes() -> Result<()> {
    Scene::for_each_server(|scene| {
        let program = which::which("sleep")?;
        fs::copy(&program, scene.path("sleep"))?;
        fs::set_permissions(scene.path("sleep"), fs::Permissions::from_mode(0o777))?;
        let before = fs::read(scene.path("sleep"))?;
        let root = scene.root.clone();
        let file = scene.client.lookup(&root, "sleep")?;
        let running = Command::new(scene.path("sleep")).arg("60").spawn();
        let mut running = Running(running.context("cannot run a program from the export")?);
        for stable in [UNSTABLE, FILE_SYNC] {
            let wrote = scene.client.write(&file, 0, stable, b"broken");
            fails(wrote, &[NFS3ERR_ACCES], "WRITE")?;
        }
        let cut = scene.client.set_attr(&file, Set::size(0));
        fails(cut, &[NFS3ERR_ACCES], "SETATTR of the size")?;
        let truncating = How::Unchecked(Set::size(0));
        let cut = scene.client.create(&root, "sleep", truncating);
        fails(cut, &[NFS3ERR_ACCES], "CREATE of size 0")?;
        ensure!(
            fs::read(scene.path("sleep"))? == before,
            "the running program was written"
        );
        ensure!(running.0.try_wait()?.is_none(), "the program ended");
        // RENAME may replace the name of a running program.
        let new = scene.create_file("new", b"new")?;
        scene.client.rename(&root, "new", &root, "sleep")?;
        ensure!(running.0.try_wait()?.is_none(), "the program ended");
        drop(running);
        ensure!(scene.client.write(&new, 0, FILE_SYNC, b"NEW")?.count == 3);
        scene.check_alive()
    })
}

#[test]
fn written_program_can_run_after_idle_close() -> Result<()> {
    Scene::for_each_server(|scene| {
        let program = fs::read(which::which("true")?)?;
        let root = scene.root.clone();
        let how = How::Guarded(Set::mode(0o755));
        let file = scene.client.create(&root, "true", how)?;
        let verifier = scene
            .client
            .write_all(&file, 0, UNSTABLE, &program, 65_536)?;
        ensure!(scene.client.commit(&file, 0, 0)? == verifier);
        let start = Instant::now();
        loop {
            let run = Command::new(scene.path("true"))
                .stdin(Stdio::null())
                .status();
            match run {
                Ok(status) => {
                    ensure!(status.success(), "the program ended with {status}");
                    break;
                }
                Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => ensure!(
                    start.elapsed() < IDLE_MAX,
                    "the program is still open for writing after {:?}",
                    start.elapsed()
                ),
                Err(e) => return Err(e).context("cannot run what was written"),
            }
            sleep(Duration::from_millis(20));
        }
        // After the program has ended, a WRITE makes the server open it for writing again, and succeeds.
        ensure!(
            scene
                .client
                .write(&file, 0, FILE_SYNC, &program[..4])?
                .count
                == 4
        );
        Ok(())
    })
}
