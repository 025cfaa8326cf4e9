//! Boot arguments of a machine: the long options of `serve`, without their dashes, on the kernel command line.

use super::{Console, FAILED, Fatal, complain};
use crate::event;
#[cfg(any(bare, test))]
use crate::mem::Ends as _;
use crate::mem::parts;
use crate::text::{Text, text};
use crate::wire::Writer;
use crate::wire::label::cut;

/// Options of `serve` that are accepted as boot arguments. A value follows "="; `http` alone is `http=80`.
const WORDS: [&[u8]; 13] = [
    b"ip=",
    b"gw=",
    b"name=",
    b"export=",
    b"service=",
    b"trace=",
    b"handles=",
    b"sftp=",
    b"hwid=",
    b"http=",
    b"http",
    b"metrics-from=",
    b"identify",
];
/// Buffer size (bytes) for the arguments of `serve`.
pub(super) const LINE_BYTES: usize = 8 << 10;

/// Splits a command line into its arguments.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(line, b' ').filter(|word| !word.is_empty())
}

/// Returns the values of all arguments that start with `name`, which ends with "=".
#[cfg(bare)]
pub(super) fn values<'a>(line: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    words(line).filter_map(move |word| word.strip_prefix(name))
}

/// Returns true if `line` has an argument of this name.
#[cfg(bare)]
pub(super) fn has(line: &[u8], name: &[u8]) -> bool {
    words(line).any(|word| form_of(word).0 == name)
}

/// Writes the boot arguments of `line` as options of `serve` and calls `unknown` for each other word. Returns true if an export
/// is named.
pub(super) fn translate(line: &[u8], to: &mut Writer<'_>, unknown: &mut dyn FnMut(&[u8])) -> bool {
    let mut exports = false;
    for word in words(line) {
        let form = form_of(word);
        if WORDS.iter().any(|known| form_of(known) == form) {
            exports |= word.starts_with(b"export=");
            to.put(b" --");
            to.put(word);
            if form == (b"http", false) {
                to.put(b"=80");
            }
        } else if word != b"serve" {
            unknown(word);
        }
    }
    exports
}

/// Returns the name of an argument, and true if it has a value.
fn form_of(word: &[u8]) -> (&[u8], bool) {
    let (name, _) = cut(word, b'=');
    (name, name.len() < word.len())
}

/// Returns the argument that was perhaps meant by an unknown `word`: its name is at an edit distance of at most 2, but does not
/// differ in each letter, and both have a value, or neither has.
#[cfg(any(bare, test))]
pub(super) fn meant(word: &[u8]) -> Option<&'static [u8]> {
    let (name, has_value) = form_of(word);
    let mut known = WORDS.iter().map(|known| form_of(known));
    let meant = known.find(|(known, takes_value)| {
        *takes_value == has_value && is_near(name, known, 2.min(known.len() - 1))
    });
    meant.map(|(known, _)| known)
}

/// Returns true if `one` becomes `other` when at most `count` letters are inserted, removed or replaced.
#[cfg(any(bare, test))]
fn is_near(one: &[u8], other: &[u8], count: usize) -> bool {
    match (one, other) {
        ([], []) => true,
        ([a, one @ ..], [b, other @ ..]) if a == b => is_near(one, other, count),
        _ if count == 0 => false,
        _ => {
            let (shorter, other_shorter) = (one.tail(1), other.tail(1));
            is_near(shorter, other_shorter, count - 1)
                || is_near(shorter, other, count - 1)
                || is_near(one, other_shorter, count - 1)
        }
    }
}

/// Prints a line on the machine's console.
pub(super) fn report(what: Text, about: &[u8], why: Text) {
    event::report(&mut Console, what, about, why);
}

/// Reports that `word` is ignored because no boot argument has that name.
pub(super) fn report_ignored(word: &[u8]) {
    let what = text!("ignored: unknown boot argument");
    report(what, word, Text::NOTHING);
}

/// Reports that no export was named or found, with the advice `why`, and returns exit status 1.
pub(super) fn nothing_to_export(why: Text) -> Fatal {
    complain(FAILED, text!("nothing to export"), b"", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_boot_argument_is_recognised() {
        for (word, expected) in [
            ("exprot=/vda", Some("export")),
            ("exports=/vda", Some("export")),
            ("xport=/vda", Some("export")),
            ("Export=/vda", Some("export")),
            ("nam=box", Some("name")),
            ("i=10.0.0.1", Some("ip")),
            ("identfy", Some("identify")),
            // Other words of kernels, another form, too many differences.
            ("quiet", None),
            ("rw", None),
            ("ro", None),
            ("root=/dev/vda", None),
            ("console=ttyS0", None),
            ("panic=1", None),
            ("exprot", None),
            ("identfy=1", None),
            ("axporz=/vda", Some("export")),
            ("axpord_=/vda", None),
            ("", None),
        ] {
            let found = meant(word.as_bytes()).map(|name| str::from_utf8(name).unwrap());
            assert_eq!(found, expected, "{word}");
        }
        assert_eq!(meant(&[b'e'; 4096]), None);
    }
}
