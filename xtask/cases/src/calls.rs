//! Calls of portmap, MOUNT and NFSv3: constructors for every procedure, and their encoding as messages and records.

use nfs3_types::mount::MOUNT_PROGRAM::*;
use nfs3_types::mount::dirpath;
use nfs3_types::nfs3::NFS_PROGRAM::*;
use nfs3_types::nfs3::*;
use nfs3_types::portmap::PMAP_PROG::*;
use nfs3_types::portmap::{call_args, mapping};
use nfs3_types::rpc::{RPC_VERSION_2, auth_flavor, auth_unix, msg_type};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack, Void};
use nfs3_types::{mount, nfs3, portmap};

use crate::values::{How, Set, SetTime, device, entry, handle, option, pack, time};

/// The bit of a record mark that is set in the last fragment.
pub const LAST_FRAGMENT: u32 = 1 << 31;

/// Returns `message` as one record of one fragment.
pub fn record(message: &[u8]) -> Vec<u8> {
    fragments(message, &[])
}

/// Returns `message` as one record of several fragments, which end at the offsets `cuts` and at the end of the message.
pub fn fragments(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut record = Vec::with_capacity(message.len() + 4 * (cuts.len() + 1));
    let mut from = 0;
    for to in cuts.iter().copied().chain([message.len()]) {
        let last = if to == message.len() {
            LAST_FRAGMENT
        } else {
            0
        };
        record.extend(((to - from) as u32 | last).to_be_bytes());
        record.extend(&message[from..to]);
        from = to;
    }
    record
}

/// A credential (RFC 5531 section 8.2), of any flavor and with any body. The verifier is always AUTH_NONE.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Flavor of the credential, such as AUTH_SYS.
    pub flavor: u32,
    /// Body of the credential in its XDR encoding.
    pub body: Vec<u8>,
}

impl Auth {
    /// A credential of flavor AUTH_NONE.
    pub fn none() -> Self {
        Self {
            flavor: auth_flavor::AUTH_NULL as u32,
            body: Vec::new(),
        }
    }

    /// A credential of flavor AUTH_SYS.
    pub fn sys(machine: &[u8], uid: u32, gid: u32, groups: &[u32]) -> Self {
        let body = auth_unix {
            stamp: 0x5704_2026,
            machinename: Opaque::owned(machine.to_vec()),
            uid,
            gid,
            gids: groups.to_vec(),
        };
        Self {
            flavor: auth_flavor::AUTH_UNIX as u32,
            body: pack(&body),
        }
    }

    /// The decoded body of AUTH_SYS; None for other flavors.
    pub fn caller(&self) -> Option<auth_unix> {
        let is_sys = self.flavor == auth_flavor::AUTH_UNIX as u32;
        let (caller, _) = auth_unix::unpack(&mut &self.body[..]).ok()?;
        is_sys.then_some(caller)
    }

    /// A credential of flavor AUTH_SYS for root.
    pub fn root() -> Self {
        Self::sys(b"client", 0, 0, &[])
    }
}

/// Program, version and procedure.
pub type ProcedureId = (u32, u32, u32);

/// Encodes the header of a call. Neither the RPC version nor the procedure needs to exist.
pub fn head(xid: u32, rpc_version: u32, procedure: ProcedureId, auth: &Auth) -> Vec<u8> {
    let (program, version, procedure) = procedure;
    let call = msg_type::CALL as u32;
    let words = [
        xid,
        call,
        rpc_version,
        program,
        version,
        procedure,
        auth.flavor,
    ];
    let mut head = words.map(u32::to_be_bytes).concat();
    head.extend(pack(&Opaque::borrowed(&auth.body)));
    head.extend([0; 8]);
    head
}

/// A procedure with its arguments.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Program, version and procedure.
    pub procedure: ProcedureId,
    /// Encoded arguments; for WRITE without the data and its padding.
    pub arguments: Vec<u8>,
    /// Data of a WRITE, which is not copied.
    pub data: &'a [u8],
}

impl<'a> Call<'a> {
    /// A call of any procedure.
    pub fn new(procedure: ProcedureId, arguments: &impl Pack) -> Self {
        Self {
            procedure,
            arguments: pack(arguments),
            data: &[],
        }
    }

