//! Attributes: GETATTR, VERIFY, NVERIFY. RFC 8881 section 5.
//!
//! Each attribute is a row: its number, and how its value is made. Numbers ascend, as the values on the wire do.

use super::turn::{Done, Fault, Turn};
use crate::config::{LEASE_SECS, READ_BYTES_MAX, REQUEST_BYTES, WRITE_BYTES_MAX};
use crate::engine::nfs::{LINK_COUNT_MAX, kind_number};
use crate::vfs::{Attr, FileTime, FsStat, Handle, NewTime, SetAttr};
use crate::wire::label::number;
use crate::wire::nfs4::{Bitmap, OPAQUE_BYTES_MAX, Status};
use crate::wire::xdr::padding;
use crate::wire::{Reader, Writer};

/// The sources of values.
pub(super) struct Facts<'a> {
    /// The attributes of the object.
    pub(super) attr: &'a Attr,
    /// Its handle.
    pub(super) handle: &'a Handle,
    /// The inode number of the directory that it covers, if it is the top of an export; else its own.
    pub(super) mounted_on: u64,
    /// The sum that is added to its ctime.
    pub(super) recent: u32,
    /// Its file system, if [`NEEDS_SPACE`] has an attribute that is asked for.
    pub(super) stat: FsStat,
}

