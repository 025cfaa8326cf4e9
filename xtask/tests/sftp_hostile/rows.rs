//! The table of requests, each case with a server and a tree of its own: by every processor architecture's build, in a jail,
//! read-only, and by OpenSSH's server.

use super::{ensure_unchanged, snapshot};
use anyhow::{Context, Result, ensure};
use cases::sftp::table::{Case, Object, TREE, cases};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use xtask::build::Arch;
use xtask::clients::sftp::{Program, Sftp, SftpOptions, Wire};
use xtask::machines::server::public_dir;
use xtask::setup;

/// Creates the tree of the table.
fn fill(directory: &Path) -> Result<()> {
    for (name, object) in TREE {
        let path = directory.join(name);
        let mode = match object {
            Object::File(content) => fs::write(&path, content).map(|()| 0o644)?,
            Object::Directory => fs::create_dir(&path).map(|()| 0o755)?,
            Object::Fifo => mkfifo(&path, Mode::empty()).map(|()| 0o600)?,
            Object::Link(target) => {
                symlink(target, &path)?;
                continue;
            }
        };
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Runs `play` for each of the cases, on a new tree with a new server, and reports all that failed.
fn for_each_case(
    cases: impl Iterator<Item = Case>,
    options: impl Fn(&Path) -> SftpOptions,
    play: impl Fn(&Case, &str, &mut Sftp, &Path) -> Result<()>,
) -> Result<()> {
    let mut failed = Vec::new();
    for case in cases {
        let directory = public_dir()?;
        fill(directory.path())?;
        let mut client = Sftp::start(&options(directory.path()))?;
        let root = String::from_utf8(client.real_path(".")?)?;
        let played = play(&case, &root, &mut client, directory.path());
        failed.extend(
            played
                .and_then(|()| client.finish_quietly())
                .context(case.name)
                .err(),
        );
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

/// Runs all rows. New objects get the requested mode.
fn rows_are_answered(
    cases: impl Iterator<Item = Case>,
    options: impl Fn(&Path) -> SftpOptions,
) -> Result<()> {
    let options = |path: &Path| options(path).with_arguments(&["-u", "000"]);
    for_each_case(cases, options, |case, root, client, _| {
        case.play(root, |request| client.exchange(request))
    })
}

#[test]
fn rows_are_answered_by_each_build() -> Result<()> {
    for (arch, wire) in [(Arch::X86_64, Wire::SocketPair), (Arch::I686, Wire::Pipes)] {
        rows_are_answered(cases().into_iter(), |path| {
            SftpOptions::in_directory(path)
                .with_arch(arch)
                .with_wire(wire)
        })
        .with_context(|| format!("{arch:?}"))?;
    }
    Ok(())
}

#[test]
fn rows_are_answered_in_a_jail() -> Result<()> {
    rows_are_answered(cases().into_iter(), SftpOptions::jailed)
}

#[test]
fn rows_agree_with_openssh() -> Result<()> {
    setup::install_packages(&["openssh-sftp-server"])?;
    let cases = cases().into_iter().filter(|case| case.is_openssh);
    rows_are_answered(cases, |path| SftpOptions {
        program: Program::Other("/usr/lib/openssh/sftp-server".into()),
        ..SftpOptions::in_directory(path)
    })
}

/// CVE-2017-15906: no request changes, creates or truncates anything.
#[test]
fn read_only_rows_change_nothing() -> Result<()> {
    for jailed in [false, true] {
        let options = |path: &Path| SftpOptions::serving(path, jailed).with_arguments(&["-R"]);
        for_each_case(cases().into_iter(), options, |case, _, client, path| {
            let before = snapshot(path)?;
            case.play_read_only(|request| client.exchange(request))?;
            ensure_unchanged(path, &before, case.name)
        })?;
    }
    Ok(())
}
