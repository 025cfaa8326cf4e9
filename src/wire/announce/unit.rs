//! systemd's units, `*.dnssd`: systemd.dnssd(5), systemd.syntax(7).
//!
//! What several lines say of TXT becomes one record, where systemd announces one for each: others read only one. Of its
//! specifiers there are `%H` and `%%`.

use super::{Coding, Draft, Flaw, Part, Service, TEXT_BYTES_MAX, Wrong};
use super::{number, place_in, put_name};
use crate::wire::Writer;
use crate::wire::label::{cut, put_byte};

/// The keys. The place among them is a key's number.
const KEYS: &[u8] = b"Name TxtText TxtData Type SubType Port Priority Weight";

/// What the others are behind the first three.
const PARTS: [Part; 5] = [
    Part::Kind,
    Part::Subtype,
    Part::Port,
    Part::Priority,
    Part::Weight,
];

/// Hands out the service of a file.
pub fn parse(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Wrong> {
    let mut rest = file;
    read(&mut rest, draft, each).map_err(|flaw| Wrong::at(file, rest, flaw))
}

fn read(
    rest: &mut &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Flaw> {
    let mut room = [0; TEXT_BYTES_MAX];
    let mut text = Writer::new(&mut room);
    let mut is_service = false;
    draft.forget();
    loop {
        *rest = rest.trim_ascii_start();
        let (line, _) = cut(rest, b'\n');
        match line {
            [] => {
                each(&draft.service()?);
                return Ok(());
            }
            [b'#' | b';', ..] => pass(rest, line.len()),
            [b'[', ..] => {
                is_service = line.trim_ascii_end() == b"[Service]";
                pass(rest, line.len());
            }
            _ => {
                let (key, _) = cut(line, b'=');
                if key.len() == line.len() {
                    return Err(Flaw::Form);
                }
                pass(rest, key.len().saturating_add(1));
                if is_service {
                    let place = place_in(KEYS, key.trim_ascii_end()).ok_or(Flaw::Unknown)?;
                    text.truncate(0);
                    set(place, rest, &mut text, draft)?;
                } else {
                    while next(rest).is_some() {}
                }
            }
        }
    }
}

/// Takes the value of the key of this number.
fn set(
    place: usize,
    rest: &mut &[u8],
    text: &mut Writer<'_>,
    draft: &mut Draft<'_>,
) -> Result<(), Flaw> {
    let coding = match place {
        1 => Coding::Text,
        2 => Coding::Base64,
        _ => {
            while let Some(unit) = next(rest) {
                match unit {
                    Unit::Plain(byte) => put_byte(text, byte),
                    Unit::Escaped(byte) => text.put(&[b'\\', byte]),
                }
            }
            if text.written().is_none() {
                return Err(Flaw::Long);
            }
            let text = text.since(0).trim_ascii();
            return match place.checked_sub(3).and_then(|place| PARTS.get(place)) {
                Some(part) => draft.put(*part, text),
                None => put_name(draft, text, Some(b'H')),
            };
        }
    };
    let mut is_empty = true;
    while next_word(rest, text)? {
        if text.written().is_none() {
            return Err(Flaw::Long);
        }
        draft.put_coded(text.since(0), coding)?;
        text.truncate(0);
        is_empty = false;
    }
    // As if nothing had been said of it before.
    if is_empty {
        draft.txt.truncate(0);
    }
    Ok(())
}

/// Appends a word: what stands between blanks outside of quotes. False: there is none.
fn next_word(rest: &mut &[u8], text: &mut Writer<'_>) -> Result<bool, Flaw> {
    let (mut quote, mut is_word) = (0, false);
    loop {
        let byte = match next(rest) {
            None if quote != 0 => return Err(Flaw::Form),
            None => return Ok(is_word),
            Some(Unit::Plain(b' ' | b'\t' | b'\r')) if quote == 0 => {
                if is_word {
                    return Ok(true);
                }
                continue;
            }
            Some(Unit::Plain(byte @ (b'"' | b'\''))) if quote == 0 || quote == byte => {
                quote ^= byte;
                is_word = true;
                continue;
            }
            Some(Unit::Plain(byte)) => byte,
            Some(Unit::Escaped(byte)) => unescape(byte, rest).ok_or(Flaw::Escape)?,
        };
        put_byte(text, byte);
        is_word = true;
    }
}

/// What stands for `\` and `byte`, and the digits that may follow.
fn unescape(byte: u8, rest: &mut &[u8]) -> Option<u8> {
    const NAMES: &[u8] = b"abfnrtvs\\\"'";
    const BYTES: &[u8] = b"\x07\x08\x0c\n\r\t\x0b \\\"'";
    if let Some(place) = NAMES.iter().position(|name| *name == byte) {
        return BYTES.get(place).copied();
    }
    let mut digits = [byte, 0, 0];
    let (_, behind) = digits.split_first_mut()?;
    for digit in behind {
        let Some(Unit::Plain(byte)) = next(rest) else {
            return None;
        };
        *digit = byte;
    }
    let value = match digits {
        [b'x', ..] => number(digits.get(1..)?, 16),
        _ => number(&digits, 8),
    };
    u8::try_from(value?).ok().filter(|value| *value != 0)
}

/// A byte of a value, perhaps behind a backslash.
enum Unit {
    Plain(u8),
    Escaped(u8),
}

/// The next of a value, which goes on behind a backslash at the end of a line: a blank then, and comments are passed.
#[inline(never)]
fn next(rest: &mut &[u8]) -> Option<Unit> {
    let (byte, behind) = match *rest {
        [] | [b'\n', ..] => return None,
        [b'\\', b'\n', behind @ ..] | [b'\\', b'\r', b'\n', behind @ ..] => {
            *rest = behind;
            loop {
                let (line, _) = cut(rest, b'\n');
                let [b'#' | b';', ..] = line.trim_ascii_start() else {
                    break;
                };
                pass(rest, line.len().saturating_add(1));
            }
            return Some(Unit::Plain(b' '));
        }
        [b'\\', byte, behind @ ..] => {
            *rest = behind;
            return Some(Unit::Escaped(*byte));
        }
        [byte, behind @ ..] => (byte, behind),
    };
    *rest = behind;
    Some(Unit::Plain(*byte))
}

#[inline(never)]
fn pass(rest: &mut &[u8], len: usize) {
    *rest = rest.get(len..).unwrap_or_default();
}