/// How a value is made.
#[derive(Clone, Copy)]
enum Value {
    /// These words.
    Words(&'static [u32]),
    /// A number of 32 bits.
    Short(fn(&Facts<'_>) -> u32),
    /// A number of 64 bits.
    Long(fn(&Facts<'_>) -> u64),
    /// A time.
    Time(fn(&Facts<'_>) -> FileTime),
    /// A number as text.
    Text(fn(&Facts<'_>) -> u32),
    /// Other words.
    Other(fn(&Facts<'_>, &mut Writer<'_>)),
    /// The attribute can be set only.
    Never,
}

use Value::{Long, Never, Other, Short, Text, Time, Words};

const FALSE: Value = Words(&[0]);
const TRUE: Value = Words(&[1]);

/// The attribute that says why the others of a directory's entry are missing.
pub(super) const ERROR: u32 = 11;
pub(super) const FILE_ID: u32 = 20;
pub(super) const SIZE: u32 = 4;
const MODE: u32 = 33;
const OWNER: u32 = 36;
const GROUP: u32 = 37;
const ATIME_SET: u32 = 48;
const MTIME_SET: u32 = 54;
pub(super) const MOUNTED_ON_FILE_ID: u32 = 55;

/// All attributes.
static ROWS: [(u8, Value); ROW_COUNT] = TABLE;
const ROW_COUNT: usize = 42;
const TABLE: [(u8, Value); ROW_COUNT] = [
    (0, Other(|_, out| SUPPORTED.emit(out))),
    (1, Short(|of| kind_number(of.attr.kind))),
    (2, Words(&[0])), // fh_expire_type: FH4_PERSISTENT.
    (3, Long(|of| change(of.attr, of.recent))),
    (4, Long(|of| of.attr.size)),
    (5, TRUE),  // link_support
    (6, TRUE),  // symlink_support
    (7, FALSE), // named_attr
    (
        8,
        Other(|of, out| {
            out.u64(of.attr.fsid);
            // The directories above the exports are one file system.
            let tag = if of.attr.fsid == 0 {
                0
            } else {
                of.handle.export_tag()
            };
            out.u64(tag.into());
        }),
    ),
    (9, FALSE), // unique_handles: a path handle names the directory, too.
    (10, Words(&[LEASE_SECS])),
    (ERROR as u8, Words(&[0])),
    (13, Words(&[0])), // aclsupport
    (16, FALSE),       // case_insensitive
    (17, TRUE),        // case_preserving
    (19, Other(|of, out| out.opaque(of.handle.padded()))),
    (FILE_ID as u8, Long(|of| of.attr.inode)),
    (21, Long(|of| of.stat.free_files)),
    (22, Long(|of| of.stat.free_files)),
    (23, Long(|of| of.stat.total_files)),
    (27, Words(&[i32::MAX as u32, u32::MAX])), // maxfilesize
    (28, Words(&[LINK_COUNT_MAX])),
    (29, Short(|of| of.stat.name_bytes_max)),
    (30, Words(&[0, READ_BYTES_MAX])),  // maxread
    (31, Words(&[0, WRITE_BYTES_MAX])), // maxwrite
    (33, Short(|of| of.attr.mode)),
    (35, Short(|of| of.attr.nlink)),
    (36, Text(|of| of.attr.uid)),
    (37, Text(|of| of.attr.gid)),
    (
        41,
        Other(|of, out| {
            let (major, minor) = of.attr.rdev;
            out.words(&[major, minor]);
        }),
    ),
    (42, Long(|of| of.stat.available_bytes)),
    (43, Long(|of| of.stat.free_bytes)),
    (44, Long(|of| of.stat.total_bytes)),
    (45, Long(|of| of.attr.used)),
    (47, Time(|of| of.attr.atime)),
    (48, Never),             // time_access_set
    (51, Words(&[0, 0, 1])), // time_delta: 1 ns.
    (52, Time(|of| of.attr.ctime)),
    (53, Time(|of| of.attr.mtime)),
    (54, Never), // time_modify_set
    (MOUNTED_ON_FILE_ID as u8, Long(|of| of.mounted_on)),
    (75, Other(|_, out| SETTABLE.without(TIMES).emit(out))), // suppattr_exclcreat
];

/// The numbers of the rows for which a choice holds.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn numbers(never_only: bool) -> Bitmap {
    let (mut all, mut at) = (Bitmap([0; 3]), 0);
    while at < ROW_COUNT {
        let (number, value) = TABLE[at];
        if !never_only || matches!(value, Never) {
            all = all.with(number as u32);
        }
        at += 1;
    }
    all
}

/// The attributes that the server has.
const SUPPORTED: Bitmap = numbers(false);
/// The attributes that can be set only.
const WRITE_ONLY: Bitmap = numbers(true);
/// The attributes that can be set.
const SETTABLE: Bitmap = Bitmap::new(&[SIZE, MODE, OWNER, GROUP, ATIME_SET, MTIME_SET]);
/// The attributes in which the verifier of an exclusive OPEN is stored.
const TIMES: Bitmap = Bitmap::new(&[ATIME_SET, MTIME_SET]);
/// Their values afterwards: time_access and time_modify.
pub(super) const EXCLUSIVE_TIMES: Bitmap = Bitmap::new(&[47, 53]);
/// The attributes of the file system.
const NEEDS_SPACE: Bitmap = Bitmap([0b111 << 21 | 1 << 29, 0b111 << 10, 0]);

/// The value of the attribute change: the ctime, and what tells changes of the same ctime apart.
pub(super) fn change(attr: &Attr, recent: u32) -> u64 {
    let ctime = attr.ctime;
    (ctime.secs as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(ctime.nanos.into())
        .wrapping_add(recent.into())
}

/// Writes a number as text.
fn emit_number(mut number: u32, out: &mut Writer<'_>) {
    let mut digits = [0; 10];
    let mut len = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        len += 1;
        if number == 0 {
            break;
        }
    }
    out.opaque(digits.get(digits.len() - len..).unwrap_or_default());
}

/// Writes the attributes that are asked for and that the server has.
pub(super) fn emit(asked: Bitmap, of: &Facts<'_>, out: &mut Writer<'_>) {
    let given = asked.and(SUPPORTED);
    given.emit(out);
    let mark = out.position();
    out.u32(0);
    // The rows are in this order, too.
    let mut rows = ROWS.iter();
    given.for_each(|number| {
        let row = rows.find(|(row, _)| u32::from(*row) == number);
        match row.map_or(Never, |(_, value)| *value) {
            Words(words) => out.words(words),
            Short(get) => out.u32(get(of)),
            Long(get) => out.u64(get(of)),
            Time(get) => {
                let FileTime { secs, nanos } = get(of);
                out.words(&[(secs >> 32) as u32, secs as u32, nanos]);
            }
            Text(get) => emit_number(get(of), out),
            Other(put) => put(of, out),
            Never => {}
        }
    });
    let len = out.position().saturating_sub(mark + 4);
    out.patch(mark, len as u32);
}

/// Checks that attributes can be read.
///
/// # Errors
/// `INVAL`: one of them can be set only.
pub(super) fn check_readable(asked: Bitmap) -> Result<(), Status> {
    match asked.and(WRITE_ONLY).is_empty() {
        true => Ok(()),
        false => Err(Status::INVAL),
    }
}

impl Turn<'_, '_, '_, '_> {
    /// Writes attributes of the current object.
    fn emit_attributes(&mut self, asked: Bitmap) -> Result<(), Fault> {
        let (node, attr) = self.object_with_attr()?;
        let stat = self.space(node, asked)?;
        let current = self.compound.current.as_ref();
        let current = current.ok_or(Status::NOFILEHANDLE)?;
        let covered = match asked.has(MOUNTED_ON_FILE_ID) {
            true => self.cx.vfs.covered(node, &current.handle),
            false => None,
        };
        let facts = Facts {
            mounted_on: covered.unwrap_or(attr.inode),
            attr: &attr,
            handle: &current.handle,
            recent: self.cx.vfs.recent.sum(&current.handle),
            stat,
        };
        emit(asked, &facts, self.reply);
        Ok(())
    }

    /// The state of a file system, if it is needed for these attributes.
    pub(super) fn space(&mut self, node: crate::vfs::Node, asked: Bitmap) -> Result<FsStat, Fault> {
        match asked.and(NEEDS_SPACE).is_empty() {
            true => Ok(FsStat::default()),
            false => Ok(self.cx.vfs.statfs(node)?),
        }
    }

    /// Returns true if the attributes in the arguments are those of the current object.
    fn compare(&mut self) -> Result<bool, Fault> {
        let asked = Bitmap::parse(self.args);
        let len = self.args.u32();
        let given = self.args.take(len as usize);
        self.args.take(padding(len as usize));
        self.args.check()?;
        if !asked.without(SUPPORTED).is_empty() {
            return Err(Status::ATTRNOTSUPP.into());
        }
        check_readable(asked)?;
        if asked.has(ERROR) {
            return Err(Status::INVAL.into());
        }
        let at = self.reply.position();
        self.emit_attributes(asked)?;
        let mut own = Reader::new(self.reply.since(at));
        Bitmap::parse(&mut own);
        let own_len = own.u32();
        let is_same = own_len == len && own.rest() == given;
        self.reply.truncate(at);
        Ok(is_same)
    }
}

/// Parses the number of an owner or a group, in decimal digits.
fn parse_number(values: &mut Reader<'_>) -> Result<u32, Status> {
    let text = values.opaque(OPAQUE_BYTES_MAX);
    number(text, 10).ok_or(Status::BADOWNER)
}

/// Parses a time to set.
#[doc(alias = "settime4")]
fn parse_time(values: &mut Reader<'_>) -> Result<NewTime, Status> {
    if !values.flag() {
        return Ok(NewTime::Now);
    }
    let (secs, nanos) = (values.u64().cast_signed(), values.u32());
    match nanos < 1_000_000_000 {
        true => Ok(NewTime::At(FileTime { secs, nanos })),
        false => Err(Status::INVAL),
    }
}

impl Turn<'_, '_, '_, '_> {
    /// Parses attributes to set. Returns their numbers, too.
    #[doc(alias = "fattr4")]
    pub(super) fn parse_attributes(&mut self) -> Result<(SetAttr, Bitmap), Fault> {
        let given = Bitmap::parse(self.args);
        let bytes = self.args.opaque(REQUEST_BYTES as u32);
        self.args.check()?;
        if !given.without(SUPPORTED).is_empty() {
            return Err(Status::ATTRNOTSUPP.into());
        }
        if !given.without(SETTABLE).is_empty() {
            return Err(Status::INVAL.into());
        }
        let (mut change, mut values) = (SetAttr::default(), Reader::new(bytes));
        let mut outcome = Ok(());
        given.for_each(|number| {
            let parsed = match number {
                SIZE => {
                    change.size = Some(values.u64());
                    Ok(())
                }
                MODE => {
                    change.mode = Some(values.u32() & 0o7777);
                    Ok(())
                }
                OWNER => parse_number(&mut values).map(|uid| change.uid = Some(uid)),
                GROUP => parse_number(&mut values).map(|gid| change.gid = Some(gid)),
                ATIME_SET => parse_time(&mut values).map(|time| change.atime = time),
                _ => parse_time(&mut values).map(|time| change.mtime = time),
            };
            outcome = outcome.and(parsed);
        });
        values.check()?;
        if !values.rest().is_empty() {
            return Err(Status::BADXDR.into());
        }
        outcome?;
        Ok((change, given))
    }
}

/// GETATTR.
pub(super) fn get_attributes(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let asked = Bitmap::parse(turn.args);
    turn.args.check()?;
    check_readable(asked)?;
    turn.emit_attributes(asked)
}

/// VERIFY.
pub(super) fn verify(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    match turn.compare()? {
        true => Ok(()),
        false => Err(Status::NOT_SAME.into()),
    }
}

/// NVERIFY.
pub(super) fn verify_not(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    match turn.compare()? {
        true => Err(Status::SAME.into()),
        false => Ok(()),
    }
}
