//! A strict parser of replies: each parsed value is encoded again and must equal the received bytes, including the padding.

use anyhow::{Context, Result, bail, ensure};
use nfs3_types::nfs3::*;
use nfs3_types::rpc::*;
use nfs3_types::xdr_codec::{List, Opaque, Pack, Unpack, Void};
use nfs3_types::{mount, nfs3, portmap};

mod results;

use crate::calls::{LAST_FRAGMENT, ProcedureId};
use crate::values::pack;
use results::{Called, RpcbindEntry, UniversalAddress};

/// Outcome of a call at the RPC level (RFC 5531).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The RFC's own words.
pub enum Outcome<'a> {
    /// The procedure's results, after the reply's header.
    Success(&'a [u8]),
    ProgramUnavailable,
    ProgramMismatch {
        low: u32,
        high: u32,
    },
    ProcedureUnavailable,
    GarbageArguments,
    SystemError,
    RpcMismatch {
        low: u32,
        high: u32,
    },
    AuthError(u32),
}

/// The header of a successful reply after the xid: REPLY, MSG_ACCEPTED, verifier AUTH_NONE, SUCCESS.
const SUCCESS: [u8; 20] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Parses a reply message: the xid and the outcome. A success with a verifier other than AUTH_NONE is an error.
pub fn outcome(message: &[u8]) -> Result<(u32, Outcome<'_>)> {
    // A fast path for successful replies: the load generators call this function for each reply.
    if let Some((xid, after)) = message.split_first_chunk()
        && let Some(body) = after.strip_prefix(&SUCCESS)
    {
        return Ok((u32::from_be_bytes(*xid), Outcome::Success(body)));
    }
    let reply: rpc_msg<'_, '_> = read_all(message)?;
    let outcome = match reply.body {
        msg_body::CALL(_) => bail!("the message is not a reply"),
        msg_body::REPLY(reply_body::MSG_ACCEPTED(accepted)) => match accepted.reply_data {
            accept_stat_data::SUCCESS => bail!("the reply's verifier is {:?}", accepted.verf),
            accept_stat_data::PROG_UNAVAIL => Outcome::ProgramUnavailable,
            accept_stat_data::PROG_MISMATCH { low, high } => Outcome::ProgramMismatch { low, high },
            accept_stat_data::PROC_UNAVAIL => Outcome::ProcedureUnavailable,
            accept_stat_data::GARBAGE_ARGS => Outcome::GarbageArguments,
            accept_stat_data::SYSTEM_ERR => Outcome::SystemError,
        },
        msg_body::REPLY(reply_body::MSG_DENIED(denied)) => match denied {
            rejected_reply::RPC_MISMATCH { low, high } => Outcome::RpcMismatch { low, high },
            rejected_reply::AUTH_ERROR(why) => Outcome::AuthError(why as u32),
        },
    };
    Ok((reply.xid, outcome))
}

/// Decodes a value that must take up all of `bytes`, encoded canonically.
fn read_all<T: Unpack + Pack>(mut bytes: &[u8]) -> Result<T> {
    let whole = bytes;
    let (value, _) = T::unpack(&mut bytes).context("the reply is malformed")?;
    ensure!(
        bytes.is_empty(),
        "{} bytes follow the end of the reply",
        bytes.len()
    );
    ensure!(
        pack(&value) == whole,
        "the reply is not in canonical XDR: {whole:02x?}"
    );
    Ok(value)
}

/// Decodes results of a known type, and checks what the RFC requires beyond the type: limits, and counts that agree.
pub fn read<T: Unpack + Pack + Results>(bytes: &[u8]) -> Result<T> {
    let value: T = read_all(bytes)?;
    value.collect_into(&mut Body::default())?;
    Ok(value)
}

/// Decodes the status at the beginning of results.
pub fn status_of(results: &[u8]) -> Result<nfsstat3> {
    read_all(results.get(..4).context("no status")?)
}

/// Returns the results if the call succeeded; otherwise an error with the status.
pub fn ok<T, E>(results: Nfs3Result<T, E>) -> Result<T> {
    match results {
        Nfs3Result::Ok(value) => Ok(value),
        Nfs3Result::Err((status, _)) => Err(anyhow::Error::msg(status)),
    }
}

/// The status with which a call failed; None if the call succeeded. Other errors, such as a malformed reply, are returned as such.
pub fn failed_status<T>(result: Result<T>) -> Result<Option<nfsstat3>> {
    match result {
        Ok(_) => Ok(None),
        Err(e) => e
            .downcast_ref()
            .copied()
            .map_or(Err(e), |status| Ok(Some(status))),
    }
}

