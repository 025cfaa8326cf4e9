//! A root directory with nothing but the executable and a data directory: no shell, libraries, /etc, /proc or /dev.

use super::repertoire;
use anyhow::{Context, Result, ensure};
use std::fs;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::clients::sftp::{Program, Sftp, SftpOptions, Wire};
use xtask::machines::server::{binary, public_dir, root_for};

/// Returns a directory that contains the executable as `sftp-server` and an empty directory `data`.
fn root(arch: Arch) -> Result<TempDir> {
    let root = public_dir()?;
    fs::copy(binary(arch)?, root.path().join("sftp-server"))?;
    fs::create_dir(root.path().join("data"))?;
    Ok(root)
}

/// Options to start the executable as `/sftp-server`, the name of its role, without environment variables.
fn options(arguments: &[&str]) -> SftpOptions {
    SftpOptions {
        program: Program::Other("/sftp-server".into()),
        environment: Some(Vec::new()),
        ..SftpOptions::default()
    }
    .with_arguments(arguments)
}

#[test]
fn empty_root_directory_is_sufficient() -> Result<()> {
    if !root_for("an empty root directory") {
        return Ok(());
    }
    for arch in [Arch::X86_64, Arch::I686] {
        let root = root(arch)?;
        for (arguments, path) in [
            (&[][..], "data"),
            (&[], "/data"),
            (&["-d", "/data"], "."),
            (&["-d", "%d"], "/data"),
            (&["--jail", "/data"], "/"),
            (&["--jail", "/data", "--at", "/shown"], "/shown"),
            (&["-l", "DEBUG3"], "/data"),
            (&["-e"], "/data"),
        ] {
            let mut client = Sftp::start_in(root.path(), &options(arguments))?;
            repertoire::play(&mut client, path).with_context(|| {
                let lines = client.process.lines();
                format!("{arguments:?} at {path} by {arch:?}; the server said {lines:?}")
            })?;
            if arguments.contains(&"%d") {
                // The server may log that the user has no home directory.
                client.finish()?;
            } else {
                client
                    .finish_quietly()
                    .with_context(|| format!("{arguments:?}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn owners_without_accounts_are_numeric() -> Result<()> {
    if !root_for("an empty root directory") {
        return Ok(());
    }
    let root = root(Arch::X86_64)?;
    let file = root.path().join("data/file");
    fs::write(&file, "content")?;
    std::os::unix::fs::chown(&file, Some(12_345), Some(54_321))?;
    let mut client = Sftp::start_in(root.path(), &options(&[]))?;
    let entries = client.list("/data")?;
    let entry = entries.iter().find(|entry| entry.name == b"file");
    let line = String::from_utf8(entry.context("no file")?.long_name.clone())?;
    ensure!(
        line.starts_with("-rw-r--r--    1 12345    54321           7 "),
        "{line}"
    );
    let names = client.account_names(&[0, 12_345], &[0])?;
    ensure!(
        names.users == [b"", b""] && names.groups == [b""],
        "{names:?}"
    );
    // Without an account, the home directory "~" is the directory in which the server started.
    ensure!(client.expand_path("~")? == b"/");
    ensure!(client.expand_path("~/data")? == b"/data");
    client.finish_quietly()
}

#[test]
fn malformed_account_files_are_tolerated() -> Result<()> {
    if !root_for("an empty root directory") {
        return Ok(());
    }
    let root = root(Arch::X86_64)?;
    let etc = root.path().join("etc");
    fs::create_dir(&etc)?;
    let long = "x".repeat(70_000);
    for text in [
        "",
        "\n\n\n",
        ":",
        ":::::::\n",
        "root",
        "root:x:0",
        "root:x:99999999999:0::/:\n",
        "\0\0\0\n\u{fffd}",
        &long,
        "a:b:c:d:e:f:g\n",
    ] {
        fs::write(etc.join("passwd"), text)?;
        fs::write(etc.join("group"), text)?;
        let mut client = Sftp::start_in(root.path(), &options(&["-d", "/data"]))?;
        client.account_names(&[0, 1, u32::MAX], &[0, 1, u32::MAX])?;
        repertoire::play(&mut client, ".")
            .with_context(|| format!("with accounts {:.20}", text.escape_default()))?;
        client.finish_quietly()?;
    }
    // A passwd that is a FIFO must not block the server.
    fs::remove_file(etc.join("passwd"))?;
    nix::unistd::mkfifo(
        &etc.join("passwd"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )?;
    let mut client = Sftp::start_in(root.path(), &options(&["-d", "/data"]))?;
    repertoire::play(&mut client, ".")?;
    client.finish_quietly()
}

#[test]
fn socket_transport_works_without_dev() -> Result<()> {
    if !root_for("an empty root directory") {
        return Ok(());
    }
    let root = root(Arch::X86_64)?;
    let options = options(&["-d", "/data"]).with_wire(Wire::SocketPair);
    let mut client = Sftp::start_in(root.path(), &options)?;
    repertoire::play(&mut client, ".")?;
    client.finish_quietly()
}
