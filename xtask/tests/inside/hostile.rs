//! Damaged ISO images. A client lists and reads everything in them: replies must be valid and prompt, and other images must stay
//! readable.

use super::{content, image_of, sample, serve, small_tree};
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use xtask::clients::nfs::nfsstat3::{
    NFS3ERR_INVAL, NFS3ERR_IO, NFS3ERR_NOTDIR, NFS3ERR_SERVERFAULT,
};
use xtask::clients::nfs::{Call, Client, failed_status};
use xtask::clients::sftp::{self, Sftp, SftpOptions};
use xtask::machines::server::{public_dir, users};
use xtask::testing::is_full_run;

/// Limit on the objects explored in one image.
const OBJECTS_MAX: usize = 400;
/// Limit on the pages (replies to READDIR or READDIRPLUS) of one directory. A listing with more pages fails the test.
const PAGES_MAX: usize = 2000;
/// Limit (KiB) of the growth of the server's resident memory while it serves all damaged images.
const GROWTH_MAX: u64 = 256;
/// Offset of the first volume descriptor in an image.
const FIRST: usize = 16 * 2048;

/// Number of damaged images over NFS, per user of [`users`].
fn images() -> usize {
    if is_full_run() { 1000 } else { 100 }
}

/// The image of a tree with long names, links and deep directories.
fn undamaged() -> Result<Vec<u8>> {
    let tree = small_tree(7)?;
    let root = tree.path();
    fs::write(root.join("n".repeat(250)), "long")?;
    std::os::unix::fs::symlink("far/".repeat(60), root.join("far"))?;
    fs::create_dir_all(root.join("a/b/c/d/e/f/g/h/i/j"))?;
    for number in 0..100 {
        fs::write(root.join(format!("sub/file {number}")), number.to_string())?;
    }
    fs::write(root.join("large"), Random::new(8).bytes(200_000))?;
    image_of(root)
}

/// Returns a copy of the image that is truncated or has some bytes changed.
fn damage(image: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = image.to_vec();
    if random.chance(10) {
        bytes.truncate(random.below(image.len()));
        return bytes;
    }
    // The directories are in about the first third of the image, so most images are damaged there only.
    let end = if random.chance(80) {
        image.len() / 3
    } else {
        image.len()
    };
    for _ in 0..1 + random.below(40) {
        // Zero bytes are mostly padding, so up to 20 attempts are made to find another byte.
        let mut offset = 0;
        for _ in 0..20 {
            offset = FIRST + random.below(end - FIRST);
            if bytes[offset] != 0 {
                break;
            }
        }
        match random.below(4) {
            0 => bytes[offset] = 0,
            1 => bytes[offset] = 0xff,
            2 => bytes[offset] ^= 1 << random.below(8),
            _ => bytes[offset] = random.number() as u8,
        }
    }
    if random.chance(20) {
        // Copies a block over another one, which can make a directory contain itself.
        let blocks = end / 2048 - 16;
        let (from, to) = (random.below(blocks), random.below(blocks));
        bytes.copy_within(
            FIRST + from * 2048..FIRST + (from + 1) * 2048,
            FIRST + to * 2048,
        );
    }
    bytes
}

/// Replaces `damaged.iso` by rename, as an update of an image does.
fn write_image(dir: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(dir.join("next"), bytes)?;
    fs::rename(dir.join("next"), dir.join("damaged.iso"))?;
    Ok(())
}

/// Sends requests for every object that can be reached from `root`, and stops after [`OBJECTS_MAX`]. Returns the number of objects.
fn explore(client: &mut Client, root: Vec<u8>) -> Result<usize> {
    let mut seen = HashSet::from([root.clone()]);
    let mut pending = vec![root];
    while let Some(object) = pending.pop() {
        if seen.len() > OBJECTS_MAX {
            break;
        }
        let size = match client.attr(&object) {
            Ok(attr) => attr.size,
            Err(error) => {
                failed_status::<()>(Err(error))?;
                0
            }
        };
        failed_status(client.read_link(&object))?;
        for offset in [0, size / 2, size.saturating_sub(1), 3 << 30] {
            failed_status(client.read(&object, offset, 64 << 10).map(drop))?;
            failed_status(client.read(&object, offset, 1).map(drop))?;
        }
        for name in ["name", "..", "none"] {
            client.status(&Call::lookup(&object, name.as_bytes()))?;
        }
        client.status(&Call::fs_stat(&object))?;
        let (mut cookie, mut verifier) = (0, [0; 8]);
        for page in 0.. {
            ensure!(page < PAGES_MAX, "a directory has no last page");
            let call = Call::read_dir_plus(&object, cookie, verifier, 32 << 10, 32 << 10);
            let listed = match client.page(&call) {
                Ok(listed) => listed,
                Err(error) => {
                    failed_status::<()>(Err(error))?;
                    break;
                }
            };
            for entry in listed.entries {
                cookie = entry.cookie;
                if let Some(handle) = entry.handle
                    && seen.insert(handle.clone())
                {
                    pending.push(handle);
                }
            }
            verifier = listed.verifier;
            if listed.eof {
                break;
            }
        }
    }
    Ok(seen.len())
}