/// Splits a stream into replies. Each must be one fragment, and the stream must end with a whole reply.
pub fn records(mut stream: &[u8]) -> Result<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !stream.is_empty() {
        let (mark, after_mark) = stream
            .split_first_chunk()
            .context("the stream ends within a record mark")?;
        let mark = u32::from_be_bytes(*mark);
        ensure!(
            mark & LAST_FRAGMENT != 0,
            "the reply has more than one fragment"
        );
        let len = (mark & !LAST_FRAGMENT) as usize;
        let (record, after) = after_mark.split_at_checked(len).with_context(|| {
            let received = after_mark.len();
            format!("the stream ends after {received} of {len} bytes of a reply")
        })?;
        records.push(record);
        stream = after;
    }
    Ok(records)
}

/// An object's attributes (`fattr3`) as XDR words.
pub type Attributes = [u32; 21];

/// Size, mtime and ctime (`wcc_attr`) as XDR words.
pub type Before = [u32; 6];

/// The results of any procedure: the values of each kind are collected in one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Status; 0 if the procedure has none.
    pub status: u32,
    /// Attributes from before the operation (`pre_op_attr`), in their order in the reply; None: left out by the server.
    pub before: Vec<Option<Before>>,
    /// Attributes of objects (`post_op_attr` and others), in their order in the reply; None: left out by the server.
    pub attributes: Vec<Option<Attributes>>,
    /// File handle; empty if the reply has none.
    pub handle: Vec<u8>,
    /// XDR words of all other numbers, in their order in the reply.
    pub words: Vec<u32>,
    /// Data of READ, or target of READLINK.
    pub bytes: Vec<u8>,
    /// Entries of READDIR and READDIRPLUS.
    pub entries: Vec<DirEntry>,
    /// Host names and paths in the lists of MOUNT. In the list of EXPORT, an export's hosts follow its path.
    pub names: Vec<Vec<u8>>,
}

impl Body {
    /// The status as a value of `nfs3_types`.
    pub fn status(&self) -> Result<nfsstat3> {
        read_all(&self.status.to_be_bytes())
    }

    /// Returns `self` if the call succeeded; otherwise an error with the status.
    pub fn ok(self) -> Result<Self> {
        match self.status()? {
            nfsstat3::NFS3_OK => Ok(self),
            status => Err(anyhow::Error::msg(status)),
        }
    }

    /// The attributes at `index` of [`Self::attributes`] as a value of `nfs3_types`.
    pub fn attr(&self, index: usize) -> Result<fattr3> {
        let words = self.attributes.get(index).copied().flatten();
        let words =
            words.with_context(|| format!("the reply has no attributes at index {index}"))?;
        read_all(&words.map(u32::to_be_bytes).concat())
    }
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Inode number of the entry.
    pub inode: u64,
    /// Name of the entry.
    pub name: Vec<u8>,
    /// Cookie with which the next READDIR continues.
    pub cookie: u64,
    /// Attributes, if READDIRPLUS returned them.
    pub attributes: Option<Attributes>,
    /// File handle, if READDIRPLUS returned one.
    pub handle: Option<Vec<u8>>,
}

