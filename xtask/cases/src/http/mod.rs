//! HTTP/1.1: requests with the replies that RFC 9110 and RFC 9112 want, and replies parsed strictly, with no code of stowaway's.

mod rows;

pub use rows::ROWS;

use std::collections::VecDeque;

/// A request, and the reply that it must get. The tree is that of [`TREE`], exported as `/srv`.
///
/// The request is a method, a target and perhaps a version, then fields after `|`. Host is added, unless the row has one or begins
/// with `raw `: then the bytes are sent as they are. `{tag}` and `{date}` are replaced by the validators of `/srv/a.txt`.
///
/// The reply is parts with ` ;; ` between. The first is the status; then `Name: value` is a field, `-Name` an absent one, `=text` the whole
/// body, `~text` a part of the body, `#n` its length, `parts a-b c-d` the ranges of a multipart body of the file, `closes` the end of
/// the connection.
#[derive(Clone, Copy, Debug)]
pub struct Row(pub &'static str, pub &'static str);

/// An object of the tree.
#[derive(Clone, Copy, Debug)]
pub enum Object {
    /// A file with these bytes.
    File(&'static [u8]),
    /// A file of this length, whose bytes are [`pattern`].
    Pattern(usize),
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(&'static str),
    /// A FIFO.
    Fifo,
}

/// The objects of the tree, by path.
pub const TREE: [(&str, Object); 18] = [
    ("a.txt", Object::File(b"hello\n")),
    ("empty", Object::File(b"")),
    ("big", Object::Pattern(200_000)),
    ("boot.efi", Object::File(b"MZ")),
    ("PAGE.HTML", Object::File(b"<p>")),
    ("kernel.gz", Object::File(b"\x1f\x8b")),
    (".x", Object::File(b"hidden")),
    ("dir", Object::Directory),
    ("dir/b", Object::File(b"b")),
    ("dir/ä b?#%.txt", Object::File(b"odd")),
    ("dir/sub", Object::Directory),
    ("link", Object::Link("dir/../a.txt")),
    ("out", Object::Link("/etc/passwd")),
    ("loop", Object::Link("loop")),
    ("fifo", Object::Fifo),
    ("to-dir", Object::Link("dir")),
    ("gone", Object::Link("none")),
    ("a:b", Object::Directory),
];

/// The byte at an offset of [`Object::Pattern`].
pub fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

/// The validators of a file.
#[derive(Clone, Debug)]
pub struct Validators {
    /// ETag.
    pub tag: String,
    /// Last-Modified.
    pub date: String,
}

/// A parsed reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its fields, in their order.
    pub fields: Vec<(String, String)>,
    /// Its body; empty for HEAD.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let is_it = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        self.fields.iter().find(is_it).map(|(_, value)| &**value)
    }

    /// Parses and removes the reply at the start of `stream`. `method` is that of its request. `None`: the stream ends before.
    ///
    /// # Errors
    /// The violation of the RFC.
    pub fn take(stream: &mut VecDeque<u8>, method: &str) -> Result<Option<Self>, String> {
        let bytes = stream.make_contiguous();
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return match bytes.is_empty() {
                true => Ok(None),
                false => Err(format!("no head: {:?}", String::from_utf8_lossy(bytes))),
            };
        };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "not UTF-8")?;
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.split_once(' '));
        let (status, _) = status.ok_or(format!("status line: {line}"))?;
        let status: u16 = status.parse().map_err(|_| format!("status: {status}"))?;
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or(format!("field line: {line}"))?;
            if value.is_empty() || value.trim() != value {
                return Err(format!("field value: {line:?}"));
            }
            fields.push((name.to_owned(), value.to_owned()));
        }
        stream.drain(..end + 4);
        let mut reply = Self {
            status,
            fields,
            body: Vec::new(),
        };
        reply.field("Date").ok_or("no Date")?;
        let has_none = method == "HEAD" || status == 304;
        if reply.field("Transfer-Encoding") == Some("chunked") {
            if reply.field("Content-Length").is_some() {
                return Err("chunks and a length".into());
            }
            if !has_none {
                reply.body = take_chunks(stream)?;
            }
            return Ok(Some(reply));
        }
        let len = match reply.field("Content-Length") {
            Some(len) => len.parse().map_err(|_| format!("length: {len}"))?,
            None if reply.closes() => stream.len(),
            None if has_none => 0,
            None => return Err("neither length nor close".into()),
        };
        if !has_none {
            if len > stream.len() {
                return Err(format!("{} of {len} bytes", stream.len()));
            }
            reply.body = stream.drain(..len).collect();
        }
        Ok(Some(reply))
    }

    /// Returns true if the server announces the end of the connection.
    pub fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }

    /// Removes the parts of a multipart/byteranges body, in the form that nginx and Apache send, which zsync needs. Returns the first
    /// and last offset, the length of the file, and the bytes of each.
    fn parts(&self) -> Option<Vec<([usize; 3], &[u8])>> {
        let kind = self.field("Content-Type")?;
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=")?;
        let line = format!("\r\n--{boundary}");
        let mut rest = &self.body[..];
        let mut parts = Vec::new();
        loop {
            rest = rest.strip_prefix(line.as_bytes())?;
            if rest == b"--\r\n" {
                return Some(parts);
            }
            let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head = std::str::from_utf8(&rest[..end]).ok()?;
            let (kind, range) = head
                .strip_prefix("\r\nContent-Type: ")?
                .split_once("\r\nContent-Range: bytes ")?;
            let mut numbers = range.split(['-', '/']).map(str::parse);
            let (from, to) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            let size = numbers.next()?.ok()?;
            (!kind.contains('\r') && numbers.next().is_none()).then_some(())?;
            let (bytes, after) = rest[end + 4..].split_at_checked(to + 1 - from)?;
            parts.push(([from, to, size], bytes));
            rest = after;
        }
    }
}

