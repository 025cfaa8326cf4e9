//! The creation of a file by OPEN. RFC 8881 section 18.16.3.

use super::attributes::{EXCLUSIVE_TIMES, SIZE};
use super::locked;
use super::tables::{Tables, client};
use super::turn::{Fault, Turn};
use crate::vfs::{CreateWhat, FileTime, FsError, Name, NewTime, Node, SetAttr};
use crate::wire::nfs4::{Bitmap, Status, opening};

/// How a file is created.
#[doc(alias = "createhow4")]
pub(super) struct How {
    /// A mode of [`opening`].
    mode: u32,
    change: SetAttr,
    /// The attributes that are set.
    given: Bitmap,
}

/// The file of an OPEN that may create it.
pub(super) struct Made {
    pub(super) node: Node,
    /// True if this request has created the file, also if an earlier server began it.
    pub(super) is_new: bool,
    /// True if the file was there: the caller must have the right to open it.
    pub(super) is_found: bool,
    /// The attributes that are set.
    pub(super) given: Bitmap,
    /// True if the length is to be set to 0, once the file is open.
    pub(super) truncates: bool,
}

impl How {
    /// The seconds in which the verifier of an exclusive creation is stored.
    fn verifier(&self) -> Option<[i64; 2]> {
        match (self.change.atime, self.change.mtime) {
            (NewTime::At(first), NewTime::At(second)) => Some([first.secs, second.secs]),
            _ => None,
        }
    }
}

impl Turn<'_, '_, '_, '_> {
    /// Parses how a file is created.
    pub(super) fn parse_how(&mut self) -> Result<How, Fault> {
        let mode = self.args.u32();
        let mut verifier = [0; 2];
        if matches!(mode, opening::EXCLUSIVE | opening::EXCLUSIVE_4_1) {
            // As in version 3: 31 bits fit the times of every file system.
            verifier = [(); 2].map(|()| i64::from(self.args.u32() & 0x7fff_ffff));
        }
        let (mut change, mut given) = match mode {
            opening::EXCLUSIVE => (SetAttr::default(), Bitmap::default()),
            _ => self.parse_attributes()?,
        };
        match mode {
            opening::UNCHECKED | opening::GUARDED => {}
            opening::EXCLUSIVE | opening::EXCLUSIVE_4_1 => {
                if change.times() {
                    return Err(Status::INVAL.into());
                }
                let [atime, mtime] = verifier.map(|secs| NewTime::At(FileTime { secs, nanos: 0 }));
                (change.atime, change.mtime) = (atime, mtime);
                change.mode = change.mode.or(Some(0o600));
                // The client sets the times that hold the verifier.
                given = given.or(EXCLUSIVE_TIMES);
            }
            _ => return Err(Status::BADXDR.into()),
        }
        Ok(How {
            mode,
            change,
            given,
        })
    }

    /// Finds a file, or creates it.
    pub(super) fn create_file(
        &mut self,
        dir: Node,
        name: Name<'_>,
        how: &How,
    ) -> Result<Made, Fault> {
        let is_done = self.is_name_done(dir, name);
        let mut made = Made {
            node: dir,
            is_new: true,
            is_found: false,
            given: how.given,
            truncates: false,
        };
        match self.cx.vfs.lookup(dir, name) {
            Err(FsError::NoEntry) => {
                let own = self.client()?;
                locked(self.lock, || {
                    self.make_room(own, Tables::open_counts, client::OPENS)
                })?;
                self.flush_records()?;
                let created = self.cx.vfs.create(dir, name, CreateWhat::File, &how.change);
                // Another client has made the name meanwhile.
                made.node = created.map_err(|error| match error {
                    FsError::Exists => FsError::TryLater,
                    error => error,
                })?;
                self.cx.vfs.record_change(made.node);
                return Ok(made);
            }
            found => made.node = found?,
        }
        made.is_found = true;
        if is_done {
            return Ok(made);
        }
        let attr = self.cx.vfs.attr(made.node)?;
        let times = [attr.atime.secs, attr.mtime.secs];
        match how.mode {
            opening::UNCHECKED => {
                made.is_new = false;
                made.truncates = how.change.size == Some(0);
                made.given = how.given.and(match made.truncates {
                    true => Bitmap::new(&[SIZE]),
                    false => Bitmap::default(),
                });
                Ok(made)
            }
            opening::EXCLUSIVE | opening::EXCLUSIVE_4_1
                if attr.size == 0 && how.verifier() == Some(times) =>
            {
                Ok(made)
            }
            _ => Err(Status::EXIST.into()),
        }
    }
}
