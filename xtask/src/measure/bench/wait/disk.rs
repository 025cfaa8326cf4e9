//! Disks of 1 MiB a second: file systems in memory behind loop devices, whose reads the kernel throttles for one control group.
//!
//! Only servers are in that group, so that this process makes, fills and uncaches the files at full speed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{major, minor};
use nix::unistd::syncfs;

use crate::machines::mounts;
use crate::measure::bench::workspace::{CHUNK, Workspace};

/// Read rate of a slow disk for servers, in bytes per second.
pub const BYTES_PER_SECOND: u64 = 1 << 20;
/// Size of the file on each disk in bytes. READs end before the file does, so that readahead has something to read.
const FILE_BYTES: u64 = 64 << 20;
/// Offset (bytes) of the first READ. It is not a multiple of a large folio's size, so that each READ ends inside a folio, of which
/// the kernel may have read only a part.
pub const FIRST_OFFSET: u64 = 51 << 12;
/// Size (MiB) of each file system; mkfs.xfs accepts at least 300.
const IMAGE_MIB: u64 = 320;
/// Name of the file on each slow disk.
pub const FILE: &str = "cold";

/// A file system and its readahead in KiB.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    pub fs: &'static str,
    pub readahead_kib: u32,
}

impl FileSystem {
    /// Every kind of slow disk.
    pub const ALL: [Self; 4] = [
        Self::new("ext4", 128),
        Self::new("ext4", 2560),
        Self::new("xfs", 128),
        Self::new("xfs", 2560),
    ];

    const fn new(fs: &'static str, readahead_kib: u32) -> Self {
        Self { fs, readahead_kib }
    }

    /// Numbers of READs in a turn, with `--quick` and without. Readahead of 2,560 KiB reaches its largest folios after about ten
    /// READs.
    pub fn read_counts(self) -> (u64, u64) {
        if self.readahead_kib > 128 {
            (12, 20)
        } else {
            (4, 8)
        }
    }

    /// Reason why this kernel cannot mount the file system; None if it can.
    pub fn missing(self) -> Option<String> {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let is_known = known.split_whitespace().any(|word| word == self.fs);
        (!is_known).then(|| format!("/proc/filesystems does not list {}", self.fs))
    }
}

/// A mounted slow disk.
pub struct Disk {
    pub kind: FileSystem,
    pub path: PathBuf,
}

impl Disk {
    /// Drops the file from the page cache.
    pub fn forget(&self) -> Result<()> {
        let file = File::open(self.path.join(FILE))?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(())
    }
}

/// The slow disks, and the control group whose reads from them are throttled. Drop removes the group if no process is left in it.
pub struct Disks {
    group: PathBuf,
    has_v2: bool,
    pub all: Vec<Disk>,
}

impl Disks {
    /// Creates the control group, and makes and mounts a disk of each kind that this kernel knows. The inner error is the reason why
    /// this machine cannot throttle reads.
    pub fn new(workspace: &Workspace) -> Result<Result<Self, String>> {
        let v1 = Path::new("/sys/fs/cgroup/blkio");
        let v2 = Path::new("/sys/fs/cgroup");
        let has_v1 = v1.join("blkio.throttle.read_bps_device").exists();
        let controllers = fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
        let has_v2 = !has_v1 && controllers.split_whitespace().any(|word| word == "io");
        if !has_v1 && !has_v2 {
            let reason = "neither blkio (cgroup v1) nor io (v2) is in /sys/fs/cgroup";
            return Ok(Err(reason.into()));
        }
        let root = if has_v1 { v1 } else { v2 };
        let group = root.join(format!("stowaway-bench-{}", std::process::id()));
        let make = || {
            if has_v2 {
                write_file(&root.join("cgroup.subtree_control"), "+io")?;
            }
            fs::create_dir(&group).with_context(|| format!("mkdir {}", group.display()))
        };
        if let Err(why) = make() {
            return Ok(Err(format!("{why:#}")));
        }
        let mut disks = Self {
            group,
            has_v2,
            all: Vec::new(),
        };
        for kind in FileSystem::ALL {
            if kind.missing().is_none() {
                disks.add(workspace, kind)?;
            }
        }
        Ok(Ok(disks))
    }

    /// Makes a disk with the file [`FILE`], and limits the group's reads from it.
    fn add(&mut self, workspace: &Workspace, kind: FileSystem) -> Result<()> {
        let path = workspace.scratch_path(&format!("slow-{}-{}", kind.fs, kind.readahead_kib));
        fs::create_dir(&path)?;
        let make: &[&str] = match kind.fs {
            "ext4" => &["mkfs.ext4", "-q", "-F"],
            _ => &["mkfs.xfs", "-q"],
        };
        mounts::mount_image(make, IMAGE_MIB, &path)?;
        let device = fs::metadata(&path)?.dev();
        let device = format!("{}:{}", major(device), minor(device));
        let readahead = format!("/sys/dev/block/{device}/queue/read_ahead_kb");
        write_file(Path::new(&readahead), &kind.readahead_kib.to_string())?;
        let mut file = File::create(path.join(FILE))?;
        for index in 0..FILE_BYTES / CHUNK as u64 {
            file.write_all(&vec![index as u8; CHUNK])?;
        }
        syncfs(&file)?;
        let (file, limit) = if self.has_v2 {
            ("io.max", format!("{device} rbps={BYTES_PER_SECOND}"))
        } else {
            let file = "blkio.throttle.read_bps_device";
            (file, format!("{device} {BYTES_PER_SECOND}"))
        };
        write_file(&self.group.join(file), &limit)?;
        self.all.push(Disk { kind, path });
        Ok(())
    }

    /// Moves a process into the control group, so that its reads from the slow disks are throttled.
    pub fn throttle(&self, pid: u32) -> Result<()> {
        write_file(&self.group.join("cgroup.procs"), &pid.to_string())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        // EBUSY: a server has not ended yet. The group then remains, which costs nothing once it is empty.
        let _ = fs::remove_dir(&self.group);
    }
}

/// Returns true if the first and the last byte of `data` are those that a READ of the file at `offset` returns.
pub fn is_content(data: &[u8], offset: u64) -> bool {
    let byte = |offset: u64| (offset / CHUNK as u64) as u8;
    let last = offset + data.len() as u64 - 1;
    data.first() == Some(&byte(offset)) && data.last() == Some(&byte(last))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {text} to {}", path.display()))
}

/// Fails if READs of `bytes` took so little time that the disk was not slow.
pub fn check_slow(bytes: u64, seconds: f64) -> Result<()> {
    let expected = bytes as f64 / BYTES_PER_SECOND as f64;
    // The throttle does not yet limit reads in the first tenths of a second.
    ensure!(
        seconds > expected * 0.6,
        "{bytes} bytes were read in {seconds:.2} s: the disk is not slow, or the file was cached"
    );
    Ok(())
}
