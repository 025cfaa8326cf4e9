//! NFS 4.1: COMPOUNDs as clients send them, a strict reader of their results, and cases for the engine and the built server.
//!
//! The cases are behaviours that pynfs checks, under its names, and others. The tree is that of the [`laws`](super::laws).

pub mod changes;
mod files;
pub mod locks;
pub mod opens;
mod sessions;

use anyhow::{Context, Result, ensure};

use crate::calls::{Auth, head};
use crate::replies::{Outcome, outcome};

/// Numbers of operations. RFC 8881 section 16.2.
pub mod op {
    pub const ACCESS: u32 = 3;
    pub const CLOSE: u32 = 4;
    pub const COMMIT: u32 = 5;
    pub const CREATE: u32 = 6;
    pub const GETATTR: u32 = 9;
    pub const GETFH: u32 = 10;
    pub const LINK: u32 = 11;
    pub const LOCK: u32 = 12;
    pub const LOCKT: u32 = 13;
    pub const LOCKU: u32 = 14;
    pub const LOOKUP: u32 = 15;
    pub const LOOKUPP: u32 = 16;
    pub const NVERIFY: u32 = 17;
    pub const OPEN: u32 = 18;
    pub const OPENATTR: u32 = 19;
    pub const OPEN_DOWNGRADE: u32 = 21;
    pub const PUTFH: u32 = 22;
    pub const PUTPUBFH: u32 = 23;
    pub const PUTROOTFH: u32 = 24;
    pub const READ: u32 = 25;
    pub const READDIR: u32 = 26;
    pub const READLINK: u32 = 27;
    pub const REMOVE: u32 = 28;
    pub const RENAME: u32 = 29;
    pub const RESTOREFH: u32 = 31;
    pub const SAVEFH: u32 = 32;
    pub const SECINFO: u32 = 33;
    pub const SETATTR: u32 = 34;
    pub const VERIFY: u32 = 37;
    pub const WRITE: u32 = 38;
    pub const BIND_CONN_TO_SESSION: u32 = 41;
    pub const EXCHANGE_ID: u32 = 42;
    pub const CREATE_SESSION: u32 = 43;
    pub const DESTROY_SESSION: u32 = 44;
    pub const FREE_STATEID: u32 = 45;
    pub const SECINFO_NO_NAME: u32 = 52;
    pub const SEQUENCE: u32 = 53;
    pub const TEST_STATEID: u32 = 55;
    pub const DESTROY_CLIENTID: u32 = 57;
    pub const RECLAIM_COMPLETE: u32 = 58;
    pub const ILLEGAL: u32 = 10_044;
}

/// Statuses. RFC 8881 section 15.1.
pub mod status {
    pub const OK: u32 = 0;
    pub const PERM: u32 = 1;
    pub const NOENT: u32 = 2;
    pub const ACCESS: u32 = 13;
    pub const EXIST: u32 = 17;
    pub const XDEV: u32 = 18;
    pub const NOTDIR: u32 = 20;
    pub const ISDIR: u32 = 21;
    pub const INVAL: u32 = 22;
    pub const ROFS: u32 = 30;
    pub const NAMETOOLONG: u32 = 63;
    pub const NOTEMPTY: u32 = 66;
    pub const BADHANDLE: u32 = 10_001;
    pub const BAD_COOKIE: u32 = 10_003;
    pub const NOTSUPP: u32 = 10_004;
    pub const TOOSMALL: u32 = 10_005;
    pub const BADTYPE: u32 = 10_007;
    pub const DELAY: u32 = 10_008;
    pub const DENIED: u32 = 10_010;
    pub const LOCKED: u32 = 10_012;
    pub const GRACE: u32 = 10_013;
    pub const SHARE_DENIED: u32 = 10_015;
    pub const CLID_INUSE: u32 = 10_017;
    pub const NOFILEHANDLE: u32 = 10_020;
    pub const MINOR_VERS_MISMATCH: u32 = 10_021;
    pub const STALE_CLIENTID: u32 = 10_022;
    pub const OLD_STATEID: u32 = 10_024;
    pub const BAD_STATEID: u32 = 10_025;
    pub const NOT_SAME: u32 = 10_027;
    pub const SYMLINK: u32 = 10_029;
    pub const ATTRNOTSUPP: u32 = 10_032;
    pub const NO_GRACE: u32 = 10_033;
    pub const BADXDR: u32 = 10_036;
    pub const LOCKS_HELD: u32 = 10_037;
    pub const OPENMODE: u32 = 10_038;
    pub const BADOWNER: u32 = 10_039;
    pub const BADCHAR: u32 = 10_040;
    pub const BADNAME: u32 = 10_041;
    pub const OP_ILLEGAL: u32 = 10_044;
    pub const BADSESSION: u32 = 10_052;
    pub const BADSLOT: u32 = 10_053;
    pub const COMPLETE_ALREADY: u32 = 10_054;
    pub const SEQ_MISORDERED: u32 = 10_063;
    pub const SEQUENCE_POS: u32 = 10_064;
    pub const REQ_TOO_BIG: u32 = 10_065;
    pub const REP_TOO_BIG: u32 = 10_066;
    pub const REP_TOO_BIG_TO_CACHE: u32 = 10_067;
    pub const RETRY_UNCACHED_REP: u32 = 10_068;
    pub const TOO_MANY_OPS: u32 = 10_070;
    pub const OP_NOT_IN_SESSION: u32 = 10_071;
    pub const CLIENTID_BUSY: u32 = 10_074;
    pub const SEQ_FALSE_RETRY: u32 = 10_076;
    pub const BAD_HIGH_SLOT: u32 = 10_077;
    pub const NOT_ONLY_OP: u32 = 10_081;
    pub const WRONG_TYPE: u32 = 10_083;
}

