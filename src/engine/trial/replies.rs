//! A strict reader of replies: each must have exactly the shape that its RFC gives it, to the last byte and the padding.

use super::calls::Asked;
use crate::wire::nfs3::Procedure;
use crate::wire::rpc::Reject;
use crate::wire::{mount, nfs3, portmap};

/// What was read, or what is wrong with it.
type Strict<T> = Result<T, String>;

/// The 21 words of an object's attributes.
pub type Attributes = [u32; 21];

/// Size, time of the last write, time of the last change.
pub type Before = [u32; 6];

/// Results of any procedure, sorted by what they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// 0 where the procedure has none.
    pub status: u32,
    /// What objects were like before they were changed, or were not; missing ones too.
    pub before: Vec<Option<Before>>,
    /// Attributes before the results and after, in their order, missing ones too.
    pub attributes: Vec<Option<Attributes>>,
    /// A handle.
    pub handle: Vec<u8>,
    /// Whatever is a number.
    pub words: Vec<u32>,
    /// A file's data, or a link's target.
    pub bytes: Vec<u8>,
    /// A directory's entries.
    pub entries: Vec<Entry>,
    /// Names and paths of the other lists.
    pub names: Vec<Vec<u8>>,
}

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Inode number.
    pub inode: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Where the listing goes on.
    pub cookie: u64,
    /// Told by READDIRPLUS.
    pub attributes: Option<Attributes>,
    /// Told by READDIRPLUS.
    pub handle: Option<Vec<u8>>,
}

/// Takes a stream of replies apart: each must be one fragment, and nothing may be left over.
pub fn records(mut stream: &[u8]) -> Strict<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !stream.is_empty() {
        let (mark, rest) = stream.split_first_chunk().ok_or("half a record mark")?;
        let mark = u32::from_be_bytes(*mark);
        let len = (mark & 0x7fff_ffff) as usize;
        if mark >> 31 != 1 {
            return Err("a reply in several fragments".into());
        }
        let (record, rest) = rest
            .split_at_checked(len)
            .ok_or_else(|| format!("{} of {len} bytes of a reply", rest.len()))?;
        records.push(record);
        stream = rest;
    }
    Ok(records)
}

/// Reads the reply to the call that was `asked`.
pub fn parse(record: &[u8], asked: Asked) -> Strict<Result<Body, Reject>> {
    let mut cursor = Cursor(record);
    if cursor.word()? != asked.xid {
        return Err("the xid of another call".into());
    }
    if cursor.word()? != 1 {
        return Err("a reply that is none".into());
    }
    let parsed = match cursor.word()? {
        0 => {
            if [cursor.word()?, cursor.word()?] != [0, 0] {
                return Err("a verifier where none was asked for".into());
            }
            match cursor.word()? {
                0 => Ok(body(&mut cursor, asked.what)?),
                1 => Err(Reject::Program),
                2 => Err(Reject::Version(cursor.word()? as u8, cursor.word()? as u8)),
                3 => Err(Reject::Procedure),
                4 => Err(Reject::Arguments),
                5 => Err(Reject::System),
                other => return Err(format!("accept_stat {other}")),
            }
        }
        1 => match (cursor.word()?, cursor.word()?) {
            (0, 2) if cursor.word()? == 2 => Err(Reject::RpcVersion),
            (1, 1) => Err(Reject::BadCredential),
            (1, 2) => Err(Reject::UnknownFlavor),
            (1, 3) => Err(Reject::BadVerifier),
            other => return Err(format!("reject_stat and more {other:?}")),
        },
        other => return Err(format!("reply_stat {other}")),
    };
    match cursor.0 {
        [] => Ok(parsed),
        left => Err(format!("{} bytes after {parsed:?}", left.len())),
    }
}

