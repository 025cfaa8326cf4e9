//! The packed file must behave like the plain file, which is not packed, and have no memory that is both writable and executable.
//! It must report an error if unpacking is forbidden or the file is damaged.

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
use xtask::setup;
use xtask::testing::promised;

const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::I686];
const DAMAGED: &str = "stowaway: this file is damaged: copy it again\n";

/// The packed file for `arch`. Builds at most once per process.
fn packed(arch: Arch) -> Result<PathBuf> {
    static BUILT: Mutex<Vec<(Arch, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = built.iter().find(|(built_arch, _)| *built_arch == arch) {
        return Ok(path.clone());
    }
    let path = build::build_packed(arch, Role::all())?;
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
fn packed_and_plain_file_print_the_same() -> Result<()> {
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
            let (plain_output, packed_output) = (run(&plain, words)?, run(&packed, words)?);
            ensure!(
                plain_output == packed_output,
                "{arch:?} {words:?}: {plain_output:?} and {packed_output:?}"
            );
            ensure!(!plain_output.stdout.is_empty() || !plain_output.stderr.is_empty());
        }
    }
    Ok(())
}

#[test]
fn packed_file_is_over_a_third_smaller() -> Result<()> {
    let percent = promised("The packed file is at most ", " %")?;
    for arch in ARCHES {
        let first = fs::read(packed(arch)?)?;
        let plain = fs::metadata(build::path(arch))?.len();
        ensure!(
            first.len() as u64 * 100 <= plain * percent,
            "{arch:?}: {} bytes of {plain}",
            first.len()
        );
        // The unpacking code cannot detect damage to itself, so it must be a small part of the file.
        let packed = stream(&first)?.len();
        ensure!(
            packed * 100 >= first.len() * 97,
            "{arch:?}: {packed} bytes of {} are packed",
            first.len()
        );
    }
    Ok(())
}

/// Returns the permissions and the whole line of each mapping in /proc/PID/maps.
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
fn packed_nfs_has_no_writable_executable_memory() -> Result<()> {
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
            ensure!(
                !data.is_empty(),
                "{arch:?}: the file ends at {}",
                read.len()
            );
            read.extend_from_slice(data);
        }
        ensure!(read == content, "{arch:?}: the read data is wrong");
        let maps = maps(server.pid())?;
        for (rights, line) in &maps {
            ensure!(
                !(rights.contains('w') && rights.contains('x')),
                "{arch:?}: {line}"
            );
            ensure!(!line.contains("memfd"), "{arch:?}: {line}");
        }
        // Only the page with the jump to the unpacked code is still mapped from the file.
        let name = file.display().to_string();
        let file_maps: Vec<_> = maps
            .iter()
            .filter(|(_, line)| line.contains(&name))
            .collect();
        ensure!(
            file_maps.len() == 1 && file_maps[0].1.starts_with("00100000-00101000 r-xp"),
            "{arch:?}: {file_maps:?}"
        );
        ensure!(
            status_field(server.pid(), "RssFile")? < 64,
            "{arch:?}: the packed bytes are still resident"
        );
    }
    Ok(())
}

#[test]
fn packed_idle_memory_is_within_limit() -> Result<()> {
    let tree = public_dir()?;
    for arch in ARCHES {
        let server = Server::start(ServerOptions {
            arch,
            file: Some(packed(arch)?),
            ..ServerOptions::serving(&[tree.path()])
        })?;
        let rss = server.rss_kib()?;
        let most = promised("Packed, `nfs` takes at most ", " KiB at rest")?;
        ensure!(rss <= most, "{arch:?}: {rss} KiB");
    }
    Ok(())
}

