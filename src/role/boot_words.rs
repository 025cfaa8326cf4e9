//! Boot arguments of a machine: those of `serve`, as a kernel's command line has them.

use super::{Console, FAILED, Fatal, complain};
use crate::event;
use crate::mem::{parts, place_in};
use crate::text::{Text, text};
use crate::wire::Writer;

/// Each is an argument of `serve` with dashes before it. All but the last have a value.
#[cfg(feature = "sftp-server")]
const WORDS: &[u8] = b"ip gw name export service log handles sftp hwid identify";
#[cfg(not(feature = "sftp-server"))]
const WORDS: &[u8] = b"ip gw name export service log handles hwid identify";
const LAST: usize = if cfg!(feature = "sftp-server") { 9 } else { 8 };
/// Bytes of all arguments together.
pub(super) const LINE_BYTES: usize = 8 << 10;

/// The arguments of a command line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(line, b' ').filter(|word| !word.is_empty())
}

/// What follows in the arguments of a command line that begin with `name`.
#[cfg(bare)]
pub(super) fn values<'a>(line: &'a [u8], name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    words(line).filter_map(move |word| word.strip_prefix(name))
}

/// Writes the arguments of `serve` that those of this line are; whether one of them names an export. What is none goes to `other`.
pub(super) fn translate(line: &[u8], to: &mut Writer<'_>, other: &mut dyn FnMut(&[u8])) -> bool {
    let mut exports = false;
    for word in words(line) {
        let name = parts(word, b'=').next().unwrap_or_default();
        match place_in(WORDS, name) {
            Some(place) if (name.len() < word.len()) == (place < LAST) => {
                exports |= name == b"export";
                to.put(b" --");
                to.put(word);
            }
            _ if word == b"serve" => {}
            _ => other(word),
        }
    }
    exports
}

/// Tells of what a machine found, or could not use.
pub(super) fn tell(what: Text, about: &[u8], why: Text) {
    event::tell(&mut Console, what, about, why);
}

/// Tells of a word that is no boot argument.
pub(super) fn ignore(word: &[u8]) {
    let what = text!("ignored: there is no boot argument");
    tell(what, word, Text::NOTHING);
}

/// There is nothing to export: `why` says what to do.
pub(super) fn nothing_to_export(why: Text) -> Fatal {
    complain(FAILED, text!("there is nothing to export"), b"", why)
}
