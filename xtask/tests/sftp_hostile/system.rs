//! Files of the kernel's own file systems, such as memory and maps in /proc: read as by OpenSSH, refused in a jail.

use super::Scene;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use xtask::clients::sftp::{Attrs, Request, Sftp, SftpOptions, Status};
use xtask::machines::mounts::{mount, private};
use xtask::machines::server::public_dir;

/// Statuses for an object that may not be opened.
const REFUSALS: [Status; 3] = [
    Status::PERMISSION_DENIED,
    Status::NO_SUCH_FILE,
    Status::FAILURE,
];

/// Checks that `path` can neither be opened with any flags nor checksummed.
fn ensure_refused(client: &mut Sftp, path: &str) -> Result<()> {
    let path = path.as_bytes();
    let mut requests: Vec<Request<'_>> = (0..32)
        .map(|flags| Request::Open(path, flags, Attrs::default()))
        .collect();
    requests.push(Request::check("check-file-name", path, b"md5"));
    for request in requests {
        let status = client.error_status(&request)?;
        ensure!(
            status.is_some_and(|status| REFUSALS.contains(&status)),
            "{request:?} was answered {status:?}"
        );
    }
    Ok(())
}

/// Files that a client reads as on the server: their attributes say that they have no bytes.
const READABLE: [&str; 13] = [
    "/proc/version",
    "/proc/cpuinfo",
    "/proc/cmdline",
    "/proc/filesystems",
    "/proc/devices",
    "/proc/1/mounts",
    "/proc/1/cmdline",
    "/proc/1/status",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/osrelease",
    "/sys/kernel/notes",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/devices/system/cpu/online",
];

/// The file without what changes from one read to the next.
fn settled(content: &[u8]) -> Vec<u8> {
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| {
        ![&b"cpu MHz"[..], b"Vm", b"Rss", b"voluntary", b"nonvol"]
            .iter()
            .any(|word| line.starts_with(word))
    });
    lines.flatten().copied().collect()
}

#[test]
fn kernel_files_are_read_whole_without_jail() -> Result<()> {
    let mut scene = Scene::unjailed()?;
    for path in READABLE.into_iter().filter(|path| Path::new(path).exists()) {
        let expected = fs::read(path).with_context(|| path)?;
        let read = scene.client.read_file(path).with_context(|| path)?;
        ensure!(
            !read.is_empty() && settled(&read) == settled(&expected),
            "{path}: {} bytes",
            read.len()
        );
    }
    scene.client.list("/proc/self/fd")?;
    let own = scene.client.read_link("/proc/self")?;
    let pid = scene.client.process.pid().to_string();
    ensure!(own == pid.as_bytes(), "{own:?}, not {pid}");
    scene.check_alive()
}

/// Mounts `proc` and `sysfs` on directories in `directory`.
fn with_system(directory: &Path) -> Result<()> {
    for kind in ["proc", "sysfs"] {
        let target = directory.join(kind);
        fs::create_dir(&target)?;
        mount(kind, "ro", &target).with_context(|| format!("cannot mount {kind}"))?;
    }
    Ok(())
}

#[test]
fn proc_and_sysfs_are_refused_in_a_jail() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    private("file systems of the kernel", || {
        super::fill(path)?;
        with_system(path)?;
        std::os::unix::fs::symlink("proc/self/maps", path.join("maps"))?;
        let mut client = Sftp::start(&SftpOptions::jailed(path))?;
        for name in [
            "proc/self/mem",
            "proc/self/maps",
            "proc/1/environ",
            "proc/version",
            "proc/self/root/etc/passwd",
            "proc/self/cwd/small",
            "sysfs/kernel/notes",
            "sysfs/kernel/uevent_seqnum",
            "maps",
        ] {
            ensure_refused(&mut client, name)?;
        }
        let read_link = Request::ReadLink(b"proc/1/exe");
        let status = client.error_status(&read_link)?;
        ensure!(
            status.is_some_and(|status| REFUSALS.contains(&status)),
            "{status:?}"
        );
        ensure!(client.read_file("small")? == b"small\n");
        Ok(())
    })
}