/// A case: its name, and the function that makes its calls and checks the results.
pub type Case = (&'static str, fn(&mut Peer<'_>) -> Result<()>);

/// All cases.
pub fn cases() -> impl Iterator<Item = Case> {
    [sessions::CASES, files::CASES, opens::CASES, locks::CASES]
        .into_iter()
        .flatten()
        .copied()
}

/// The words of an operation.
pub type Op = Vec<u32>;

/// The words of an opaque value.
pub fn opaque(bytes: &[u8]) -> Vec<u32> {
    let mut words = vec![bytes.len() as u32];
    words.extend(bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_be_bytes(word)
    }));
    words
}

/// An operation with its arguments.
pub fn with(number: u32, rest: &[u32]) -> Op {
    [&[number], rest].concat()
}

/// LOOKUP.
pub fn lookup(name: &str) -> Op {
    with(op::LOOKUP, &opaque(name.as_bytes()))
}

/// A bitmap of attributes.
pub fn bitmap(numbers: &[u32]) -> Vec<u32> {
    let mut words = vec![3, 0, 0, 0];
    for number in numbers {
        words[1 + *number as usize / 32] |= 1 << (number % 32);
    }
    words
}

/// GETATTR.
pub fn getattr(numbers: &[u32]) -> Op {
    with(op::GETATTR, &bitmap(numbers))
}

/// READDIR, with the same dircount and maxcount.
pub fn readdir(cookie: u64, bytes_max: u32, numbers: &[u32]) -> Op {
    let [high, low] = [(cookie >> 32) as u32, cookie as u32];
    let head = [op::READDIR, high, low, 0, 0, 0, bytes_max];
    [&head[..], &bitmap(numbers)].concat()
}

/// READ by a state ID of which all words are `state`.
pub fn read(state: u32, offset: u32, count: u32) -> Op {
    vec![op::READ, state, state, state, state, 0, offset, count]
}

/// EXCHANGE_ID.
pub fn exchange_id(owner: &str, verifier: u32, flags: u32) -> Op {
    let head = [op::EXCHANGE_ID, 0, verifier];
    [&head[..], &opaque(owner.as_bytes()), &[flags, 0, 0]].concat()
}

/// CREATE_SESSION with the same limits for both channels.
pub fn create_session(client: [u32; 2], sequence: u32, fore: &[u32; 6]) -> Op {
    let head = [op::CREATE_SESSION, client[0], client[1], sequence, 3];
    let callbacks = [0x4000_0000, 1, 0];
    [&head[..], fore, &[0], fore, &[0], &callbacks].concat()
}

/// The limits that Linux asks for, with twice its operations.
pub const FORE: [u32; 6] = [0, 1 << 20, 1 << 20, 7584, 16, 64];

/// The arguments of a COMPOUND with the tag "tag".
pub fn compound(minor: u32, ops: &[Op]) -> Vec<u8> {
    compound_with(b"tag", minor, ops)
}

