//! The client's calls that modify objects. An error status is returned as an error.

use super::nfs3::{COMMIT3res, CREATE3res, WRITE3res, WRITE3resok};
use super::{Call, Client, How, Set, mknoddata3, ok, read, stable_how};
use anyhow::{Context, Result, ensure};

/// The results of a successful WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteResult {
    /// Number of bytes written; at most as many as were sent.
    pub count: u32,
    /// Level of stability with which the server wrote the data; at least the requested one.
    pub committed: stable_how,
    pub verifier: [u8; 8],
}

/// Parses the results of WRITE.
pub fn parse_write(results: &[u8]) -> Result<WriteResult> {
    let WRITE3resok {
        count,
        committed,
        verf,
        ..
    } = ok(read::<WRITE3res>(results)?)?;
    Ok(WriteResult {
        count,
        committed,
        verifier: verf.0,
    })
}

impl Client {
    /// Calls SETATTR without a guard (expected ctime).
    pub fn set_attr(&mut self, object: &[u8], set: Set) -> Result<()> {
        self.change(&Call::set_attr(object, set, None))
    }

    /// Calls WRITE once and returns its results. The server may write fewer bytes than `data` has.
    pub fn write(
        &mut self,
        file: &[u8],
        offset: u64,
        stable: stable_how,
        data: &[u8],
    ) -> Result<WriteResult> {
        let wrote = parse_write(self.call(&Call::write(file, offset, stable, data))?)?;
        ensure!(
            wrote.count as usize <= data.len() && (wrote.count > 0 || data.is_empty()),
            "WRITE of {} bytes wrote {}",
            data.len(),
            wrote.count
        );
        ensure!(
            wrote.committed as u32 >= stable as u32,
            "WRITE as {stable:?} was answered {:?}",
            wrote.committed
        );
        Ok(wrote)
    }

    /// Calls WRITE with at most `chunk` bytes each until all of `data` is written. Returns the verifier, which must be the same in
    /// every reply.
    pub fn write_all(
        &mut self,
        file: &[u8],
        mut offset: u64,
        stable: stable_how,
        data: &[u8],
        chunk: usize,
    ) -> Result<[u8; 8]> {
        let mut verifier = None;
        let mut remaining = data;
        while !remaining.is_empty() {
            let part = &remaining[..remaining.len().min(chunk)];
            let wrote = self
                .write(file, offset, stable, part)
                .with_context(|| format!("WRITE at {offset}"))?;
            ensure!(
                *verifier.get_or_insert(wrote.verifier) == wrote.verifier,
                "the write verifier changed at {offset}"
            );
            remaining = &remaining[wrote.count as usize..];
            offset += u64::from(wrote.count);
        }
        verifier.context("write_all needs at least one byte of data")
    }

    /// COMMIT: returns the verifier.
    pub fn commit(&mut self, file: &[u8], offset: u64, count: u32) -> Result<[u8; 8]> {
        Ok(
            ok(self.ask::<COMMIT3res>(&Call::commit(file, offset, count))?)?
                .verf
                .0,
        )
    }

    /// CREATE: returns the handle. stowaway always includes it.
    pub fn create(&mut self, dir: &[u8], name: &str, how: How) -> Result<Vec<u8>> {
        self.create_by(&Call::create(dir, name.as_bytes(), how))
    }

    /// MKDIR: returns the handle.
    pub fn mkdir(&mut self, dir: &[u8], name: &str, set: Set) -> Result<Vec<u8>> {
        self.create_by(&Call::mkdir(dir, name.as_bytes(), set))
    }

    /// SYMLINK: returns the handle.
    pub fn symlink(&mut self, dir: &[u8], name: &str, target: &str) -> Result<Vec<u8>> {
        let (name, target) = (name.as_bytes(), target.as_bytes());
        self.create_by(&Call::symlink(dir, name, Set::default(), target))
    }

    /// MKNOD: returns the handle.
    pub fn mknod(&mut self, dir: &[u8], name: &str, what: mknoddata3) -> Result<Vec<u8>> {
        self.create_by(&Call::mknod(dir, name.as_bytes(), what))
    }

    fn create_by(&mut self, call: &Call<'_>) -> Result<Vec<u8>> {
        parse_created(self.call(call)?)
    }

    /// Calls REMOVE.
    pub fn remove(&mut self, dir: &[u8], name: &str) -> Result<()> {
        self.change(&Call::remove(dir, name.as_bytes()))
    }

    /// Calls RMDIR.
    pub fn rmdir(&mut self, dir: &[u8], name: &str) -> Result<()> {
        self.change(&Call::rmdir(dir, name.as_bytes()))
    }

    /// Calls RENAME.
    pub fn rename(&mut self, from: &[u8], from_name: &str, to: &[u8], to_name: &str) -> Result<()> {
        let (from_name, to_name) = (from_name.as_bytes(), to_name.as_bytes());
        self.change(&Call::rename(from, from_name, to, to_name))
    }

    /// Calls LINK.
    pub fn link(&mut self, file: &[u8], dir: &[u8], name: &str) -> Result<()> {
        self.change(&Call::link(file, dir, name.as_bytes()))
    }

    fn change(&mut self, call: &Call<'_>) -> Result<()> {
        self.answer(call)?.ok().map(drop)
    }
}

/// Parses the results of CREATE, MKDIR, SYMLINK or MKNOD and returns the handle. RFC 1813 makes handle and attributes optional;
/// stowaway must send both.
pub fn parse_created(results: &[u8]) -> Result<Vec<u8>> {
    let made = ok(read::<CREATE3res>(results)?)?;
    ensure!(
        made.obj_attributes.is_some(),
        "the reply has no attributes of the new object"
    );
    ensure!(
        made.obj.is_some(),
        "the reply has no handle of the new object"
    );
    Ok(made.obj.unwrap().data.into_owned())
}
