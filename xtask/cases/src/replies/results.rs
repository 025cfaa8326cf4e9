//! Implements [`Results`] for the types that need checks: limits of the RFC, counts that agree, valid times and names.

use super::*;
use nfs3_types::xdr_codec;
use std::io::{Read, Write};

impl Results for Void {
    fn collect_into(&self, _: &mut Body) -> Result<()> {
        Ok(())
    }
}

macro_rules! numbers {
    ($($name:ty)*) => {
        $(impl Results for $name {
            fn collect_into(&self, body: &mut Body) -> Result<()> {
                body.words.extend(words(self));
                Ok(())
            }
        })*
    };
}

numbers! { bool u32 u64 stable_how writeverf3 cookieverf3 nfstime3 }

impl<T: Results, E: Results> Results for Nfs3Result<T, E> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        match self {
            Self::Ok(value) => value.collect_into(body),
            Self::Err((status, value)) => {
                body.status = *status as u32;
                value.collect_into(body)
            }
        }
    }
}

impl Results for READ3resok<'_> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        self.file_attributes.collect_into(body)?;
        let len = self.data.len();
        ensure!(
            self.count as usize == len,
            "READ has a count of {} and {len} bytes of data",
            self.count
        );
        ensure!(len <= 1 << 20, "READ returns {len} bytes, more than 1 MiB");
        self.count.collect_into(body)?;
        self.eof.collect_into(body)?;
        body.bytes = self.data.to_vec();
        Ok(())
    }
}

impl Results for nfspath3<'_> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        body.bytes = limited(&self.0, 4096)?;
        Ok(())
    }
}

impl Results for nfs_fh3 {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        body.handle = limited(&self.data, NFS3_FHSIZE)?;
        ensure!(!body.handle.is_empty(), "the reply has an empty handle");
        Ok(())
    }
}

impl Results for post_op_fh3 {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        match self {
            Self::Some(handle) => handle.collect_into(body),
            Self::None => Ok(()),
        }
    }
}

impl Results for fattr3 {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        body.attributes.push(Some(attributes(self)?));
        Ok(())
    }
}

impl Results for post_op_attr {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        body.attributes.push(optional(self)?);
        Ok(())
    }
}

impl Results for wcc_data {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        body.before.push(match &self.before {
            Nfs3Option::Some(was) => {
                are_times(&[was.mtime, was.ctime])?;
                Some(words(was).try_into().expect("of fixed length"))
            }
            Nfs3Option::None => None,
        });
        self.after.collect_into(body)
    }
}

impl Results for dirlist3<'_> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        for entry in &self.entries.0 {
            body.entries.push(DirEntry {
                inode: entry.fileid,
                name: name(&entry.name)?,
                cookie: entry.cookie,
                attributes: None,
                handle: None,
            });
        }
        check_end(self.eof, body)
    }
}

impl Results for dirlistplus3<'_> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        for entry in &self.entries.0 {
            let mut object = Body::default();
            entry.name_handle.collect_into(&mut object)?;
            body.entries.push(DirEntry {
                inode: entry.fileid,
                name: name(&entry.name)?,
                cookie: entry.cookie,
                attributes: optional(&entry.name_attributes)?,
                handle: entry.name_handle.is_some().then_some(object.handle),
            });
        }
        check_end(self.eof, body)
    }
}

impl Results for mount::mountres3<'_> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        match self {
            Self::Ok(root) => {
                ensure!(
                    root.auth_flavors.contains(&1),
                    "MNT does not offer AUTH_SYS"
                );
                body.words.extend(words(&root.auth_flavors));
                body.handle = limited(&root.fhandle.0, NFS3_FHSIZE)?;
                ensure!(!body.handle.is_empty(), "the reply has an empty handle");
            }
            Self::Err(status) => body.status = *status as u32,
        }
        Ok(())
    }
}

impl Results for mount::mountlist<'_, '_> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        for mount in &self.0 {
            body.names
                .push(limited(&mount.ml_hostname.0, mount::MNTNAMLEN)?);
            body.names
                .push(limited(&mount.ml_directory.0, mount::MNTPATHLEN)?);
        }
        Ok(())
    }
}

impl Results for mount::exports<'_, '_> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        for export in &self.0 {
            body.names
                .push(limited(&export.ex_dir.0, mount::MNTPATHLEN)?);
            for group in &export.ex_groups.0 {
                body.names.push(limited(&group.0, mount::MNTNAMLEN)?);
            }
        }
        Ok(())
    }
}

impl Results for List<portmap::mapping> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        for mapping in &self.0 {
            ensure!(
                mapping.port < 65_536,
                "portmap lists the invalid port {}",
                mapping.port
            );
            body.words.extend(words(mapping));
        }
        Ok(())
    }
}

impl Results for List<RpcbindEntry> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        self.0.iter().try_for_each(|entry| entry.collect_into(body))
    }
}

