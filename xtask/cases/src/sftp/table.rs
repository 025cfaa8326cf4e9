//! The table of requests and replies (`rows.txt`, and rows that are computed here), and the tree on which they run. The tests of the
//! engine and of the program play the same rows: whole, in pieces, in a jail, read-only, and beside OpenSSH's server.

use super::{Attrs, Opened, Reply, Request, Status, kind, open};
use anyhow::{Context, Result, ensure};

/// An object of the tree on which rows run.
#[derive(Clone, Copy, Debug)]
pub enum Object {
    /// A file with these bytes.
    File(&'static [u8]),
    Directory,
    /// A symbolic link with this target.
    Link(&'static str),
    Fifo,
}

/// The objects of the tree, by path. Files have the mode 0644, directories 0755, FIFOs 0600.
pub const TREE: [(&str, Object); 11] = [
    ("small", Object::File(b"small\n")),
    ("other", Object::File(b"other\n")),
    ("large", Object::File(&[b'x'; LARGE_BYTES])),
    ("sub", Object::Directory),
    ("sub/inner", Object::File(b"inner\n")),
    ("empty", Object::Directory),
    ("link", Object::Link("small")),
    ("way", Object::Link("sub")),
    ("dangling", Object::Link("sub/gone")),
    ("loop", Object::Link("loop")),
    ("fifo", Object::Fifo),
];

/// Length (bytes) of the file "large".
pub const LARGE_BYTES: usize = 200_000;

/// The reply that a request must get.
#[derive(Clone, Debug)]
pub enum Expect {
    /// A STATUS with this code.
    Is(Status),
    /// A handle, which is closed.
    Opens,
    Data(&'static [u8]),
    /// A NAME with this path, below the path of the tree.
    Path(String),
    /// A NAME with these bytes.
    Target(&'static [u8]),
    /// ATTRS with these values; fields that are None have any.
    Has(Attrs),
    /// An EXTENDED_REPLY that ends with these bytes.
    Ends(&'static [u8]),
}

use Expect::{Data, Ends, Has, Is, Opens, Path, Target};
use Request::*;

impl Expect {
    /// Fails unless the reply is the expected one. `root` is the tree's path.
    fn check(&self, reply: &Reply, root: &str) -> Result<()> {
        let is_right = match (self, reply) {
            (Is(status), Reply::Status(code, _)) => code == status,
            (Opens, Reply::Handle(_)) => true,
            (Data(expect), Reply::Data(data)) => data == expect,
            (Path(path), Reply::Name(entries)) => {
                let whole = format!("{}/{path}", root.trim_end_matches('/'));
                let whole = whole.strip_suffix('/').filter(|rest| !rest.is_empty());
                let expect = match path.is_empty() {
                    true => whole.unwrap_or("/").to_owned(),
                    false => format!("{}/{path}", root.trim_end_matches('/')),
                };
                entries[0].name == expect.as_bytes() && entries[0].long_name == expect.as_bytes()
            }
            (Target(target), Reply::Name(entries)) => entries[0].name == *target,
            (Has(expect), Reply::Attrs(attrs)) => {
                let mut seen = attrs.clone();
                seen.size = expect.size.and(seen.size);
                seen.owner = expect.owner.and(seen.owner);
                seen.mode = expect.mode.and(seen.mode);
                seen.times = expect.times.and(seen.times);
                seen == *expect
            }
            (Ends(bytes), Reply::Extended(data)) => data.ends_with(bytes),
            _ => false,
        };
        ensure!(
            is_right,
            "{} instead of {}",
            brief(&format!("{reply:?}")),
            brief(&format!("{self:?}"))
        );
        Ok(())
    }
}

/// The beginning of a text.
fn brief(text: &str) -> String {
    text.chars().take(150).collect()
}

fn show(request: &Request<'_>) -> String {
    brief(&request.message(0).escape_ascii().to_string())
}

/// A request and its reply.
pub type Row<'a> = (Request<'a>, Expect);

/// Rows that run in this order in one session on a new tree.
pub struct Case {
    pub name: &'static str,
    /// False if OpenSSH's server ends the session, has other limits or lacks the extension.
    pub is_openssh: bool,
    rows: Rows,
}

enum Rows {
    Text(&'static str),
    Computed(for<'a> fn(&'a Opened) -> Vec<Row<'a>>),
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let sections = include_str!("rows.txt").split("\n[").skip(1);
    let written = sections.map(|section| {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        let (name, rest) = title.split_once(']').expect("a section has a name");
        Case {
            name,
            is_openssh: rest.trim() != "ours",
            rows: Rows::Text(text),
        }
    });
    let ours = |name, rows| Case {
        name,
        is_openssh: false,
        rows: Rows::Computed(rows),
    };
    let computed = [
        ours("unknown_handles", unknown_handles),
        ours("unknown_attribute_bits", unknown_attribute_bits),
        ours("unknown_requests", unknown_requests),
    ];
    written.chain(computed).collect()
}

impl Case {
    fn rows<'a>(&self, at: &'a Opened) -> Vec<Row<'a>> {
        match self.rows {
            Rows::Computed(rows) => rows(at),
            Rows::Text(text) => {
                let lines = text
                    .lines()
                    .filter(|line| !line.is_empty() && !line.starts_with('#'));
                let lines = lines.flat_map(|line| expand(line.to_owned()));
                lines.map(|line| parse(line.leak(), at)).collect()
            }
        }
    }

    /// Runs the rows. `ask` sends a request; `root` is the tree's path as the server reports it.
    pub fn play(
        &self,
        root: &str,
        mut ask: impl FnMut(&Request<'_>) -> Result<Reply>,
    ) -> Result<()> {
        let opened = Opened::new(&mut ask)?;
        let mut wrong = Vec::new();
        for (request, expect) in self.rows(&opened) {
            let reply = ask(&request).with_context(|| show(&request))?;
            if let Err(why) = expect.check(&reply, root) {
                wrong.push(format!("{}: {why}", show(&request)));
            }
            if let Reply::Handle(handle) = reply {
                let closed = ask(&Close(&handle))?;
                ensure!(closed.status() == Some(Status::OK), "CLOSE: {closed:?}");
            }
        }
        ensure!(wrong.is_empty(), "{}: {wrong:#?}", self.name);
        opened.close(&mut ask)
    }

    /// Runs the rows on a read-only server: requests that change something are refused.
    pub fn play_read_only(&self, mut ask: impl FnMut(&Request<'_>) -> Result<Reply>) -> Result<()> {
        let opened = Opened::read_only(&mut ask)?;
        for (request, _) in self.rows(&opened) {
            let reply = ask(&request)?;
            let refused = [Status::PERMISSION_DENIED, Status::BAD_MESSAGE];
            ensure!(
                !request.changes() || reply.status().is_some_and(|it| refused.contains(&it)),
                "{} was answered {}",
                show(&request),
                brief(&format!("{reply:?}"))
            );
            if let Reply::Handle(handle) = reply {
                ask(&Close(&handle))?;
            }
        }
        opened.close(&mut ask)
    }
}

/// The rows for which a line stands: one for each of the words in braces.
fn expand(line: String) -> Vec<String> {
    let Some((start, rest)) = line.split_once('{') else {
        return vec![line];
    };
    let (words, rest) = rest.split_once('}').expect("a brace is closed");
    let lines = words.split(',').map(|word| format!("{start}{word}{rest}"));
    lines.flat_map(expand).collect()
}

/// The bytes for which a word stands.
fn bytes(word: &str) -> &'static [u8] {
    let mut all = Vec::new();
    for part in word.split('+').filter(|part| *part != "''") {
        let (text, count) = part.split_once('*').unwrap_or((part, "1"));
        let mut bytes = Vec::new();
        let mut letters = text.bytes();
        while let Some(letter) = letters.next() {
            bytes.push(match letter {
                b'\\' => escaped(&mut letters),
                letter => letter,
            });
        }
        all.extend(bytes.repeat(number(count) as usize));
    }
    all.leak()
}

/// The byte after a backslash.
fn escaped(letters: &mut impl Iterator<Item = u8>) -> u8 {
    match letters.next() {
        Some(b's') => b' ',
        Some(b'n') => b'\n',
        Some(b'0') => 0,
        Some(b'x') => {
            let digits = letters.take(2).map(|digit| char::from(digit).to_digit(16));
            let digits = digits.map(|digit| digit.expect("a digit"));
            digits.fold(0, |high, low| high << 4 | low as u8)
        }
        other => panic!("{other:?} is escaped"),
    }
}

fn number(word: &str) -> u64 {
    let octal = word.strip_prefix('0').filter(|rest| !rest.is_empty());
    let parsed = octal.map_or_else(|| word.parse(), |rest| u64::from_str_radix(rest, 8));
    parsed.unwrap_or_else(|_| panic!("{word} is no number"))
}

fn flags(word: &str) -> u32 {
    let flag = |name| match name {
        "0" => 0,
        "READ" => open::READ,
        "WRITE" => open::WRITE,
        "APPEND" => open::APPEND,
        "CREATE" => open::CREATE,
        "TRUNCATE" => open::TRUNCATE,
        "EXCLUSIVE" => open::EXCLUSIVE,
        _ => panic!("{name} is no flag"),
    };
    word.split('|').map(flag).fold(0, |all, flag| all | flag)
}

fn attrs<'a>(words: impl Iterator<Item = &'a str>) -> Attrs {
    let mut attrs = Attrs::default();
    for word in words {
        let (name, value) = word.split_once('=').expect("an attribute has a value");
        match name {
            "size" => attrs.size = Some(number(value)),
            "mode" => attrs.mode = Some(number(value) as u32),
            "times" => {
                let (access, change) = value.split_once(',').expect("two times");
                attrs.times = Some((number(access) as u32, number(change) as u32));
            }
            _ => panic!("{name} is no attribute"),
        }
    }
    attrs
}

fn parse<'a>(line: &'static str, at: &'a Opened) -> Row<'a> {
    let (request, expect) = line.split_once(" -> ").expect("a row has a reply");
    let mut words = request.split(' ').chain(["''"; 5]);
    let name = words.next().unwrap_or_default();
    let mut next = || words.next().unwrap_or_default();
    // A request's arguments are evaluated in their order.
    macro_rules! string {
        () => {{
            let word = next();
            word.strip_prefix('@')
                .map_or_else(|| bytes(word), |name| at.handle(name))
        }};
    }
    let request = match name {
        "open" => Open(string!(), flags(next()), attrs(request.split(' ').skip(3))),
        "read" => Read(string!(), number(next()), number(next()) as u32),
        "write" => Write(string!(), number(next()), string!()),
        "lstat" => LStat(string!()),
        "fstat" => FStat(string!()),
        "setstat" => SetStat(string!(), attrs(request.split(' ').skip(2))),
        "fsetstat" => FSetStat(string!(), attrs(request.split(' ').skip(2))),
        "lsetstat" => LSetStat(string!(), attrs(request.split(' ').skip(2))),
        "opendir" => OpenDir(string!()),
        "readdir" => ReadDir(string!()),
        "remove" => Remove(string!()),
        "mkdir" => MkDir(string!(), attrs(request.split(' ').skip(2))),
        "rmdir" => RmDir(string!()),
        "realpath" => RealPath(string!()),
        "stat" => Stat(string!()),
        "rename" => Rename(string!(), string!()),
        "readlink" => ReadLink(string!()),
        "symlink" => SymLink(string!(), string!()),
        "posix-rename" => PosixRename(string!(), string!()),
        "statvfs" => StatVfs(string!()),
        "fstatvfs" => FStatVfs(string!()),
        "hardlink" => HardLink(string!(), string!()),
        "fsync" => FSync(string!()),
        "expand-path" => ExpandPath(string!()),
        "home-directory" => HomeDirectory(string!()),
        "copy-data" => CopyData {
            from: string!(),
            offset: number(next()),
            len: number(next()),
            to: string!(),
            to_offset: number(next()),
        },
        "check-file" | "check-file-name" | "check-file-handle" => CheckFile {
            name,
            object: string!(),
            algorithms: string!(),
            offset: number(next()),
            len: number(next()),
            block_len: number(next()) as u32,
        },
        "vendor-id" => VendorId {
            vendor: string!(),
            product: string!(),
            version: string!(),
            build: number(next()),
        },
        _ => panic!("{line}: no such request"),
    };
    (request, expected(expect))
}

fn expected(text: &'static str) -> Expect {
    let (what, value) = text.split_once(' ').unwrap_or((text, ""));
    let codes = (0..).map(Status).take(9);
    let mut codes = codes.filter(|status| format!("{status:?}") == text);
    match what {
        "handle" => Opens,
        "data" => Data(bytes(value)),
        "path" => Path(String::from_utf8_lossy(bytes(value)).into_owned()),
        "target" => Target(bytes(value)),
        "ends" => Ends(bytes(value)),
        _ => match codes.next() {
            Some(status) => Is(status),
            None => Has(attrs(text.split(' '))),
        },
    }
}

fn leaked(bytes: Vec<u8>) -> &'static [u8] {
    bytes.leak()
}

fn unknown_handles(at: &Opened) -> Vec<Row<'_>> {
    let file = &at.file;
    let known = [
        &at.file, &at.other, &at.dir, &at.read, &at.write, &at.append,
    ];
    let flipped = (0..file.len() * 8).map(|bit| {
        let mut handle = file.clone();
        handle[bit / 8] ^= 1 << (bit % 8);
        handle
    });
    let flipped = flipped.filter(|handle| !known.contains(&handle));
    let resized = (0..=256).filter(|len| *len != file.len()).flat_map(|len| {
        let mut longer = file.clone();
        longer.resize(len, 0);
        [longer, vec![0xff; len]]
    });
    let mut rows = Vec::new();
    for handle in flipped.chain(resized).chain([at.closed.clone()]) {
        let handle = leaked(handle);
        rows.extend([
            (Read(handle, 0, 1), Is(Status::FAILURE)),
            (Write(handle, 0, b"x"), Is(Status::FAILURE)),
            (FStat(handle), Is(Status::FAILURE)),
            (FSetStat(handle, Attrs::default()), Is(Status::FAILURE)),
            (FStatVfs(handle), Is(Status::FAILURE)),
            (FSync(handle), Is(Status::NO_SUCH_FILE)),
            (Close(handle), Is(Status::NO_SUCH_FILE)),
            (ReadDir(handle), Is(Status::FAILURE)),
            (Request::copy(handle, file), Is(Status::FAILURE)),
            (
                Request::check("check-file-handle", handle, b"md5"),
                Is(Status::FAILURE),
            ),
        ]);
    }
    let long = leaked(vec![7; 257]);
    rows.extend(
        [Close(long), FStat(long), ReadDir(long)].map(|request| (request, Is(Status::BAD_MESSAGE))),
    );
    rows
}

/// The draft defines five bits; the values of others are not read.
fn unknown_attribute_bits(_: &Opened) -> Vec<Row<'_>> {
    const DEFINED: u32 = 0x8000_000f;
    let bits = (0..32).map(|bit| 1_u32 << bit);
    let mut rows: Vec<_> = bits
        .clone()
        .filter(|bit| bit & DEFINED == 0)
        .map(|bit| [&b"\0\0\0\x05small"[..], &bit.to_be_bytes(), &[0; 16]].concat())
        .map(|body| (Other(kind::SETSTAT, leaked(body)), Is(Status::OK)))
        .collect();
    rows.extend(
        bits.filter(|bit| *bit > open::EXCLUSIVE)
            .map(|bit| (Open(b"small", open::READ | bit, Attrs::default()), Opens)),
    );
    rows
}

fn unknown_requests(_: &Opened) -> Vec<Row<'_>> {
    let long = leaked(vec![0xff; 1000]);
    let known = |kind: &u8| matches!(*kind, 1 | 3..=20 | 200);
    let mut rows = Vec::new();
    for kind in (0..=255).filter(|kind| !known(kind)) {
        rows.extend([
            (Other(kind, b""), Is(Status::OP_UNSUPPORTED)),
            (Other(kind, long), Is(Status::OP_UNSUPPORTED)),
        ]);
    }
    for name in [
        &b""[..],
        b"nothing",
        b"posix-rename",
        b"limits",
        b"copy-data@openssh.com",
        b"open",
        b"@openssh.com",
        b"check-file-",
        b"text-seek",
        b"statvfs@openssh.com\0",
        b"STATVFS@OPENSSH.COM",
        leaked(vec![b'e'; 30_000]),
    ] {
        rows.extend([
            (Extended(name, b""), Is(Status::OP_UNSUPPORTED)),
            (Extended(name, long), Is(Status::OP_UNSUPPORTED)),
        ]);
    }
    rows
}
