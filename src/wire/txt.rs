//! The TXT record of a service: strings of a key and an optional value. RFC 6763 section 6.

use super::announce::STRING_BYTES_MAX;
use super::uuid::Uuid;
use super::{Writer, label};
use crate::mem::{Ends as _, parts};

/// Iterator over the keys and values of a record. Of duplicate keys only the first is returned; strings without a valid key are
/// skipped.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

/// The keys and values in the rdata of a TXT record. Empty rdata and a single zero byte both mean none.
pub const fn pairs(content: &[u8]) -> Pairs<'_> {
    Pairs {
        whole: content,
        rest: content,
    }
}

/// Iterator over the strings of a record. A truncated string ends it.
#[derive(Clone, Debug)]
pub struct Strings<'a>(pub &'a [u8]);

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first()?;
        let (string, rest) = rest.split_at_checked(usize::from(*len))?;
        self.0 = rest;
        Some(string)
    }
}

/// A key and its value; `None` if there is no `=`.
pub type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

/// Splits a string into key and value. `None`: the key is missing or invalid.
pub fn split(string: &[u8]) -> Option<Pair<'_>> {
    let mut parts = string.splitn(2, |byte| *byte == b'=');
    let key = parts.next()?;
    let is_key = !key.is_empty() && key.iter().all(|byte| matches!(byte, 0x20..=0x7e));
    is_key.then(|| (key, parts.next()))
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        loop {
            let mut strings = Strings(self.rest);
            let string = strings.next()?;
            let begin = self.whole.len() - self.rest.len();
            self.rest = strings.0;
            let Some((key, value)) = split(string) else {
                continue;
            };
            // Quadratic, but records are short and rarely read.
            let mut before = Strings(self.whole.get(..begin).unwrap_or_default()).filter_map(split);
            if !before.any(|(other, _)| other.eq_ignore_ascii_case(key)) {
                return Some((key, value));
            }
        }
    }
}

/// Buffer size (bytes) for [`write()`].
pub const PAIRS_BYTES: usize = 600;

/// Writes the strings `key=value` of a TXT record. `keys` are separated by spaces; a key without an entry in `values` has the UUID
/// as its value. Empty values, and strings over 255 bytes, are left out.
pub fn write<'r>(
    keys: &[u8],
    values: &[&[u8]],
    uuid: Option<Uuid>,
    buffer: &'r mut [u8; PAIRS_BYTES],
) -> &'r [u8] {
    let mut txt = Writer::new(buffer);
    let mut text = [0; Uuid::TEXT_BYTES];
    let mut last = Writer::new(&mut text);
    if let Some(uuid) = uuid {
        uuid.emit(&mut last);
    }
    for (index, key) in parts(keys, b' ').enumerate() {
        let value = values.get(index).copied().unwrap_or(last.since(0));
        let len = key.len() + 1 + value.len();
        if !value.is_empty() && len <= STRING_BYTES_MAX {
            label::put_byte(&mut txt, len as u8);
            txt.put(key);
            label::put_byte(&mut txt, b'=');
            txt.put(value);
        }
    }
    let len = txt.position();
    buffer.head(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(strings: &[&[u8]]) -> Vec<(String, Option<Vec<u8>>)> {
        let mut content = Vec::new();
        for string in strings {
            content.push(string.len() as u8);
            content.extend_from_slice(string);
        }
        pairs(&content)
            .map(|(key, value)| {
                let key = String::from_utf8(key.to_vec()).unwrap();
                (key, value.map(<[u8]>::to_vec))
            })
            .collect()
    }

    fn pair(key: &str, value: Option<&[u8]>) -> (String, Option<Vec<u8>>) {
        (key.into(), value.map(<[u8]>::to_vec))
    }

    /// RFC 6763 section 6.1: "DNS-SD clients MUST treat the following as equivalent: a TXT record containing a single zero
    /// byte; an empty (zero-length) TXT record"
    #[test]
    fn empty_txt_has_no_strings() {
        assert_eq!(pairs(b"").count(), 0);
        assert_eq!(pairs(b"\0").count(), 0);
        assert_eq!(pairs(b"\0\0\0").count(), 0);
    }

    /// RFC 6763 section 6.4: "TXT record strings beginning with an '=' character MUST be silently ignored"
    #[test]
    fn string_without_key_is_ignored() {
        assert_eq!(read(&[b"=x", b"=", b"a=1"]), [pair("a", Some(b"1"))]);
    }

    /// RFC 6763 section 6.4: "The characters of a key MUST be printable US-ASCII values (0x20-0x7E), excluding '='"
    #[test]
    fn invalid_key_is_ignored() {
        assert_eq!(
            read(&[b"k\x7f=1", b"\xc3\xa9=1", b"\n", b"a b=", b"c~"]),
            [pair("a b", Some(b"")), pair("c~", None)]
        );
    }

    /// RFC 6763 section 6.4: "If a client receives a TXT record containing the same key more than once, then the client MUST
    /// silently ignore all but the first occurrence"
    #[test]
    fn first_of_repeated_keys_counts() {
        assert_eq!(
            read(&[b"Path", b"path=/a", b"x=1", b"PATH=/b", b"X=2"]),
            [pair("Path", None), pair("x", Some(b"1"))]
        );
    }

    /// RFC 6763 section 6.3: "If an implementation sees unknown keys in a service TXT record, it MUST silently ignore them."
    #[test]
    fn key_is_found_among_others() {
        let read = read(&[b"x-new=1", b"path=/a", b"other"]);
        let path = read.iter().find(|pair| pair.0 == "path");
        assert_eq!(path, Some(&pair("path", Some(b"/a"))));
    }

    #[test]
    fn values_may_contain_any_bytes() {
        assert_eq!(read(&[b"v==\0\xff="]), [pair("v", Some(b"=\0\xff="))]);
        // A truncated string ends the record.
        assert_eq!(pairs(b"\x01a\x05b").count(), 1);
    }
}
