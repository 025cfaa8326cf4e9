//! What the client can ask: every procedure of portmap v2, MOUNT and NFSv3 as a value that becomes a call message.
//!
//! Messages are plain bytes without record mark, so that they can be pipelined, or damaged.

use super::set::{How, Node, Set, Stable};
use super::xdr::Writer;

/// An RPC credential (RFC 5531). The verifier is always AUTH_NONE.
#[derive(Clone, Debug)]
pub enum Auth {
    /// AUTH_NONE.
    None,
    /// AUTH_SYS.
    Sys {
        machine: Vec<u8>,
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
    },
    /// Any flavour with any body.
    Other { flavor: u32, body: Vec<u8> },
}

impl Auth {
    /// AUTH_SYS for root.
    pub fn root() -> Self {
        Self::Sys {
            machine: b"client".to_vec(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        }
    }

    fn emit(&self, out: &mut Writer) {
        match self {
            Self::None => out.u32(0).u32(0),
            Self::Sys {
                machine,
                uid,
                gid,
                groups,
            } => {
                let mut body = Writer::default();
                body.u32(0x5704_2026)
                    .opaque(machine)
                    .u32(*uid)
                    .u32(*gid)
                    .u32(groups.len() as u32);
                groups.iter().for_each(|&group| _ = body.u32(group));
                out.u32(1).opaque(&body.finish())
            }
            Self::Other { flavor, body } => out.u32(*flavor).opaque(body),
        };
    }
}

/// The head of a call, spelt out so that a test can get any part of it wrong.
pub fn head(
    xid: u32,
    rpc_version: u32,
    program: u32,
    version: u32,
    procedure: u32,
    auth: &Auth,
) -> Writer {
    let mut out = Writer::default();
    out.u32(xid)
        .u32(0)
        .u32(rpc_version)
        .u32(program)
        .u32(version)
        .u32(procedure);
    auth.emit(&mut out);
    Auth::None.emit(&mut out);
    out
}

/// A procedure with its arguments.
pub trait Procedure {
    /// Program, version and procedure number.
    fn place(&self) -> (u32, u32, u32);

    /// Appends the arguments.
    fn arguments(&self, out: &mut Writer);

    /// The whole call message.
    fn message(&self, xid: u32, auth: &Auth) -> Vec<u8> {
        let (program, version, procedure) = self.place();
        let mut out = head(xid, 2, program, version, procedure, auth);
        self.arguments(&mut out);
        out.finish()
    }
}

/// Portmap, version 2 (RFC 1833).
#[derive(Clone, Copy, Debug)]
pub enum Portmap {
    Null,
    Set {
        program: u32,
        version: u32,
        protocol: u32,
        port: u32,
    },
    Unset {
        program: u32,
        version: u32,
        protocol: u32,
        port: u32,
    },
    GetPort {
        program: u32,
        version: u32,
        protocol: u32,
    },
    Dump,
    CallIt {
        program: u32,
        version: u32,
        procedure: u32,
    },
}

impl Portmap {
    /// The program number.
    pub const PROGRAM: u32 = 100_000;
}

impl Procedure for Portmap {
    fn place(&self) -> (u32, u32, u32) {
        let number = match self {
            Self::Null => 0,
            Self::Set { .. } => 1,
            Self::Unset { .. } => 2,
            Self::GetPort { .. } => 3,
            Self::Dump => 4,
            Self::CallIt { .. } => 5,
        };
        (Self::PROGRAM, 2, number)
    }

    fn arguments(&self, out: &mut Writer) {
        match *self {
            Self::Null | Self::Dump => {}
            Self::Set {
                program,
                version,
                protocol,
                port,
            }
            | Self::Unset {
                program,
                version,
                protocol,
                port,
            } => {
                out.u32(program).u32(version).u32(protocol).u32(port);
            }
            Self::GetPort {
                program,
                version,
                protocol,
            } => _ = out.u32(program).u32(version).u32(protocol).u32(0),
            Self::CallIt {
                program,
                version,
                procedure,
            } => _ = out.u32(program).u32(version).u32(procedure).opaque(b""),
        }
    }
}

/// MOUNT, version 3 (RFC 1813, appendix I); the arguments of version 1 are the same.
#[derive(Clone, Copy, Debug)]
pub enum Mount<'a> {
    Null,
    Mnt { path: &'a [u8] },
    Dump,
    Umnt { path: &'a [u8] },
    UmntAll,
    Export,
}

impl Mount<'_> {
    /// The program number.
    pub const PROGRAM: u32 = 100_005;
}

impl Procedure for Mount<'_> {
    fn place(&self) -> (u32, u32, u32) {
        let number = match self {
            Self::Null => 0,
            Self::Mnt { .. } => 1,
            Self::Dump => 2,
            Self::Umnt { .. } => 3,
            Self::UmntAll => 4,
            Self::Export => 5,
        };
        (Self::PROGRAM, 3, number)
    }

    fn arguments(&self, out: &mut Writer) {
        match *self {
            Self::Null | Self::Dump | Self::UmntAll | Self::Export => {}
            Self::Mnt { path } | Self::Umnt { path } => _ = out.opaque(path),
        }
    }
}

