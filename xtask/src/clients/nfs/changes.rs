//! The results of procedures that change something: attributes before and after, and what was made or written.

use super::calls::Nfs;
use super::replies::{Attr, Status, handle, time};
use super::set::Stable;
use super::xdr::Reader;
use anyhow::{Result, bail, ensure};

/// What a file was before (`wcc_attr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (u32, u32),
    /// Seconds and nanoseconds.
    pub ctime: (u32, u32),
}

/// Attributes before and after a change, each if the server gave them (`wcc_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wcc {
    pub before: Option<Before>,
    pub after: Option<Attr>,
}

impl Wcc {
    fn parse(reader: &mut Reader<'_>) -> Result<Self> {
        let before = if reader.bool()? {
            Some(Before {
                size: reader.u64()?,
                mtime: time(reader)?,
                ctime: time(reader)?,
            })
        } else {
            None
        };
        Ok(Self {
            before,
            after: Attr::optional(reader)?,
        })
    }
}

/// What a successful CREATE, MKDIR, SYMLINK or MKNOD brings, if the server chose to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub handle: Option<Vec<u8>>,
    pub attr: Option<Attr>,
}

/// What a successful WRITE brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// Bytes; no more than were sent.
    pub count: u32,
    /// At least what was asked for.
    pub committed: Stable,
    pub verifier: [u8; 8],
}

/// A result: success with what it brings, or a status; in both cases what became of the files concerned.
#[derive(Clone, Debug)]
pub struct Change<T> {
    pub result: std::result::Result<T, Status>,
    /// Of the file or the directory that was to be changed.
    pub wcc: Wcc,
    /// RENAME: of the directory renamed to.
    pub to: Option<Wcc>,
    /// LINK: the file's attributes after it.
    pub file: Option<Attr>,
}

impl<T> Change<T> {
    /// `OK` or the failure.
    pub fn status(&self) -> Status {
        self.result.as_ref().err().copied().unwrap_or(Status::OK)
    }

    /// What success brings; the status is the error.
    pub fn into_result(self) -> Result<T> {
        Ok(self.result?)
    }

