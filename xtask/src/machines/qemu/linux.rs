//! The machine of qemu/linux.toml: Debian's kernel with stowaway as /init. Tests read its console and reach its NFS server through
//! a forwarded port.

use anyhow::Result;

use super::bare::{self, Bare, Forwarded, Options};

/// Runs the machine on this terminal; see [`bare::on_this_terminal`].
pub fn on_this_terminal(
    boot_arguments: &str,
    more: &[&str],
    report_ports: impl FnOnce(Forwarded),
) -> Result<()> {
    bare::run_on_this_terminal("linux", boot_arguments, more, report_ports)
}

/// Starts the machine with additional boot arguments, a cpio archive that is appended to its initramfs, and additional arguments
/// for QEMU (`more`).
pub fn boot(boot_arguments: &str, archive: &[u8], more: &[&str]) -> Result<Bare> {
    Bare::start(Options {
        boot_arguments,
        more,
        linux: Some(archive),
        ..Options::default()
    })
}