/// NFS, version 3 (RFC 1813).
#[derive(Clone, Copy, Debug)]
pub enum Nfs<'a> {
    Null,
    GetAttr {
        object: &'a [u8],
    },
    SetAttr {
        object: &'a [u8],
        set: Set,
        /// The time of the last change that the object must have, in seconds and nanoseconds.
        guard: Option<(u32, u32)>,
    },
    Lookup {
        dir: &'a [u8],
        name: &'a [u8],
    },
    Access {
        object: &'a [u8],
        access: u32,
    },
    ReadLink {
        link: &'a [u8],
    },
    Read {
        file: &'a [u8],
        offset: u64,
        count: u32,
    },
    Write {
        file: &'a [u8],
        offset: u64,
        /// What it says to bring; `data` is what it brings.
        count: u32,
        stable: Stable,
        data: &'a [u8],
    },
    Create {
        dir: &'a [u8],
        name: &'a [u8],
        how: How,
    },
    MkDir {
        dir: &'a [u8],
        name: &'a [u8],
        set: Set,
    },
    SymLink {
        dir: &'a [u8],
        name: &'a [u8],
        set: Set,
        target: &'a [u8],
    },
    MkNod {
        dir: &'a [u8],
        name: &'a [u8],
        node: Node,
    },
    Remove {
        dir: &'a [u8],
        name: &'a [u8],
    },
    RmDir {
        dir: &'a [u8],
        name: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        from_name: &'a [u8],
        to: &'a [u8],
        to_name: &'a [u8],
    },
    Link {
        file: &'a [u8],
        dir: &'a [u8],
        name: &'a [u8],
    },
    ReadDir {
        dir: &'a [u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    },
    ReadDirPlus {
        dir: &'a [u8],
        cookie: u64,
        verifier: [u8; 8],
        dir_count: u32,
        max_count: u32,
    },
    FsStat {
        root: &'a [u8],
    },
    FsInfo {
        root: &'a [u8],
    },
    PathConf {
        object: &'a [u8],
    },
    Commit {
        file: &'a [u8],
        offset: u64,
        count: u32,
    },
}

impl<'a> Nfs<'a> {
    /// The program number.
    pub const PROGRAM: u32 = 100_003;

    /// A WRITE that brings what it says.
    pub fn write(file: &'a [u8], offset: u64, stable: Stable, data: &'a [u8]) -> Self {
        Self::Write {
            file,
            offset,
            count: data.len() as u32,
            stable,
            data,
        }
    }
}

impl Procedure for Nfs<'_> {
    fn place(&self) -> (u32, u32, u32) {
        let number = match self {
            Self::Null => 0,
            Self::GetAttr { .. } => 1,
            Self::SetAttr { .. } => 2,
            Self::Lookup { .. } => 3,
            Self::Access { .. } => 4,
            Self::ReadLink { .. } => 5,
            Self::Read { .. } => 6,
            Self::Write { .. } => 7,
            Self::Create { .. } => 8,
            Self::MkDir { .. } => 9,
            Self::SymLink { .. } => 10,
            Self::MkNod { .. } => 11,
            Self::Remove { .. } => 12,
            Self::RmDir { .. } => 13,
            Self::Rename { .. } => 14,
            Self::Link { .. } => 15,
            Self::ReadDir { .. } => 16,
            Self::ReadDirPlus { .. } => 17,
            Self::FsStat { .. } => 18,
            Self::FsInfo { .. } => 19,
            Self::PathConf { .. } => 20,
            Self::Commit { .. } => 21,
        };
        (Self::PROGRAM, 3, number)
    }

    fn arguments(&self, out: &mut Writer) {
        match *self {
            Self::Null => {}
            Self::GetAttr { object } | Self::PathConf { object } => _ = out.opaque(object),
            Self::FsStat { root } | Self::FsInfo { root } => _ = out.opaque(root),
            Self::SetAttr { object, set, guard } => {
                set.emit(out.opaque(object));
                match guard {
                    Some((seconds, nanoseconds)) => out.u32(1).u32(seconds).u32(nanoseconds),
                    None => out.u32(0),
                };
            }
            Self::Lookup { dir, name } | Self::Remove { dir, name } | Self::RmDir { dir, name } => {
                _ = out.opaque(dir).opaque(name)
            }
            Self::Access { object, access } => _ = out.opaque(object).u32(access),
            Self::ReadLink { link } => _ = out.opaque(link),
            Self::Read {
                file,
                offset,
                count,
            }
            | Self::Commit {
                file,
                offset,
                count,
            } => _ = out.opaque(file).u64(offset).u32(count),
            Self::Write {
                file,
                offset,
                count,
                stable,
                data,
            } => {
                out.opaque(file)
                    .u64(offset)
                    .u32(count)
                    .u32(stable.0)
                    .opaque(data);
            }
            Self::Create { dir, name, how } => how.emit(out.opaque(dir).opaque(name)),
            Self::MkDir { dir, name, set } => set.emit(out.opaque(dir).opaque(name)),
            Self::SymLink {
                dir,
                name,
                set,
                target,
            } => {
                set.emit(out.opaque(dir).opaque(name));
                out.opaque(target);
            }
            Self::MkNod { dir, name, node } => node.emit(out.opaque(dir).opaque(name)),
            Self::Rename {
                from,
                from_name,
                to,
                to_name,
            } => {
                _ = out
                    .opaque(from)
                    .opaque(from_name)
                    .opaque(to)
                    .opaque(to_name)
            }
            Self::Link { file, dir, name } => _ = out.opaque(file).opaque(dir).opaque(name),
            Self::ReadDir {
                dir,
                cookie,
                verifier,
                count,
            } => _ = out.opaque(dir).u64(cookie).fixed(&verifier).u32(count),
            Self::ReadDirPlus {
                dir,
                cookie,
                verifier,
                dir_count,
                max_count,
            } => {
                out.opaque(dir)
                    .u64(cookie)
                    .fixed(&verifier)
                    .u32(dir_count)
                    .u32(max_count);
            }
        }
    }
}