    /// Appends arguments, which need not be valid for the procedure.
    pub fn append(mut self, arguments: &impl Pack) -> Self {
        self.arguments.extend(pack(arguments));
        self
    }

    /// Turns a call of MOUNT version 3 into one of version 1, which has the same arguments.
    pub fn version_1(mut self) -> Self {
        self.procedure.1 = 1;
        self
    }

    /// Encodes the message, without the data and padding of a WRITE.
    pub fn head(&self, xid: u32, auth: &Auth) -> Vec<u8> {
        let mut head = head(xid, RPC_VERSION_2, self.procedure, auth);
        head.extend(&self.arguments);
        head
    }

    /// Encodes the whole message.
    pub fn message(&self, xid: u32, auth: &Auth) -> Vec<u8> {
        let mut message = self.head(xid, auth);
        message.extend(self.data);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }
}

/// Defines constructors. Each line has the function's name and parameters, the procedure, and its arguments as `nfs3_types` values.
macro_rules! calls {
    ($procedure:ident: $($name:ident($($argument:ident: $type:ty),*) = $number:expr, $arguments:expr;)*) => {
        $(pub fn $name($($argument: $type),*) -> Self { Self::new($procedure($number as u32), &$arguments) })*
    };
}

const fn portmap(procedure: u32) -> ProcedureId {
    (portmap::PROGRAM, portmap::VERSION, procedure)
}

const fn mount(procedure: u32) -> ProcedureId {
    (mount::PROGRAM, mount::VERSION, procedure)
}

const fn nfs(procedure: u32) -> ProcedureId {
    (nfs3::PROGRAM, nfs3::VERSION, procedure)
}

/// Portmap version 2 (RFC 1833), and MOUNT version 3 (RFC 1813, appendix I), which has the same arguments as version 1.
#[allow(missing_docs)] // The RFCs' own words.
#[rustfmt::skip] // A table.
impl Call<'_> {
    calls! { portmap:
        portmap_null() = PMAPPROC_NULL, Void;
        portmap_set(prog: u32, vers: u32, prot: u32, port: u32) = PMAPPROC_SET, mapping { prog, vers, prot, port };
        portmap_unset(prog: u32, vers: u32, prot: u32, port: u32) = PMAPPROC_UNSET, mapping { prog, vers, prot, port };
        get_port(prog: u32, vers: u32, prot: u32) = PMAPPROC_GETPORT, mapping { prog, vers, prot, port: 0 };
        portmap_dump() = PMAPPROC_DUMP, Void;
        call_it(prog: u32, vers: u32, proc: u32) = PMAPPROC_CALLIT, call_args { prog, vers, proc, args: b""[..].into() };
    }
    calls! { mount:
        mount_null() = MOUNTPROC3_NULL, Void;
        mount(path: &[u8]) = MOUNTPROC3_MNT, dirpath(path.into());
        mount_dump() = MOUNTPROC3_DUMP, Void;
        unmount(path: &[u8]) = MOUNTPROC3_UMNT, dirpath(path.into());
        unmount_all() = MOUNTPROC3_UMNTALL, Void;
        exports() = MOUNTPROC3_EXPORT, Void;
    }
}

