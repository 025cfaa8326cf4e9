//! Media types by suffix, and the names of statuses.

use crate::mem::Ends as _;
use crate::wire::Writer;

mod table {
    include!(concat!(env!("OUT_DIR"), "/kinds.rs"));
}

use table::{KINDS, LONG, PLACES, SHORT, TYPES};

/// The media type of a file by the suffix of its name, the last one of `path`, for [`write_type`]. Files without a known suffix are
/// bytes: firmware tells images and programs by suffix.
pub fn content_type(path: &[u8]) -> &'static str {
    find(path).unwrap_or("octet-stream")
}

/// Writes a media type; without a "/" it is one of "application/".
pub fn write_type(out: &mut Writer<'_>, kind: &str) {
    if !kind.as_bytes().contains(&b'/') {
        out.put(b"application/");
    }
    out.put(kind.as_bytes());
}

fn find(path: &[u8]) -> Option<&'static str> {
    let dot = path.iter().rposition(|byte| *byte == b'.')?;
    // A hidden file, whose name begins with the dot.
    if matches!(path.head(dot), [] | [.., b'/']) {
        return None;
    }
    // The table has suffixes as numbers, with a byte for each letter: at first those of up to four.
    let key = path.tail(dot + 1).iter().try_fold(0_u64, |key, byte| {
        Some(key.checked_mul(1 << 8)? | u64::from(byte.to_ascii_lowercase()))
    })?;
    let index = match u32::try_from(key) {
        Ok(key) => SHORT.binary_search(&key).ok()?,
        Err(_) => SHORT.len() + LONG.iter().position(|known| *known == key)?,
    };
    let mut places = PLACES.get(usize::from(*KINDS.get(index)?)..)?.iter();
    let (from, to) = (*places.next()?, *places.next()?);
    TYPES.get(from.into()..to.into())
}

/// The name of a status. RFC 9110 section 15.
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}