#[test]
fn packed_sftp_runs_in_empty_root() -> Result<()> {
    if !root_for("a root with nothing in it") {
        return Ok(());
    }
    for arch in ARCHES {
        // A root directory without /proc, /dev and shell.
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
fn unpacking_uses_few_calls_without_writable_code() -> Result<()> {
    setup::install_packages(&["strace"])?;
    for arch in ARCHES {
        let directory = public_dir()?;
        let log = directory.path().join("calls");
        let mut strace = Command::new("strace");
        strace.arg("-f").arg("-qq").arg("-o").arg(&log);
        let output = strace.arg(packed(arch)?).arg("--version").output()?;
        ensure!(output.status.success(), "{output:?}");
        let text = fs::read_to_string(&log)?;
        ensure!(
            !text.contains("PROT_WRITE|PROT_EXEC"),
            "{arch:?}: memory is writable and executable:\n{text}"
        );
        let calls = text.lines().filter_map(|line| {
            let (name, _) = line.split_whitespace().nth(1)?.split_once('(')?;
            Some(name)
        });
        let first_calls: Vec<&str> = calls.take(7).collect();
        // The last call of the list is the first one of the unpacked program.
        let expected = [
            "execve",
            "prctl",
            "rt_sigprocmask",
            "mprotect",
            "mprotect",
            "munmap",
            "prctl",
        ];
        ensure!(first_calls == expected, "{arch:?}: {first_calls:?}");
    }
    Ok(())
}

/// Checks that the program exited with 1 and printed only `text`, on stderr.
fn ensure_fails_with(output: &Output, text: &str) -> Result<()> {
    ensure!(
        output.status.code() == Some(1)
            && output.stdout.is_empty()
            && output.stderr == text.as_bytes(),
        "expected the message {text:?}, got {output:?}"
    );
    Ok(())
}

#[test]
fn forbidden_executable_memory_is_reported() -> Result<()> {
    let file = packed(Arch::X86_64)?;
    for errno in [libc::EACCES, libc::EPERM, libc::ENOSYS] {
        let text = format!(
            "stowaway: this host forbids running unpacked code (mprotect: error {errno}): use the file that is not packed\n"
        );
        ensure_fails_with(
            &lockdown::without_new_code(errno, || run(&file, &["--version"]))?,
            &text,
        )?;
        ensure_fails_with(
            &lockdown::answering(&[libc::SYS_mprotect], errno, || run(&file, &["--version"]))?,
            &text,
        )?;
        // The plain file must still run, because it does not make memory executable.
        let plain = build::path(Arch::X86_64);
        let output = lockdown::without_new_code(errno, || run(&plain, &["--version"]))?;
        ensure!(output.status.success(), "{output:?}");
    }
    Ok(())
}

/// The byte range of the packed data in the file.
fn stream(file: &[u8]) -> Result<Range<usize>> {
    let elf = object::File::parse(file)?;
    let segment = elf.segments().nth(1).context("no second segment")?;
    let (offset, len) = segment.file_range();
    Ok(usize::try_from(offset)?..usize::try_from(offset + len)?)
}

/// Writes the bytes to an executable file and runs it.
fn run_bytes(directory: &Path, bytes: &[u8]) -> Result<Output> {
    let file = directory.join("file");
    fs::write(&file, bytes)?;
    fs::set_permissions(&file, Permissions::from_mode(0o755))?;
    run(&file, &["--version"])
}

#[test]
fn truncated_packed_file_reports_damage() -> Result<()> {
    let directory = public_dir()?;
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
        // A truncation that removes only zeros is harmless, as the kernel fills the last page with zeros.
        let is_damage = |end: &usize| file[*end..].iter().any(|byte| *byte != 0);
        for end in ends.filter(is_damage) {
            let output = run_bytes(directory.path(), &file[..end])?;
            ensure_fails_with(&output, DAMAGED)
                .with_context(|| format!("{arch:?}, {end} bytes"))?;
        }
        ensure!(run_bytes(directory.path(), &file)?.status.success());
    }
    Ok(())
}

#[test]
fn packed_file_with_flipped_bit_reports_damage() -> Result<()> {
    let directory = public_dir()?;
    let mut random = fastrand::Rng::with_seed(7);
    for arch in ARCHES {
        let file = fs::read(packed(arch)?)?;
        let stream = stream(&file)?;
        // Skips the three parameter bytes at the start, because some of their bits have no effect.
        let first = stream.start + 3..stream.start + 13;
        let last = stream.end - 8..stream.end;
        let sampled: Vec<usize> = (0..60).map(|_| random.usize(stream.clone())).collect();
        for offset in first.chain(last).chain(sampled) {
            let mut changed = file.clone();
            changed[offset] ^= 1 << random.u32(..8);
            let output = run_bytes(directory.path(), &changed)?;
            ensure_fails_with(&output, DAMAGED)
                .with_context(|| format!("{arch:?}, byte {offset}"))?;
        }
    }
    Ok(())
}
