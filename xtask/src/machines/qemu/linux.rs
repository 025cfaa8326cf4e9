//! The machine of qemu/linux.toml: Debian's kernel with stowaway as /init. Tests read its console and reach its NFS server through
//! a forwarded port.

use anyhow::Result;

use super::bare::{self, Bare, Options};

/// Runs the machine on this terminal; see [`bare::on_this_terminal`].
pub fn on_this_terminal(words: &str, more: &[&str], report_port: impl FnOnce(u16)) -> Result<()> {
    bare::run_on_this_terminal("linux", words, more, report_port)
}

/// Starts the machine with more boot arguments, a cpio archive that is appended to its initramfs, and more arguments for QEMU.
pub fn boot(words: &str, archive: &[u8], more: &[&str]) -> Result<Bare> {
    Bare::start(Options {
        words,
        more,
        linux: Some(archive),
        ..Options::default()
    })
}
