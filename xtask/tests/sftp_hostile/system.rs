//! Files of the kernel's own file systems, such as memory and maps in /proc, cannot be opened by SFTP.

use super::Scene;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use xtask::clients::sftp::{Attrs, Request, Sftp, SftpOptions, Status, open};
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

#[test]
fn proc_files_cannot_be_opened() -> Result<()> {
    let mut scene = Scene::unjailed()?;
    let pid = scene.client.process.pid();
    for process in [
        "self",
        "thread-self",
        "1",
        &pid.to_string(),
        "self/task/../../self",
    ] {
        for name in [
            "mem",
            "maps",
            "smaps",
            "environ",
            "auxv",
            "stat",
            "status",
            "cmdline",
            "pagemap",
            "syscall",
            "stack",
            "io",
            "limits",
            "mountinfo",
            "clear_refs",
            "coredump_filter",
            "oom_score_adj",
            "comm",
            "attr/current",
            "fdinfo/0",
            "fdinfo/1",
        ] {
            ensure_refused(&mut scene.client, &format!("/proc/{process}/{name}"))?;
        }
    }
    for name in ["fd/0", "fd/1", "fd/2", "fd/3"] {
        // Descriptors 0 to 3 of the server are pipes or closed.
        ensure_refused(&mut scene.client, &format!("/proc/self/{name}"))?;
    }
    for name in [
        "version",
        "kcore",
        "kmsg",
        "kallsyms",
        "sysrq-trigger",
        "sys/kernel/hostname",
        "sys/kernel/core_pattern",
    ] {
        ensure_refused(&mut scene.client, &format!("/proc/{name}"))?;
    }
    scene.check_alive()
}

#[test]
fn kernel_links_cannot_be_read() -> Result<()> {
    let mut scene = Scene::unjailed()?;
    for name in ["self/exe", "self/cwd", "self/root", "self/fd/0", "1/exe"] {
        let path = format!("/proc/{name}");
        let request = Request::ReadLink(path.as_bytes());
        scene.expect_status(&request, &REFUSALS)?;
    }
    scene.check_alive()
}

#[test]
fn links_into_proc_are_refused() -> Result<()> {
    let mut scene = Scene::unjailed()?;
    std::os::unix::fs::symlink("/proc/self/mem", scene.path("mem"))?;
    std::os::unix::fs::symlink("/proc/self", scene.path("process"))?;
    std::os::unix::fs::symlink("/proc", scene.path("proc"))?;
    for path in [
        "mem",
        "process/mem",
        "process/maps",
        "proc/self/environ",
        "proc/version",
        "sub/../proc/self/maps",
    ] {
        ensure_refused(&mut scene.client, path)?;
    }
    scene.client.symlink("/proc/self/maps", "made")?;
    ensure_refused(&mut scene.client, "made")?;
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
fn proc_and_sysfs_are_refused_at_any_mount() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    private("file systems of the kernel", || {
        super::fill(path)?;
        with_system(path)?;
        for options in [SftpOptions::in_directory(path), SftpOptions::jailed(path)] {
            let mut client = Sftp::start(&options)?;
            for name in [
                "proc/self/mem",
                "proc/self/maps",
                "proc/1/environ",
                "proc/version",
                "proc/self/root/etc/passwd",
                "proc/self/cwd/small",
                "sysfs/kernel/notes",
                "sysfs/kernel/uevent_seqnum",
            ] {
                // Without a jail, a kernel link to an ordinary file is harmless: the file has a path of its own.
                if options.arguments.is_empty() && name.contains("root") | name.contains("cwd") {
                    continue;
                }
                ensure_refused(&mut client, name)?;
            }
            ensure!(client.read_file("small")? == b"small\n");
            let flags = open::READ;
            let small = client.open("small", flags, Attrs::default())?;
            client.close(&small)?;
        }
        Ok(())
    })
}