/// The arguments of a COMPOUND.
fn compound_with(tag: &[u8], minor: u32, ops: &[Op]) -> Vec<u8> {
    let words = [opaque(tag), vec![minor, ops.len() as u32], ops.concat()].concat();
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A reader of XDR.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Takes this many bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("truncated")?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn word(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub fn words(&mut self, count: usize) -> Result<Vec<u32>> {
        (0..count).map(|_| self.word()).collect()
    }

    pub fn flag(&mut self) -> Result<bool> {
        let word = self.word()?;
        ensure!(word < 2, "{word} as a boolean");
        Ok(word == 1)
    }

    /// Takes an opaque value, whose padding must be zeros.
    pub fn opaque(&mut self) -> Result<&'a [u8]> {
        let len = self.word()? as usize;
        let bytes = self.take(len)?;
        let padding = self.take(len.next_multiple_of(4) - len)?;
        ensure!(padding.iter().all(|byte| *byte == 0), "padding");
        Ok(bytes)
    }

    /// Takes attributes: their numbers, and the length of their values.
    pub fn attributes(&mut self) -> Result<()> {
        let count = self.word()? as usize;
        self.words(count)?;
        self.opaque().map(drop)
    }

    /// Takes the attribute change of a directory before and after a change. Some servers say that changes of others may be between.
    fn changes(&mut self) -> Result<Vec<u32>> {
        self.flag()?;
        self.words(4)
    }

    /// Takes the result of an operation that has succeeded.
    fn result(&mut self, number: u32) -> Result<()> {
        let word_count = match number {
            op::ACCESS | op::SECINFO | op::SECINFO_NO_NAME => 2,
            op::SEQUENCE => 9,
            op::BIND_CONN_TO_SESSION => 6,
            op::CREATE_SESSION => 20,
            op::GETFH | op::READLINK => return self.opaque().map(drop),
            op::GETATTR => return self.attributes(),
            op::READ => {
                self.flag()?;
                return self.opaque().map(drop);
            }
            op::TEST_STATEID => self.word()? as usize,
            op::CLOSE | op::OPEN_DOWNGRADE | op::LOCK | op::LOCKU => 4,
            op::WRITE => 4,
            op::COMMIT => 2,
            op::LINK | op::REMOVE => return self.changes().map(drop),
            op::RENAME => {
                self.changes()?;
                return self.changes().map(drop);
            }
            op::CREATE => {
                self.changes()?;
                self.word()? as usize
            }
            op::SETATTR => self.word()? as usize,
            op::OPEN => {
                self.words(4)?;
                self.changes()?;
                self.word()?;
                let attributes = self.word()? as usize;
                self.words(attributes)?;
                match self.word()? {
                    0 => 0,
                    // OPEN_DELEGATE_NONE_EXT: no delegation was wanted, or none can be had.
                    3 => usize::from(self.word()? == 2),
                    other => anyhow::bail!("delegation {other}"),
                }
            }
            op::EXCHANGE_ID => {
                self.words(7)?;
                self.opaque()?;
                self.opaque()?;
                1
            }
            op::READDIR => {
                self.words(2)?;
                while self.flag()? {
                    self.words(2)?;
                    self.opaque()?;
                    self.attributes()?;
                }
                1
            }
            _ => 0,
        };
        self.words(word_count).map(drop)
    }
}

/// The results of a COMPOUND.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Results {
    pub status: u32,
    pub tag: Vec<u8>,
    /// Number and status of each operation.
    pub done: Vec<(u32, u32)>,
    /// The words of the last result, after its status.
    pub last: Vec<u32>,
    /// Length of the data of each READ (bytes), and true if it ends with the file.
    pub reads: Vec<(u32, bool)>,
}

impl Results {
    /// Parses results, of which every byte must be as the RFC says.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let status = reader.word()?;
        let tag = reader.opaque()?.to_vec();
        let count = reader.word()?;
        let (mut done, mut last, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        for at in 1..=count {
            let (number, its) = (reader.word()?, reader.word()?);
            done.push((number, its));
            ensure!(at == count || its == 0, "an operation follows a failed one");
            let before = reader.0;
            if (number, its) == (op::READ, 0) {
                let mut read = Reader(before);
                let is_end = read.flag()?;
                reads.push((read.word()?, is_end));
            }
            if its == 0 {
                reader.result(number)?;
            } else if number == op::SETATTR {
                reader.word()?;
            } else if its == status::DENIED {
                reader.words(7)?;
                reader.opaque()?;
            }
            if at == count {
                let mut all = Reader(&before[..before.len() - reader.0.len()]);
                last = all.words(all.0.len() / 4)?;
            }
        }
        ensure!(
            reader.0.is_empty(),
            "bytes after the last result: {done:?} {:02x?}",
            reader.0
        );
        let is_like_last = done.last().is_none_or(|(_, last)| *last == status);
        ensure!(is_like_last, "{status} after {done:?}");
        Ok(Self {
            status,
            tag,
            done,
            last,
            reads,
        })
    }
}

/// Sends a call message and returns the reply message.
pub type Exchange<'a> = dyn FnMut(&[u8]) -> Result<Vec<u8>> + 'a;

/// A client of the server.
pub struct Peer<'a> {
    exchange: &'a mut Exchange<'a>,
    /// The way from the root to the tree.
    pub top: Vec<Op>,
    /// Prefix of the names of clients.
    name: String,
    /// The UID of its calls.
    pub user: u32,
    /// The ID of the current session.
    pub session: [u32; 4],
    /// The sequence number of the last request of slot 0.
    pub sequence: u32,
    xid: u32,
}