/// Decodes the results of a successful call of any procedure.
pub fn body(procedure: ProcedureId, bytes: &[u8]) -> Result<Body> {
    let mut body = Body::default();
    let it = &mut body;
    let (program, version, procedure) = procedure;
    match (program, version, procedure) {
        (nfs3::PROGRAM, nfs3::VERSION, _) => match NFS_PROGRAM::try_from(procedure)? {
            NFS_PROGRAM::NFSPROC3_NULL => sort::<Void>(bytes, it),
            NFS_PROGRAM::NFSPROC3_GETATTR => sort::<GETATTR3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_SETATTR => sort::<SETATTR3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_LOOKUP => sort::<LOOKUP3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_ACCESS => sort::<ACCESS3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_READLINK => sort::<READLINK3res<'_>>(bytes, it),
            NFS_PROGRAM::NFSPROC3_READ => sort::<READ3res<'_>>(bytes, it),
            NFS_PROGRAM::NFSPROC3_WRITE => sort::<WRITE3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_CREATE => sort::<CREATE3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_MKDIR => sort::<MKDIR3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_SYMLINK => sort::<SYMLINK3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_MKNOD => sort::<MKNOD3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_REMOVE => sort::<REMOVE3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_RMDIR => sort::<RMDIR3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_RENAME => sort::<RENAME3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_LINK => sort::<LINK3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_READDIR => sort::<READDIR3res<'_>>(bytes, it),
            NFS_PROGRAM::NFSPROC3_READDIRPLUS => sort::<READDIRPLUS3res<'_>>(bytes, it),
            NFS_PROGRAM::NFSPROC3_FSSTAT => sort::<FSSTAT3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_FSINFO => sort::<FSINFO3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_PATHCONF => sort::<PATHCONF3res>(bytes, it),
            NFS_PROGRAM::NFSPROC3_COMMIT => sort::<COMMIT3res>(bytes, it),
        },
        (mount::PROGRAM, 1 | 2, 1) if bytes.starts_with(&[0; 4]) => {
            // `nfs3_types` has no type for a handle of MOUNT versions 1 and 2, which has a fixed length.
            let handle: [u8; 32] = read_all(&bytes[4..])?;
            it.handle = handle.to_vec();
            Ok(())
        }
        (mount::PROGRAM, 1..=3, 1) => sort::<mount::mountres3<'_>>(bytes, it),
        (mount::PROGRAM, 1..=3, 2) => sort::<mount::mountlist<'_, '_>>(bytes, it),
        (mount::PROGRAM, 1..=3, 5) => sort::<mount::exports<'_, '_>>(bytes, it),
        (mount::PROGRAM, 1..=3, 0 | 3 | 4) => sort::<Void>(bytes, it),
        (portmap::PROGRAM, portmap::VERSION, 0) => sort::<Void>(bytes, it),
        (portmap::PROGRAM, 3 | 4, 0) => sort::<Void>(bytes, it),
        (portmap::PROGRAM, 2..=4, 1 | 2) => sort::<bool>(bytes, it),
        (portmap::PROGRAM, 3, 3) | (portmap::PROGRAM, 4, 3 | 9) => {
            sort::<UniversalAddress>(bytes, it)
        }
        (portmap::PROGRAM, portmap::VERSION, 5) => sort::<Called<u32>>(bytes, it),
        (portmap::PROGRAM, 3, 5) | (portmap::PROGRAM, 4, 5 | 10) => {
            sort::<Called<UniversalAddress>>(bytes, it)
        }
        (portmap::PROGRAM, 3 | 4, 4) => sort::<List<RpcbindEntry>>(bytes, it),
        (portmap::PROGRAM, portmap::VERSION, 3) => sort::<u32>(bytes, it),
        (portmap::PROGRAM, portmap::VERSION, 4) => sort::<portmap::pmaplist>(bytes, it),
        _ => bail!("the procedure {procedure:?} succeeded, but does not exist"),
    }?;
    Ok(body)
}

fn sort<T: Unpack + Pack + Results>(bytes: &[u8], body: &mut Body) -> Result<()> {
    read_all::<T>(bytes)?.collect_into(body)
}

/// The results of a procedure, or a value in them.
pub trait Results {
    /// Adds each value to the field of `body` for values of its kind. Fails if a value violates the RFC.
    fn collect_into(&self, body: &mut Body) -> Result<()>;
}

/// Implements [`Results`] for structs of which each field implements [`Results`]. Arguments: the structs, each with its fields in
/// order.
macro_rules! parts {
    ($([$($name:ty),*] $fields:tt)*) => { $($(parts!($name, $fields);)*)* };
    ($name:ty, { $($field:ident)* }) => {
        impl Results for $name {
            fn collect_into(&self, body: &mut Body) -> Result<()> {
                $(self.$field.collect_into(body)?;)*
                Ok(())
            }
        }
    };
}

