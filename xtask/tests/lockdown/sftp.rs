//! SFTP under a profile: every feature by our client, and transfers by OpenSSH's.

use super::{Host, wrapper};
use crate::sftp_poor;
use anyhow::{Result, ensure};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use xtask::clients::sftp::{Sftp, SftpOptions};
use xtask::machines::server::{binary, public_dir};
use xtask::setup;
use xtask::testing::pattern;

/// Uses every feature of a session, in a jail or in its working directory.
fn use_every_feature(host: Host, jailed: bool) -> Result<()> {
    sftp_poor::play_in(jailed, |options| {
        Sftp::start(&SftpOptions {
            wrapper: wrapper(host.profile),
            ..options.clone().with_arch(host.arch)
        })
    })
}

pub(super) fn sftp_session_uses_every_feature(host: Host) -> Result<()> {
    use_every_feature(host, false)
}

pub(super) fn sftp_jail_uses_every_feature(host: Host) -> Result<()> {
    use_every_feature(host, true)
}

pub(super) fn sftp_of_openssh_transfers_files(host: Host) -> Result<()> {
    const LEN: usize = 1_000_003;
    setup::install_packages(&["openssh-client"])?;
    let (here, there) = (public_dir()?, public_dir()?);
    let data = pattern(1, 0, LEN);
    fs::write(here.path().join("up"), &data)?;
    let mut words = wrapper(host.profile);
    words.extend([
        binary(host.arch)?.display().to_string(),
        "sftp-server".into(),
    ]);
    let mut client = Command::new("sftp")
        .args(["-b", "-", "-D", &words.join(" ")])
        .current_dir(here.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let batch = format!(
        "cd {}\nput up\nrename up other\nget other back\nls -l\n",
        there.path().display()
    );
    client
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(batch.as_bytes()))
        .transpose()?;
    let output = client.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    let listing = String::from_utf8_lossy(&output.stdout);
    ensure!(
        listing.contains(&LEN.to_string()) && listing.contains(" other"),
        "{output:?}"
    );
    ensure!(fs::read(there.path().join("other"))? == data);
    ensure!(fs::read(here.path().join("back"))? == data);
    Ok(())
}
