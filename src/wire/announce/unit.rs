//! systemd's units, `*.dnssd`. systemd.dnssd(5), systemd.syntax(7).
//!
//! Unknown sections and keys are ignored. Several TxtText and TxtData lines are merged into one TXT record. systemd announces a
//! record for each, but other software reads only one. The caller resolves specifiers.

use super::{Coding, Flaw, Reader, TXT};
use crate::mem::parts::{Ends as _, index_of};
use crate::wire::label::{cut, number, put_byte};

/// The keys. A key's index is that of its part; "=" fills the gaps, since no key can match it.
const KEYS: &[u8] = b"Name Type SubType = TxtText = Port Priority Weight TxtData";
/// Index of SubType.
const SUBTYPE: usize = 2;
/// Index of TxtData, the base64 form of [`TXT`].
const DATA: usize = 9;

impl Reader<'_, '_, '_, '_> {
    /// Parses a whole unit. Reports the first unknown key at the end.
    pub(super) fn read_unit(&mut self) -> Result<(), Flaw> {
        let (mut is_service, mut unknown) = (false, None);
        loop {
            self.blanks();
            let (line, _) = cut(self.rest, b'\n');
            let [first, ..] = line else {
                self.rest = unknown.unwrap_or(self.rest);
                return unknown.map_or(Ok(()), |_| Err(Flaw::Unknown));
            };
            if matches!(first, b'#' | b';' | b'[') {
                if *first == b'[' {
                    is_service = line.trim_ascii_end() == b"[Service]";
                }
                pass(&mut self.rest, line.len());
                continue;
            }
            let (key, _) = cut(line, b'=');
            if key.len() == line.len() {
                return Err(Flaw::Form);
            }
            let start = self.rest;
            pass(&mut self.rest, key.len().saturating_add(1));
            match index_of(KEYS, key.trim_ascii_end()) {
                Some(place) if is_service => self.set(place)?,
                _ => {
                    if is_service {
                        unknown = unknown.or(Some(start));
                    }
                    while next(&mut self.rest).is_some() {}
                }
            }
        }
    }

    /// Parses the value of the key with this index and stores it.
    fn set(&mut self, place: usize) -> Result<(), Flaw> {
        let coding = match place {
            TXT => Coding::Text,
            DATA => Coding::Base64,
            _ => {
                self.text.truncate(0);
                while let Some(unit) = next(&mut self.rest) {
                    let (Unit::Plain(byte) | Unit::Escaped(byte)) = unit;
                    if let Unit::Escaped(_) = unit {
                        put_byte(&mut self.text, b'\\');
                    }
                    put_byte(&mut self.text, byte);
                }
                // A later subtype replaces an earlier one; an empty value clears it.
                if place == SUBTYPE {
                    let [_, _, subtypes, ..] = &mut self.draft.parts;
                    subtypes.truncate(0);
                    if self.text.position() == 0 {
                        return Ok(());
                    }
                }
                return self.store_part(place, b'H', Coding::Text);
            }
        };
        let mut is_empty = true;
        while self.next_word()? {
            self.store_part(TXT, 0, coding)?;
            is_empty = false;
        }
        // An empty value clears the strings of TXT that were stored earlier.
        if is_empty {
            let [.., txt] = &mut self.draft.parts;
            txt.truncate(0);
        }
        Ok(())
    }

    /// Sets the text to the next word of the value; words are separated by blanks outside of quotes. False: there is none.
    fn next_word(&mut self) -> Result<bool, Flaw> {
        let (mut quote, mut is_word) = (0, false);
        self.text.truncate(0);
        loop {
            let byte = match next(&mut self.rest) {
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
                Some(Unit::Escaped(byte)) => unescape(byte, &mut self.rest).ok_or(Flaw::Escape)?,
            };
            put_byte(&mut self.text, byte);
            is_word = true;
        }
    }
}

/// Parses the escape sequence of `\`, `byte` and the digits that may follow in `rest`. `None`: the sequence is invalid.
fn unescape(byte: u8, rest: &mut &[u8]) -> Option<u8> {
    const NAMES: &[u8] = b"abfnrtvs\\\"'";
    const BYTES: &[u8] = b"\x07\x08\x0c\n\r\t\x0b \\\"'";
    if let Some(place) = NAMES.iter().position(|name| *name == byte) {
        return BYTES.get(place).copied();
    }
    let mut digits = [byte, 0, 0];
    let (_, tail) = digits.split_first_mut()?;
    for digit in tail {
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

/// A byte of a value: a plain one, or one that follows a backslash.
enum Unit {
    Plain(u8),
    Escaped(u8),
}

/// The next unit of a value; `None` at the end of the line. A backslash at the end of a line continues the value with a space;
/// comment lines in between are skipped.
fn next(rest: &mut &[u8]) -> Option<Unit> {
    let (byte, tail) = match *rest {
        [] | [b'\n', ..] => return None,
        [b'\\', b'\n', tail @ ..] | [b'\\', b'\r', b'\n', tail @ ..] => {
            *rest = tail;
            loop {
                let (line, _) = cut(rest, b'\n');
                let [b'#' | b';', ..] = line.trim_ascii_start() else {
                    break;
                };
                pass(rest, line.len().saturating_add(1));
            }
            return Some(Unit::Plain(b' '));
        }
        [b'\\', byte, tail @ ..] => {
            *rest = tail;
            return Some(Unit::Escaped(*byte));
        }
        [byte, tail @ ..] => (byte, tail),
    };
    *rest = tail;
    Some(Unit::Plain(*byte))
}

fn pass(rest: &mut &[u8], len: usize) {
    *rest = rest.tail(len);
}
