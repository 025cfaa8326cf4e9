//! MOUNT versions 1 to 3: resolves a path to the handle of a directory or file. RFC 1813 section 5.
//!
//! The mount list is informational: it is bounded, it is kept in memory only, and nothing depends on it.

use super::Cx;
use super::rpc::{Answer, Request, Unanswered};
use crate::config::{EXPORT_PATH_BYTES_MAX, MOUNT_COUNT_MAX};
use crate::event::{self, Line};
use crate::mem::Ends as _;
use crate::stats::{Family, Figure, Outcome};
use crate::text::{Text, text};
use crate::vfs::walk::{self, below};
use crate::vfs::{Export, Exports, FsError, FsResult, Handle, ObjectType, Rules, Tree, Until};
use crate::wire::Writer;
use crate::wire::exports::Hosts;
use crate::wire::mount::{HANDLE_V1_BYTES, PATH_BYTES_MAX, Status, VERSION_3, procedure};
use crate::wire::rpc::Reject;
use core::net::Ipv6Addr;

/// The mount list: clients, and the export that each has mounted.
#[derive(Debug)]
pub struct Mounts {
    list: heapless::Vec<(Ipv6Addr, usize), MOUNT_COUNT_MAX>,
    /// The address at which the server listens; unspecified: all addresses.
    pub(super) listener: Ipv6Addr,
}

impl Default for Mounts {
    fn default() -> Self {
        Self {
            list: heapless::Vec::new(),
            listener: Ipv6Addr::UNSPECIFIED,
        }
    }
}

/// Answers one call, not NULL. Lists that do not fit into the reply are truncated.
pub(super) fn answer(
    mounts: &mut Mounts,
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
) -> Result<Answer, Unanswered> {
    let reply = &mut *request.reply;
    match request.call.procedure {
        procedure::MNT | procedure::UMNT => return mnt(mounts, cx, request),
        procedure::DUMP => emit_list(&cx.vfs.exports(), Some(&mounts.list), reply),
        procedure::UMNTALL => {
            mounts.remove(cx.peer.address, None);
            mounts.count(cx);
        }
        procedure::EXPORT => emit_list(&cx.vfs.exports(), None, reply),
        _ => return Err(Reject::Procedure.into()),
    }
    Ok(Answer::DONE)
}

/// Answers MNT and UMNT, whose argument is a path.
fn mnt(
    mounts: &mut Mounts,
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
) -> Result<Answer, Unanswered> {
    let path = request.args.opaque(PATH_BYTES_MAX);
    request.args.check()?;
    let mut below = path;
    let export = find(cx.vfs, &mut below);
    if request.call.procedure == procedure::UMNT {
        if export.is_some() {
            mounts.remove(cx.peer.address, export);
            mounts.count(cx);
        }
        return Ok(Answer::DONE);
    }
    let version = request.call.version;
    let is_check = is_check(mounts.listener, cx, request);
    let reply = &mut *request.reply;
    let handle = match export {
        None => Err(Unmounted::Status(Status::Access, text!("not exported"))),
        Some(export) => admit(cx, export).and_then(|rules| Ok(walk(cx, export, below, &rules)?)),
    };
    let (status, why) = match handle.as_ref().map(Handle::padded) {
        Err(Unmounted::Unanswered(until)) => return Err(Unanswered::Again(*until)),
        Err(Unmounted::Status(status, why)) => (*status, *why),
        Ok(handle) if version < VERSION_3 && handle.len() > HANDLE_V1_BYTES => (
            Status::ServerFault,
            text!("the handle is too long for MOUNT versions 1 and 2; use version 3"),
        ),
        Ok(handle) => {
            if let Some(export) = export.filter(|_| !is_check) {
                mounts.add(cx.peer.address, export);
                mounts.count(cx);
                cx.report(event::MOUNTED, path, Text::NOTHING);
            }
            reply.u32(Status::Ok as u32);
            if version == VERSION_3 {
                reply.opaque(handle);
                reply.words(&[1, 1]); // One flavor: AUTH_SYS.
            } else {
                reply.put(handle);
                reply.put([0; HANDLE_V1_BYTES].tail(handle.len()));
            }
            return Ok(Answer::DONE);
        }
    };
    if !is_check {
        cx.stats.add(Family::Rpc, Figure::Refused, 1);
        cx.report(event::MAY_NOT_MOUNT, path, why);
    }
    reply.u32(status as u32);
    Ok(Answer::of(Outcome::Failed))
}

/// Returns true for a call of `stowaway check` on this host. Its mounts are neither reported nor listed. The machine name alone would
/// let any client hide its mounts. No other host has a loopback address, or the one at which the server listens.
fn is_check(listener: Ipv6Addr, cx: &Cx<'_>, request: &Request<'_, '_>) -> bool {
    let (credential, peer) = (request.call.credential, cx.peer.address);
    credential.is_some_and(|credential| credential.claims_check)
        && (peer.to_canonical().is_loopback() || peer == listener)
}

