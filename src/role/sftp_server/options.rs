//! The arguments of `sftp-server`, read as getopt(3) reads them: `-e -R`, `-eR`, `-l INFO`, `-lINFO`.

use super::super::words::{absolute, address, digits, parts, place_in, port};
use super::super::{SEE_HELP, Status, USAGE, complain, inform};
use crate::engine::sftp::{Level, Permits};
use crate::sys;
use crate::sys::sockets::Place;
use crate::sys::start::Args;
use core::ffi::CStr;

/// The flags of one letter, in the order of [`Options::set`]. The first two take no value.
const LETTERS: &str = "-e -R -d -f -l -P -p -Q -u";
/// Those that follow, of which the first takes none.
const WORDS: &str = "--i-trust-this-network --jail --at --listen";

/// What the flag at `place` takes.
const fn wanted(place: usize) -> &'static str {
    match place {
        2 | 10 => "name a directory",
        3 => "name DAEMON, USER, AUTH, AUTHPRIV or LOCAL0 to LOCAL7",
        4 => "name QUIET, FATAL, ERROR, INFO, VERBOSE, DEBUG, DEBUG1, DEBUG2 or DEBUG3",
        5 | 6 => "name requests with commas between them; see -Q requests",
        7 => "name requests",
        8 => "name the bits in octal, such as 022",
        11 => "name an absolute path",
        _ => "name ADDRESS:PORT, such as 127.0.0.1:2222, or the absolute path of a socket file",
    }
}

/// What the arguments ask for.
pub(super) struct Options {
    /// Where the session begins.
    pub(super) start: Option<&'static CStr>,
    /// The log goes to standard error, not to the host's log.
    pub(super) to_stderr: bool,
    /// The number of the facility in the host's log.
    pub(super) facility: u32,
    pub(super) level: Level,
    pub(super) permits: Permits,
    pub(super) umask: Option<u32>,
    pub(super) jail: Option<&'static CStr>,
    /// What clients see the jail as.
    pub(super) at: &'static [u8],
    pub(super) listen: Option<Place<'static>>,
    /// The same as it was written.
    pub(super) listen_text: &'static CStr,
    pub(super) trusts: bool,
    /// Only to list the requests.
    pub(super) lists: bool,
}

impl Default for Options {
    fn default() -> Self {
        const AUTH: u32 = 4;
        Self {
            start: None,
            to_stderr: false,
            facility: AUTH,
            level: Level::Error,
            permits: Permits::default(),
            umask: None,
            jail: None,
            at: b"/",
            listen: None,
            listen_text: c"",
            trusts: false,
            lists: false,
        }
    }
}

impl Options {
    /// Reads the arguments. The error is what to exit with, be it that they are wrong or that they ask for help.
    pub(super) fn read(&mut self, mut args: Args) -> Result<(), Status> {
        while let Some(word) = args.next() {
            inform(word.to_bytes(), &[super::HELP])?;
            match word.to_bytes_with_nul() {
                [b'-', b'-', ..] => self.read_word(word, &mut args)?,
                [b'-', letters @ .., _] if !letters.is_empty() => {
                    self.read_letters(word.to_bytes_with_nul(), &mut args)?;
                }
                _ => return Err(no_option(word.to_bytes())),
            }
        }
        Ok(())
    }

    /// --NAME VALUE or --NAME=VALUE.
    fn read_word(&mut self, word: &'static CStr, args: &mut Args) -> Result<(), Status> {
        let word = word.to_bytes_with_nul();
        let end = word.iter().position(|byte| matches!(byte, b'=' | 0));
        let (flag, rest) = word.split_at_checked(end.unwrap_or(0)).unwrap_or_default();
        let place = place_in(WORDS, flag).ok_or_else(|| no_option(flag))?;
        let value = match rest {
            _ if place == 0 => c"",
            [b'=', value @ ..] => sys::c_str(value),
            _ => args.next().unwrap_or_default(),
        };
        self.take(place + parts(LETTERS.as_bytes(), b' ').count(), flag, value)
    }

