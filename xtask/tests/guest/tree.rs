//! The directory that the client reads: ordinary and unusual files, names and attributes, the same in every run.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sha2::{Digest as _, Sha256};
use xtask::testing::is_full_run;

/// Number of entries in `many/`.
pub const MANY_COUNT: usize = 10_000;
/// Number of nested directories in `deep/`.
pub const DEPTH: usize = 30;
/// Offset of the data in `sparse`: past 4 GiB and not page-aligned.
pub const FAR: u64 = (4 << 30) + 12_345;
/// Length (bytes) of the data in `sparse`.
pub const FAR_LEN: usize = 200_000;
/// Size (bytes) of `sparse`. Everything except the data is a hole.
pub const SPARSE_LEN: u64 = 5 << 30;

/// Number of files in `small/`. Each has a line in `SHA256SUMS`.
pub fn small_count() -> usize {
    if is_full_run() { 5_000 } else { 1_000 }
}

/// Creates the tree in `root`.
pub fn create_tree(root: &Path) -> Result<()> {
    let mut sums = String::new();
    for number in 0..small_count() {
        let name = format!("small/{:02}/{number:04}", number % 50);
        let content = content(number, number * 37 % 8192);
        writeln!(sums, "{}  {name}", hex(&content))?;
        create(&root.join(name), &content)?;
    }
    fs::write(root.join("SHA256SUMS"), sums)?;
    for number in 0..MANY_COUNT {
        create(&root.join(format!("many/entry-{number:05}")), b"")?;
    }
    create(&deep(root, DEPTH).join("bottom"), b"the bottom")?;
    let sparse = File::create(root.join("sparse"))?;
    sparse.write_all_at(&content(1, FAR_LEN), FAR)?;
    sparse.set_len(SPARSE_LEN)?;
    odd_names(&root.join("names"))?;
    odd_attributes(&root.join("attributes"))
}

/// The path of the directory at level `depth` in `root`/deep.
pub fn deep(root: &Path, depth: usize) -> PathBuf {
    (1..=depth).fold(root.join("deep"), |path, level| {
        path.join(format!("level-{level}"))
    })
}

fn odd_names(directory: &Path) -> Result<()> {
    let longest = "n".repeat(255);
    let longest_utf8 = "\u{e9}".repeat(127);
    let names: [&[u8]; 12] = [
        b"a space",
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand\x01control",
        b"-rf",
        b"*",
        b"back\\slash",
        b"...",
        b"\xff\xfe is not UTF-8",
        "\u{fc}ber/\u{65e5}\u{672c}"
            .split('/')
            .next()
            .unwrap_or_default()
            .as_bytes(),
        longest.as_bytes(),
        longest_utf8.as_bytes(),
    ];
    for name in names {
        create(&directory.join(OsStr::from_bytes(name)), name)?;
    }
    Ok(())
}

fn odd_attributes(directory: &Path) -> Result<()> {
    fs::create_dir(directory)?;
    for (name, target) in [
        ("relative", "../SHA256SUMS"),
        ("absolute", "/etc/hostname"),
        ("dangling", "no such file"),
    ] {
        symlink(target, directory.join(name))?;
    }
    symlink("x/".repeat(500), directory.join("longest"))?;
    symlink(
        OsStr::from_bytes(b"\xff is not UTF-8"),
        directory.join("bytes"),
    )?;

    create(&directory.join("one name"), b"two names")?;
    fs::hard_link(directory.join("one name"), directory.join("another name"))?;
    for mode in [0o000, 0o400, 0o644, 0o2755, 0o4711, 0o7777] {
        let path = directory.join(format!("mode-{mode:o}"));
        create(&path, b"")?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    for (seconds, nanoseconds) in [
        (0, 0),
        (1, 1),
        (1_234_567_890, 123_456_789),
        (4_000_000_000, 999_999_999),
    ] {
        let file = File::create(directory.join(format!("time-{seconds}")))?;
        file.set_times(
            FileTimes::new().set_modified(UNIX_EPOCH + Duration::new(seconds, nanoseconds)),
        )?;
    }
    mkfifo(&directory.join("fifo"), Mode::S_IRWXU)?;
    UnixListener::bind(directory.join("socket"))?;
    Ok(())
}

/// Writes a file and creates its parent directories.
pub fn create(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, content)?)
}

/// Pseudorandom bytes; the same for the same seed.
pub fn content(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64;
    let next = |state: &mut u64| {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 56) as u8
    };
    (0..len).map(|_| next(&mut state)).collect()
}

/// The SHA-256 of `content` in the format of sha256sum.
pub fn hex(content: &[u8]) -> String {
    let bytes = Sha256::digest(content);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
