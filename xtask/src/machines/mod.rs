//! The environments of a server under test: processes, network namespaces, filtered kernels, failing disks, QEMU guests.

pub mod cable;
pub mod debian;
pub mod ext4;
pub mod faulty;
pub mod http;
pub mod injection;
pub mod iso;
pub mod lockdown;
pub mod mounts;
pub mod nbd;
#[cfg(target_arch = "x86_64")]
pub mod planted;
pub mod port;
pub mod qemu;
pub mod server;
pub mod sshd;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Calls `ask` every 5 ms until it returns a value. Returns None after `time_max`.
pub fn wait_for<T>(
    time_max: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = Instant::now() + time_max;
    loop {
        let answer = ask()?;
        if answer.is_some() || Instant::now() > end {
            return Ok(answer);
        }
        sleep(Duration::from_millis(5));
    }
}

/// The path of the program `workshop`, which is beside this program or the directory of this test.
pub fn workshop() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let mut files = program.ancestors().skip(1).map(|dir| dir.join("workshop"));
    let file = files.find(|file| file.is_file());
    file.context("cargo has not built the program workshop")
}

/// Runs `work` on a thread of its own, to which changes of namespaces, filters and the root directory are limited.
pub fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let mut results = at_once([work])?;
    results.pop().context("the thread returned nothing")
}

/// Runs each of `works` on a thread of its own, all at the same time. Returns their results in order, or the first error.
pub fn at_once<T: Send>(
    works: impl IntoIterator<Item: FnOnce() -> Result<T> + Send>,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = works.into_iter().map(|work| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            let result = thread.join();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Names of the TOML files in a directory, without .toml, in alphabetical order.
fn toml_names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory);
    let entries = entries.with_context(|| format!("cannot list {}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let (Some(name), Some("toml")) = (
            path.file_stem(),
            path.extension().and_then(|kind| kind.to_str()),
        ) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Returns `len` bytes of test data for the file offset `from`. The data depends on the offset, so that data from a wrong offset
/// does not compare equal. `seed` should differ for each file.
pub fn pattern(seed: u8, from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64)
        .map(|offset| (offset ^ (offset >> 8) ^ (offset >> 16)).wrapping_mul(0x9d) as u8 ^ seed)
        .collect()
}
