//! Trees that change while the server uses them: no byte from outside the export, nor one that the file never had, is sent.

use super::Scene;
use anyhow::{Result, ensure};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};
use xtask::clients::nfs::nfsstat3;
use xtask::machines::server::{public_dir, users};
use xtask::testing::{run_while_disturbed, swap_names};

#[test]
fn swapped_symlink_never_leaves_the_export() -> Result<()> {
    const WALKS: usize = 20_000;
    for user in users() {
        let mut scene = Scene::new(user)?;
        let outside = public_dir()?;
        fs::create_dir(outside.path().join("deep"))?;
        fs::write(outside.path().join("inner"), "OUTSIDE")?;
        fs::write(outside.path().join("deep/inner"), "OUTSIDE")?;
        let (dir, link) = (scene.path("sub"), scene.path("swap"));
        fs::create_dir(dir.join("deep"))?;
        fs::write(dir.join("deep/inner"), "inner\n")?;
        std::os::unix::fs::symlink(outside.path(), &link)?;
        // Looks up a file in `sub/deep` before the race. During the race, `sub` and the link are exchanged.
        let deep = scene.client.walk(&scene.root, "sub/deep/inner")?;
        let mut read_count = 0;
        run_while_disturbed(
            || swap_names(&dir, &link),
            || {
                for walk in 0..WALKS {
                    let path = if walk % 2 == 0 {
                        "sub/inner"
                    } else {
                        "sub/deep/inner"
                    };
                    let found = if walk % 3 == 0 {
                        Ok(deep.clone())
                    } else {
                        scene.client.walk(&scene.root, path)
                    };
                    let Ok(file) = found
                        .inspect_err(|e| assert!(e.downcast_ref::<nfsstat3>().is_some(), "{e:?}"))
                    else {
                        continue;
                    };
                    match scene.client.read(&file, 0, 4096) {
                        Ok((data, _)) => {
                            read_count += 1;
                            ensure!(
                                data == b"inner\n",
                                "walk {walk} as user {user:?} read {:?}",
                                data.escape_ascii()
                            );
                        }
                        Err(e) => {
                            ensure!(e.downcast_ref::<nfsstat3>().is_some(), "walk {walk}: {e:?}")
                        }
                    }
                }
                Ok(())
            },
        )?;
        // If nearly no walk or every walk found the file, there was no race.
        ensure!(
            read_count > WALKS / 100 && read_count < WALKS,
            "{read_count} of {WALKS} walks found the file"
        );
        scene.check_alive()?;
    }
    Ok(())
}

#[test]
fn shrinking_file_is_never_padded() -> Result<()> {
    const FILE_LEN: usize = 4 << 20;
    const READS: usize = 400;
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut scene = Scene::new(None)?;
    let path = scene.path("large");
    let content = vec![b'x'; FILE_LEN];
    fs::write(&path, &content)?;
    let file = scene.client.lookup(&scene.root, "large")?;
    let mut rewritten = OpenOptions::new().write(true).open(&path)?;
    let (mut whole, mut reads) = (0, 0);
    run_while_disturbed(
        || {
            // During this pause the file has its full length, so that some READs are complete.
            std::thread::sleep(Duration::from_millis(2));
            // The file grows by writes only, so that every byte in it is always 'x'.
            rewritten.set_len(0)?;
            std::io::Seek::rewind(&mut rewritten)?;
            Ok(rewritten.write_all(&content)?)
        },
        || {
            let start = Instant::now();
            // Reads until some READs were short and others complete.
            while reads < READS || (whole == 0 || whole == reads) && start.elapsed() < PATIENCE {
                let offset = (reads % 4) << 20;
                reads += 1;
                match scene.client.read(&file, offset as u64, 1 << 20) {
                    Ok((data, _)) => {
                        whole += usize::from(data.len() == 1 << 20);
                        ensure!(
                            data.iter().all(|&byte| byte == b'x'),
                            "READ {reads} was padded"
                        );
                    }
                    Err(_) => scene.client = scene.server.connect()?,
                }
            }
            Ok(())
        },
    )?;
    ensure!(
        whole > 0 && whole < reads,
        "{whole} of {reads} READs were whole"
    );
    scene.check_alive()
}