/// Checks that the peer may mount an export, and opens the export again, because the host may have another directory there now.
fn admit(cx: &mut Cx<'_>, export: usize) -> Result<Rules, Unmounted> {
    let rules = cx.vfs.rules(export, &cx.peer).map_err(|error| {
        if let Some(until) = error.until() {
            return Unmounted::Unanswered(until);
        }
        let why = match error {
            FsError::Permission => text!("the port is not below 1024; see the option insecure"),
            FsError::TryLater => text!("no name server answers for this host"),
            _ => text!("not exported to this host"),
        };
        Unmounted::Status(Status::Access, why)
    })?;
    if cx.vfs.reopen_for_client(export).is_err() {
        let why = text!("the exported directory is missing");
        return Err(Unmounted::Status(Status::NoEntry, why));
    }
    Ok(rules)
}

/// Returns the handle of the directory or regular file at the path `below` in an export.
fn walk(cx: &mut Cx<'_>, export: usize, below: &[u8], rules: &Rules) -> FsResult<Handle> {
    let node = walk::find(cx.vfs, export, below)?;
    let is_image = cx.vfs.exports().get(export);
    let is_image = is_image.is_some_and(|export| export.is_image());
    if node.is_inside() && !rules.has(Rules::ISOS) && !is_image {
        return Err(FsError::NotDirectory);
    }
    match cx.vfs.attr(node)?.kind {
        ObjectType::Directory | ObjectType::Regular => cx.vfs.handle(node),
        _ => Err(FsError::NotDirectory),
    }
}

/// The reason why a path is not mounted.
enum Unmounted {
    /// The path is not refused: this event must come first.
    Unanswered(Until),
    /// The status, and the reason for the log.
    Status(Status, Text),
}

impl From<FsError> for Unmounted {
    fn from(error: FsError) -> Self {
        let (status, why) = match error {
            FsError::AwaitsDisk | FsError::AwaitsNames | FsError::AwaitsTurn => {
                return Self::Unanswered(error.until().unwrap_or(Until::Turn));
            }
            FsError::NoEntry => (Status::NoEntry, text!("no such directory in the export")),
            FsError::NotDirectory | FsError::IsDirectory => {
                (Status::NotDirectory, text!("not a directory"))
            }
            FsError::NameTooLong => (Status::NameTooLong, text!("a name in the path is too long")),
            FsError::Invalid | FsError::BadHandle | FsError::BadCookie => {
                (Status::Invalid, text!("not an absolute path"))
            }
            FsError::OtherFileSystem => (
                Status::Access,
                text!("another file system is mounted there; export it too"),
            ),
            FsError::Access | FsError::Permission | FsError::ReadOnly | FsError::Exists => (
                Status::Access,
                text!("the server may not access the directory"),
            ),
            FsError::Io => (Status::Io, text!("the disk failed")),
            FsError::Cut => (Status::Io, text!("the image is cut; copy it again")),
            FsError::NotSupported => (
                Status::NotSupported,
                text!("the file system is not supported (UDF?)"),
            ),
            FsError::Stale
            | FsError::TryLater
            | FsError::CrossDevice
            | FsError::TooLarge
            | FsError::NoSpace
            | FsError::Quota
            | FsError::TooManyLinks
            | FsError::TooManyFollowed
            | FsError::NotEmpty => (
                Status::ServerFault,
                text!("the directory cannot be opened now"),
            ),
        };
        Self::Status(status, why)
    }
}

/// The innermost export that contains `path`. Shortens `path` to the part below the export's top. The exports' paths as configured
/// are tried first, then their real paths (without symbolic links).
fn find(tree: &mut Tree, path: &mut &[u8]) -> Option<usize> {
    let configured = tree.innermost(path);
    if configured.is_some() {
        return configured;
    }
    let whole = *path;
    let mut found = None;
    let mut buffer = [0; EXPORT_PATH_BYTES_MAX];
    for number in 0..tree.exports().len() {
        let len = tree.real_path(number, &mut buffer);
        let top = buffer.head(len);
        if let Some(below) = below(top, whole)
            && (found.is_none() || below.len() < path.len())
        {
            found = Some(number);
            *path = below;
        }
    }
    found
}

impl Mounts {
    /// Removes all mounts of an export that has ended.
    pub(super) fn end(&mut self, export: usize) {
        self.list.retain(|(_, mounted)| *mounted != export);
    }

    /// Counts the peer's mounts.
    fn count(&self, cx: &Cx<'_>) {
        let address = cx.peer.address;
        let own = self.list.iter().filter(|(peer, _)| *peer == address);
        cx.stats.mounted(address, own.count());
    }

    fn add(&mut self, peer: Ipv6Addr, export: usize) {
        self.remove(peer, Some(export));
        if let Err(mount) = self.list.push((peer, export))
            && let Some(oldest) = self.list.first_mut()
        {
            *oldest = mount;
        }
    }

