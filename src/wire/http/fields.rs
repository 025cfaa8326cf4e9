//! Field lines, and the values of some fields: ranges and entity tags. RFC 9110 sections 5, 8.8.3 and 14.

use super::fault::BadRequest;
use crate::mem::Ends as _;

/// The field lines of a request. Every line is valid.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Checks the lines up to the empty one.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, BadRequest> {
        let mut rest = text;
        while let Some(line) = next_line(&mut rest) {
            let colon = line.iter().position(|byte| *byte == b':');
            let name = line.head(colon.ok_or(BadRequest::Malformed)?);
            // An obsolete line fold begins with white space, which is no token. RFC 9112 section 5.2.
            let has_control = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
            if !is_token(name) || line.iter().any(has_control) {
                return Err(BadRequest::Malformed);
            }
        }
        Ok(Self(text))
    }

    /// The value of the first line with this name.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all lines with this name.
    pub const fn all<'n>(&self, name: &'n [u8]) -> Values<'a, 'n> {
        Values { rest: self.0, name }
    }
}

/// The values of the lines with a name, without white space at their ends.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a, 'n> {
    rest: &'a [u8],
    name: &'n [u8],
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let line = next_line(&mut self.rest)?;
            if let Some((name, value)) = line.split_at_checked(self.name.len())
                && let [b':', value @ ..] = value
                && name.eq_ignore_ascii_case(self.name)
            {
                return Some(trim(value));
            }
        }
    }
}

/// Removes and returns the first line, without its end. `None`: the line is empty.
fn next_line<'a>(text: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let line = without_return(text.head(end));
    *text = text.tail(end + 1);
    (!line.is_empty()).then_some(line)
}

/// A line without the CR at its end.
pub(super) fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns true if `text` is a token. RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    let is_in = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_in)
}

/// A text without blanks and tabs at its ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The elements of a list without quoted strings.
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim)
}

/// Parses a decimal number of 64 bits: digits only.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Most parts of a reply: zsync asks for 20 in a request.
const PART_COUNT_MAX: usize = 20;

/// A part of a file: its first offset, and the offset after its last byte.
pub type Part = (u64, u64);

/// The parts of a file that a Range asks for, in its order. They have at least one byte each, and no byte is in two of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts {
    all: [Part; PART_COUNT_MAX],
    count: usize,
}

impl Parts {
    /// The parts. None: the Range asks for no byte of the file.
    pub fn all(&self) -> &[Part] {
        self.all.get(..self.count).unwrap_or_default()
    }

    /// Adds a part, unless there are too many, or it overlaps another one.
    fn add(&mut self, (from, to): Part) -> Option<()> {
        if self.all().iter().any(|part| from < part.1 && part.0 < to) {
            return None;
        }
        *self.all.get_mut(self.count)? = (from, to);
        self.count += 1;
        Some(())
    }
}

/// The parts of a file of `size` bytes that the value of a Range asks for. `None`: the whole file, because the value is malformed,
/// has too many parts, or parts that overlap. RFC 9110 section 14.2.
pub fn ranges(value: &[u8], size: u64) -> Option<Parts> {
    let equals = value.iter().position(|byte| *byte == b'=');
    let (unit, set) = value.split_at_checked(equals?)?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    // A number beyond 64 bits is beyond each file.
    let parse = |digits: &[u8]| {
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| number(digits).unwrap_or(u64::MAX))
    };
    let mut parts = Parts::default();
    for range in elements(set.tail(1)) {
        let dash = range.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (range.head(dash), range.tail(dash + 1));
        let (from, to) = match (parse(first), parse(last)) {
            (Some(from), Some(to)) if to >= from => (from, to.saturating_add(1).min(size)),
            (Some(from), None) if last.is_empty() => (from, size),
            // The last bytes of an empty file are none, and the reply is the whole.
            (None, Some(1..)) if first.is_empty() && size == 0 => return None,
            (None, Some(len)) if first.is_empty() => (size.saturating_sub(len), size),
            _ => return None,
        };
        if from < to {
            parts.add((from, to))?;
        }
    }
    Some(parts)
}

/// The comparison of entity tags. RFC 9110 section 8.8.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// Weak tags match, too.
    Weak,
    /// Both tags must be strong.
    Strong,
}

/// Returns true if one of the lists has `tag`, a strong tag with its quotes, or is "*".
pub fn lists_tag<'a>(
    mut lists: impl Iterator<Item = &'a [u8]>,
    tag: &[u8],
    how: Comparison,
) -> bool {
    lists.any(|mut list| {
        if list == b"*" {
            return true;
        }
        loop {
            while let [b' ' | b'\t' | b',', rest @ ..] = list {
                list = rest;
            }
            let weak = list.strip_prefix(b"W/");
            let text = weak.unwrap_or(list);
            let Some(inside) = text.strip_prefix(b"\"") else {
                return false;
            };
            let Some(end) = inside.iter().position(|byte| *byte == b'"') else {
                return false;
            };
            let may_match = weak.is_none() || how == Comparison::Weak;
            if may_match && text.head(end + 2) == tag {
                return true;
            }
            list = text.tail(end + 2);
        }
    })
}
