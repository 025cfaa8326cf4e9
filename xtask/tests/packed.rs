//! The packed file: it does what the plain one does, never has memory that can be written to and run, and says plainly
//! where it may not unpack itself, or is damaged.

use anyhow::{Context, Result, ensure};
use nix::libc;
use object::{Object as _, ObjectSegment as _};
use std::fs::{self, Permissions};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use xtask::build::{self, Arch, Role};
use xtask::clients::sftp::{Program, Sftp, SftpOptions};
use xtask::machines::lockdown;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for, status_field};
use xtask::setup::{self, Package};

const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::I686];
/// What the plain file promises.
const REST_MAX_KIB: u64 = 768;
const DAMAGED: &str = "stowaway: this file is damaged: copy it again\n";

/// The packed file for `arch`, built at most once in this process.
fn packed(arch: Arch) -> Result<PathBuf> {
    static BUILT: Mutex<Vec<(Arch, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = built.iter().find(|(other, _)| *other == arch) {
        return Ok(path.clone());
    }
    let path = build::build_packed(arch, &Role::ALL)?;
    built.push((arch, path.clone()));
    Ok(path)
}

fn run(file: &Path, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(file);
    command.arg0("stowaway").args(words);
    command
        .output()
        .with_context(|| format!("cannot start {}", file.display()))
}

#[test]
fn it_says_what_the_plain_file_says() -> Result<()> {
    for arch in ARCHES {
        let packed = packed(arch)?;
        let plain = build::path(arch);
        for words in [
            &["--version"][..],
            &["--help"],
            &["nfs", "--help"],
            &["sftp-server", "-h"],
            &["nonsense"],
            &["ls", "/no/such.iso"],
        ] {
            let (one, other) = (run(&plain, words)?, run(&packed, words)?);
            ensure!(one == other, "{arch:?} {words:?}: {one:?} and {other:?}");
            ensure!(!one.stdout.is_empty() || !one.stderr.is_empty());
        }
    }
    Ok(())
}

#[test]
fn it_is_the_same_each_time() -> Result<()> {
    // Of x86_64, `reproducible` tells it. One that no other test starts.
    let path = build::build_packed(Arch::I686, &[Role::Ls])?;
    let first = fs::read(&path)?;
    fs::remove_file(&path)?;
    build::build_packed(Arch::I686, &[Role::Ls])?;
    ensure!(fs::read(&path)? == first, "other bytes");
    Ok(())
}

#[test]
fn it_is_smaller_by_more_than_a_third() -> Result<()> {
    for arch in ARCHES {
        let first = fs::read(packed(arch)?)?;
        let plain = fs::metadata(build::path(arch))?.len();
        ensure!(
            first.len() as u64 * 100 <= plain * 62,
            "{arch:?}: {} bytes of {plain}",
            first.len()
        );
        // What unpacks does not find damage in itself: there is little of it.
        let packed = stream(&first)?.len();
        ensure!(
            packed * 100 >= first.len() * 97,
            "{arch:?}: {packed} bytes of {} are packed",
            first.len()
        );
    }
    Ok(())
}

/// What a process has mapped: the rights, and the rest of the line.
fn maps(pid: u32) -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let lines = text.lines().map(|line| {
        let (_, rest) = line.split_once(' ').context("no address")?;
        let (rights, _) = rest.split_once(' ').context("no rights")?;
        Ok((rights.to_owned(), line.to_owned()))
    });
    lines.collect()
}

#[test]
fn it_serves_nfs_from_memory_that_is_never_written_and_run() -> Result<()> {
    let tree = public_dir()?;
    let mut random = fastrand::Rng::with_seed(1);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(1 << 20)
        .collect();
    fs::write(tree.path().join("file"), &content)?;
    for arch in ARCHES {
        let file = packed(arch)?;
        let server = Server::start(ServerOptions {
            arch,
            file: Some(file.clone()),
            ..ServerOptions::serving(&[tree.path()])
        })?;
        let (mut client, root) = server.open(tree.path())?;
        let handle = client.lookup(&root, "file")?;
        let mut read = Vec::new();
        while read.len() < content.len() {
            let (data, _) = client.read(&handle, read.len() as u64, 65536)?;
            ensure!(!data.is_empty(), "{arch:?}: it ends at {}", read.len());
            read.extend_from_slice(data);
        }
        ensure!(read == content, "{arch:?}: other bytes");
        let maps = maps(server.pid())?;
        for (rights, line) in &maps {
            ensure!(
                !(rights.contains('w') && rights.contains('x')),
                "{arch:?}: {line}"
            );
            ensure!(!line.contains("memfd"), "{arch:?}: {line}");
        }
        // Of the file itself nothing is left but the page that jumped.
        let name = file.display().to_string();
        let own: Vec<_> = maps
            .iter()
            .filter(|(_, line)| line.contains(&name))
            .collect();
        ensure!(
            own.len() == 1 && own[0].1.starts_with("00100000-00101000 r-xp"),
            "{arch:?}: {own:?}"
        );
        ensure!(
            status_field(server.pid(), "RssFile")? < 64,
            "{arch:?}: the packed bytes are still there"
        );
    }
    Ok(())
}

#[test]
fn at_rest_it_costs_what_the_plain_file_may() -> Result<()> {
    let tree = public_dir()?;
    for arch in ARCHES {
        let server = Server::start(ServerOptions {
            arch,
            file: Some(packed(arch)?),
            ..ServerOptions::serving(&[tree.path()])
        })?;
        let rss = server.rss_kib()?;
        ensure!(rss <= REST_MAX_KIB, "{arch:?}: {rss} KiB");
    }
    Ok(())
}