    /// Letters behind a dash; the last may have its value behind it.
    fn read_letters(&mut self, word: &'static [u8], args: &mut Args) -> Result<(), Status> {
        let mut rest = word.get(1..).unwrap_or_default();
        while let [letter, behind @ ..] = rest
            && *letter != 0
        {
            rest = behind;
            let flag = [b'-', *letter];
            let place = place_in(LETTERS, &flag).ok_or_else(|| no_option(&flag))?;
            let mut value = c"";
            if place > 1 {
                value = match behind {
                    [0] => args.next().unwrap_or_default(),
                    _ => sys::c_str(behind),
                };
                rest = &[];
            }
            self.take(place, &flag, value)?;
        }
        Ok(())
    }

    /// Takes the value of a flag, or says what it takes.
    fn take(&mut self, place: usize, flag: &[u8], value: &'static CStr) -> Result<(), Status> {
        let taken = self.set(place, value);
        taken.ok_or_else(|| complain(USAGE, flag, value.to_bytes(), wanted(place).as_bytes()))
    }

    /// Takes the value of the flag at `place`; `None`: it is not what the flag takes.
    #[inline(never)]
    fn set(&mut self, place: usize, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match place {
            0 => self.to_stderr = true,
            1 => self.permits.read_only(),
            9 => self.trusts = true,
            _ if text.is_empty() => return None,
            2 => self.start = Some(value),
            3 => {
                // The others stand at their numbers.
                const FACILITIES: &str = "- USER - DAEMON AUTH - - - - - AUTHPRIV - - - - - LOCAL0 LOCAL1 \
                    LOCAL2 LOCAL3 LOCAL4 LOCAL5 LOCAL6 LOCAL7";
                self.facility = same_in(FACILITIES, text)? as u32;
            }
            4 => {
                const LEVELS: &str = "QUIET FATAL ERROR INFO VERBOSE DEBUG DEBUG1 DEBUG2 DEBUG3";
                self.level = match same_in(LEVELS, text)? {
                    0 => Level::Quiet,
                    1 | 2 => Level::Error,
                    3 => Level::Info,
                    4 => Level::Verbose,
                    _ => Level::Debug,
                }
            }
            5 => self.permits.deny(text)?,
            6 => self.permits.allow_only(text)?,
            7 => {
                self.lists = text == b"requests";
                self.lists.then_some(())?;
            }
            8 => {
                self.umask = digits(text, 8).filter(|bits| *bits <= 0o777);
                self.umask?;
            }
            10 => self.jail = Some(value),
            11 => self.at = absolute(text)?.to_bytes(),
            _ => {
                self.listen = Some(listen_place(value)?);
                self.listen_text = value;
            }
        }
        Some(())
    }
}

fn no_option(flag: &[u8]) -> Status {
    complain(USAGE, b"there is no option", flag, SEE_HELP)
}

/// Where `word` stands among `words`, in capitals or not.
fn same_in(words: &str, word: &[u8]) -> Option<usize> {
    let mut capitals = [0; 8];
    let capitals = capitals.get_mut(..word.len())?;
    for (capital, byte) in capitals.iter_mut().zip(word) {
        *capital = byte.to_ascii_uppercase();
    }
    place_in(words, capitals)
}

/// `/path`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn listen_place(value: &'static CStr) -> Option<Place<'static>> {
    let text = value.to_bytes();
    let mut sides = match text {
        [b'/', ..] => return Some(Place::Path(value)),
        [b'[', inside @ ..] => parts(inside, b']'),
        _ => parts(text, b':'),
    };
    let host = address(sides.next()?)?;
    // Behind a bracket there is a colon.
    let rest = sides.rest?;
    let digits = rest.strip_prefix(b":").unwrap_or(rest);
    Some(Place::Address(host, port(digits)?))
}