    /// Removes the peer's mount of `export`, or with `None` all its mounts.
    fn remove(&mut self, peer: Ipv6Addr, export: Option<usize>) {
        let mut at = 0usize;
        while let Some(mount) = self.list.get(at) {
            if mount.0 == peer && export.unwrap_or(mount.1) == mount.1 {
                // `at` is not incremented: `swap_remove` moves the last element to this index.
                self.list.swap_remove(at);
            } else {
                at = at.saturating_add(1);
            }
        }
    }
}

/// Writes `mounts`, or with `None` all exports and their clients, as an XDR linked list. Stops before the first element that leaves no space for the
/// end marker.
fn emit_list(exports: &Exports<'_>, mounts: Option<&[(Ipv6Addr, usize)]>, reply: &mut Writer<'_>) {
    for number in 0..mounts.map_or(exports.len(), <[_]>::len) {
        let before = reply.position();
        let mount = mounts.and_then(|mounts| mounts.get(number));
        let export = exports.get(mount.map_or(number, |(_, export)| *export));
        let Some(export) = export.filter(Export::is_exported) else {
            continue;
        };
        reply.u32(1);
        if let Some((peer, _)) = mount {
            reply.opaque(Line::default().address(*peer).bytes());
        }
        reply.opaque(export.path.to_bytes());
        if mounts.is_none() {
            emit_clients(&export, reply);
        }
        if reply.written().is_none() || reply.space().len() < size_of::<u32>() {
            reply.truncate(before);
            break;
        }
    }
    reply.u32(0);
}

/// Writes the clients of an export. An empty list means every host.
fn emit_clients(export: &Export<'_>, reply: &mut Writer<'_>) {
    let is_open = export.clients().nth(1).is_none();
    for client in export.clients() {
        if is_open && client.hosts == Hosts::Everyone {
            continue;
        }
        reply.u32(1);
        let mut line = Line::default();
        write_hosts(&client.hosts, &mut line);
        reply.opaque(line.bytes());
    }
    reply.u32(0);
}

/// Writes the hosts of an entry as exports(5) has them.
pub fn write_hosts(hosts: &Hosts<'_>, line: &mut Line) {
    match *hosts {
        Hosts::Everyone => line.byte(b'*'),
        Hosts::Named(name) => line.raw(name),
        Hosts::Network { address, bits } => {
            line.address(address);
            let first = 128 - address_bits(address);
            match bits.saturating_sub(first) {
                _ if bits == 128 => line,
                bits => line.byte(b'/').number(bits.into()),
            }
        }
    };
}

/// Length of an address (bits) as it is written: 32 for IPv4.
const fn address_bits(address: Ipv6Addr) -> u8 {
    match address.to_ipv4_mapped() {
        Some(_) => 32,
        None => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{Backend, Client, ExportRoot, Vfs};

    /// A backend whose exports are symbolic links to these paths; an empty one is no link.
    struct Links(&'static [&'static str]);

    impl Vfs for Links {
        fn real_path(&mut self, number: usize, out: &mut [u8]) -> usize {
            crate::mem::copy_into(out, self.0[number].as_bytes());
            self.0[number].len()
        }
    }

    #[test]
    fn export_by_symlink_is_found_by_both_paths() {
        let mut tree = Tree::default();
        let links: &[&str] = &["/data/real", "", "/data/own", ""];
        tree.add(Backend::Host, Box::leak(Box::new(Links(links))));
        let exports = ["/srv/link", "/data/real/sub", "/other", "/data/own"];
        for (tag, (path, link)) in (0..).zip(exports.iter().zip(links)) {
            let mut root = ExportRoot::fixed(Backend::Host, tag, false);
            root.is_linked = !link.is_empty();
            let everyone = [Client::everyone(Rules::DEFAULT)];
            tree.export(path.as_bytes(), &everyone, root).unwrap();
        }
        for (path, expect) in [
            ("/srv/link/x", Some((0, "x"))),
            ("/data/real", Some((0, ""))),
            ("/data/real/x", Some((0, "x"))),
            ("/data/real/sub/x", Some((1, "x"))),
            ("/data/own/x", Some((3, "x"))),
            ("/data/realx", None),
            ("/srv", None),
            ("srv/link", None),
            ("", None),
        ] {
            let mut rest = path.as_bytes();
            let found = find(&mut tree, &mut rest).map(|export| (export, rest));
            assert_eq!(
                found,
                expect.map(|(export, rest)| (export, rest.as_bytes())),
                "{path}"
            );
        }
    }

    #[test]
    fn mount_list_is_bounded_and_removes_by_peer() {
        let mut mounts = Mounts::default();
        let peer = |number| Ipv6Addr::from([0, 0, 0, 0, 0, 0, 0, number]);
        (0..=200).for_each(|number| mounts.add(peer(number), 0));
        mounts.add(peer(200), 0);
        assert_eq!(mounts.list.len(), MOUNT_COUNT_MAX);
        mounts.add(peer(200), 1);
        mounts.remove(peer(200), None);
        assert_eq!(mounts.list.len(), MOUNT_COUNT_MAX - 2);
    }
}
