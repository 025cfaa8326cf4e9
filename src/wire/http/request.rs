//! The head of a request: request line, framing, and the end of the connection. RFC 9112.

use super::fault::BadRequest;
use super::fields::{Fields, elements, is_token, number, trim, without_return};
use super::method::{Method, Version};
use super::target;
use crate::mem::Ends as _;

/// Most empty lines before a request: some clients send one after a body. RFC 9112 section 2.2.
const EMPTY_LINE_COUNT_MAX: usize = 4;

/// The length of a request's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// There is no body.
    None,
    /// A number of bytes above 0.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A request without its body.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The version.
    pub version: Version,
    /// The path, still percent-encoded, without the query. Begins with "/"; empty for the targets of OPTIONS and CONNECT.
    pub path: &'a [u8],
    /// The query, without "?"; empty if there is none.
    pub query: &'a [u8],
    /// The field lines.
    pub fields: Fields<'a>,
    /// The body that follows.
    pub body: Body,
    /// True if the client wants further replies on the connection.
    pub keeps: bool,
    /// True if the client waits for a status before it sends the body.
    pub expects: bool,
}

/// Parses the request at the start of `input`. Returns the length of its head (bytes), too, with empty lines before it. `None`: the
/// head is incomplete.
///
/// # Errors
/// The request is faulty; the connection cannot go on.
pub fn parse(input: &[u8]) -> Result<Option<(Request<'_>, usize)>, BadRequest> {
    let mut rest = input;
    for _ in 0..EMPTY_LINE_COUNT_MAX {
        rest = match rest {
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
            _ => break,
        };
    }
    let start = input.len() - rest.len();
    let Some(len) = head_len(rest)? else {
        return Ok(None);
    };
    let head = rest.head(len);
    let line_end = head.iter().position(|byte| *byte == b'\n').unwrap_or(len);
    let line = without_return(head.head(line_end));
    let fields = Fields::parse(head.tail(line_end + 1))?;
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BadRequest::Malformed);
    };
    let version = parse_version(version)?;
    if !is_token(method) {
        return Err(BadRequest::Malformed);
    }
    let method = parse_method(method);
    let (path, query) = target::path(target, method).ok_or(BadRequest::Malformed)?;
    check_host(&fields, version)?;
    let body = parse_body(&fields, version)?;
    let has = |option: &[u8]| {
        let mut lists = fields.all(b"Connection").flat_map(elements);
        lists.any(|element| element.eq_ignore_ascii_case(option))
    };
    let request = Request {
        method,
        version,
        path,
        query,
        fields,
        body,
        keeps: !has(b"close") && (version == Version::Http11 || has(b"keep-alive")),
        expects: fields.get(b"Expect").is_some(),
    };
    Ok(Some((request, start + len)))
}

/// The fault of an input that is full, and has no whole head.
pub fn too_long(input: &[u8]) -> BadRequest {
    match input.contains(&b'\n') {
        true => BadRequest::Fields,
        false => BadRequest::Target,
    }
}

/// Returns the length of the head with its empty line. `None`: incomplete. A line may end without CR. RFC 9112 section 2.2.
fn head_len(input: &[u8]) -> Result<Option<usize>, BadRequest> {
    let mut before = [0; 2];
    for (at, byte) in input.iter().enumerate() {
        let is_bare = before[1] == b'\r' && *byte != b'\n';
        if is_bare || *byte == 0 {
            return Err(BadRequest::Malformed);
        }
        match (before, byte) {
            ([b'\n', b'\r'], b'\n') | ([_, b'\n'], b'\n') => return Ok(Some(at + 1)),
            _ => before = [before[1], *byte],
        }
    }
    Ok(None)
}

fn parse_method(name: &[u8]) -> Method {
    const KNOWN: [&[u8]; 11] = [
        b"POST",
        b"PUT",
        b"DELETE",
        b"TRACE",
        b"CONNECT",
        b"PATCH",
        b"PROPFIND",
        b"MKCOL",
        b"COPY",
        b"MOVE",
        b"LOCK",
    ];
    match name {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"OPTIONS" => Method::Options,
        _ if KNOWN.contains(&name) => Method::Other,
        _ => Method::Unknown,
    }
}

fn parse_version(text: &[u8]) -> Result<Version, BadRequest> {
    match text.strip_prefix(b"HTTP/") {
        Some(b"1.0") => Ok(Version::Http10),
        Some([b'1', b'.', b'1'..=b'9']) => Ok(Version::Http11),
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => Err(BadRequest::Version),
        _ => Err(BadRequest::Malformed),
    }
}

/// Checks that there is one valid Host, or none in version 1.0. RFC 9112 section 3.2.
fn check_host(fields: &Fields<'_>, version: Version) -> Result<(), BadRequest> {
    let mut hosts = fields.all(b"Host");
    let is_right = match hosts.next() {
        None => version == Version::Http10,
        Some(host) => {
            let is_valid =
                |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
            host.iter().all(is_valid)
        }
    };
    match is_right && hosts.next().is_none() {
        true => Ok(()),
        false => Err(BadRequest::Malformed),
    }
}

/// The body of a request. It must be certain where the request ends, for each server that may have seen it. RFC 9112 section 6.
fn parse_body(fields: &Fields<'_>, version: Version) -> Result<Body, BadRequest> {
    let mut lengths = fields.all(b"Content-Length");
    let length = lengths.next();
    let mut codings = fields.all(b"Transfer-Encoding");
    let coding = codings.next();
    if lengths.next().is_some() || coding.is_some() && length.is_some() {
        return Err(BadRequest::Malformed);
    }
    if let Some(coding) = coding {
        if version == Version::Http10 || codings.next().is_some() {
            return Err(BadRequest::Malformed);
        }
        return match trim(coding).eq_ignore_ascii_case(b"chunked") {
            true => Ok(Body::Chunked),
            false => Err(coding_fault(coding)),
        };
    }
    let Some(digits) = length else {
        return Ok(Body::None);
    };
    let number = number(digits).ok_or(BadRequest::Malformed)?;
    Ok(match number {
        0 => Body::None,
        number => Body::Length(number),
    })
}

/// The fault of a transfer coding other than "chunked" alone. If "chunked" is not last, or there twice, the end of the request is
/// unknown.
fn coding_fault(coding: &[u8]) -> BadRequest {
    let is_chunked = |element: &[u8]| element.eq_ignore_ascii_case(b"chunked");
    // Only the last element may be "chunked".
    match elements(coding).position(is_chunked) {
        Some(at) if at + 1 < elements(coding).count() => BadRequest::Malformed,
        _ => BadRequest::Coding,
    }
}