/// Parses and removes the chunks at the start of `stream`. RFC 9112 section 7.1.
fn take_chunks(stream: &mut VecDeque<u8>) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let bytes = stream.make_contiguous();
        let end = bytes.windows(2).position(|two| two == b"\r\n");
        let digits = std::str::from_utf8(&bytes[..end.ok_or("no chunk")?]).unwrap_or_default();
        let len = usize::from_str_radix(digits, 16).map_err(|_| format!("chunk: {digits:?}"))?;
        let head = digits.len() + 2;
        let chunk = bytes
            .get(head..head + len + 2)
            .ok_or("the chunk ends early")?;
        let data = chunk.strip_suffix(b"\r\n").ok_or("no end of a chunk")?;
        body.extend_from_slice(data);
        stream.drain(..head + len + 2);
        if len == 0 {
            return Ok(body);
        }
    }
}

impl Row {
    /// The bytes of the request.
    pub fn request(&self, known: &Validators) -> Vec<u8> {
        let text = self
            .0
            .replace("{tag}", &known.tag)
            .replace("{date}", &known.date);
        let text = repeated(&text);
        if let Some(raw) = text.strip_prefix("raw ") {
            return raw.as_bytes().to_vec();
        }
        let mut parts = text.split('|');
        let line = parts.next().unwrap_or_default();
        let has_version = line.matches(' ').count() > 1;
        let mut request = format!("{line}{}\r\n", if has_version { "" } else { " HTTP/1.1" });
        let fields: Vec<&str> = parts.collect();
        if !fields.iter().any(|field| field.starts_with("Host:")) {
            request += "Host: server\r\n";
        }
        for field in fields {
            request += &format!("{field}\r\n");
        }
        (request + "\r\n").into_bytes()
    }

    /// The method of the request.
    pub fn method(&self) -> &str {
        let line = self.0.strip_prefix("raw ").unwrap_or(self.0).trim_start();
        line.split(' ').next().unwrap_or_default()
    }

    /// Returns true if the connection ends after the reply.
    pub fn closes(&self) -> bool {
        self.1.ends_with(" ;; closes")
    }

    /// Returns true if a part has the bytes of the target.
    fn is_in_file(&self, ([from, to, size], bytes): &([usize; 3], &[u8])) -> bool {
        let target = self.0.split([' ', '|']).nth(1).unwrap_or_default();
        let path = target.trim_start_matches("/srv/");
        match TREE.iter().find(|(name, _)| *name == path) {
            Some((_, Object::File(content))) => {
                *size == content.len() && content.get(*from..=*to) == Some(bytes)
            }
            Some((_, Object::Pattern(len))) => {
                let expect = (*from..=*to).map(pattern);
                *size == *len && bytes.iter().copied().eq(expect)
            }
            _ => false,
        }
    }

    /// Compares a reply with the row.
    ///
    /// # Errors
    /// The difference.
    pub fn check(&self, reply: &Reply, known: &Validators) -> Result<(), String> {
        let expect = self.1.replace("{tag}", &known.tag);
        let body = String::from_utf8_lossy(&reply.body);
        let mut parts = expect.split(" ;; ");
        let status = parts.next().unwrap_or_default();
        let mut wrong = Vec::new();
        if reply.status.to_string() != status {
            wrong.push("status");
        }
        for part in parts {
            let is_right = if let Some(text) = part.strip_prefix('=') {
                body == text
            } else if let Some(text) = part.strip_prefix('~') {
                body.contains(text)
            } else if let Some(len) = part.strip_prefix('#') {
                reply.body.len().to_string() == len
            } else if let Some(ranges) = part.strip_prefix("parts ") {
                let parts = reply.parts().unwrap_or_default();
                let found = parts
                    .iter()
                    .map(|([from, to, _], _)| format!("{from}-{to}"));
                let are_right = parts.iter().all(|part| self.is_in_file(part));
                are_right && found.collect::<Vec<_>>().join(" ") == ranges
            } else if let Some(name) = part.strip_prefix('-') {
                reply.field(name).is_none()
            } else if let Some((name, value)) = part.split_once(": ") {
                reply.field(name) == Some(value)
            } else {
                part == "closes" && reply.closes()
            };
            if !is_right {
                wrong.push(part);
            }
        }
        if reply.closes() && !self.closes() {
            wrong.push("stays open");
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?}: {wrong:?} in {reply:?}", self.0)),
        }
    }
}

/// A text with its repetitions written out.
fn repeated(text: &str) -> String {
    let parts = text
        .split_once('{')
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (inside, after))) = parts else {
        return text.to_owned();
    };
    let (word, count) = inside.split_once('*').unwrap_or((inside, "1"));
    let count = count.parse().unwrap_or(1);
    format!("{before}{}{after}", word.repeat(count))
}
