//! The arguments of a role, read as getopt_long(3) reads them: `-e -R`, `-eR`, `-l INFO`, `-lINFO`, `--at DIR`, `--at=DIR`.

use super::{SEE_HELP, Status, USAGE, complain, inform, refuse};
use crate::mem::{Ends as _, place_in};
use crate::sys::linux::start::Args;
use crate::text::{Text, text};
use core::ffi::CStr;

/// Whether any role has flags of one letter.
const HAS_LETTERS: bool = cfg!(any(
    feature = "nfs",
    feature = "sftp-server",
    feature = "check",
    feature = "browse",
    feature = "resolve",
    feature = "publish"
));

/// What a role understands.
pub(super) struct Flags {
    /// All of them, with spaces between; those of one letter without their dash. The place among them is a flag's number.
    pub(super) names: &'static [u8],
    /// So many of them, the first, take no value.
    pub(super) bare_count: usize,
    /// The first of the texts that say what the others take.
    pub(super) wanted: Text,
    /// What `--help` prints.
    pub(super) help: &'static [Text],
    /// Others that it understands, too: their numbers begin at [`MORE`], and again.
    #[cfg(all(feature = "serve", feature = "mdns"))]
    pub(super) more: Option<&'static Self>,
}

/// More than a role has by itself.
#[cfg(all(feature = "serve", feature = "mdns"))]
pub(super) const MORE: usize = 32;

impl Flags {
    /// Who understands a flag, its place there, and how many are before.
    #[cfg(all(feature = "serve", feature = "mdns"))]
    fn find(&self, name: &[u8]) -> Option<(&Self, usize, usize)> {
        let (mut flags, mut before) = (self, 0);
        loop {
            if let Some(place) = place_in(flags.names, name) {
                return Some((flags, place, before));
            }
            (flags, before) = (flags.more?, before + MORE);
        }
    }

    #[cfg(not(all(feature = "serve", feature = "mdns")))]
    fn find(&self, name: &[u8]) -> Option<(&Self, usize, usize)> {
        Some((self, place_in(self.names, name)?, 0))
    }

    /// Hands each flag's number and value to `set`, whose `None` says that this is not what it takes. The error is what to
    /// exit with, be it that the arguments are wrong or that they ask for help.
    #[inline(never)]
    pub(super) fn read(
        &self,
        mut args: Args,
        set: &mut dyn FnMut(usize, &'static CStr) -> Option<()>,
    ) -> Result<(), Status> {
        while let Some(word) = args.next() {
            let about = word.to_bytes();
            inform(about, self.help)?;
            // A star at the end stands for words that are no flags.
            #[cfg(any(feature = "browse", feature = "resolve", feature = "publish"))]
            if self.names.ends_with(b" *") && !about.starts_with(b"-") {
                let last = crate::mem::parts(self.names, b' ').count() - 1;
                if set(last, word).is_none() {
                    let why = self.wanted.plus((last - self.bare_count) as u8);
                    return Err(refuse(about, b"", why));
                }
                continue;
            }
            let mut rest = word.to_bytes_with_nul();
            // What has no dash is no flag, as its NUL belongs to it.
            let mut len = rest.len();
            match rest {
                [b'-', b'-', ..] => {
                    let end = rest.iter().position(|byte| matches!(byte, b'=' | 0));
                    len = end.unwrap_or(0);
                }
                // Letters, the last of which may have its value behind it.
                [b'-', letters @ ..] if HAS_LETTERS => (rest, len) = (letters, 1),
                _ => {}
            }
            loop {
                let (name, behind) = (rest.head(len), rest.tail(len));
                let Some((flags, place, before)) = self.find(name) else {
                    let what = text!("there is no option");
                    return Err(complain(USAGE, what, about, SEE_HELP));
                };
                rest = behind;
                let mut value = c"";
                if place >= flags.bare_count {
                    value = match behind {
                        [0] => args.next().unwrap_or_default(),
                        [b'=', value @ ..] if !HAS_LETTERS || len > 1 => crate::mem::c_str(value),
                        _ => crate::mem::c_str(behind),
                    };
                    rest = b"";
                }
                if set(before + place, value).is_none() {
                    let about = if HAS_LETTERS && len == 1 { about } else { name };
                    let why = flags.wanted.plus((place - flags.bare_count) as u8);
                    return Err(refuse(about, value.to_bytes(), why));
                }
                if !HAS_LETTERS || len > 1 || rest.len() <= 1 {
                    break;
                }
            }
        }
        Ok(())
    }
}
