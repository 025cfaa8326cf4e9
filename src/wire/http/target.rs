//! Targets of requests, and their paths. RFC 9112 section 3.2, RFC 3986.

use super::method::Method;
use crate::mem::Ends as _;

/// The path of a target, and the query. `None`: malformed. Both are empty for the targets of OPTIONS and CONNECT.
pub(super) fn path(target: &[u8], method: Method) -> Option<(&[u8], &[u8])> {
    let is_visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0x80..);
    if !target.iter().all(is_visible) {
        return None;
    }
    let path = match target {
        [b'/', ..] => target,
        _ if !matches!(method, Method::Get | Method::Head) => return Some((b"", b"")),
        _ => {
            let (scheme, rest) = target.split_at_checked(7)?;
            if !scheme.eq_ignore_ascii_case(b"http://") {
                return None;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
            let host_len = end.unwrap_or(rest.len());
            if host_len == 0 {
                return None;
            }
            rest.tail(host_len)
        }
    };
    let end = path.iter().position(|byte| *byte == b'#');
    let path = path.head(end.unwrap_or(path.len()));
    let end = path.iter().position(|byte| *byte == b'?');
    let end = end.unwrap_or(path.len());
    let query = path.tail(end + 1);
    Some(match path.head(end) {
        b"" => (b"/", query),
        path => (path, query),
    })
}

/// A path after [`decode`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded<'a> {
    /// An absolute path without empty segments, "." and "..". A "/" at the end stays.
    Path(&'a [u8]),
    /// No object has this path: a segment contains "/", or the path is too long.
    Absent,
    /// A malformed escape, a NUL, or ".." above the top.
    Malformed,
}

/// Decodes the percent-encoded path `raw` into `out`, once.
pub fn decode<'o>(raw: &[u8], out: &'o mut [u8]) -> Decoded<'o> {
    let mut len = 0;
    let mut ends_in_slash = true;
    for segment in raw.split(|byte| *byte == b'/') {
        let start = len;
        let mut rest = segment;
        if !segment.is_empty() && !push(out, &mut len, b'/') {
            return Decoded::Absent;
        }
        while let [byte, after @ ..] = rest {
            let mut byte = *byte;
            rest = after;
            if byte == b'%' {
                let Some((digits, after)) = rest.split_first_chunk::<2>() else {
                    return Decoded::Malformed;
                };
                rest = after;
                byte = match hex(digits) {
                    Some(b'/') => return Decoded::Absent,
                    byte => byte.unwrap_or(0),
                };
            }
            if byte == 0 {
                return Decoded::Malformed;
            }
            if !push(out, &mut len, byte) {
                return Decoded::Absent;
            }
        }
        ends_in_slash = segment.is_empty();
        match out.head(len).tail(start) {
            b"/." => (len, ends_in_slash) = (start, true),
            b"/.." => {
                let before = out.head(start);
                let Some(parent) = before.iter().rposition(|byte| *byte == b'/') else {
                    return Decoded::Malformed;
                };
                (len, ends_in_slash) = (parent, true);
            }
            _ => {}
        }
    }
    if ends_in_slash && !push(out, &mut len, b'/') {
        return Decoded::Absent;
    }
    Decoded::Path(out.head(len))
}

/// Appends a byte; false: there is no space.
fn push(out: &mut [u8], len: &mut usize, byte: u8) -> bool {
    let Some(place) = out.get_mut(*len) else {
        return false;
    };
    *place = byte;
    *len += 1;
    true
}

/// The value of two hexadecimal digits.
fn hex(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((high? << 4 | low?) as u8)
}
