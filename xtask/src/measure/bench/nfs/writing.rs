//! The workloads that change files, and the checks of the changed files, which are not measured.

use anyhow::{Result, ensure};

use super::connection::{BATCH, Connection, SLIDE};
use crate::clients::nfs::nfs3::{COMMIT3res, REMOVE3res};
use crate::clients::nfs::{
    Call, Client, How, Set, ok, parse_created, parse_write, read, stable_how,
};
use crate::measure::bench::load;
use crate::measure::bench::workspace::{CHUNK, Pattern, Scale};

type Load = load::Load<Connection>;

/// Name of the file that is made and written.
const MADE: &str = "made";
/// Number of chunks that are read back.
const LOOK_COUNT: u64 = 16;

/// Makes a file in `dir` and writes it with [`fill`].
pub fn make_and_fill(
    load: &mut Load,
    dir: &[u8],
    pattern: &Pattern,
    file_bytes: u64,
) -> Result<u64> {
    let mut file = Vec::new();
    create(load, dir, &[MADE.into()], |handle| file = handle)?;
    fill(load, &file, pattern, file_bytes)
}

/// Writes a file with sequential unstable WRITEs, then sends a COMMIT. Returns the file's length in bytes.
pub fn fill(load: &mut Load, file: &[u8], pattern: &Pattern, file_bytes: u64) -> Result<u64> {
    let mut verifier = None;
    load.run(
        file_bytes / CHUNK as u64,
        SLIDE,
        |index| {
            let offset = index * CHUNK as u64;
            Call::write(file, offset, stable_how::UNSTABLE, pattern.chunk(index))
        },
        |index, results| {
            let wrote = parse_write(results)?;
            ensure!(
                wrote.count as usize == CHUNK,
                "WRITE {index} wrote {} bytes",
                wrote.count
            );
            ensure!(
                *verifier.get_or_insert(wrote.verifier) == wrote.verifier,
                "WRITE {index} has another write verifier than the WRITEs before it"
            );
            Ok(())
        },
    )?;
    load.run(
        1,
        SLIDE,
        |_| Call::commit(file, 0, 0),
        |_, results| {
            let committed = ok(read::<COMMIT3res>(results)?)?.verf.0;
            ensure!(
                verifier == Some(committed),
                "COMMIT has another write verifier than the WRITEs"
            );
            Ok(())
        },
    )?;
    Ok(file_bytes)
}

/// Reads some chunks that [`make_and_fill`] wrote, and removes the file.
pub fn check_made(
    client: &mut Client,
    dir: &[u8],
    pattern: &Pattern,
    file_bytes: u64,
) -> Result<()> {
    let file = client.lookup(dir, MADE)?;
    check_filled(client, &file, pattern, file_bytes)?;
    // A server may keep a removed file open for a while. Truncating it frees its blocks now, not during the next turn.
    client.set_attr(&file, Set::size(0))?;
    client.remove(dir, MADE)
}

/// Compares the file's size and some chunks with what [`fill`] wrote.
pub fn check_filled(
    client: &mut Client,
    file: &[u8],
    pattern: &Pattern,
    file_bytes: u64,
) -> Result<()> {
    let size = client.attr(file)?.size;
    ensure!(
        size == file_bytes,
        "the written file has {size} bytes instead of {file_bytes}"
    );
    let chunk_count = file_bytes / CHUNK as u64;
    // The first chunk, the last, and some between.
    for number in 0..LOOK_COUNT {
        let index = number * (chunk_count - 1) / (LOOK_COUNT - 1);
        let (data, _) = client.read(file, index * CHUNK as u64, CHUNK as u32)?;
        ensure!(
            data == pattern.chunk(index),
            "READ of chunk {index} does not return the bytes written"
        );
    }
    Ok(())
}

/// Creates files in `dir`, then removes them. Returns the number of calls.
pub fn create_and_remove(load: &mut Load, dir: &[u8], scale: &Scale) -> Result<u64> {
    let names: Vec<String> = (0..scale.made_count)
        .map(|index| format!("made-{index:06}"))
        .collect();
    create(load, dir, &names, drop)?;
    load.run(
        scale.made_count,
        BATCH,
        |index| Call::remove(dir, names[index as usize].as_bytes()),
        |_, results| ok(read::<REMOVE3res>(results)?).map(drop),
    )?;
    Ok(2 * scale.made_count)
}

/// Fails if a removed name is still listed in `dir`.
pub fn check_removed(client: &mut Client, dir: &[u8]) -> Result<()> {
    let mut remaining = client.list(dir)?;
    remaining.retain(|entry| entry.name != b"." && entry.name != b"..");
    ensure!(
        remaining.is_empty(),
        "{} removed names are still listed",
        remaining.len()
    );
    Ok(())
}

/// Creates new files in `dir` (GUARDED), and calls `each` with their handles.
fn create(
    load: &mut Load,
    dir: &[u8],
    names: &[String],
    mut each: impl FnMut(Vec<u8>),
) -> Result<()> {
    load.run(
        names.len() as u64,
        BATCH,
        |index| {
            Call::create(
                dir,
                names[index as usize].as_bytes(),
                How::Guarded(Set::mode(0o644)),
            )
        },
        |_, results| {
            each(parse_created(results)?);
            Ok(())
        },
    )
}