parts! {
    [GETATTR3resok, ACCESS3resfail, FSSTAT3resfail, FSINFO3resfail, PATHCONF3resfail] { obj_attributes }
    [SETATTR3resok, SETATTR3resfail] { obj_wcc }
    [LOOKUP3resok] { object obj_attributes dir_attributes }
    [LOOKUP3resfail, READDIR3resfail, READDIRPLUS3resfail] { dir_attributes }
    [ACCESS3resok] { obj_attributes access }
    [READLINK3resok<'_>] { symlink_attributes data }
    [READLINK3resfail] { symlink_attributes }
    [READ3resfail] { file_attributes }
    [WRITE3resok] { file_wcc count committed verf }
    [WRITE3resfail, COMMIT3resfail] { file_wcc }
    [CREATE3resok, MKDIR3resok, SYMLINK3resok, MKNOD3resok] { obj obj_attributes dir_wcc }
    [CREATE3resfail, MKDIR3resfail, SYMLINK3resfail, MKNOD3resfail] { dir_wcc }
    [REMOVE3resok, REMOVE3resfail, RMDIR3resok, RMDIR3resfail] { dir_wcc }
    [RENAME3resok, RENAME3resfail] { fromdir_wcc todir_wcc }
    [LINK3resok, LINK3resfail] { file_attributes linkdir_wcc }
    [READDIR3resok<'_>, READDIRPLUS3resok<'_>] { dir_attributes cookieverf reply }
    [FSSTAT3resok] { obj_attributes tbytes fbytes abytes tfiles ffiles afiles invarsec }
    [FSINFO3resok] { obj_attributes rtmax rtpref rtmult wtmax wtpref wtmult dtpref maxfilesize time_delta properties }
    [PATHCONF3resok] { obj_attributes linkmax name_max no_trunc chown_restricted case_insensitive case_preserving }
    [COMMIT3resok] { file_wcc verf }
}

/// A value's XDR words.
pub fn words(value: &impl Pack) -> Vec<u32> {
    let bytes = pack(value);
    let (words, _) = bytes.as_chunks();
    words.iter().copied().map(u32::from_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn rpc_outcomes_are_parsed() {
        let mismatch = bytes(&[5, 1, 0, 0, 0, 2, 3, 3]);
        let expected = Outcome::ProgramMismatch { low: 3, high: 3 };
        assert_eq!(outcome(&mismatch).unwrap(), (5, expected));
        let denied = bytes(&[5, 1, 1, 1, 2]);
        assert_eq!(outcome(&denied).unwrap(), (5, Outcome::AuthError(2)));
        assert!(outcome(&denied[..16]).is_err());
        assert!(outcome(&[denied, vec![0; 4]].concat()).is_err());
        for no_reply in [
            &[5, 0, 0, 0, 0, 0][..],
            &[5, 1, 0, 1, 0, 0],
            &[5, 1, 0, 0, 0, 6],
            &[5, 1, 2],
        ] {
            assert!(outcome(&bytes(no_reply)).is_err(), "{no_reply:?}");
        }
    }

    #[test]
    fn truncated_or_overlong_results_are_rejected() {
        let access = (nfs3::PROGRAM, 3, NFS_PROGRAM::NFSPROC3_ACCESS as u32);
        let remove = (nfs3::PROGRAM, 3, NFS_PROGRAM::NFSPROC3_REMOVE as u32);
        let lookup = (nfs3::PROGRAM, 3, NFS_PROGRAM::NFSPROC3_LOOKUP as u32);
        let link = (mount::PROGRAM, 3, 1);
        let [x, x_and_more] = [0x7800_0000, 0x7800_0001];
        for (procedure, words, good) in [
            (access, &[70, 0][..], true),
            (access, &[70], false),
            (access, &[70, 2], false),
            (access, &[70, 0, 0], false),
            (access, &[0, 0], false),
            (access, &[0, 0, 1], true),
            (access, &[99, 0], false),
            (remove, &[0, 0, 0], true),
            (remove, &[0, 0], false),
            (lookup, &[0, 1, x, 0, 0], true),
            (lookup, &[0, 1, x_and_more, 0, 0], false),
            (lookup, &[0, 0, 0, 0], false),
            (link, &[0, 1, x, 1, 1], true),
            (link, &[0, 1, x, 1, 6], false),
            ((nfs3::PROGRAM, 3, 22), &[], false),
            ((portmap::PROGRAM, 2, 1), &[0], true),
            ((portmap::PROGRAM, 2, 1), &[2], false),
            ((portmap::PROGRAM, 2, 5), &[0], false),
            ((portmap::PROGRAM, 2, 5), &[2049, 0], true),
            ((portmap::PROGRAM, 4, 10), &[0, 4, 0], false),
        ] {
            assert_eq!(
                body(procedure, &bytes(words)).is_ok(),
                good,
                "{procedure:?} {words:?}"
            );
        }
    }

    #[test]
    fn values_outside_the_rfc_limits_are_rejected() {
        let get_attr = (nfs3::PROGRAM, 3, NFS_PROGRAM::NFSPROC3_GETATTR as u32);
        let mut words = [0; 22];
        words[1] = 1;
        let is_ok = |words: &[u32]| body(get_attr, &bytes(words)).is_ok();
        assert!(is_ok(&words));
        for (index, value) in [(1, 8), (2, 0o10000), (17, 1_000_000_000), (21, u32::MAX)] {
            let mut wrong = words;
            wrong[index] = value;
            assert!(!is_ok(&wrong), "{value} at {index}");
        }
        let read = (nfs3::PROGRAM, 3, NFS_PROGRAM::NFSPROC3_READ as u32);
        assert!(body(read, &bytes(&[0, 0, 4, 1, 4, 0])).is_ok());
        assert!(body(read, &bytes(&[0, 0, 5, 1, 4, 0])).is_err());
        let list = (nfs3::PROGRAM, 3, NFS_PROGRAM::NFSPROC3_READDIR as u32);
        assert!(body(list, &bytes(&[0, 0, 0, 0, 0, 1])).is_ok());
        assert!(body(list, &bytes(&[0, 0, 0, 0, 0, 0])).is_err());
    }

    #[test]
    fn partial_and_fragmented_records_are_rejected() {
        assert_eq!(records(&[0x80, 0, 0, 1, 9]).unwrap(), [[9]]);
        assert!(records(&[0x80, 0, 0, 1]).is_err());
        assert!(records(&[0, 0, 0, 1, 9]).is_err());
        assert!(records(&[0x80, 0]).is_err());
    }
}
