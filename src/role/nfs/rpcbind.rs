//! The portmapper of another program (rpcbind). If it serves port 111 of this host, NFS and MOUNT are registered with it. RFC 1833.
//!
//! rpcbind accepts SET and UNSET by its Unix socket, where the UID of the peer becomes the owner, and by 127.0.0.1. Older
//! portmappers have no Unix socket, know version 2 only and require a port below 1024. Version 3 registers IPv6 as well.

use super::options::Options;
use crate::config::{RPCBIND_TIMEOUT, WITHDRAW_TIMEOUT};
use crate::engine::portmap::address;
use crate::mem::Ends as _;
use crate::net::NetError;
use crate::os::client::{Client, Unconnected};
use crate::sys;
use crate::sys::address::ServerAddress;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::portmap::{self, Mapping, Transport, procedure};
use crate::wire::rpc::{RecordMark, emit_call, parse_reply};
use crate::wire::{Reader, Writer, mount, nfs3};
use core::net::{Ipv4Addr, SocketAddrV6};
use core::sync::atomic::{AtomicU32, Ordering};

/// The programs and versions that are registered.
pub(super) const OURS: [(u32, u32); 4] = [
    (nfs3::PROGRAM, nfs3::VERSION),
    (mount::PROGRAM, mount::VERSION_1),
    (mount::PROGRAM, mount::VERSION_2),
    (mount::PROGRAM, mount::VERSION_3),
];

/// The portmapper of another program does not register NFS.
const REFUSES: Text = text!(
    "the portmapper (rpcbind) on port 111 refuses to register NFS: Windows and ESXi cannot mount"
);
/// The portmapper of another program has registered NFS and MOUNT.
pub(super) const REGISTERED: Text = text!("registered with this host's portmapper (rpcbind)");

/// Places at which a portmapper of this host listens: socket files, and port 111 of 127.0.0.1.
const PLACES: [ServerAddress; 3] = [
    ServerAddress::File(c"/run/rpcbind.sock"),
    ServerAddress::File(c"/var/run/rpcbind.sock"),
    ServerAddress::Host(SocketAddrV6::new(
        Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        portmap::PORT,
        0,
        0,
    )),
];

/// Longest call and longest reply (bytes).
const MESSAGE_BYTES_MAX: usize = 256;
/// Offset of the version in a call with its record mark.
const VERSION_AT: usize = 20;

/// The registration of this process.
pub(super) struct Rpcbind {
    /// The word by which the supervisor knows of the registration, which it withdraws at the end. `None`: no supervisor.
    registered: Option<&'static AtomicU32>,
    /// Without a supervisor, the socket by which the registration is withdrawn at the end.
    withdrawal: Option<Unconnected>,
    /// True if the network stack is our own, which has other addresses than this host.
    has_own_stack: bool,
}

/// Ends the registration, if a loop has registered. Called by the supervisor after all loops have ended.
pub(in super::super) fn end_registration(options: &Options) {
    if options.with_shared(|shared| shared.is_registered()) == Some(true) {
        withdraw(None);
    }
}

impl Rpcbind {
    pub(super) fn new(registered: Option<&'static AtomicU32>, has_own_stack: bool) -> Self {
        Self {
            registered: registered.filter(|_| sys::has_supervisor()),
            withdrawal: None,
            has_own_stack,
        }
    }

    /// Registers the mappings of [`OURS`] after our own portmapper failed with `error`.
    ///
    /// # Errors
    /// The event that describes the failure.
    pub(super) fn register(&mut self, mappings: &[Mapping], error: NetError) -> Result<(), Text> {
        let why = match error {
            NetError::Denied => {
                text!("port 111 (portmap) is for root only: Windows and ESXi cannot mount")
            }
            _ => text!("port 111 (portmap) is in use: Windows and ESXi cannot mount"),
        };
        if self.has_own_stack {
            return Err(why);
        }
        // A server that is started again keeps the mappings of the one before: other loops go on to serve.
        let registered = self.registered;
        let keeps = registered.is_some_and(|registered| registered.load(Ordering::Relaxed) != 0);
        match register(mappings, keeps) {
            Registration::Done(socket) => {
                match registered {
                    Some(registered) => registered.store(1, Ordering::Relaxed),
                    None => self.withdrawal = socket,
                }
                Ok(())
            }
            Registration::Refused => Err(REFUSES),
            Registration::NotFound => Err(why),
        }
    }

    /// Returns true if [`Self::end`] connects a socket.
    pub(super) const fn connects_at_end(&self) -> bool {
        self.withdrawal.is_some()
    }

    /// Ends the registration, unless the supervisor does.
    pub(super) fn end(&mut self) {
        if let Some(socket) = self.withdrawal.take() {
            withdraw(Some(socket));
        }
    }
}

/// Outcome of a registration.
enum Registration {
    /// All mappings are registered. The socket is for [`withdraw`].
    Done(Option<Unconnected>),
    /// A portmapper answered, but refused.
    Refused,
    /// No portmapper answers.
    NotFound,
}

