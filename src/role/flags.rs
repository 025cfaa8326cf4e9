//! The arguments of a role, read as getopt_long(3) reads them: `-e -R`, `-eR`, `-l INFO`, `-lINFO`, `--at DIR`, `--at=DIR`.

use super::{Fatal, SEE_HELP, USAGE, complain, inform, place_of, refuse};
use crate::mem::Ends as _;
use crate::sys::Args;
use crate::text::{Text, text};
use core::ffi::CStr;

/// Whether any role has flags of one letter.
const HAS_LETTERS: bool = cfg!(any(
    feature = "nfs",
    feature = "sftp-server",
    feature = "check",
    feature = "mdns",
    feature = "browse",
    feature = "resolve",
    feature = "publish"
));

/// The flags of a role as an enum, with their names: letters without their dash, and `*` for the arguments that are no flags.
/// Each of those that take a value has the text that says what it takes.
///
/// ```ignore
/// flags! {
///     enum Flag {
///         bare { Resolve "r" | "--resolve" }
///         valued { Domain "d" | "--domain" => "there is no other domain than local" }
///     }
/// }
/// ```
macro_rules! flags {
    ($scope:vis enum $name:ident {
        bare { $($bare:ident $($bare_name:literal)|+),* $(,)? }
        valued { $($(#[cfg($when:meta)])? $flag:ident $($flag_name:literal)|+ => $text:expr),* $(,)? }
    }) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $scope enum $name { $($bare,)* $($(#[cfg($when)])? $flag),* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$bare,)* $($(#[cfg($when)])? Self::$flag),*];
            const BARE: &[Self] = &[$(Self::$bare),*];
            const WANTED: $crate::text::Text =
                $crate::text::Text::row(&[$($(#[cfg($when)])? $text),*]);

            /// The table of all of them.
            $scope const fn table(help: &'static [$crate::text::Text]) -> $crate::role::flags::Flags {
                const NAMES: &[&str] = &[
                    $(concat!($($bare_name, "|",)+ " "),)*
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
                    more: None,
                }
            }

            /// The flag of this number.
            $scope fn of(number: usize) -> Option<Self> {
                Self::ALL.get(number).copied()
            }

            /// The message for a value that it does not take.
            #[allow(dead_code)]
            $scope const fn wanted(self) -> $crate::text::Text {
                Self::WANTED.plus(self as u8 - Self::BARE.len() as u8)
            }
        }
    };
}
pub(super) use flags;

/// What a role understands.
pub(super) struct Flags {
    /// The names of each, with `|` behind a name and a blank behind a flag. The place among them is a flag's number.
    pub(super) names: &'static [u8],
    /// So many of them, the first, take no value.
    pub(super) bare_count: usize,
    /// The first of the texts that say what the others take.
    pub(super) wanted: Text,
    /// What `--help` prints.
    pub(super) help: &'static [Text],
    /// Those of another role that it understands, too.
    pub(super) more: Option<&'static Self>,
}

/// A flag as it was given.
#[derive(Clone, Copy)]
pub(super) struct Given {
    /// How many tables lie before that which has the flag.
    #[cfg_attr(not(any(feature = "serve", feature = "smol")), expect(dead_code))]
    pub(super) table: usize,
    /// Its number there.
    pub(super) number: usize,
    /// Empty, if it takes none.
    pub(super) value: &'static CStr,
}

impl Flags {
    /// The table that has a flag, and where.
    fn find(&self, name: &[u8]) -> Option<(&Self, Given)> {
        let (mut flags, mut table) = (self, 0);
        loop {
            if let Some(number) = place_of(flags.names, name) {
                let given = Given {
                    table,
                    number,
                    value: c"",
                };
                return Some((flags, given));
            }
            (flags, table) = (flags.more?, table + 1);
        }
    }

    /// Hands each flag to `set`, whose `None` says that its value is not what it takes. The error is what to exit with, be it that
    /// the arguments are wrong or that they ask for help.
    pub(super) fn read(
        &self,
        mut args: Args,
        set: &mut dyn FnMut(Given) -> Option<()>,
    ) -> Result<(), Fatal> {
        while let Some(word) = args.next() {
            let about = word.to_bytes();
            inform(about, self.help)?;
            let text = word.to_bytes_with_nul();
            let (mut rest, len) = match text {
                [b'-', b'-', ..] => {
                    let end = text.iter().position(|byte| matches!(byte, b'=' | 0));
                    (text, end.unwrap_or(0))
                }
                // Letters, the last of which may have its value behind it.
                [b'-', letters @ ..] if HAS_LETTERS => (letters, 1),
                // Its own value: behind it is nothing.
                _ => (&b"*"[..], 1),
            };
            loop {
                let (name, behind) = (rest.head(len), rest.tail(len));
                let Some((flags, mut given)) = self.find(name) else {
                    let what = text!("there is no option");
                    return Err(complain(USAGE, what, about, SEE_HELP));
                };
                rest = behind;
                if given.number >= flags.bare_count {
                    given.value = match behind {
                        [] => word,
                        [0] => args.next().unwrap_or_default(),
                        [b'=', value @ ..] if !HAS_LETTERS || len > 1 => crate::mem::c_str(value),
                        _ => crate::mem::c_str(behind),
                    };
                    rest = b"";
                }
                if set(given).is_none() {
                    let (about, value) = match behind {
                        [] => (about, &b""[..]),
                        _ if HAS_LETTERS && len == 1 => (about, given.value.to_bytes()),
                        _ => (name, given.value.to_bytes()),
                    };
                    return Err(refuse(about, value, flags.wanted(given)));
                }
                if !HAS_LETTERS || len > 1 || rest.len() <= 1 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What a person is told of a flag that was given another value than it takes.
    fn wanted(&self, given: Given) -> Text {
        self.wanted.plus((given.number - self.bare_count) as u8)
    }
}
