//! Media types by suffix, and the names of statuses.

use crate::mem::Ends as _;

/// Suffixes in lower case, and the media types of their files. All others are bytes: firmware tells images and programs by suffix.
const KINDS: [(&[u8], &str); 21] = [
    (b"txt", "text/plain; charset=utf-8"),
    (b"log", "text/plain; charset=utf-8"),
    (b"cfg", "text/plain; charset=utf-8"),
    (b"conf", "text/plain; charset=utf-8"),
    (b"ks", "text/plain; charset=utf-8"),
    (b"yaml", "text/plain; charset=utf-8"),
    (b"yml", "text/plain; charset=utf-8"),
    (b"md", "text/plain; charset=utf-8"),
    (b"html", "text/html; charset=utf-8"),
    (b"htm", "text/html; charset=utf-8"),
    (b"css", "text/css; charset=utf-8"),
    (b"js", "text/javascript; charset=utf-8"),
    (b"json", "application/json"),
    (b"xml", "application/xml"),
    (b"pdf", "application/pdf"),
    (b"svg", "image/svg+xml"),
    (b"png", "image/png"),
    (b"jpg", "image/jpeg"),
    (b"jpeg", "image/jpeg"),
    (b"gif", "image/gif"),
    (b"webp", "image/webp"),
];

/// The media type of a file by the suffix of its name.
pub fn content_type(name: &[u8]) -> &'static str {
    // A name without a dot has no suffix.
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let suffix = name.tail(dot.map_or(name.len(), |dot| dot + 1));
    let mut kinds = KINDS.iter();
    let kind = kinds.find(|(known, _)| suffix.eq_ignore_ascii_case(known));
    kind.map_or("application/octet-stream", |(_, kind)| kind)
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
