//! Sessions of `sftp-server`.

use super::{Log, POORER, compare};
use crate::sftp_poor;
use anyhow::Result;
use xtask::build::Arch;
use xtask::clients::sftp::{Sftp, SftpOptions, Wire};

fn session(log: &Log, arch: Arch, jailed: bool, wire: Wire) -> Result<()> {
    sftp_poor::play_in(jailed, |options| {
        let options = SftpOptions {
            wrapper: log.wrapper(),
            ..options.clone()
        };
        Sftp::start(&options.with_arch(arch).with_wire(wire))
    })
}

#[test]
fn calls_of_sftp_server_are_listed() -> Result<()> {
    compare(&["sftp-server"], &POORER, |log| {
        let mut results = Vec::new();
        for jailed in [false, true] {
            for wire in Wire::ALL {
                results.push(session(log, Arch::X86_64, jailed, wire));
            }
            if log.profile.is_none() {
                results.push(session(log, Arch::I686, jailed, Wire::Pipes));
            }
        }
        if log.profile.is_none() {
            results.push(super::flags::run(log, "sftp-server"));
        }
        results.into_iter().collect()
    })
}