#[test]
fn it_serves_sftp_where_there_is_nothing_else() -> Result<()> {
    if !root_for("a root with nothing in it") {
        return Ok(());
    }
    for arch in ARCHES {
        // No /proc, no /dev, no shell.
        let root = public_dir()?;
        fs::copy(packed(arch)?, root.path().join("sftp-server"))?;
        fs::write(root.path().join("file"), b"what is there")?;
        let options = SftpOptions {
            program: Program::Other("/sftp-server".into()),
            environment: Some(Vec::new()),
            ..SftpOptions::default()
        };
        let mut client = Sftp::start_in(root.path(), &options)?;
        let handle = client.open_read("/file")?;
        let data = client.read(&handle, 0, 100)?;
        ensure!(
            data.as_deref() == Some(&b"what is there"[..]),
            "{arch:?}: {data:?}"
        );
        client.finish_quietly().context(format!("{arch:?}"))?;
    }
    Ok(())
}

#[test]
fn it_asks_the_kernel_for_little_and_never_to_write_and_run() -> Result<()> {
    setup::need(&[Package::STRACE])?;
    for arch in ARCHES {
        let place = public_dir()?;
        let log = place.path().join("calls");
        let mut strace = Command::new("strace");
        strace.arg("-f").arg("-qq").arg("-o").arg(&log);
        let output = strace.arg(packed(arch)?).arg("--version").output()?;
        ensure!(output.status.success(), "{output:?}");
        let text = fs::read_to_string(&log)?;
        ensure!(
            !text.contains("PROT_WRITE|PROT_EXEC"),
            "{arch:?}: something can be written to and run:\n{text}"
        );
        let calls = text.lines().filter_map(|line| {
            let (name, _) = line.split_whitespace().nth(1)?.split_once('(')?;
            Some(name)
        });
        let begin: Vec<&str> = calls.take(7).collect();
        // The last is the plain file's own first call.
        let expected = [
            "execve",
            "prctl",
            "rt_sigprocmask",
            "mprotect",
            "mprotect",
            "munmap",
            "prctl",
        ];
        ensure!(begin == expected, "{arch:?}: {begin:?}");
    }
    Ok(())
}

/// It ended with 1 and said this and nothing else.
fn said(output: &Output, text: &str) -> Result<()> {
    ensure!(
        output.status.code() == Some(1)
            && output.stdout.is_empty()
            && output.stderr == text.as_bytes(),
        "{output:?}, not {text:?}"
    );
    Ok(())
}

#[test]
fn a_host_that_lets_no_new_code_run_is_told() -> Result<()> {
    let file = packed(Arch::X86_64)?;
    for errno in [libc::EACCES, libc::EPERM, libc::ENOSYS] {
        let text = format!(
            "stowaway: this host lets no unpacked code run (mprotect: error {errno}): use the file that is not packed\n"
        );
        said(
            &lockdown::without_new_code(errno, || run(&file, &["--version"]))?,
            &text,
        )?;
        said(
            &lockdown::answering(&[libc::SYS_mprotect], errno, || run(&file, &["--version"]))?,
            &text,
        )?;
        // The plain one asks for nothing of the kind.
        let plain = build::path(Arch::X86_64);
        let output = lockdown::without_new_code(errno, || run(&plain, &["--version"]))?;
        ensure!(output.status.success(), "{output:?}");
    }
    Ok(())
}

/// Where in the file the packed bytes are.
fn stream(file: &[u8]) -> Result<Range<usize>> {
    let elf = object::File::parse(file)?;
    let segment = elf.segments().nth(1).context("no second segment")?;
    let (at, len) = segment.file_range();
    Ok(usize::try_from(at)?..usize::try_from(at + len)?)
}

/// Runs these bytes.
fn run_bytes(place: &Path, bytes: &[u8]) -> Result<Output> {
    let file = place.join("file");
    fs::write(&file, bytes)?;
    fs::set_permissions(&file, Permissions::from_mode(0o755))?;
    run(&file, &["--version"])
}

#[test]
fn a_file_that_was_cut_off_says_so() -> Result<()> {
    let place = public_dir()?;
    for arch in ARCHES {
        let file = fs::read(packed(arch)?)?;
        let stream = stream(&file)?;
        let ends = stream.clone().step_by(1999).chain([
            stream.end - 1,
            stream.end - 4,
            4096,
            4097,
            file.len() / 4096 * 4096,
        ]);
        // Who loses nothing but zeros loses nothing: the kernel fills the last page with them.
        let loses = |end: &usize| file[*end..].iter().any(|byte| *byte != 0);
        for end in ends.filter(loses) {
            let output = run_bytes(place.path(), &file[..end])?;
            said(&output, DAMAGED).with_context(|| format!("{arch:?}, {end} bytes"))?;
        }
        ensure!(run_bytes(place.path(), &file)?.status.success());
    }
    Ok(())
}

#[test]
fn a_file_with_any_bit_changed_says_so() -> Result<()> {
    let place = public_dir()?;
    let mut random = fastrand::Rng::with_seed(7);
    for arch in ARCHES {
        let file = fs::read(packed(arch)?)?;
        let stream = stream(&file)?;
        // The three parameters have bits that mean nothing.
        let first = stream.start + 3..stream.start + 13;
        let last = stream.end - 8..stream.end;
        let some: Vec<usize> = (0..60).map(|_| random.usize(stream.clone())).collect();
        for at in first.chain(last).chain(some) {
            let mut changed = file.clone();
            changed[at] ^= 1 << random.u32(..8);
            let output = run_bytes(place.path(), &changed)?;
            said(&output, DAMAGED).with_context(|| format!("{arch:?}, byte {at}"))?;
        }
    }
    Ok(())
}
