//! A law's directory, and the functions that print its lines.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use walkdir::WalkDir;

use super::people::Person;

/// Pause after which a new timestamp differs from an old one. The granularity of file timestamps is at most 10 ms.
const TICK: Duration = Duration::from_millis(25);

/// The directory of one law, and the title of its lines.
pub struct Scene {
    title: String,
    directory: PathBuf,
}

impl Scene {
    /// Creates the directory at `directory`, owned by `person`.
    pub fn new(title: String, directory: PathBuf, person: &Person) -> Result<Self> {
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        chown(&directory, Some(person.id), person.groups.first().copied())?;
        Ok(Self { title, directory })
    }

    /// The path of `name` in the law's directory.
    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.directory.join(Path::new(name.as_ref()))
    }

    /// A scene in a new subdirectory.
    pub fn inner(&self, name: &str) -> Result<Self> {
        let directory = self.path(name);
        fs::create_dir(&directory).with_context(|| format!("cannot make {name}"))?;
        let title = format!("{}: {name}", self.title);
        Ok(Self { title, directory })
    }

    /// Creates a file with mode 0644.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<()> {
        fs::write(self.path(name), content).with_context(|| format!("cannot make {name}"))
    }

    /// Creates a directory with mode 0755.
    pub fn directory(&self, name: &str) -> Result<()> {
        fs::create_dir(self.path(name)).with_context(|| format!("cannot make {name}"))
    }

    /// Creates a symbolic link.
    pub fn symlink(&self, target: &str, name: &str) -> Result<()> {
        std::os::unix::fs::symlink(target, self.path(name))
            .with_context(|| format!("cannot make {name}"))
    }

    /// Prints a line with a value.
    pub fn print_value(&self, what: impl Display, value: impl Display) {
        println!("{}: {what}: {value}", self.title);
    }

    /// Prints a line with `ok` or the name of the error; returns the value.
    pub fn print_outcome<T, E: Into<io::Error>>(
        &self,
        what: impl Display,
        outcome: Result<T, E>,
    ) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.print_value(what, "ok");
                Some(value)
            }
            Err(error) => {
                self.print_value(what, name_of(&error.into()));
                None
            }
        }
    }

    /// Prints a line with the value or the name of the error.
    pub fn print_result<T: Display, E: Into<io::Error>>(
        &self,
        what: impl Display,
        outcome: Result<T, E>,
    ) {
        match outcome {
            Ok(value) => self.print_value(what, value),
            Err(error) => self.print_value(what, name_of(&error.into())),
        }
    }

    /// Prints a line with `ok` or the name of the error, followed by the attributes of `name` after the call.
    pub fn print_outcome_on<T, E: Into<io::Error>>(
        &self,
        name: &str,
        what: impl Display,
        outcome: Result<T, E>,
    ) {
        let outcome = outcome.map_or_else(|e| name_of(&e.into()), |_| "ok".to_owned());
        let there =
            fs::symlink_metadata(self.path(name)).map_or_else(|e| name_of(&e), |of| describe(&of));
        self.print_value(what, format!("{outcome}, then {there}"));
    }

    /// Prints a line with the attributes of `name` (lstat).
    pub fn stat(&self, name: &str) {
        self.print_result(
            format!("stat {name}"),
            fs::symlink_metadata(self.path(name)).map(|of| describe(&of)),
        );
    }

    /// Prints a line that lists the directory recursively: type and size of each object, and the target of a symbolic link.
    pub fn print_tree(&self, what: impl Display) {
        let mut found = Vec::new();
        for entry in WalkDir::new(&self.directory)
            .min_depth(1)
            .sort_by_file_name()
        {
            found.push(match entry {
                Ok(entry) => self.entry(entry.path()),
                Err(error) => error.io_error().map_or_else(|| "?".into(), name_of),
            });
        }
        self.print_value(what, format!("[{}]", found.join(" ")));
    }

    fn entry(&self, path: &Path) -> String {
        let name = path.strip_prefix(&self.directory).unwrap_or(path);
        let name = name.as_os_str().as_bytes().escape_ascii();
        match fs::symlink_metadata(path) {
            Ok(of) if of.is_dir() => format!("{name}/"),
            Ok(of) if of.is_symlink() => {
                let target = fs::read_link(path).unwrap_or_default();
                format!("{name}->{}", target.display())
            }
            Ok(of) if of.is_file() => format!("{name}={}", of.len()),
            Ok(of) => format!("{name}({})", kind(&of)),
            Err(error) => format!("{name}!{}", name_of(&error)),
        }
    }

    /// Runs `act` and prints a line with its result and, for each of `names`, which timestamps changed.
    pub fn times<T, E: Into<io::Error>>(
        &self,
        what: impl Display,
        names: &[&str],
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<()> {
        // New files are compared with a probe file, because their timestamps come from the file system's clock, not from ours.
        let probe = self.path("probe");
        fs::write(&probe, b"").context("cannot make the probe")?;
        let start = Stamp::of(&probe).context("the probe is gone")?;
        fs::remove_file(&probe).context("cannot remove the probe")?;
        let before: Vec<_> = names
            .iter()
            .map(|name| Stamp::of(&self.path(name)))
            .collect();
        sleep(TICK);
        let outcome = act().map_or_else(|e| name_of(&e.into()), |_| "ok".to_owned());
        let mut line = outcome;
        for (name, before) in names.iter().zip(before) {
            let change = match (before, Stamp::of(&self.path(name))) {
                (Some(before), Some(after)) => after.since(&before),
                (None, Some(after)) => format!("new {}", after.since(&start)),
                (Some(_), None) => "gone".to_owned(),
                (None, None) => "missing".to_owned(),
            };
            line += &format!(", {name} {change}");
        }
        self.print_value(what, line);
        Ok(())
    }
}

/// mtime and ctime of a file, in seconds and nanoseconds.
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let of = fs::symlink_metadata(path).ok()?;
        Some(Self {
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        })
    }

    fn since(&self, before: &Self) -> String {
        let sign = |now: (i64, i64), then| match now.cmp(&then) {
            std::cmp::Ordering::Less => '-',
            std::cmp::Ordering::Equal => '=',
            std::cmp::Ordering::Greater => '+',
        };
        format!(
            "mtime{} ctime{}",
            sign(self.modified, before.modified),
            sign(self.changed, before.changed)
        )
    }
}

/// The name of the errno, such as `ENOENT`.
pub fn name_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string(),
    }
}

/// The attributes of a file that must be equal on two file systems.
pub fn describe(of: &Metadata) -> String {
    format!(
        "{} {:04o} links {} owner {}:{} {} bytes",
        kind(of),
        of.mode() & 0o7777,
        of.nlink(),
        of.uid(),
        of.gid(),
        // The size of a directory depends on the file system.
        if of.is_dir() { 0 } else { of.len() },
    )
}

fn kind(of: &Metadata) -> &'static str {
    let kind = of.file_type();
    if kind.is_file() {
        "file"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symlink"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_char_device() {
        "character device"
    } else {
        "block device"
    }
}
