//! Random READs in an ISO image of 5 GiB with a file of several extents.

use super::serve;
use anyhow::{Context, Result, ensure};
use cases::random::{Random, seed};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use xtask::machines::iso::{HUGE_BYTES, huge, huge_marks};
use xtask::machines::server::{public_dir, users};

const READ: usize = 64 << 10;
const HUNDRED: usize = 100;
/// Limit (KiB) of the growth of the server's resident memory after the first hundred READs. It allows for rarely used pages of the
/// program, not for data that was read.
const GROWTH_MAX: u64 = 64;

#[test]
fn random_reads_in_5_gib_need_no_memory() -> Result<()> {
    let dir = public_dir()?;
    huge(dir.path(), "huge.iso")?;
    for user in users() {
        reads(dir.path(), user).with_context(|| format!("as user {user:?}"))?;
    }
    Ok(())
}

/// Sends 400 READs. The server's memory may grow only during the first hundred.
fn reads(dir: &Path, user: Option<u32>) -> Result<()> {
    let source = File::open(dir.join("tree/huge"))?;
    let server = serve(dir, user)?;
    let (mut client, root) = server.open(&dir.join("huge.iso"))?;
    let file = client.walk(&root, "huge")?;
    ensure!(client.attr(&file)?.size == HUGE_BYTES);
    let (mut random, marks) = (Random::new(seed()), huge_marks().collect::<Vec<_>>());
    let mut before = 0;
    for number in 0..4 * HUNDRED {
        let mark = *random.pick(&marks);
        let offset = mark.saturating_sub(random.below(READ) as u64);
        let (data, eof) = client
            .read(&file, offset, READ as u32)
            .with_context(|| format!("READ {number} at {offset}"))?;
        let mut expected = vec![0; READ.min((HUGE_BYTES - offset) as usize)];
        source.read_exact_at(&mut expected, offset)?;
        ensure!(data == expected, "wrong bytes at {offset}");
        let is_end = offset + data.len() as u64 == HUGE_BYTES;
        ensure!(eof == is_end, "eof is {eof} at {offset}");
        if number == HUNDRED {
            before = server.rss_kib()?;
        }
    }
    let after = server.rss_kib()?;
    ensure!(
        after <= before + GROWTH_MAX,
        "resident memory grew from {before} to {after} KiB"
    );
    Ok(())
}
