//! proxyDHCP: names the file to boot, beside the DHCP server that gives the address. PXE 2.1 sections 2.2 to 2.4, RFC 4578.
//!
//! Answers a DISCOVER of a machine that boots on port 67, and its REQUEST or INFORM on port 4011; a REQUEST on port 67 is for the
//! other server. Never offers an address. iPXE is offered the menu, firmware a loader.

use crate::mem::Ends as _;
use crate::wire::dhcp::{self, CLIENT_PORT, Head, Kind, Op, Options, SERVER_PORT, Writer, option};
use core::net::{Ipv4Addr, SocketAddr};

/// UDP port at which machines ask a boot server that they know.
pub const PROXY_PORT: u16 = 4011;
/// PXE discovery control, bit 3: the machine takes the file of this offer, without a menu or another request.
const DISCOVERY: [u8; 4] = [6, 1, 8, option::END];
/// Length of a machine's identifier (bytes): a type and a UUID.
const MACHINE_BYTES: usize = 17;
/// Types of a client that are read, at most.
const TYPE_COUNT_MAX: usize = 4;

/// A request of a machine that boots.
pub(super) struct Asked<'a> {
    pub(super) head: Head,
    options: Options<'a>,
    kind: Kind,
    /// True if the firmware fetches the file by HTTP.
    pub(super) is_http: bool,
    pub(super) is_ipxe: bool,
    types: [u8; 2 * TYPE_COUNT_MAX],
    types_len: usize,
}

/// The port at which a message has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// 67: requests to all servers.
    Server,
    /// 4011: requests to a boot server.
    Proxy,
    /// 68: what other servers send to all clients.
    Client,
}

impl Place {
    /// The ports of an interface, in the order of its sockets.
    pub(super) const ALL: [Self; 3] = [Self::Server, Self::Proxy, Self::Client];
}

/// A message.
pub(super) enum Message<'a> {
    Asked(Asked<'a>),
    /// A client asks another server for this address.
    Address([u8; 6], Ipv4Addr),
    /// The server with the first address names a file, on the host with the second one.
    Rival(Ipv4Addr, Ipv4Addr, &'a [u8]),
}

impl Asked<'_> {
    /// The types of the machine's processor and firmware; 0 if it names none.
    pub(super) fn types(&self) -> impl Iterator<Item = u16> {
        let (types, _) = self.types.head(self.types_len.max(2)).as_chunks();
        types.iter().map(|one| u16::from_be_bytes(*one))
    }
}

/// Reads a message. `None`: nothing is to be done.
pub(super) fn read(message: &[u8], place: Place) -> Option<Message<'_>> {
    let (head, options) = dhcp::parse(message).ok()?;
    let kind = options
        .joined(option::MESSAGE_TYPE, &mut [0; 1])?
        .first()
        .copied();
    let kind = kind.and_then(Kind::of)?;
    match (head.op, kind, place) {
        (Op::Request, Kind::Discover, Place::Server)
        | (Op::Request, Kind::Request | Kind::Inform, Place::Proxy) => {}
        (Op::Reply, Kind::Offer, Place::Client) => {
            let mut buffer = [0; 4];
            let server = options.joined(option::SERVER, &mut buffer);
            let server = server.and_then(|bytes| bytes.first_chunk()).copied();
            let mut items = options.clone().flatten();
            let file = items.find(|item| item.code == option::BOOT_FILE);
            let file = file.map_or(options.file(), |item| item.value);
            let server = server.map_or(head.siaddr, Ipv4Addr::from);
            return (!file.is_empty()).then_some(Message::Rival(server, head.siaddr, file));
        }
        (Op::Request, Kind::Request, Place::Server) => {
            let mut buffer = [0; 4];
            let wanted = options.joined(option::REQUESTED_ADDRESS, &mut buffer);
            let wanted = wanted.and_then(|bytes| bytes.first_chunk()).copied();
            let address = wanted.map_or(head.ciaddr, Ipv4Addr::from);
            return Some(Message::Address(head.chaddr, address));
        }
        _ => return None,
    }
    let mut class = [0; 16];
    let class = options.joined(option::CLASS, &mut class)?;
    let is_http = class.starts_with(b"HTTPClient");
    if !is_http && !class.starts_with(b"PXEClient") {
        return None;
    }
    let mut user = [0; 64];
    let user = options
        .joined(option::USER_CLASS, &mut user)
        .unwrap_or_default();
    let is_ipxe = user.windows(4).any(|part| part == b"iPXE")
        || options.joined(option::IPXE, &mut [0; 1]).is_some();
    let mut types = [0; _];
    let given = options.joined(option::ARCHITECTURE, &mut types);
    let types_len = given.map_or(0, <[u8]>::len);
    Some(Message::Asked(Asked {
        head,
        options,
        kind,
        is_http,
        is_ipxe,
        types,
        types_len,
    }))
}

/// Writes the answer of the server with the address `own`, with the name of a file. Returns its length (bytes), 0 if it does not fit.
pub(super) fn write(asked: &Asked<'_>, own: Ipv4Addr, file: &[u8], out: &mut [u8]) -> usize {
    let head = Head {
        op: Op::Reply,
        secs: 0,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        // Without it, iPXE ignores the file.
        siaddr: own,
        ..asked.head
    };
    let kind = match asked.kind {
        Kind::Discover => Kind::Offer,
        _ => Kind::Ack,
    };
    let mut writer = Writer::new(out, &head, kind);
    writer.option(option::SERVER, &own.octets());
    let class: &[u8] = if asked.is_http {
        b"HTTPClient"
    } else {
        b"PXEClient"
    };
    writer.option(option::CLASS, class);
    let mut machine = [0; MACHINE_BYTES];
    if let Some(machine) = asked.options.joined(option::MACHINE, &mut machine) {
        writer.option(option::MACHINE, machine);
    }
    if !asked.is_http {
        writer.option(option::VENDOR, &DISCOVERY);
    }
    let mut line = crate::event::Line::default();
    line.address(own.to_ipv6_mapped());
    writer.option(option::BOOT_SERVER, line.bytes());
    writer.option(option::BOOT_FILE, file);
    let mut relay = [0; 255];
    if let Some(relay) = asked.options.joined(option::RELAY, &mut relay) {
        writer.option(option::RELAY, relay);
    }
    let len = writer.finish().unwrap_or(0);
    dhcp::set_file(out.head_mut(len), file);
    len
}

/// The destination of the answer to a request from `from`.
pub(super) fn destination(asked: &Asked<'_>, from: SocketAddr, place: Place) -> SocketAddr {
    if place == Place::Proxy {
        return from;
    }
    match asked.head.giaddr {
        // The machine has no address, whether it has set the broadcast flag or not.
        Ipv4Addr::UNSPECIFIED => (Ipv4Addr::BROADCAST, CLIENT_PORT).into(),
        relay => (relay, SERVER_PORT).into(),
    }
}