/// Overwrites the first continuation area of a long name with the entry (CE) that refers to it, so that the name never ends.
fn loop_back(image: &mut [u8]) -> Result<()> {
    const LEN: usize = 28;
    let word = |offset: usize| {
        image
            .get(offset..offset + 4)
            .and_then(|it| it.try_into().ok())
    };
    for entry in FIRST..image.len() - LEN {
        if !image[entry..].starts_with(b"CE\x1c\x01") {
            continue;
        }
        let [block, offset] =
            [entry + 4, entry + 12].map(|field| word(field).map_or(0, u32::from_le_bytes));
        let area = block as usize * 2048 + offset as usize;
        // Skips the continuation area of the root directory, which has no name (NM).
        if image[area..].starts_with(b"NM") {
            image.copy_within(entry..entry + LEN, area);
            return Ok(());
        }
    }
    anyhow::bail!("the image has no name with a continuation area")
}

#[test]
fn endless_name_is_cut_over_both_protocols() -> Result<()> {
    let tree = small_tree(7)?;
    fs::write(tree.path().join("n".repeat(250)), "long")?;
    let mut image = image_of(tree.path())?;
    loop_back(&mut image)?;
    let dir = public_dir()?;
    write_image(dir.path(), &image)?;
    let server = serve(dir.path(), None)?;
    let path = dir.path().join("damaged.iso").display().to_string();
    let root = Client::connect(server.mount())?.mount(&path)?;
    let mut nfs = server.connect()?;
    let mut sftp = Sftp::start(&SftpOptions::in_directory(dir.path()))?;
    let by_nfs: Vec<_> = nfs
        .list(&root)?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let by_sftp = sftp.list("damaged.iso/")?.into_iter();
    let by_sftp: Vec<_> = by_sftp.map(|entry| entry.name).collect();
    ensure!(by_nfs == by_sftp, "{by_nfs:?} is not {by_sftp:?}");
    let damaged = by_sftp.iter().find(|name| name.starts_with(b"nnn"));
    let damaged = damaged.context("the damaged entry is not listed")?;
    // As on Linux, the file is there under the part of its name before the loop.
    let file = nfs.walk(&root, std::str::from_utf8(damaged)?)?;
    ensure!(nfs.read(&file, 0, 10)?.0 == b"long");
    let path = [b"damaged.iso/", &damaged[..]].concat();
    ensure!(sftp.error_status(&sftp::Request::Stat(&path))?.is_none());
    Ok(())
}

#[test]
fn damaged_images_give_errors_over_nfs() -> Result<()> {
    let image = undamaged()?;
    let (seed, count) = (seed(), images());
    for user in users() {
        let dir = public_dir()?;
        fs::write(dir.path().join("other.iso"), &sample(2)?.image)?;
        write_image(dir.path(), &image)?;
        let mut server = serve(dir.path(), user)?;
        let mut mount = Client::connect(server.mount())?;
        let path = dir.path().join("damaged.iso").display().to_string();
        let mut client = server.connect()?;
        let whole = explore(&mut client, mount.mount(&path)?)?;
        ensure!(whole > 100, "only {whole} objects in the undamaged image");
        let other = mount.mount(&dir.path().join("other.iso").display().to_string())?;
        let other = client.lookup(&other, "name")?;
        let before = server.rss_kib()?;
        let mut opened = 0;
        for number in 0..count {
            let mut random = Random::new(seed.wrapping_add(number as u64));
            write_image(dir.path(), &damage(&image, &mut random))?;
            let mut look = || match mount.mount(&path) {
                Ok(root) => {
                    opened += 1;
                    explore(&mut client, root).map(drop)
                }
                Err(error) => {
                    let status = failed_status::<()>(Err(error))?;
                    let known = [
                        NFS3ERR_INVAL,
                        NFS3ERR_IO,
                        NFS3ERR_SERVERFAULT,
                        NFS3ERR_NOTDIR,
                    ];
                    ensure!(
                        status.is_some_and(|status| known.contains(&status)),
                        "MNT was answered {status:?}"
                    );
                    Ok(())
                }
            };
            look()
                .with_context(|| format!("mutation {number} of seed {seed}, as user {user:?}"))?;
            ensure!(server.is_alive()?, "the server ended at mutation {number}");
        }
        ensure!(opened > count / 4, "only {opened} could be mounted");
        let after = server.rss_kib()?;
        ensure!(
            after <= before + GROWTH_MAX,
            "resident memory grew from {before} to {after} KiB"
        );
        ensure!(content(&mut client, &other)? == b"00002");
        println!("as user {user:?}: {opened} of {count} mounted; {before} KiB, then {after}");
    }
    Ok(())
}