/// A connection to a portmapper.
struct Portmapper {
    client: Client,
    xid: u32,
    /// Version of the calls: 3, or 2 for a portmapper that knows no other.
    version: u32,
    /// True once a reply of any kind came.
    has_answered: bool,
}

/// Registers the mappings of [`OURS`], and removes those of a predecessor; with `keeps` only if they are others. Waits at most
/// [`RPCBIND_TIMEOUT`].
fn register(mappings: &[Mapping], keeps: bool) -> Registration {
    let until = sys::now().after(RPCBIND_TIMEOUT);
    let mut outcome = Registration::NotFound;
    for place in PLACES {
        let Some(mut portmapper) = Portmapper::connect(Unconnected::open(&place), until) else {
            continue;
        };
        if portmapper.replace_all(mappings, keeps) == Some(true) {
            return Registration::Done(Unconnected::open(&place));
        }
        if portmapper.has_answered {
            outcome = Registration::Refused;
        }
    }
    outcome
}

/// Removes the mappings of [`OURS`] by the socket that [`register`] returned; `None`: by a new one. Waits at most
/// [`WITHDRAW_TIMEOUT`].
fn withdraw(prepared: Option<Unconnected>) {
    let until = sys::now().after(WITHDRAW_TIMEOUT);
    let places: &[_] = if prepared.is_some() { &[] } else { &PLACES };
    let new = places.iter().map(Unconnected::open);
    for socket in core::iter::once(prepared).chain(new) {
        let portmapper = Portmapper::connect(socket, until);
        if portmapper.is_some_and(|mut portmapper| portmapper.unset_all().is_some()) {
            return;
        }
    }
}

impl Portmapper {
    fn connect(socket: Option<Unconnected>, until: Instant) -> Option<Self> {
        let client = socket?.connect(until).ok()?;
        Some(Self {
            client,
            xid: 0,
            version: portmap::VERSION_3,
            has_answered: false,
        })
    }

    /// Replaces all mappings of [`OURS`]. `keeps`: first tries to add to those that are registered, which succeeds if the present
    /// ones are the same. Returns false if a mapping was refused: none is registered then. `None`: no valid answer.
    fn replace_all(&mut self, mappings: &[Mapping], keeps: bool) -> Option<bool> {
        if keeps && self.set_all(mappings) == Some(true) {
            return Some(true);
        }
        self.unset_all()?;
        let is_set = self.set_all(mappings)?;
        if !is_set {
            self.unset_all()?;
        }
        Some(is_set)
    }

    /// Adds mappings. Returns false if one was refused. `None`: no valid answer.
    fn set_all(&mut self, mappings: &[Mapping]) -> Option<bool> {
        for mapping in mappings {
            if mapping.program == portmap::PROGRAM
                || self.version == portmap::VERSION && mapping.transport.is_v6()
            {
                continue;
            }
            if !self.call(procedure::SET, mapping)? {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Removes all mappings of [`OURS`], of any transport. `None`: no valid answer.
    fn unset_all(&mut self) -> Option<()> {
        for (program, version) in OURS {
            let mapping = Mapping {
                program,
                version,
                transport: Transport::Tcp,
                port: 0,
            };
            if self.call(procedure::UNSET, &mapping).is_none() {
                self.version = portmap::VERSION;
                self.call(procedure::UNSET, &mapping)?;
            }
        }
        Some(())
    }

    /// Calls SET or UNSET; UNSET concerns all transports. Returns the result. `None`: no valid answer.
    fn call(&mut self, procedure: u32, mapping: &Mapping) -> Option<bool> {
        let buffer = &mut [0; MESSAGE_BYTES_MAX];
        self.xid += 1;
        let mut call = Writer::new(buffer);
        emit_call(&mut call, self.xid, portmap::PROGRAM, procedure, b"");
        call.patch(VERSION_AT, self.version);
        call.words(&[mapping.program, mapping.version]);
        let transport = mapping.transport;
        if self.version == portmap::VERSION {
            call.words(&[transport.protocol(), mapping.port.into()]);
        } else if procedure == procedure::UNSET {
            // Empty: netid, address and owner.
            call.words(&[0; 3]);
        } else {
            call.opaque(transport.netid());
            call.opaque(address(transport.any_host(), mapping.port).bytes());
            call.opaque(b"");
        }
        let len = call.written()?;
        call.patch(0, RecordMark::whole(len as u32 - 4));
        self.client.send(buffer.head(len)).ok()?;
        let mut mark = [0; 4];
        self.client.recv_exact(&mut mark).ok()?;
        let mark = RecordMark::parse(&mut Reader::new(&mark))?;
        let reply = buffer.get_mut(..mark.len as usize)?;
        self.client.recv_exact(reply).ok()?;
        self.has_answered = true;
        let mut reply = Reader::new(reply);
        parse_reply(&mut reply, self.xid);
        let is_done = reply.flag();
        (reply.check().is_ok() && mark.last).then_some(is_done)
    }
}