    /// Reads the status, what a success brings ahead of the attributes, and those; and leaves what is behind.
    fn parse(
        mut body: Reader<'_>,
        ahead: impl FnOnce(&mut Reader<'_>) -> Result<T>,
    ) -> Result<(Self, Reader<'_>)> {
        let status = Status::parse(&mut body)?;
        let result = if status == Status::OK {
            Ok(ahead(&mut body)?)
        } else {
            Err(status)
        };
        let change = Self {
            result,
            wcc: Wcc::parse(&mut body)?,
            to: None,
            file: None,
        };
        Ok((change, body))
    }

    fn map<U>(self, work: impl FnOnce(T) -> Result<U>) -> Result<Change<U>> {
        let result = match self.result {
            Ok(value) => Ok(work(value)?),
            Err(status) => Err(status),
        };
        Ok(Change {
            result,
            wcc: self.wcc,
            to: self.to,
            file: self.file,
        })
    }
}

/// A result of SETATTR, REMOVE or RMDIR.
pub fn changed(body: Reader<'_>) -> Result<Change<()>> {
    let (change, rest) = Change::parse(body, |_| Ok(()))?;
    rest.end()?;
    Ok(change)
}

/// A result of CREATE, MKDIR, SYMLINK or MKNOD; of those a server tells the handle in practice, but need not.
pub fn made(body: Reader<'_>) -> Result<Change<Made>> {
    let (change, rest) = Change::parse(body, |body| {
        Ok(Made {
            handle: if body.bool()? {
                Some(handle(body)?)
            } else {
                None
            },
            attr: Attr::optional(body)?,
        })
    })?;
    rest.end()?;
    Ok(change)
}

/// A result of WRITE.
pub fn wrote(body: Reader<'_>) -> Result<Change<Wrote>> {
    let (change, mut rest) = Change::parse(body, |_| Ok(()))?;
    let change = change.map(|()| {
        let (count, committed) = (rest.u32()?, Stable(rest.u32()?));
        ensure!(
            committed <= Stable::FILE_SYNC,
            "WRITE is committed as {committed:?}"
        );
        Ok(Wrote {
            count,
            committed,
            verifier: rest.fixed(8)?.try_into()?,
        })
    })?;
    rest.end()?;
    Ok(change)
}

/// A result of COMMIT: the verifier.
pub fn committed(body: Reader<'_>) -> Result<Change<[u8; 8]>> {
    let (change, mut rest) = Change::parse(body, |_| Ok(()))?;
    let change = change.map(|()| Ok(rest.fixed(8)?.try_into()?))?;
    rest.end()?;
    Ok(change)
}

/// A result of RENAME.
pub fn renamed(body: Reader<'_>) -> Result<Change<()>> {
    let (mut change, mut rest) = Change::parse(body, |_| Ok(()))?;
    change.to = Some(Wcc::parse(&mut rest)?);
    rest.end()?;
    Ok(change)
}

/// A result of LINK.
pub fn linked(mut body: Reader<'_>) -> Result<Change<()>> {
    let status = Status::parse(&mut body)?;
    let file = Attr::optional(&mut body)?;
    let wcc = Wcc::parse(&mut body)?;
    body.end()?;
    Ok(Change {
        result: if status == Status::OK {
            Ok(())
        } else {
            Err(status)
        },
        wcc,
        to: None,
        file,
    })
}

/// The result of any procedure that changes something, by its number; what success brings is left out.
pub fn any(procedure: u32, body: Reader<'_>) -> Result<Change<()>> {
    match procedure {
        2 | 12 | 13 => changed(body),
        7 => wrote(body)?.map(|_| Ok(())),
        8..=11 => made(body)?.map(|_| Ok(())),
        14 => renamed(body),
        15 => linked(body),
        21 => committed(body)?.map(|_| Ok(())),
        _ => bail!(
            "procedure {procedure} of program {} changes nothing",
            Nfs::PROGRAM
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::xdr::Writer;
    use super::*;

    #[test]
    fn a_write_says_what_it_wrote() -> Result<()> {
        let mut out = Writer::default();
        out.u32(0).u32(1).u64(9).u32(1).u32(2).u32(3).u32(4).u32(0);
        let good = out
            .u32(512)
            .u32(Stable::DATA_SYNC.0)
            .fixed(b"verifier")
            .finish();
        let change = wrote(Reader::new(&good))?;
        assert_eq!(
            change.wcc.before,
            Some(Before {
                size: 9,
                mtime: (1, 2),
                ctime: (3, 4)
            })
        );
        let wrote_it = change.into_result()?;
        assert_eq!(
            (wrote_it.count, wrote_it.committed, &wrote_it.verifier),
            (512, Stable::DATA_SYNC, b"verifier")
        );
        for len in 0..good.len() {
            assert!(
                wrote(Reader::new(&good[..len])).is_err(),
                "{len} bytes pass"
            );
        }
        let mut strange = good.clone();
        let at = strange.len() - 9;
        strange[at] = 3;
        assert!(wrote(Reader::new(&strange)).is_err());
        assert!(wrote(Reader::new(&[good, vec![0; 4]].concat())).is_err());
        Ok(())
    }

    #[test]
    fn failures_have_no_more_than_attributes() -> Result<()> {
        let failed = Writer::default()
            .u32(Status::NOSPC.0)
            .u32(0)
            .u32(0)
            .finish();
        for procedure in [2, 7, 8, 9, 10, 11, 12, 13, 21] {
            let change = any(procedure, Reader::new(&failed))?;
            assert_eq!(change.status(), Status::NOSPC, "procedure {procedure}");
        }
        assert!(any(14, Reader::new(&failed)).is_err());
        let two = [failed, vec![0; 8]].concat();
        assert!(any(14, Reader::new(&two))?.to.is_some());
        assert!(any(15, Reader::new(&two[..16]))?.file.is_none());
        assert!(any(7, Reader::new(&two)).is_err());
        Ok(())
    }
}