/// NFS version 3 (RFC 1813).
#[allow(missing_docs)] // The RFC's own words.
#[rustfmt::skip] // A table.
impl<'a> Call<'a> {
    calls! { nfs:
        null() = NFSPROC3_NULL, Void;
        get_attr(object: &[u8]) = NFSPROC3_GETATTR, GETATTR3args { object: handle(object) };
        set_attr(object: &[u8], set: Set, guard: Option<(u32, u32)>) = NFSPROC3_SETATTR,
            SETATTR3args { object: handle(object), new_attributes: set.into(), guard: option(guard.map(time)) };
        lookup(dir: &[u8], name: &[u8]) = NFSPROC3_LOOKUP, LOOKUP3args { what: entry(dir, name) };
        access(object: &[u8], access: u32) = NFSPROC3_ACCESS, ACCESS3args { object: handle(object), access };
        read_link(link: &[u8]) = NFSPROC3_READLINK, READLINK3args { symlink: handle(link) };
        read(file: &[u8], offset: u64, count: u32) = NFSPROC3_READ, READ3args { file: handle(file), offset, count };
        create(dir: &[u8], name: &[u8], how: How) = NFSPROC3_CREATE,
            CREATE3args { where_: entry(dir, name), how: how.into() };
        mkdir(dir: &[u8], name: &[u8], set: Set) = NFSPROC3_MKDIR,
            MKDIR3args { where_: entry(dir, name), attributes: set.into() };
        symlink(dir: &[u8], name: &[u8], set: Set, target: &[u8]) = NFSPROC3_SYMLINK, SYMLINK3args {
            where_: entry(dir, name),
            symlink: symlinkdata3 { symlink_attributes: set.into(), symlink_data: target.into() },
        };
        mknod(dir: &[u8], name: &[u8], what: mknoddata3) = NFSPROC3_MKNOD, MKNOD3args { where_: entry(dir, name), what };
        fifo(dir: &[u8], name: &[u8], set: Set) = NFSPROC3_MKNOD,
            MKNOD3args { where_: entry(dir, name), what: mknoddata3::NF3FIFO(set.into()) };
        remove(dir: &[u8], name: &[u8]) = NFSPROC3_REMOVE, REMOVE3args { object: entry(dir, name) };
        rmdir(dir: &[u8], name: &[u8]) = NFSPROC3_RMDIR, RMDIR3args { object: entry(dir, name) };
        rename(from: &[u8], from_name: &[u8], to: &[u8], to_name: &[u8]) = NFSPROC3_RENAME,
            RENAME3args { from: entry(from, from_name), to: entry(to, to_name) };
        link(file: &[u8], dir: &[u8], name: &[u8]) = NFSPROC3_LINK,
            LINK3args { file: handle(file), link: entry(dir, name) };
        read_dir(dir: &[u8], cookie: u64, verifier: [u8; 8], count: u32) = NFSPROC3_READDIR,
            READDIR3args { dir: handle(dir), cookie, cookieverf: cookieverf3(verifier), count };
        read_dir_plus(dir: &[u8], cookie: u64, verifier: [u8; 8], dircount: u32, maxcount: u32) = NFSPROC3_READDIRPLUS,
            READDIRPLUS3args { dir: handle(dir), cookie, cookieverf: cookieverf3(verifier), dircount, maxcount };
        fs_stat(root: &[u8]) = NFSPROC3_FSSTAT, FSSTAT3args { fsroot: handle(root) };
        fs_info(root: &[u8]) = NFSPROC3_FSINFO, FSINFO3args { fsroot: handle(root) };
        path_conf(object: &[u8]) = NFSPROC3_PATHCONF, PATHCONF3args { object: handle(object) };
        commit(file: &[u8], offset: u64, count: u32) = NFSPROC3_COMMIT, COMMIT3args { file: handle(file), offset, count };
    }

    pub fn write(file: &[u8], offset: u64, stable: stable_how, data: &'a [u8]) -> Self {
        Self::write_of(file, offset, data.len() as u32, stable as u32, data)
    }

    /// A WRITE whose `count` may differ from the length of `data`, and whose `stable` may be invalid.
    pub fn write_of(file: &[u8], offset: u64, count: u32, stable: u32, data: &'a [u8]) -> Self {
        let call = Self::new(nfs(NFSPROC3_WRITE as u32), &handle(file));
        let call = call.append(&offset).append(&count).append(&stable).append(&(data.len() as u32));
        Self { data, ..call }
    }

    /// A MKNOD without arguments after the file type, which may be invalid.
    pub fn mknod_of(dir: &[u8], name: &[u8], kind: u32) -> Self {
        Self::new(nfs(NFSPROC3_MKNOD as u32), &entry(dir, name)).append(&kind)
    }
}

/// Handles of objects for [`Objects::calls`].
pub struct Objects {
    /// A directory with the file `hello`, the FIFO `fifo`, the empty directory `empty` and the symbolic link `long link`.
    pub top: Vec<u8>,
    /// The file `hello`.
    pub file: Vec<u8>,
    /// A file of more than 128 KiB.
    pub big: Vec<u8>,
    /// A symbolic link.
    pub link: Vec<u8>,
    /// A directory.
    pub many: Vec<u8>,
    /// The path of a directory that can be mounted.
    pub path: Vec<u8>,
}

