//! The arguments of `sftp-server`: those of OpenSSH's sftp-server, the jail, and where to listen.

use super::super::args::{digits, socket};
use super::super::flags::{Flags, flags};
use super::super::{Fatal, network, refuse};
use crate::drive::platform::network::Network;
use crate::engine::sftp::{Level, Permits};
use crate::mem::index_of;
use crate::sys::Args;
use crate::sys::address::ServerAddress;
use crate::text::{Text, text};
use core::ffi::CStr;

flags! {
    pub(in super::super) enum Flag of Sftp {
        ToStderr { short: Some(b'e') },
        ReadOnly { short: Some(b'R') },
        Trust { long: text!("--i-trust-this-network") },
        Start { short: Some(b'd'), takes: Value(text!("directory: a path")) },
        Facility { short: Some(b'f'), takes: Value(text!("log facility: DAEMON, USER, AUTH, AUTHPRIV or LOCAL0 to LOCAL7")) },
        Level { short: Some(b'l'), takes: Value(text!("log level: QUIET, ERROR, INFO, VERBOSE or DEBUG")) },
        Deny { short: Some(b'P'), takes: Value(text!("requests: NAME,NAME; see -Q requests")) },
        Allow { short: Some(b'p'), takes: Value(text!("requests: NAME,NAME; see -Q requests")) },
        List { short: Some(b'Q'), takes: Value(text!("list: requests")) },
        Umask { short: Some(b'u'), takes: Value(text!("umask: octal, such as 022")) },
        Command { short: Some(b'c'), takes: Value(text!("command: this account allows only sftp and scp")) },
        Jail { long: text!("--jail"), takes: Value(text!("directory: a path")) },
        At { long: text!("--at"), takes: Value(text!("path: it must be absolute")) },
        Operand { long: text!("--"), takes: Operand(Text::NOTHING) },
        Listen { long: text!("--listen"), takes: Value(text!("address: ADDRESS:PORT or the absolute path of a socket file (107 bytes at most)")) },
    }
}

pub(in super::super) const FLAGS: Flags = network::with(Flags::of(Flag::ROWS, super::HELP));

/// The parsed arguments.
#[repr(C)] // Largest field last: the others have short offsets.
pub(in super::super) struct Options {
    /// Start directory of a session (`-d`), before `%d` and `%u` are replaced.
    pub(super) start: Option<&'static CStr>,
    /// True with `-e`: logs to standard error. Otherwise log levels from INFO on use syslog.
    pub(super) to_stderr: bool,
    /// Number of the syslog facility.
    pub(super) facility: u32,
    pub(super) level: Level,
    pub(super) permits: Permits,
    pub(super) umask: Option<u32>,
    pub(in super::super) jail: Option<&'static CStr>,
    /// Command of `-c`, by which sshd runs sftp-server if this binary is the login shell.
    command: &'static [u8],
    /// Path under which clients see the jail.
    pub(super) shown_path: &'static [u8],
    pub(super) trusts: bool,
    /// True if the role only prints the names of the requests (`-Q`).
    pub(super) lists: bool,
    /// Value of `--listen`; empty: standard input and output.
    pub(super) listen_text: &'static CStr,
    /// Parsed value of `--listen`.
    pub(super) listen: Option<ServerAddress>,
}

impl Default for Options {
    fn default() -> Self {
        const AUTH: u32 = 4;
        Self {
            start: None,
            to_stderr: false,
            facility: AUTH,
            level: Level::Error,
            permits: Permits::ALL,
            umask: None,
            jail: None,
            command: b"",
            shown_path: b"/",
            listen: None,
            listen_text: c"",
            trusts: false,
            lists: false,
        }
    }
}

impl Options {
    /// Parses the arguments and returns the network that they select.
    ///
    /// # Errors
    /// The exit status: wrong arguments (reported), or help was printed.
    pub(super) fn read(&mut self, args: Args) -> Result<Network, Fatal> {
        let network = self.read_flags(args)?;
        if !self.command.is_empty() {
            self.read_flags(Args::split(self.command))?;
            // A login shell serves only its own user, also if the command has --listen.
            (self.listen_text, self.listen) = (c"", None);
        }
        if self.jail.is_none() && self.shown_path.len() > 1 {
            return Err(refuse(
                b"--at",
                self.shown_path,
                text!("add --jail DIR, which clients see there"),
            ));
        }
        Ok(network)
    }

    fn read_flags(&mut self, args: Args) -> Result<Network, Fatal> {
        network::read(&FLAGS, args, &mut |given| {
            self.set(Flag::of(given.flag)?, given.value)
        })
    }

    /// Sets the option of a flag. Returns `None` if the value is wrong.
    fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::ToStderr => self.to_stderr = true,
            Flag::ReadOnly => self.permits.read_only(),
            Flag::Trust => self.trusts = true,
            // Ignored, as by OpenSSH's sftp-server: the program that starts it may append the user name.
            Flag::Operand => {}
            _ if text.is_empty() => return None,
            Flag::Start => self.start = Some(value),
            Flag::Facility => {
                // The index of a word is the facility's number; "-" is a facility that cannot be selected.
                const FACILITIES: Text = text!(
                    "- USER - DAEMON AUTH - - - - - AUTHPRIV - - - - - LOCAL0 LOCAL1 \
                    LOCAL2 LOCAL3 LOCAL4 LOCAL5 LOCAL6 LOCAL7"
                );
                self.facility = index_ignoring_case(FACILITIES, text)? as u32;
            }
            Flag::Level => {
                const LEVELS: Text =
                    text!("QUIET FATAL ERROR INFO VERBOSE DEBUG DEBUG1 DEBUG2 DEBUG3");
                self.level = match index_ignoring_case(LEVELS, text)? {
                    0 => Level::Quiet,
                    1 | 2 => Level::Error,
                    3 => Level::Info,
                    4 => Level::Verbose,
                    _ => Level::Debug,
                }
            }
            Flag::Deny => self.permits.deny(text)?,
            Flag::Allow => self.permits.allow_only(text)?,
            Flag::List => {
                self.lists = text == b"requests";
                self.lists.then_some(())?;
            }
            Flag::Command => {
                const SERVER: &[u8] = b"sftp-server";
                let mut parts = text.windows(SERVER.len());
                self.command = parts.any(|part| part == SERVER).then_some(text)?;
            }
            Flag::Umask => {
                self.umask = digits(text, 8).filter(|bits| *bits <= 0o777);
                self.umask?;
            }
            Flag::Jail => self.jail = Some(value),
            Flag::At => self.shown_path = Some(text).filter(|text| text.starts_with(b"/"))?,
            Flag::Listen => {
                self.listen = Some(listen_at(value)?);
                self.listen_text = value;
            }
        }
        Some(())
    }
}

/// Returns the index of `word` in the space-separated `words`, which are in capitals; the case of `word` is ignored.
fn index_ignoring_case(words: Text, word: &[u8]) -> Option<usize> {
    let mut capitals = [0; 8];
    let capitals = capitals.get_mut(..word.len())?;
    for (capital, byte) in capitals.iter_mut().zip(word) {
        *capital = byte.to_ascii_uppercase();
    }
    index_of(words.decode(&mut [0; 128]), capitals)
}

/// Parses the value of `--listen`: `/path`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn listen_at(value: &'static CStr) -> Option<ServerAddress> {
    let text = value.to_bytes();
    if text.starts_with(b"/") {
        return ServerAddress::file(value);
    }
    socket(text).map(ServerAddress::Host)
}
