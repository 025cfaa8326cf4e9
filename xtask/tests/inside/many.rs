//! A directory with a thousand ISO images.

use super::{image_of, open_images, serve, small_tree, wait_until_closed};
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;
use xtask::clients::nfs::Client;
use xtask::machines::server::{Server, public_dir, users};

const COUNT: u64 = 1000;
/// Limit (KiB) of the growth of resident memory after all images have been used.
const GROWTH_MAX: u64 = 192;

/// A directory of a thousand images. `name` and `sub/deep/bottom` of each contain its number as five digits.
fn thousand() -> Result<TempDir> {
    const MARK: u64 = 98_765;
    let image = image_of(small_tree(MARK)?.path())?;
    let mark = MARK.to_string();
    let offsets: Vec<_> = (0..image.len() - 5)
        .filter(|offset| &image[*offset..*offset + 5] == mark.as_bytes())
        .collect();
    ensure!(offsets.len() == 2, "the mark is at {offsets:?}");
    let dir = public_dir()?;
    for number in 0..COUNT {
        let mut image = image.clone();
        for offset in &offsets {
            image[*offset..offset + 5].copy_from_slice(format!("{number:05}").as_bytes());
        }
        fs::write(dir.path().join(format!("{number}.iso")), image)?;
    }
    Ok(dir)
}

/// Mounts an image and reads the file `sub/deep/bottom`, whose handle is returned.
fn use_one(server: &Server, client: &mut Client, dir: &Path, number: u64) -> Result<Vec<u8>> {
    let path = dir.join(format!("{number}.iso")).display().to_string();
    let root = Client::connect(server.mount())?.mount(&path)?;
    let file = client.walk(&root, "sub/deep/bottom")?;
    let (data, eof) = client.read(&file, 0, 4096)?;
    ensure!(
        eof && data == format!("{number:05}").as_bytes(),
        "image {number} has {data:?}"
    );
    Ok(file)
}

#[test]
fn thousand_images_are_served_with_bounded_memory() -> Result<()> {
    let dir = thousand()?;
    let empty = public_dir()?;
    for user in users() {
        let server = serve(dir.path(), user)?;
        let other = serve(empty.path(), user)?;
        // After this pause, the server has released the memory that only its start needs.
        sleep(Duration::from_secs(3));
        let (rss, other_rss) = (server.rss_kib()?, other.rss_kib()?);
        ensure!(
            rss.abs_diff(other_rss) <= 32 && server.fd_count()? == other.fd_count()?,
            "idle: {rss} KiB and {} descriptors; with an empty directory {other_rss} KiB and {}",
            server.fd_count()?,
            other.fd_count()?
        );
        let (mut client, root) = server.open(dir.path())?;
        let listed = client.list(&root)?;
        let images = listed.iter().filter(|it| it.name.ends_with(b".iso"));
        ensure!(images.count() as u64 == COUNT, "{} names", listed.len());
        ensure!(
            open_images(server.pid(), dir.path())? == 0,
            "a listing opened images"
        );
        use_one(&server, &mut client, dir.path(), 0)?;
        let before = server.rss_kib()?;
        let mut files = Vec::new();
        for number in 0..COUNT {
            files.push(use_one(&server, &mut client, dir.path(), number)?);
        }
        // Handles of files in images that were closed long ago are still valid.
        for (number, file) in files.iter().enumerate().step_by(37) {
            let (data, _) = client.read(file, 0, 4096)?;
            ensure!(
                data == format!("{number:05}").as_bytes(),
                "image {number}, read again"
            );
        }
        let after = server.rss_kib()?;
        ensure!(
            after <= before + GROWTH_MAX,
            "resident memory grew from {before} to {after} KiB"
        );
        wait_until_closed(server.pid(), dir.path())?;
        let data = client.read(&files[5], 0, 4096)?.0;
        ensure!(data == b"00005", "after the images were closed");
        println!(
            "as user {user:?}: idle {rss} KiB, {before} KiB after one image, {after} KiB after all"
        );
    }
    Ok(())
}