impl Objects {
    /// A call of every procedure with its name, in the RFC's order; then variants. Each succeeds on a writable export, alone or after
    /// those before it. Calls that change nothing succeed on any export.
    #[rustfmt::skip] // A table.
    pub fn calls(&self) -> Vec<(String, Call<'_>)> {
        let Self { top, file, big, link, many, path } = self;
        let none = Set::default();
        let all = Set {
            mode: Some(0o640),
            uid: Some(3),
            gid: Some(4),
            size: Some(9),
            atime: SetTime::Client(5, 6),
            mtime: SetTime::Server,
        };
        let verifier = [0x80, 0, 0, 7, 0, 0, 0, 8];
        let null = mknoddata3::NF3CHR(device(none, 1, 3));
        let write = |stable| Call::write(file, 11, stable, b"more of it");
        let calls = [
            ("Null", Call::null()),
            ("GetAttr", Call::get_attr(file)),
            ("SetAttr", Call::set_attr(file, Set::mode(0o600), None)),
            ("Lookup", Call::lookup(top, b"hello")),
            ("Access", Call::access(top, 0x3f)),
            ("ReadLink", Call::read_link(link)),
            ("Read", Call::read(file, 0, 4096)),
            ("Write", Call::write(file, 0, stable_how::FILE_SYNC, b"bytes")),
            ("Create", Call::create(top, b"new", How::Unchecked(none))),
            ("MkDir", Call::mkdir(top, b"new directory", none)),
            ("SymLink", Call::symlink(top, b"new link", none, b"hello")),
            ("MkNod", Call::fifo(top, b"new fifo", none)),
            ("Remove", Call::remove(top, b"fifo")),
            ("RmDir", Call::rmdir(top, b"empty")),
            ("Rename", Call::rename(top, b"long link", top, b"moved")),
            ("Link", Call::link(file, top, b"linked")),
            ("ReadDir", Call::read_dir(many, 0, [0; 8], 2048)),
            ("ReadDirPlus", Call::read_dir_plus(many, 0, [0; 8], 1024, 4096)),
            ("FsStat", Call::fs_stat(top)),
            ("FsInfo", Call::fs_info(top)),
            ("PathConf", Call::path_conf(top)),
            ("Commit", Call::commit(file, 0, 0)),
            ("Create guarded", Call::create(top, b"guarded", How::Guarded(all))),
            ("Create exclusive", Call::create(top, b"exclusive", How::Exclusive(verifier))),
            ("MkNod of a device", Call::mknod(top, b"device", null)),
            ("Write unstable", write(stable_how::UNSTABLE)),
            ("Write for its data", write(stable_how::DATA_SYNC)),
            ("Read at once", Call::read(big, 1, 65_535)),
            ("Read by order", Call::read(big, 1, 131_073)),
            ("Portmap null", Call::portmap_null()),
            ("Portmap port", Call::get_port(nfs3::PROGRAM, nfs3::VERSION, 6)),
            ("Portmap dump", Call::portmap_dump()),
        ];
        let mut calls: Vec<_> = calls.map(|(name, call)| (name.to_owned(), call)).into();
        for call in [
            Call::mount_null(),
            Call::mount(path),
            Call::mount_dump(),
            Call::unmount(path),
            Call::unmount_all(),
            Call::exports(),
        ] {
            let number = call.procedure.2;
            calls.push((format!("Mount 1.{number}"), call.clone().version_1()));
            calls.push((format!("Mount 3.{number}"), call));
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_head_and_data_equal_the_whole_arguments() {
        let (file, data) = (handle(b"handle"), b"what is written");
        let args = WRITE3args {
            file,
            offset: 1 << 40,
            count: 15,
            stable: stable_how::DATA_SYNC,
            data: Opaque::borrowed(data),
        };
        let call = Call::write(b"handle", 1 << 40, stable_how::DATA_SYNC, data);
        let message = call.message(7, &Auth::root());
        assert!(message.starts_with(&call.head(7, &Auth::root())));
        assert!(message.ends_with(&pack(&args)));
    }
}