fn body(cursor: &mut Cursor<'_>, what: (u32, u32, u32)) -> Strict<Body> {
    let mut body = Body::default();
    match what {
        (nfs3::PROGRAM, 3, number) => {
            let procedure = Procedure::new(number).ok_or("an answer to no procedure")?;
            body.nfs(cursor, procedure)?;
        }
        (mount::PROGRAM, version @ (1 | 3), number) => body.mount(cursor, version, number)?,
        (portmap::PROGRAM, 2, 0) => {}
        (portmap::PROGRAM, 2, 3) => body.words.push(cursor.word()?),
        (portmap::PROGRAM, 2, 4) => {
            while cursor.flag()? {
                body.take_words(cursor, 4)?;
            }
        }
        other => return Err(format!("results of {other:?}")),
    }
    Ok(body)
}

impl Body {
    fn nfs(&mut self, cursor: &mut Cursor<'_>, procedure: Procedure) -> Strict<()> {
        use Procedure::*;
        if procedure == Null {
            return Ok(());
        }
        self.status = cursor.word()?;
        if !matches!(
            self.status,
            0..=2 | 5 | 6 | 13 | 17..=22 | 27 | 28 | 30 | 31 | 63 | 66 | 69..=71 | 10001..=10008
        ) {
            return Err(format!("nfsstat3 {}", self.status));
        }
        let succeeded = self.status == 0;
        match procedure {
            GetAttr if succeeded => self.attributes.push(Some(cursor.attributes()?)),
            Null | GetAttr => {}
            SetAttr | Write | Commit | Remove | RmDir => self.around(cursor)?,
            Create | MkDir | SymLink | MkNod => {
                if succeeded {
                    if cursor.flag()? {
                        self.handle = cursor.opaque(64)?.to_vec();
                    }
                    self.after(cursor)?;
                }
                self.around(cursor)?;
            }
            Rename => {
                self.around(cursor)?;
                self.around(cursor)?;
            }
            Link => {
                self.after(cursor)?;
                self.around(cursor)?;
            }
            Lookup if succeeded => {
                self.handle = cursor.opaque(64)?.to_vec();
                self.after(cursor)?;
                self.after(cursor)?;
            }
            _ => self.after(cursor)?,
        }
        if succeeded {
            match procedure {
                Access => self.take_words(cursor, 1)?,
                ReadLink => self.bytes = cursor.opaque(4096)?.to_vec(),
                Read => {
                    let (count, end) = (cursor.word()?, cursor.flag()?);
                    self.words = vec![count, end.into()];
                    self.bytes = cursor.opaque(1 << 20)?.to_vec();
                    if self.bytes.len() != count as usize {
                        return Err("a count that is not the data's".into());
                    }
                }
                ReadDir | ReadDirPlus => self.entries(cursor, procedure == ReadDirPlus)?,
                Write => {
                    self.take_words(cursor, 4)?;
                    if self.words[1] > 2 {
                        return Err(format!("stable_how {}", self.words[1]));
                    }
                }
                Commit => self.take_words(cursor, 2)?,
                FsStat => self.take_words(cursor, 13)?,
                FsInfo => self.take_words(cursor, 12)?,
                PathConf => {
                    self.take_words(cursor, 2)?;
                    for _ in 0..4 {
                        self.words.push(cursor.flag()?.into());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn entries(&mut self, cursor: &mut Cursor<'_>, plus: bool) -> Strict<()> {
        cursor.long()?;
        while cursor.flag()? {
            self.entries.push(Entry {
                inode: cursor.long()?,
                name: cursor.opaque(255)?.to_vec(),
                cookie: cursor.long()?,
                attributes: if plus { cursor.post_op()? } else { None },
                handle: if plus && cursor.flag()? {
                    Some(cursor.opaque(64)?.to_vec())
                } else {
                    None
                },
            });
        }
        self.words.push(cursor.flag()?.into());
        Ok(())
    }

    fn mount(&mut self, cursor: &mut Cursor<'_>, version: u32, number: u32) -> Strict<()> {
        match number {
            mount::procedure::MNT => {
                self.status = cursor.word()?;
                match (self.status, version) {
                    (0, 1) => self.handle = cursor.take(32)?.to_vec(),
                    (0, _) => {
                        self.handle = cursor.opaque(64)?.to_vec();
                        self.take_words(cursor, 2)?;
                    }
                    (1 | 2 | 5 | 13 | 20 | 22 | 63 | 10004 | 10006, _) => {}
                    (other, _) => return Err(format!("mountstat3 {other}")),
                }
            }
            mount::procedure::DUMP => {
                while cursor.flag()? {
                    self.names.push(cursor.opaque(255)?.to_vec());
                    self.names.push(cursor.opaque(1024)?.to_vec());
                }
            }
            mount::procedure::EXPORT => {
                while cursor.flag()? {
                    self.names.push(cursor.opaque(1024)?.to_vec());
                    if cursor.flag()? {
                        return Err("an export for some only".into());
                    }
                }
            }
            mount::procedure::NULL | mount::procedure::UMNT | mount::procedure::UMNTALL => {}
            other => return Err(format!("results of MOUNT {other}")),
        }
        Ok(())
    }

    fn take_words(&mut self, cursor: &mut Cursor<'_>, count: usize) -> Strict<()> {
        for _ in 0..count {
            self.words.push(cursor.word()?);
        }
        Ok(())
    }

    /// post_op_attr
    fn after(&mut self, cursor: &mut Cursor<'_>) -> Strict<()> {
        self.attributes.push(cursor.post_op()?);
        Ok(())
    }

    /// wcc_data
    fn around(&mut self, cursor: &mut Cursor<'_>) -> Strict<()> {
        let mut before = [0; 6];
        let told = cursor.flag()?;
        if told {
            for word in &mut before {
                *word = cursor.word()?;
            }
        }
        if before[3] >= 1_000_000_000 || before[5] >= 1_000_000_000 {
            return Err(format!("attributes from before {before:?}"));
        }
        self.before.push(told.then_some(before));
        self.after(cursor)
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Strict<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or("it breaks off")?;
        self.0 = rest;
        Ok(head)
    }

    fn word(&mut self) -> Strict<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    fn long(&mut self) -> Strict<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into().unwrap()))
    }

    fn flag(&mut self) -> Strict<bool> {
        match self.word()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{other} for a yes or no")),
        }
    }

    fn opaque(&mut self, len_max: usize) -> Strict<&'a [u8]> {
        let len = self.word()? as usize;
        if len > len_max {
            return Err(format!("{len} bytes where {len_max} are the most"));
        }
        let bytes = self.take(len)?;
        let padding = self.take(len.next_multiple_of(4) - len)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err("padding that is not zero".into());
        }
        Ok(bytes)
    }

    fn attributes(&mut self) -> Strict<Attributes> {
        let mut words = [0; 21];
        for word in &mut words {
            *word = self.word()?;
        }
        let nanos_fit = [16, 18, 20].into_iter().all(|at| words[at] < 1_000_000_000);
        if !matches!(words[0], 1..=7) || words[1] > 0o7777 || !nanos_fit {
            return Err(format!("attributes {words:?}"));
        }
        Ok(words)
    }

    fn post_op(&mut self) -> Strict<Option<Attributes>> {
        self.flag()?.then(|| self.attributes()).transpose()
    }
}

/// The reader itself must be able to say no.
#[test]
fn what_is_not_exactly_a_reply_is_told() {
    let asked = Asked {
        xid: 7,
        what: (nfs3::PROGRAM, 3, Procedure::Access as u32),
    };
    let check = |words: &[u32], ok: bool| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(parse(&bytes, asked).is_ok(), ok, "{words:?}");
    };
    check(&[7, 1, 0, 0, 0, 0, 70, 0], true);
    check(&[7, 1, 0, 0, 0, 0, 70], false);
    check(&[7, 1, 0, 0, 0, 0, 70, 2], false);
    check(&[7, 1, 0, 0, 0, 0, 70, 0, 0], false);
    check(&[7, 1, 0, 0, 0, 0, 0, 0], false);
    check(&[7, 1, 0, 0, 0, 0, 0, 0, 1], true);
    check(&[7, 1, 0, 0, 0, 0, 99, 0], false);
    check(&[8, 1, 0, 0, 0, 0, 70, 0], false);
    assert!(Cursor(&[0, 0, 0, 1, b'x', 0, 0, 1]).opaque(8).is_err());
    assert!(records(&[0x80, 0, 0, 1]).is_err());
    assert!(records(&[0, 0, 0, 1, 9]).is_err());
}
