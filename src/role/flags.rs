//! The arguments of a role, parsed as by getopt_long(3): `-e -R`, `-eR`, `-l INFO`, `-lINFO`, `--at DIR`, `--at=DIR`.

use super::{Fatal, answer_help, index_of_alias, refuse_usage, refuse_value};
use crate::config::HAS_NFS;
use crate::mem::{Ends as _, nth, parts};
use crate::sys::Args;
use crate::text::{Text, text};
use core::ffi::CStr;

/// True if a compiled role has one-letter flags.
const HAS_LETTERS: bool = cfg!(any(feature = "network", feature = "check"));

/// Defines the flags of a role as an enum with their names: a short flag without its dash, a long one with its dashes, `*` for
/// positional arguments. Each flag of `valued` names its value and says which are right.
///
/// ```ignore
/// flags! {
///     enum Flag {
///         bare { Resolve "r" | "--resolve" }
///         valued { Domain "d" | "--domain" => "domain: only local is supported" }
///     }
/// }
/// ```
macro_rules! flags {
    ($scope:vis enum $name:ident {
        bare { $($(#[cfg($bare_when:meta)])? $bare:ident $($bare_name:literal)|+),* $(,)? }
        valued { $($(#[cfg($when:meta)])? $flag:ident $($flag_name:literal)|+ => $text:expr),* $(,)? }
    }) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $scope enum $name { $($(#[cfg($bare_when)])? $bare,)* $($(#[cfg($when)])? $flag),* }

        impl $name {
            const ALL: &[Self] = &[$($(#[cfg($bare_when)])? Self::$bare,)* $($(#[cfg($when)])? Self::$flag),*];
            const BARE: &[Self] = &[$($(#[cfg($bare_when)])? Self::$bare),*];
            const WANTED: $crate::text::Text =
                $crate::text::Text::row(&[$($(#[cfg($when)])? $text),*]);

            /// Returns the table of these flags; `help` is the text of `--help`.
            $scope const fn table(help: &'static [$crate::text::Text]) -> $crate::role::flags::Flags {
                const NAMES: &[&str] = &[
                    $($(#[cfg($bare_when)])? concat!($($bare_name, "|",)+ " "),)*
                    $($(#[cfg($when)])? concat!($($flag_name, "|",)+ " ")),*
                ];
                const LEN: usize = $crate::role::joined(NAMES, &mut []);
                const JOINED: [u8; LEN] = {
                    let mut joined = [0; LEN];
                    $crate::role::joined(NAMES, &mut joined);
                    joined
                };
                $crate::role::flags::Flags {
                    names: &JOINED,
                    bare_count: Self::BARE.len(),
                    wanted: Self::WANTED,
                    help,
                    foreign: b"",
                    more: None,
                }
            }

            /// Returns the flag at index `number` of the table.
            $scope fn of(number: usize) -> Option<Self> {
                Self::ALL.get(number).copied()
            }

            /// Returns the message for a wrong value of this flag.
            #[allow(dead_code)]
            $scope const fn wanted(self) -> $crate::text::Text {
                Self::WANTED.plus(self as u8 - Self::BARE.len() as u8)
            }
        }
    };
}
pub(super) use flags;

/// The table of a role's flags.
pub(super) struct Flags {
    /// Names of all flags: a `|` follows each name, and a space follows the last name of a flag. [`ParsedFlag::number`] is the
    /// index of a flag in this list.
    pub(super) names: &'static [u8],
    /// Number of flags without a value. They are the first in `names`.
    pub(super) bare_count: usize,
    /// Message for a wrong value of the first flag that has one; the messages of the next flags follow this text.
    pub(super) wanted: Text,
    /// The text of `--help`.
    pub(super) help: &'static [Text],
    /// Words that other programs have for these flags, each followed by a space and the word to use here.
    pub(super) foreign: &'static [u8],
    /// A further table, such as another role's, whose flags are accepted too.
    pub(super) more: Option<&'static Self>,
}

/// A flag of the command line.
#[derive(Clone, Copy)]
pub(super) struct ParsedFlag {
    /// Index of the flag's table in the chain of [`Flags::more`].
    #[allow(dead_code, reason = "only roles with several tables use it")]
    pub(super) table: usize,
    /// Index of the flag in that table.
    pub(super) number: usize,
    /// The flag's value; empty for a flag without one.
    pub(super) value: &'static CStr,
}

/// Returns the length of the part in which two words differ: that of the longer word, without its start and end that the other
/// word has, too.
fn difference(one: &[u8], other: &[u8]) -> usize {
    let (mut one, mut other) = (one, other);
    while let ([a, more @ ..], [b, others @ ..]) = (one, other)
        && a == b
    {
        (one, other) = (more, others);
    }
    while let ([more @ .., a], [others @ .., b]) = (one, other)
        && a == b
    {
        (one, other) = (more, others);
    }
    one.len().max(other.len())
}

/// Returns the role that `word` was perhaps meant to be: one that starts as it does, or differs in at most half of its letters.
/// Executables without NFS have few roles and shall be small.
#[cfg(feature = "nfs")]
pub(super) fn nearest_role(names: &'static [u8], word: &[u8]) -> Option<&'static [u8]> {
    let common = |name: &[u8]| {
        let pairs = name.iter().zip(word);
        pairs.take_while(|(one, other)| one == other).count()
    };
    let is_near = |name: &&[u8]| common(name) >= 3 || 2 * difference(word, name) <= name.len();
    let roles = parts(names, b' ').map(|names| nth(names, b'|', 0));
    roles.filter(is_near).max_by_key(|name| common(name))
}

impl Flags {
    /// Finds a flag by name in this table and those of [`Self::more`].
    fn find(&self, name: &[u8]) -> Option<(&Self, ParsedFlag)> {
        let (mut flags, mut table) = (self, 0);
        loop {
            if let Some(number) = index_of_alias(flags.names, name) {
                let given = ParsedFlag {
                    table,
                    number,
                    value: c"",
                };
                return Some((flags, given));
            }
            (flags, table) = (flags.more?, table + 1);
        }
    }

    /// Returns the word that is to be used for `word` of another program, or else the long flag that differs least from it, before
    /// any "="; empty: all differ in half of their letters or more. Left out of executables without NFS, which have few flags and shall be small.
    fn nearest(&self, word: &[u8]) -> &'static [u8] {
        if !HAS_NFS {
            return b"";
        }
        let (word, mut nearest, mut least) = (nth(word, b'=', 0), &b""[..], usize::MAX);
        let mut table = Some(self);
        while let Some(flags) = table {
            let mut foreign = parts(flags.foreign, b' ');
            while let (Some(name), Some(meant)) = (foreign.next(), foreign.next()) {
                if name == word {
                    return meant;
                }
            }
            for names in parts(flags.names, b' ') {
                for name in parts(names, b'|') {
                    let count = difference(word, name);
                    if name.starts_with(b"--") && 2 * count + 2 < name.len() && count < least {
                        (nearest, least) = (name, count);
                    }
                }
            }
            table = flags.more;
        }
        nearest
    }

    /// Parses `args` and passes each flag to `set`, which returns `None` if the value is wrong.
    ///
    /// # Errors
    /// The exit status: wrong arguments (reported), or help was printed.
    pub(super) fn read(
        &self,
        mut args: Args,
        set: &mut dyn FnMut(ParsedFlag) -> Option<()>,
    ) -> Result<(), Fatal> {
        while let Some(word) = args.next() {
            let about = word.to_bytes();
            answer_help(about, self.help)?;
            let text = word.to_bytes_with_nul();
            let (mut remaining, len) = match text {
                [b'-', b'-', ..] => {
                    let end = text.iter().position(|byte| matches!(byte, b'=' | 0));
                    (text, end.unwrap_or(0))
                }
                // Short flags in one argument; the value of the last one may follow its letter.
                [b'-', letters @ ..] if HAS_LETTERS => (letters, 1),
                // A positional argument: the flag `*`, whose value is the argument itself.
                _ => (&b"*"[..], 1),
            };
            loop {
                let (name, after) = (remaining.head(len), remaining.tail(len));
                let Some((flags, mut given)) = self.find(name) else {
                    let what = text!("unknown option");
                    return Err(refuse_usage(what, about, self.nearest(about)));
                };
                remaining = after;
                if given.number >= flags.bare_count {
                    given.value = match after {
                        [] => word,
                        [0] => args.next().unwrap_or_default(),
                        [b'=', value @ ..] if !HAS_LETTERS || len > 1 => crate::mem::c_str(value),
                        _ => crate::mem::c_str(after),
                    };
                    remaining = b"";
                }
                if set(given).is_none() {
                    let letter = [b'-', name.first().copied().unwrap_or_default()];
                    let (about, value) = match after {
                        [] if name == b"*" => (&b""[..], about),
                        [] => (about, &b""[..]),
                        _ if HAS_LETTERS && len == 1 => (&letter[..], given.value.to_bytes()),
                        _ => (name, given.value.to_bytes()),
                    };
                    return Err(refuse_value(about, value, flags.wanted(given)));
                }
                if !HAS_LETTERS || len > 1 || remaining.len() <= 1 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns the message for a wrong value of the flag `given`.
    fn wanted(&self, given: ParsedFlag) -> Text {
        self.wanted.plus((given.number - self.bare_count) as u8)
    }
}
