//! What the kernel makes of its own state is no file: memory, maps and everything else below /proc, and the like elsewhere.

use super::Scene;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use xtask::clients::sftp::{Attrs, Request, Sftp, SftpOptions, Status, open};
use xtask::machines::mounts::{mount, private};
use xtask::machines::server::public_dir;

/// What may be said of an object that is not to be opened.
const REFUSALS: [Status; 3] = [
    Status::PERMISSION_DENIED,
    Status::NO_SUCH_FILE,
    Status::FAILURE,
];

/// Nothing at `path` can be opened in any way, nor summed, nor written.
fn refused(client: &mut Sftp, path: &str) -> Result<()> {
    let path = path.as_bytes();
    let mut requests: Vec<Request<'_>> = (0..32)
        .map(|flags| Request::Open(path, flags, Attrs::default()))
        .collect();
    requests.push(Request::check("check-file-name", path, b"md5"));
    for request in requests {
        let told = client.told(&request)?;
        ensure!(
            told.is_some_and(|status| REFUSALS.contains(&status)),
            "{request:?} was answered {told:?}"
        );
    }
    Ok(())
}

#[test]
fn nothing_of_the_process_is_read_or_written() -> Result<()> {
    let mut scene = Scene::new(false)?;
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
            refused(&mut scene.client, &format!("/proc/{process}/{name}"))?;
        }
    }
    for name in ["fd/0", "fd/1", "fd/2", "fd/3"] {
        // A pipe, or nothing.
        refused(&mut scene.client, &format!("/proc/self/{name}"))?;
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
        refused(&mut scene.client, &format!("/proc/{name}"))?;
    }
    scene.is_well()
}

#[test]
fn links_of_the_kernel_tell_nothing() -> Result<()> {
    let mut scene = Scene::new(false)?;
    for name in ["self/exe", "self/cwd", "self/root", "self/fd/0", "1/exe"] {
        let path = format!("/proc/{name}");
        let request = Request::ReadLink(path.as_bytes());
        scene.told(&request, &REFUSALS)?;
    }
    scene.is_well()
}

#[test]
fn a_link_into_the_system_is_no_way_around() -> Result<()> {
    let mut scene = Scene::new(false)?;
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
        refused(&mut scene.client, path)?;
    }
    scene.client.symlink("/proc/self/maps", "made")?;
    refused(&mut scene.client, "made")?;
    scene.is_well()
}

/// Puts a `proc` and a `sysfs` at places below `directory`.
fn with_system(directory: &Path) -> Result<()> {
    for kind in ["proc", "sysfs"] {
        let at = directory.join(kind);
        fs::create_dir(&at)?;
        mount(kind, "ro", &at).with_context(|| format!("cannot mount {kind}"))?;
    }
    Ok(())
}

#[test]
fn the_system_is_refused_wherever_it_is_mounted() -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path();
    private("file systems of the kernel", || {
        super::fill(path)?;
        with_system(path)?;
        for options in [SftpOptions::at(path), SftpOptions::jailed(path)] {
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
                // Through a link of the kernel to a file is no harm without a jail: the file can be had by its own name.
                if options.arguments.is_empty() && name.contains("root") | name.contains("cwd") {
                    continue;
                }
                refused(&mut client, name)?;
            }
            ensure!(client.read_file("small")? == b"small\n");
            let flags = open::READ;
            let own = client.open("small", flags, Attrs::default())?;
            client.close(&own)?;
        }
        Ok(())
    })
}
