//! The client's calls that change something. A status that is not `OK` is the error, unless a call says otherwise.

use super::calls::Procedure;
use super::{Change, Client, How, Made, Nfs, Node, Set, Stable, Status, Wrote, changes};
use anyhow::{Context, Result, ensure};

impl Client {
    /// Any procedure that changes something: its status and the attributes that came with it. A failure is no error.
    pub fn change(&mut self, procedure: &Nfs<'_>) -> Result<Change<()>> {
        let (_, _, number) = procedure.place();
        changes::any(number, self.call(procedure)?)
    }

    /// SETATTR without a guard.
    pub fn set_attr(&mut self, object: &[u8], set: Set) -> Result<()> {
        let guard = None;
        changes::changed(self.call(&Nfs::SetAttr { object, set, guard })?)?.into_result()
    }

    /// WRITE: how much was written and how safe it is. It may be less than `data`.
    pub fn write(
        &mut self,
        file: &[u8],
        offset: u64,
        stable: Stable,
        data: &[u8],
    ) -> Result<Wrote> {
        let wrote = changes::wrote(self.call(&Nfs::write(file, offset, stable, data))?)?;
        let wrote = wrote.into_result()?;
        ensure!(
            wrote.count as usize <= data.len() && (wrote.count > 0 || data.is_empty()),
            "WRITE of {} bytes wrote {}",
            data.len(),
            wrote.count
        );
        ensure!(
            wrote.committed >= stable,
            "WRITE as {stable:?} was answered {:?}",
            wrote.committed
        );
        Ok(wrote)
    }

    /// WRITEs of at most `chunk` bytes each until all of `data` is written; the verifier, which must not change meanwhile.
    pub fn write_all(
        &mut self,
        file: &[u8],
        mut offset: u64,
        stable: Stable,
        data: &[u8],
        chunk: usize,
    ) -> Result<[u8; 8]> {
        let mut verifier = None;
        let mut rest = data;
        while !rest.is_empty() {
            let part = &rest[..rest.len().min(chunk)];
            let wrote = self
                .write(file, offset, stable, part)
                .with_context(|| format!("at {offset}"))?;
            ensure!(
                *verifier.get_or_insert(wrote.verifier) == wrote.verifier,
                "the write verifier changed at {offset}"
            );
            rest = &rest[wrote.count as usize..];
            offset += u64::from(wrote.count);
        }
        verifier.context("nothing to write")
    }

    /// COMMIT: the verifier.
    pub fn commit(&mut self, file: &[u8], offset: u64, count: u32) -> Result<[u8; 8]> {
        changes::committed(self.call(&Nfs::Commit {
            file,
            offset,
            count,
        })?)?
        .into_result()
    }

    /// CREATE: the handle, which this server always tells.
    pub fn create(&mut self, dir: &[u8], name: &str, how: How) -> Result<Vec<u8>> {
        let name = name.as_bytes();
        self.make(&Nfs::Create { dir, name, how })
    }

    /// MKDIR: the handle.
    pub fn mkdir(&mut self, dir: &[u8], name: &str, set: Set) -> Result<Vec<u8>> {
        let name = name.as_bytes();
        self.make(&Nfs::MkDir { dir, name, set })
    }

    /// SYMLINK: the handle.
    pub fn symlink(&mut self, dir: &[u8], name: &str, target: &str) -> Result<Vec<u8>> {
        self.make(&Nfs::SymLink {
            dir,
            name: name.as_bytes(),
            set: Set::default(),
            target: target.as_bytes(),
        })
    }

    /// MKNOD: the handle.
    pub fn mknod(&mut self, dir: &[u8], name: &str, node: Node) -> Result<Vec<u8>> {
        let name = name.as_bytes();
        self.make(&Nfs::MkNod { dir, name, node })
    }

    fn make(&mut self, procedure: &Nfs<'_>) -> Result<Vec<u8>> {
        let Made { handle, attr } = changes::made(self.call(procedure)?)?.into_result()?;
        ensure!(attr.is_some(), "{procedure:?} brings no attributes");
        handle.with_context(|| format!("{procedure:?} brings no handle"))
    }

    /// REMOVE.
    pub fn remove(&mut self, dir: &[u8], name: &str) -> Result<()> {
        let name = name.as_bytes();
        self.change(&Nfs::Remove { dir, name })?.into_result()
    }

    /// RMDIR.
    pub fn rmdir(&mut self, dir: &[u8], name: &str) -> Result<()> {
        let name = name.as_bytes();
        self.change(&Nfs::RmDir { dir, name })?.into_result()
    }

    /// RENAME.
    pub fn rename(&mut self, from: &[u8], from_name: &str, to: &[u8], to_name: &str) -> Result<()> {
        self.change(&Nfs::Rename {
            from,
            from_name: from_name.as_bytes(),
            to,
            to_name: to_name.as_bytes(),
        })?
        .into_result()
    }

    /// LINK.
    pub fn link(&mut self, file: &[u8], dir: &[u8], name: &str) -> Result<()> {
        let name = name.as_bytes();
        self.change(&Nfs::Link { file, dir, name })?.into_result()
    }
}

/// The status that a call failed with: None for success, and an error for what is no answer of NFS.
pub fn failure<T>(result: Result<T>) -> Result<Option<Status>> {
    match result {
        Ok(_) => Ok(None),
        Err(e) => match e.downcast_ref::<Status>() {
            Some(&status) => Ok(Some(status)),
            None => Err(e),
        },
    }
}
