//! The client's calls that change something. A status that is not `OK` is the error, unless a call says otherwise.

use super::nfs3::{COMMIT3res, CREATE3res, WRITE3res, WRITE3resok};
use super::{Call, Client, How, Set, mknoddata3, ok, read, stable_how};
use anyhow::{Context, Result, ensure};

/// What a successful WRITE brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// Bytes; no more than were sent.
    pub count: u32,
    /// At least what was asked for.
    pub committed: stable_how,
    pub verifier: [u8; 8],
}

/// Results of WRITE.
pub fn wrote(results: &[u8]) -> Result<Wrote> {
    let WRITE3resok {
        count,
        committed,
        verf,
        ..
    } = ok(read::<WRITE3res>(results)?)?;
    Ok(Wrote {
        count,
        committed,
        verifier: verf.0,
    })
}

impl Client {
    /// SETATTR without a guard.
    pub fn set_attr(&mut self, object: &[u8], set: Set) -> Result<()> {
        self.change(&Call::set_attr(object, set, None))
    }

    /// WRITE: how much was written and how safe it is. It may be less than `data`.
    pub fn write(
        &mut self,
        file: &[u8],
        offset: u64,
        stable: stable_how,
        data: &[u8],
    ) -> Result<Wrote> {
        let wrote = wrote(self.call(&Call::write(file, offset, stable, data))?)?;
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

    /// WRITEs of at most `chunk` bytes each until all of `data` is written; the verifier, which must not change meanwhile.
    pub fn write_all(
        &mut self,
        file: &[u8],
        mut offset: u64,
        stable: stable_how,
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
        Ok(
            ok(self.ask::<COMMIT3res>(&Call::commit(file, offset, count))?)?
                .verf
                .0,
        )
    }

    /// CREATE: the handle, which this server always tells.
    pub fn create(&mut self, dir: &[u8], name: &str, how: How) -> Result<Vec<u8>> {
        self.make(&Call::create(dir, name.as_bytes(), how))
    }

    /// MKDIR: the handle.
    pub fn mkdir(&mut self, dir: &[u8], name: &str, set: Set) -> Result<Vec<u8>> {
        self.make(&Call::mkdir(dir, name.as_bytes(), set))
    }

    /// SYMLINK: the handle.
    pub fn symlink(&mut self, dir: &[u8], name: &str, target: &str) -> Result<Vec<u8>> {
        let (name, target) = (name.as_bytes(), target.as_bytes());
        self.make(&Call::symlink(dir, name, Set::default(), target))
    }

    /// MKNOD: the handle.
    pub fn mknod(&mut self, dir: &[u8], name: &str, what: mknoddata3) -> Result<Vec<u8>> {
        self.make(&Call::mknod(dir, name.as_bytes(), what))
    }

    fn make(&mut self, call: &Call<'_>) -> Result<Vec<u8>> {
        made(self.call(call)?)
    }

    /// REMOVE.
    pub fn remove(&mut self, dir: &[u8], name: &str) -> Result<()> {
        self.change(&Call::remove(dir, name.as_bytes()))
    }

    /// RMDIR.
    pub fn rmdir(&mut self, dir: &[u8], name: &str) -> Result<()> {
        self.change(&Call::rmdir(dir, name.as_bytes()))
    }

    /// RENAME.
    pub fn rename(&mut self, from: &[u8], from_name: &str, to: &[u8], to_name: &str) -> Result<()> {
        let (from_name, to_name) = (from_name.as_bytes(), to_name.as_bytes());
        self.change(&Call::rename(from, from_name, to, to_name))
    }

    /// LINK.
    pub fn link(&mut self, file: &[u8], dir: &[u8], name: &str) -> Result<()> {
        self.change(&Call::link(file, dir, name.as_bytes()))
    }

    fn change(&mut self, call: &Call<'_>) -> Result<()> {
        self.answer(call)?.ok().map(drop)
    }
}

/// Results of CREATE, MKDIR, SYMLINK or MKNOD, which are alike: the handle, which a server need not tell, and ours does.
pub fn made(results: &[u8]) -> Result<Vec<u8>> {
    let made = ok(read::<CREATE3res>(results)?)?;
    ensure!(
        made.obj_attributes.is_some(),
        "no attributes of what was made"
    );
    ensure!(made.obj.is_some(), "no handle of what was made");
    Ok(made.obj.unwrap().data.into_owned())
}