/// Address and port of a program, such as `192.0.2.1.8.1` (RFC 1833). Empty: the program is not registered.
pub(super) struct UniversalAddress(Opaque<'static>);

impl Pack for UniversalAddress {
    fn packed_size(&self) -> usize {
        self.0.packed_size()
    }

    fn pack(&self, output: &mut impl Write) -> xdr_codec::Result<usize> {
        self.0.pack(output)
    }
}

impl Unpack for UniversalAddress {
    fn unpack(input: &mut impl Read) -> xdr_codec::Result<(Self, usize)> {
        let (text, len) = Opaque::unpack(input)?;
        Ok((Self(text), len))
    }
}

impl Results for UniversalAddress {
    fn collect_into(&self, _: &mut Body) -> Result<()> {
        let text = &self.0;
        ensure!(
            text.iter()
                .all(|byte| byte.is_ascii_hexdigit() || b".:".contains(byte)),
            "the universal address {text:?} has other letters"
        );
        Ok(())
    }
}

/// The results of CALLIT (RFC 1833, `call_result` and `rpcb_rmtcallres`): a port or an address, and the results of NULL.
pub(super) struct Called<T>(T, Opaque<'static>);

impl<T: Pack> Pack for Called<T> {
    fn packed_size(&self) -> usize {
        self.0.packed_size() + self.1.packed_size()
    }

    fn pack(&self, output: &mut impl Write) -> xdr_codec::Result<usize> {
        Ok(self.0.pack(output)? + self.1.pack(output)?)
    }
}

impl<T: Unpack> Unpack for Called<T> {
    fn unpack(input: &mut impl Read) -> xdr_codec::Result<(Self, usize)> {
        let (place, place_len) = T::unpack(input)?;
        let (results, len) = Opaque::unpack(input)?;
        Ok((Self(place, results), place_len + len))
    }
}

impl<T: Results> Results for Called<T> {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        ensure!(self.1.is_empty(), "NULL has the results {:?}", self.1);
        self.0.collect_into(body)
    }
}

/// An entry of rpcbind's list (RFC 1833, `rpcb`).
pub(super) struct RpcbindEntry {
    program_and_version: [u32; 2],
    network: Opaque<'static>,
    address: UniversalAddress,
    owner: Opaque<'static>,
}

impl Pack for RpcbindEntry {
    fn packed_size(&self) -> usize {
        let texts = self.network.packed_size() + self.owner.packed_size();
        8 + texts + self.address.packed_size()
    }

    fn pack(&self, output: &mut impl Write) -> xdr_codec::Result<usize> {
        let [program, version] = self.program_and_version;
        Ok(program.pack(output)?
            + version.pack(output)?
            + self.network.pack(output)?
            + self.address.pack(output)?
            + self.owner.pack(output)?)
    }
}

impl Unpack for RpcbindEntry {
    fn unpack(input: &mut impl Read) -> xdr_codec::Result<(Self, usize)> {
        let program_and_version = [u32::unpack(input)?.0, u32::unpack(input)?.0];
        let entry = Self {
            program_and_version,
            network: Opaque::unpack(input)?.0,
            address: UniversalAddress::unpack(input)?.0,
            owner: Opaque::unpack(input)?.0,
        };
        let len = entry.packed_size();
        Ok((entry, len))
    }
}

impl Results for RpcbindEntry {
    fn collect_into(&self, body: &mut Body) -> Result<()> {
        let networks: [&[u8]; 4] = [b"tcp", b"udp", b"tcp6", b"udp6"];
        ensure!(
            networks.contains(&&*self.network.0),
            "portmap lists the network {:?}",
            self.network
        );
        body.words.extend(self.program_and_version);
        self.address.collect_into(body)
    }
}

fn limited(bytes: &Opaque<'_>, max: usize) -> Result<Vec<u8>> {
    ensure!(
        bytes.len() <= max,
        "the reply has {} bytes where {max} are allowed",
        bytes.len()
    );
    Ok(bytes.to_vec())
}

fn name(name: &filename3<'_>) -> Result<Vec<u8>> {
    let name = limited(&name.0, 255)?;
    let is_name = !name.is_empty() && !name.contains(&b'/');
    ensure!(is_name, "the directory has an entry named {name:?}");
    Ok(name)
}

fn check_end(eof: bool, body: &mut Body) -> Result<()> {
    ensure!(
        eof || !body.entries.is_empty(),
        "the reply has neither entries nor EOF"
    );
    eof.collect_into(body)
}

fn are_times(times: &[nfstime3]) -> Result<()> {
    let fit = times.iter().all(|time| time.nseconds < 1_000_000_000);
    ensure!(
        fit,
        "the reply has times with too many nanoseconds: {times:?}"
    );
    Ok(())
}

fn attributes(attr: &fattr3) -> Result<Attributes> {
    are_times(&[attr.atime, attr.mtime, attr.ctime])?;
    ensure!(
        attr.mode <= 0o7777,
        "the reply has the invalid mode {:o}",
        attr.mode
    );
    Ok(words(attr).try_into().expect("of fixed length"))
}

fn optional(attr: &post_op_attr) -> Result<Option<Attributes>> {
    match attr {
        Nfs3Option::Some(attr) => Ok(Some(attributes(attr)?)),
        Nfs3Option::None => Ok(None),
    }
}
