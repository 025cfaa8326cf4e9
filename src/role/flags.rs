//! The arguments of a role, parsed as by getopt_long(3): `-e -R`, `-eR`, `-l INFO`, `-lINFO`, `--at DIR`, `--at=DIR`.

use super::{AnyFlag, Fatal, answer_help, refuse_usage, refuse_value};
use super::{DONE, HELP_BYTES_MAX, print};
use crate::config::{HAS_COMPLETION, HAS_NFS, HAS_SERVE};
use crate::mem::parts;
use crate::mem::{self, Ends as _, c_str, nth};
use crate::sys::{self, Args};
use crate::text::{Text, text};
use crate::wire::Writer;
use core::ffi::CStr;

/// Defines the flags of a role: an enum, and a [`Row`] for each value. Fields that are not named are left as in [`Row::of`]. Rows that
/// need a feature are in braces after the others, behind its `#[cfg]`.
///
/// ```ignore
/// flags! {
///     enum Flag of Resolve {
///         Service { short: Some(b's'), long: text!("--service") },
///         Interface { long: text!("--interface"), takes: Value(text!("interface: such as eth0; 64 at most")) },
///     }
/// }
/// ```
macro_rules! flags {
    ($scope:vis enum $name:ident of $table:ident {
        $($flag:ident { $($field:ident: $value:expr),* }),* $(,)?
        $(#[cfg($when:meta)] { $($part:ident { $($key:ident: $content:expr),* }),* $(,)? })*
    }) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $scope enum $name { $($flag,)* $($($part),*),* }

        impl $name {
            $scope const ROWS: &[$crate::role::flags::Row] = {
                use $crate::role::AnyFlag;
                #[allow(unused_imports, reason = "the flags of a role may all lack values")]
                use $crate::role::flags::{Row, Takes::{Operand, Path, Value}};
                &[
                    $(Row { $($field: $value,)* ..Row::of(AnyFlag::$table(Self::$flag)) },)*
                    $($(#[cfg($when)] Row { $($key: $content,)* ..Row::of(AnyFlag::$table(Self::$part)) },)*)*
                ]
            };

            /// Returns the flag, if it is one of these.
            $scope const fn of(flag: $crate::role::AnyFlag) -> Option<Self> {
                match flag {
                    $crate::role::AnyFlag::$table(flag) => Some(flag),
                    #[allow(unreachable_patterns, reason = "an executable may have one role")]
                    _ => None,
                }
            }
        }
    };
}
pub(super) use flags;

/// The names of a flag, and its value.
pub(super) struct Row {
    pub(super) flag: AnyFlag,
    /// The letter of `-l`.
    pub(super) short: Option<u8>,
    /// The name with its dashes; empty: none.
    pub(super) long: Text,
    pub(super) takes: Takes,
}

impl Row {
    /// Returns a row without names and value.
    pub(super) const fn of(flag: AnyFlag) -> Self {
        Self {
            flag,
            short: None,
            long: Text::NOTHING,
            takes: Takes::Nothing,
        }
    }
}

/// The value of a flag, with the message for a wrong one: it names the value and says which are right.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    #[allow(dead_code, reason = "the flags of a role may all lack values")]
    Value(Text),
    /// A path of a file that is opened now or later: [`Flags::read`] makes it absolute for a server that leaves its directory.
    #[allow(dead_code, reason = "the flags of a role may all lack paths")]
    Path(Text),
    /// A value that may also be an argument of its own, without the flag's name.
    #[allow(dead_code, reason = "a role may have no operands")]
    Operand(Text),
}

/// The table of a role's flags.
pub(super) struct Flags {
    pub(super) rows: &'static [Row],
    /// The text of `--help`.
    pub(super) help: &'static [Text],
    /// Names that other programs have for these flags, each with the name to use here.
    pub(super) foreign: &'static [(Text, Text)],
    /// A further table, such as another role's, whose flags are accepted too.
    pub(super) more: Option<&'static Self>,
}

/// A flag of the command line.
#[derive(Clone, Copy)]
pub(super) struct ParsedFlag {
    pub(super) flag: AnyFlag,
    /// The flag's value; empty for a flag without one.
    #[allow(dead_code, reason = "the flags of a role may all lack values")]
    pub(super) value: &'static CStr,
}

/// The form of a flag on the command line.
#[derive(Clone, Copy)]
enum Name<'a> {
    Short(u8),
    Long(&'a [u8]),
    Operand,
}

/// The argument by which the scripts of `completion` ask for words.
const WORDS: &[u8] = b"--words";

/// Returns true if a script asks for words, in an executable that has the scripts.
pub(super) fn is_words(word: &[u8]) -> bool {
    HAS_COMPLETION && word == WORDS
}

/// Prints a word on a line of its own.
pub(super) fn print_word(word: &[u8]) {
    if !word.is_empty() {
        print(word);
        print(b"\n");
    }
}

/// Prints the values that a message lists after "one of"; else "/" if the message names a path, and the shell completes files.
fn print_values(message: Text) {
    let mut buffer = [0; HELP_BYTES_MAX];
    let message = message.decode(&mut buffer);
    let after = |mark: &[u8]| {
        let start = message.windows(mark.len()).position(|part| part == mark);
        start.map(|start| message.tail(start + mark.len()))
    };
    if let Some(values) = after(b"one of ") {
        for word in parts(values, b' ') {
            print_word(nth(word, b',', 0));
        }
    } else if after(b" path").or(after(b"DIR")).is_some() {
        print_word(b"/");
    }
}

/// Limit of a path that is made absolute (bytes).
const PATH_BYTES_MAX: usize = 1024;
/// Limit of a long name (bytes).
const NAME_BYTES_MAX: usize = 32;

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
pub(super) fn nearest_role(names: &'static [u8], word: &[u8]) -> Option<&'static [u8]> {
    let common = |name: &[u8]| {
        let pairs = name.iter().zip(word);
        pairs.take_while(|(one, other)| one == other).count()
    };
    let is_near = |name: &&[u8]| common(name) >= 3 || 2 * difference(word, name) <= name.len();
    let roles = parts(names, b' ').map(|names| nth(names, b'|', 0));
    roles.filter(is_near).max_by_key(|name| common(name))
}

/// Returns the absolute path of `path`, which is not simplified. An empty path, "-", and paths whose directory is unknown stay as
/// they are.
pub(super) fn full_path(path: &'static CStr) -> &'static CStr {
    let mut buffer = [0; PATH_BYTES_MAX];
    let len = match path.to_bytes() {
        b"" | b"-" | [b'/', ..] => None,
        _ => sys::current_dir(&mut buffer),
    };
    // Linux begins the path of an unreachable directory with "(unreachable)".
    let Some(len) = len.filter(|_| buffer.starts_with(b"/")) else {
        return path;
    };
    let mut full = Writer::new(&mut buffer);
    full.put_ahead(len);
    full.put(b"/");
    full.put(path.to_bytes_with_nul());
    match full.written() {
        Some(len) => c_str(mem::copy(buffer.head(len))),
        None => path,
    }
}

impl Flags {
    /// Returns the table of these flags alone; `help` is the text of `--help`.
    pub(super) const fn of(rows: &'static [Row], help: &'static [Text]) -> Self {
        Self {
            rows,
            help,
            foreign: &[],
            more: None,
        }
    }

    fn find(&self, name: Name<'_>) -> Option<&Row> {
        let is_named = |row: &&Row| match name {
            Name::Short(letter) => row.short == Some(letter),
            Name::Long(name) => row.long.decode(&mut [0; NAME_BYTES_MAX]) == name,
            Name::Operand => matches!(row.takes, Takes::Operand(_)),
        };
        let mut table = self;
        loop {
            match table.rows.iter().find(is_named) {
                None => table = table.more?,
                found => return found,
            }
        }
    }

    /// Returns the name that is to be used for `word` of another program, or else the long flag that differs least from it, before
    /// any "="; empty: all differ in half of their letters or more. Left out of executables without NFS, which have few flags and
    /// shall be small.
    fn nearest(&self, word: &[u8]) -> Text {
        if !HAS_NFS {
            return Text::NOTHING;
        }
        let (mut nearest, mut least) = (Text::NOTHING, usize::MAX);
        let (word, mut table) = (nth(word, b'=', 0), Some(self));
        while let Some(flags) = table {
            let is_word = |name: Text| name.decode(&mut [0; NAME_BYTES_MAX]) == word;
            let mut foreign = flags.foreign.iter();
            if let Some((_, meant)) = foreign.find(|(name, _)| is_word(*name)) {
                return *meant;
            }
            for row in flags.rows {
                let mut buffer = [0; NAME_BYTES_MAX];
                let name = row.long.decode(&mut buffer);
                let count = difference(word, name);
                if 2 * count + 2 < name.len() && count < least {
                    (nearest, least) = (row.long, count);
                }
            }
            table = flags.more;
        }
        nearest
    }

    /// Prints the words that may follow the first of `args` on a command line: the values of that flag, else those of operands, which
    /// are listed in `operands`, and the flags. The first word is "/" where a path may follow.
    pub(super) fn print_words(&self, mut args: Args, operands: Text) -> Fatal {
        let before = args.next().unwrap_or_default().to_bytes();
        let flag = match before {
            [b'-', b'-', ..] => self.find(Name::Long(before)),
            [b'-', letter] => self.find(Name::Short(*letter)),
            _ => None,
        };
        if let Some(Row {
            takes: Takes::Value(values) | Takes::Path(values) | Takes::Operand(values),
            ..
        }) = flag
        {
            print_values(*values);
            return DONE;
        }
        print_values(operands);
        if let Some(Row {
            takes: Takes::Operand(values),
            ..
        }) = self.find(Name::Operand)
        {
            print_values(*values);
        }
        let mut table = Some(self);
        while let Some(flags) = table {
            for row in flags.rows {
                print_word(row.long.decode(&mut [0; NAME_BYTES_MAX]));
            }
            table = flags.more;
        }
        DONE
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
            answer_help(word.to_bytes(), self.help)?;
            if is_words(word.to_bytes()) {
                return Err(self.print_words(args, Text::NOTHING));
            }
            let text = word.to_bytes_with_nul();
            // The rest is what follows the name in this argument, up to its NUL.
            let (mut name, mut rest) = match text {
                [b'-', b'-', ..] => {
                    let len = text.iter().position(|byte| matches!(byte, b'=' | 0));
                    let len = len.unwrap_or(0);
                    (Name::Long(text.head(len)), text.tail(len))
                }
                [b'-', letter, rest @ ..] => (Name::Short(*letter), rest),
                _ => (Name::Operand, text),
            };
            loop {
                let Some(row) = self.find(name) else {
                    let (what, word) = (text!("unknown option"), word.to_bytes());
                    return Err(refuse_usage(what, word, self.nearest(word)));
                };
                let (mut value, mut wanted) = (c"", Text::NOTHING);
                if let Takes::Value(text) | Takes::Path(text) | Takes::Operand(text) = row.takes {
                    wanted = text;
                    value = match (name, rest) {
                        (Name::Operand, _) => word,
                        (_, [0]) => args.next().unwrap_or_default(),
                        (Name::Long(_), [_, value @ ..]) => c_str(value),
                        _ => c_str(rest),
                    };
                    if HAS_SERVE && matches!(row.takes, Takes::Path(_)) {
                        value = full_path(value);
                    }
                }
                let flag = row.flag;
                if set(ParsedFlag { flag, value }).is_none() {
                    let option: &[u8] = match &name {
                        Name::Short(letter) => &[b'-', *letter],
                        Name::Long(name) => name,
                        Name::Operand => b"",
                    };
                    return Err(refuse_value(option, value.to_bytes(), wanted));
                }
                match (name, rest, row.takes) {
                    // The next flag of several letters in one argument.
                    (Name::Short(_), [letter, more @ ..], Takes::Nothing) if *letter != 0 => {
                        (name, rest) = (Name::Short(*letter), more);
                    }
                    _ => break,
                }
            }
        }
        Ok(())
    }
}