impl<'a> Peer<'a> {
    /// A client whose calls have no xid below `xid`. `top` is the path of the tree.
    pub fn new(exchange: &'a mut Exchange<'a>, top: &str, name: &str, xid: u32) -> Self {
        let names = top.split('/').filter(|name| !name.is_empty());
        Self {
            exchange,
            top: [vec![op::PUTROOTFH]]
                .into_iter()
                .chain(names.map(lookup))
                .collect(),
            name: name.into(),
            user: 1000,
            session: [0; 4],
            sequence: 0,
            xid,
        }
    }

    /// The results of a COMPOUND of any minor version.
    fn ask_minor(&mut self, minor: u32, ops: &[Op]) -> Result<Results> {
        self.ask_with(b"tag", minor, ops)
    }

    /// The results of a COMPOUND with this tag.
    fn ask_with(&mut self, tag: &[u8], minor: u32, ops: &[Op]) -> Result<Results> {
        self.xid += 1;
        let auth = Auth::sys(b"box", self.user, 100, &[]);
        let mut message = head(self.xid, 2, (100_003, 4, 1), &auth);
        message.extend(compound_with(tag, minor, ops));
        let reply = (self.exchange)(&message)?;
        let (xid, Outcome::Success(results)) = outcome(&reply)? else {
            anyhow::bail!("{reply:02x?}");
        };
        ensure!(xid == self.xid, "the reply has the xid of another call");
        let results = Results::parse(results).with_context(|| format!("{ops:?}"))?;
        ensure!(results.tag == tag, "another tag");
        Ok(results)
    }

    /// The results of a COMPOUND without SEQUENCE.
    pub fn ask(&mut self, ops: &[Op]) -> Result<Results> {
        self.ask_minor(1, ops)
    }

    /// Makes a COMPOUND without SEQUENCE, which must return `status`.
    fn expect(&mut self, ops: &[Op], status: u32) -> Result<Vec<u32>> {
        let results = self.ask(ops)?;
        ensure!(results.status == status, "{results:?} for {ops:?}");
        Ok(results.last)
    }

    /// EXCHANGE_ID by an owner with this name.
    fn exchange_id(&mut self, owner: &str, verifier: u32, flags: u32) -> Result<Results> {
        let owner = format!("{} {owner}", self.name);
        self.ask(&[exchange_id(&owner, verifier, flags)])
    }

    /// The ID of a client.
    pub fn client(&mut self, owner: &str, verifier: u32) -> Result<[u32; 2]> {
        let results = self.exchange_id(owner, verifier, 0)?;
        ensure!(results.status == 0, "{results:?}");
        Ok([results.last[0], results.last[1]])
    }

    /// Makes a session, and uses it from now on. Returns the reply's words.
    pub fn begin(&mut self, client: [u32; 2], sequence: u32, fore: &[u32; 6]) -> Result<Vec<u32>> {
        let made = self.expect(&[create_session(client, sequence, fore)], 0)?;
        self.session.copy_from_slice(&made[..4]);
        self.sequence = 0;
        Ok(made)
    }

    /// Makes a client with a session.
    pub fn begun(&mut self) -> Result<[u32; 2]> {
        let client = self.client("owner", 1)?;
        self.begin(client, 1, &FORE)?;
        Ok(client)
    }

    /// SEQUENCE of the current session.
    pub fn sequence_op(&self, sequence: u32, slot: u32, keep: u32) -> Op {
        let rest = [&self.session[..], &[sequence, slot, slot, keep]];
        with(op::SEQUENCE, &rest.concat())
    }

    /// Makes the next request of slot 0.
    pub fn next(&mut self, ops: &[Op]) -> Result<Results> {
        self.next_kept(0, ops)
    }

    /// Makes a request of slot 0 with the last sequence number.
    pub fn again(&mut self, keep: u32, ops: &[Op]) -> Result<Results> {
        let head = self.sequence_op(self.sequence, 0, keep);
        self.ask(&[&[head], ops].concat())
    }

    /// Makes the next request of slot 0, whose reply is to be kept or not.
    pub fn next_kept(&mut self, keep: u32, ops: &[Op]) -> Result<Results> {
        self.sequence += 1;
        self.again(keep, ops)
    }

    /// The operations that go to an object below the top.
    pub fn way(&self, path: &str, then: &[Op]) -> Vec<Op> {
        let names = path.split('/').filter(|name| !name.is_empty()).map(lookup);
        self.top
            .iter()
            .cloned()
            .chain(names)
            .chain(then.iter().cloned())
            .collect()
    }
}
