//! qemu/linux.toml: Debian's kernel, and our own file as its first process. Its console is watched, its NFS server is reached through
//! a port of loopback.

use anyhow::Result;

use super::bare::{self, Bare, Options};

/// Runs it on this terminal, as [`bare::on_this_terminal`].
pub fn on_this_terminal(words: &str, more: &[&str], tell: impl FnOnce(u16)) -> Result<()> {
    bare::run_on_this_terminal("linux", words, more, tell)
}

/// Starts it with more boot arguments, an archive that follows its own, and more arguments of QEMU.
pub fn boot(words: &str, archive: &[u8], more: &[&str]) -> Result<Bare> {
    Bare::start(Options {
        words,
        more,
        linux: Some(archive),
        ..Options::default()
    })
}
