//! gdb, perf and strace on the released file, with names from `stowaway.debug`, by the commands in `image/doc/recipes.md`.

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use xtask::build::{self, Arch};
use xtask::machines::server::{Server, ServerOptions, binary, public_dir};
use xtask::setup::{self, run_captured};
use xtask::testing::run_while_disturbed;

/// The debug file of the built server.
fn debug_file() -> Result<PathBuf> {
    binary(Arch::X86_64)?;
    Ok(build::debug_path(Arch::X86_64))
}

/// Address of the function whose mangled name ends with `mangled`. Symbols are searched directly, because gdb may not find a
/// function by name after the linker has folded it with an identical one.
fn address_of(mangled: &str) -> Result<u64> {
    let debug = fs::read(debug_file()?)?;
    let debug = object::File::parse(&*debug)?;
    let found = debug
        .symbols()
        .find(|symbol| symbol.name().is_ok_and(|name| name.ends_with(mangled)));
    Ok(found
        .with_context(|| format!("no symbol ends with {mangled}"))?
        .address())
}

/// A directory with 1000 files, so that listing it takes time.
fn tree() -> Result<TempDir> {
    let directory = public_dir()?;
    for number in 0..1000 {
        fs::write(directory.path().join(number.to_string()), "")?;
    }
    Ok(directory)
}

/// Runs `watch` on a server while a client lists a directory in a loop.
fn busy<T>(watch: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
    let directory = tree()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    let (mut client, root) = server.open(directory.path())?;
    let list = || {
        ensure!(client.list(&root)?.len() >= 1000, "the listing lacks names");
        Ok(())
    };
    run_while_disturbed(list, || watch(&server))
}

fn gdb(server: &Server, commands: &[&str]) -> Result<String> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]).arg(debug_file()?);
    gdb.args(["-p", &server.pid().to_string()]);
    gdb.args(commands.iter().flat_map(|command| ["-ex", command]));
    run_captured(&mut gdb)
}

#[test]
fn gdb_backtrace_reaches_the_entry_point() -> Result<()> {
    setup::install_packages(&["gdb"])?;
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    // The first backtrace is of an idle server, the second of a server that is handling a request.
    let idle = gdb(&server, &["backtrace"])?;
    for part in [
        "stowaway::net::kernel::",
        "stowaway::drive::Loop::",
        "src/drive/mod.rs:",
        "_start ()",
    ] {
        ensure!(idle.contains(part), "no {part} in:\n{idle}");
    }
    // gdb must find the value of `self` in the calling functions; optimization may remove it.
    let mut drivers = idle
        .lines()
        .filter(|line| line.contains("stowaway::drive::Loop::"));
    ensure!(
        drivers.all(|line| line.contains("self=0x") && !line.contains("optimized out")),
        "the loop's self is optimized out:\n{idle}"
    );
    let commands = ["catch syscall getdents64", "continue", "backtrace"];
    let busy_trace = busy(|server| gdb(server, &commands))?;
    for part in ["src/vfs/", "src/engine/nfs/", "src/drive/", "_start ()"] {
        ensure!(busy_trace.contains(part), "no {part} in:\n{busy_trace}");
    }
    Ok(())
}

#[test]
fn perf_names_most_sampled_functions() -> Result<()> {
    setup::install_packages(&["linux-perf"])?;
    let debug = debug_file()?;
    let link = debug.with_file_name(".debug").join("stowaway");
    fs::create_dir_all(link.parent().context("no directory")?)?;
    if fs::symlink_metadata(&link).is_err() {
        std::os::unix::fs::symlink("../stowaway.debug", &link)?;
    }
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("perf.data");
    busy(|server| {
        let mut perf = Command::new("perf");
        perf.args(["record", "-o"]).arg(&data);
        perf.args(["-p", &server.pid().to_string(), "--", "sleep", "2"]);
        run_captured(&mut perf)
    })?;
    let mut perf = Command::new("perf");
    perf.args(["report", "--stdio", "--dsos", "stowaway", "-i"]);
    let report = run_captured(perf.arg(&data))?;
    let samples: Vec<&str> = report.lines().filter(|line| line.contains("[.]")).collect();
    let named = samples.iter().filter(|line| line.contains("stowaway::"));
    ensure!(
        samples.len() >= 3 && named.count() * 2 > samples.len(),
        "fewer than half of the samples have a stowaway function:\n{report}"
    );
    Ok(())
}

#[test]
fn strace_addresses_resolve_in_the_debug_file() -> Result<()> {
    setup::install_packages(&["strace", "binutils"])?;
    let directory = tree()?;
    let image = directory.path().display().to_string();
    let calls = directory.path().join("calls");
    let mut strace = Command::new("strace");
    strace.arg("-i").arg("-o").arg(&calls);
    run_captured(strace.arg(binary(Arch::X86_64)?).args(["ls", &image]))?;
    let calls = fs::read_to_string(calls)?;
    // prctl is stowaway's first system call; the execve before it is made by strace's child.
    for name in ["getdents64(", "prctl("] {
        let line = calls.lines().find(|line| line.contains(name));
        let line = line.with_context(|| format!("no {name} in:\n{calls}"))?;
        let address = line.trim_start_matches('[').split(']').next();
        let function = name_of(address.context("no address")?, &debug_file()?)?;
        // With -i, addr2line also prints the functions into which the one at the address was inlined; any of them may match.
        ensure!(function.contains("stowaway::sys::"), "{line}: {function}");
    }
    Ok(())
}

fn name_of(address: &str, debug: &Path) -> Result<String> {
    let mut addr2line = Command::new("addr2line");
    run_captured(addr2line.arg("-fipCe").arg(debug).arg(address))
}

#[test]
fn panic_addresses_resolve_in_the_debug_file() -> Result<()> {
    setup::install_packages(&["gdb", "binutils"])?;
    let directory = public_dir()?;
    let server = Server::start(ServerOptions::serving(&[directory.path()]))?;
    // Jumps to the panic function as if the caller of the interrupted function had called it, whose own frame may have longer arrays
    // than the words that a panic looks at. At the entry of a function, the ABI requires a stack pointer 8 bytes below a multiple
    // of 16.
    let find_caller = concat!(
        r"python exec('frame = gdb.newest_frame()\n",
        r"while frame.type() == gdb.INLINE_FRAME: frame = frame.older()\n",
        r#"gdb.execute("set $caller = %d" % int(frame.older().read_register("rsp")))')"#,
    );
    gdb(
        &server,
        &[
            "set language c",
            find_caller,
            &format!("set $pc = {:#x}", address_of("4core9panicking5panic")?),
            "set $sp = (($caller - 8) & -16) - 8",
            "continue",
        ],
    )?;
    let line = server.wait_for_line("internal error at", Duration::from_secs(10))?;
    let addresses = line.split(" at ").last().unwrap_or_default();
    let debug = debug_file()?;
    let names: Vec<String> = addresses
        .split_whitespace()
        .map(|address| name_of(&format!("0x{address}"), &debug))
        .collect::<Result<_>>()?;
    ensure!(
        names.iter().any(|name| name.contains("stowaway::"))
            && names.iter().all(|name| !name.starts_with("??")),
        "the addresses do not name the callers: {line}: {names:#?}"
    );
    Ok(())
}
