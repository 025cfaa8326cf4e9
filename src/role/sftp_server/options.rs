//! The arguments of `sftp-server`: those of OpenSSH's, where to listen, and a jail.

use super::super::args::{digits, socket};
use super::super::flags::{Flags, flags};
use super::super::{Fatal, network, refuse};
use crate::drive::platform::host::per_connection::Address;
use crate::drive::platform::network::Network;
use crate::engine::sftp::{Level, Permits};
use crate::mem::place_in;
use crate::sys::Args;
use crate::text::{Text, text};
use core::ffi::CStr;

flags! {
    enum Flag {
        bare {
            ToStderr "e",
            ReadOnly "R",
            Trust "--i-trust-this-network",
        }
        valued {
            Start "d" => "name a directory",
            Facility "f" => "name DAEMON, USER, AUTH, AUTHPRIV or LOCAL0 to LOCAL7",
            Level "l" => "name QUIET, FATAL, ERROR, INFO, VERBOSE, DEBUG, DEBUG1, DEBUG2 or DEBUG3",
            Deny "P" => "name requests with commas between them; see -Q requests",
            Allow "p" => "name requests with commas between them; see -Q requests",
            List "Q" => "name requests",
            Umask "u" => "name the bits in octal, such as 022",
            Command "c" => "this account is for SFTP alone; use sftp or scp",
            Jail "--jail" => "name a directory",
            At "--at" => "name an absolute path",
            Operand "*" | "--" => "",
            Listen "--listen" => "name ADDRESS:PORT, such as 127.0.0.1:2222, or the absolute path of a socket file (107 bytes at most)",
        }
    }
}

const FLAGS: Flags = network::with(Flag::table(super::HELP));

/// What the arguments ask for.
#[repr(C)] // The longest last.
pub(in super::super) struct Options {
    /// Where the session begins.
    pub(super) start: Option<&'static CStr>,
    /// The log goes to standard error, not to the host's log.
    pub(super) to_stderr: bool,
    /// The number of the facility in the host's log.
    pub(super) facility: u32,
    pub(super) level: Level,
    pub(super) permits: Permits,
    pub(super) umask: Option<u32>,
    pub(in super::super) jail: Option<&'static CStr>,
    /// What sshd would have any login shell run.
    command: &'static [u8],
    /// What clients see the jail as.
    pub(super) at: &'static [u8],
    pub(super) trusts: bool,
    /// Only to list the requests.
    pub(super) lists: bool,
    /// Where to listen, as it was written; empty: nowhere.
    pub(super) listen_text: &'static CStr,
    /// The same.
    pub(super) listen: Address,
}

impl Default for Options {
    #[inline(never)]
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
            at: b"/",
            listen: Address::empty(),
            listen_text: c"",
            trusts: false,
            lists: false,
        }
    }
}

impl Options {
    /// Reads the arguments. The error is what to exit with, be it that they are wrong or that they ask for help.
    pub(super) fn read(&mut self, args: Args) -> Result<Network, Fatal> {
        let network = self.read_flags(args)?;
        if !self.command.is_empty() {
            self.read_flags(Args::split(self.command))?;
            // It serves nobody but who logged in.
            self.listen_text = c"";
        }
        if self.jail.is_none() && self.at.len() > 1 {
            return Err(refuse(
                b"--at",
                self.at,
                text!("name what is shown there: --jail DIR"),
            ));
        }
        Ok(network)
    }

    #[inline(never)]
    fn read_flags(&mut self, args: Args) -> Result<Network, Fatal> {
        network::read(&FLAGS, args, &mut |given| {
            self.set(Flag::of(given.number)?, given.value)
        })
    }

    /// Takes the value of a flag; `None`: it is not what the flag takes.
    #[inline(never)]
    fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::ToStderr => self.to_stderr = true,
            Flag::ReadOnly => self.permits.read_only(),
            Flag::Trust => self.trusts = true,
            // As with OpenSSH's: what starts it may add whom it serves.
            Flag::Operand => {}
            _ if text.is_empty() => return None,
            Flag::Start => self.start = Some(value),
            Flag::Facility => {
                // The others stand at their numbers.
                const FACILITIES: Text = text!(
                    "- USER - DAEMON AUTH - - - - - AUTHPRIV - - - - - LOCAL0 LOCAL1 \
                    LOCAL2 LOCAL3 LOCAL4 LOCAL5 LOCAL6 LOCAL7"
                );
                self.facility = same_in(FACILITIES, text)? as u32;
            }
            Flag::Level => {
                const LEVELS: Text =
                    text!("QUIET FATAL ERROR INFO VERBOSE DEBUG DEBUG1 DEBUG2 DEBUG3");
                self.level = match same_in(LEVELS, text)? {
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
            Flag::At => self.at = Some(text).filter(|text| text.starts_with(b"/"))?,
            Flag::Listen => {
                listen_at(&mut self.listen, value)?;
                self.listen_text = value;
            }
        }
        Some(())
    }
}

/// Where `word` stands among `words`, in capitals or not.
fn same_in(words: Text, word: &[u8]) -> Option<usize> {
    let mut capitals = [0; 8];
    let capitals = capitals.get_mut(..word.len())?;
    for (capital, byte) in capitals.iter_mut().zip(word) {
        *capital = byte.to_ascii_uppercase();
    }
    place_in(words.decode(&mut [0; 128]), capitals)
}

/// `/path`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn listen_at(at: &mut Address, value: &CStr) -> Option<()> {
    let text = value.to_bytes();
    if text.starts_with(b"/") {
        return at.set_file(value);
    }
    let host = socket(text)?;
    at.set_host(*host.ip(), host.port());
    Some(())
}
