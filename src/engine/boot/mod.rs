//! Network boot: names a loader beside the DHCP server (`dhcp`), serves it by TFTP (`tftp`), and makes the menu of images that iPXE
//! shows (`menu`). PXE 2.1, RFC 4578, RFC 1350.
//!
//! `files` finds what a machine asks for, `loaders` knows the names of loaders, `machines` has the last step of each machine.
//! Invariant: files are those of the exports, read with the rights of each export's anonymous user; nothing is ever written.

mod assign;
mod dhcp;
mod entries;
mod files;
mod groups;
mod layouts;
mod loaders;
pub mod machines;
pub mod menu;
mod scan;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tftp;
mod transfer;

use super::Cx;
use super::service::{Cast, Due, Local, Service, Transmit};
use crate::config::{BOOT_LINK_COUNT_MAX, TFTP_PORT_COUNT};
use crate::event::{Events, Line};
use crate::mem::Ends as _;
use crate::text::text;
use crate::time::Instant;
use crate::vfs::{Ended, Tree};
use crate::wire::Writer;
use crate::wire::http::encode;
use core::net::{Ipv4Addr, SocketAddr};
pub use dhcp::PROXY_PORT;
use dhcp::{Asked, Message, Place};
pub use entries::Append;
use files::Path;
use machines::{Key, Machines, Step};
use menu::Menu;
pub use scan::{Way, write_memory};
use tftp::Tftp;
use transfer::Scene;

/// Number of the socket for TFTP requests.
pub const TFTP_SOCKET: u16 = 0;
/// Number of the first interface's socket at port 67; its sockets at ports 4011 and 68 have the next ones, then the next interface
/// follows.
pub const DHCP_SOCKET: u16 = 1;
/// Number of the first socket of the pool of ports for transfers.
pub const POOL_SOCKET: u16 = DHCP_SOCKET + 3 * BOOT_LINK_COUNT_MAX as u16;
/// Number of sockets.
pub const SOCKET_COUNT: usize = (POOL_SOCKET + TFTP_PORT_COUNT) as usize;
/// Longest URL (bytes): every byte of the path may be escaped.
const URL_BYTES: usize = 64 + 3 * 2 * files::NAME_BYTES_MAX;

/// An interface at which machines are answered.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its first IPv4 address.
    pub address: Ipv4Addr,
}

/// The server.
pub struct Boot {
    links: heapless::Vec<Link, BOOT_LINK_COUNT_MAX>,
    tftp: Tftp,
    menu: Menu,
    machines: &'static Machines,
    http_port: u16,
}

impl Boot {
    /// A server beside HTTP on this port.
    pub fn new(menu: Menu, machines: &'static Machines, http_port: u16) -> Self {
        Self {
            links: heapless::Vec::new(),
            tftp: Tftp::new(),
            menu,
            machines,
            http_port,
        }
    }

    /// Adds an interface, whose sockets have the numbers from the returned one.
    pub fn add_link(&mut self, link: Link) -> Option<u16> {
        let at = self.links.len() as u16;
        self.links.push(link).ok()?;
        Some(DHCP_SOCKET + 3 * at)
    }

    /// The menu.
    pub const fn menu(&mut self) -> &mut Menu {
        &mut self.menu
    }

    /// Reports the images that are assigned to machines.
    pub fn report_assigned(&self, tree: &mut Tree, events: &mut Events) {
        self.menu.report_assigned(tree, self.machines, events);
    }

    /// Sets the number of open sockets of the pool.
    pub fn set_port_count(&mut self, count: u16) {
        self.tftp.set_port_count(count);
    }

    /// Answers a DHCP message.
    fn answer_dhcp(
        &mut self,
        cx: &mut Cx<'_>,
        at: Local,
        from: SocketAddr,
        input: &[u8],
        out: &mut [u8],
    ) -> Option<Transmit> {
        let number = at.socket - DHCP_SOCKET;
        let place = *Place::ALL.get(usize::from(number % 3))?;
        let link = *self.links.get(usize::from(number / 3))?;
        let asked = match dhcp::read(input, place)? {
            Message::Asked(asked) => asked,
            Message::Address(mac, address) => {
                let address = address.to_ipv6_mapped();
                self.machines.learn(mac, address, cx.now);
                return None;
            }
            Message::Rival(server, next, file) => {
                // Another server may name this one.
                let is_own = |address| self.links.iter().any(|link| link.address == address);
                if !is_own(server) && !is_own(next) {
                    let (event, why) = (
                        text!("also names a file to machines that boot:").warn(),
                        text!("some may take that"),
                    );
                    let server = server.to_ipv6_mapped();
                    cx.events.report_for_peer(cx.now, server, event, file, why);
                }
                return None;
            }
        };
        let is_proxy = place == Place::Proxy;
        let mut buffer = [0; URL_BYTES];
        let mut file = Writer::new(&mut buffer);
        self.choose_file(cx, &asked, link, &mut file)?;
        let len = dhcp::write(&asked, link.address, file.since(0), out);
        if is_proxy && !asked.head.ciaddr.is_unspecified() {
            let address = asked.head.ciaddr.to_ipv6_mapped();
            self.machines.learn(asked.head.chaddr, address, cx.now);
        }
        let from_link = Local {
            socket: at.socket,
            interface: link.index,
            address: Some(link.address.into()),
            cast: Cast::Unicast,
        };
        (len > 0).then_some(Transmit {
            from: from_link,
            to: dhcp::destination(&asked, from, place),
            len,
        })
    }

    /// Writes the name of the file for a machine: the URL of the menu, or the name or URL of a loader. `None`: there is none.
    fn choose_file(
        &self,
        cx: &mut Cx<'_>,
        asked: &Asked<'_>,
        link: Link,
        out: &mut Writer<'_>,
    ) -> Option<()> {
        let key = Key::Mac(asked.head.chaddr);
        let mut host = Line::default();
        host.text("http://").address(link.address.to_ipv6_mapped());
        if self.http_port != 80 {
            host.byte(b':').number(self.http_port.into());
        }
        let mut step = Step::OfferedMenu;
        if asked.is_ipxe {
            out.put(host.bytes());
            out.put(b"/boot.ipxe");
        } else {
            let mut path = Path::new();
            let types = asked.types();
            let found = { types }.find_map(|kind| loaders::find(cx, kind, &mut path).ok());
            let Some(name_len) = found else {
                let mut line = Line::default();
                line.text("type");
                for kind in asked.types() {
                    line.byte(b' ').number(kind.into());
                }
                let about = line.bytes();
                self.machines.note(cx, key, Step::Unsupported, about);
                return None;
            };
            step = Step::Offered;
            if asked.is_http {
                out.put(host.bytes());
                for name in crate::mem::parts(&path, b'/').skip(1) {
                    out.put(b"/");
                    encode(out, name);
                }
            } else {
                out.put(path.tail(path.len() - name_len));
            }
        }
        let is_uefi = asked.types().any(|kind| !matches!(kind, 0 | 20));
        self.machines.note(cx, key, step, out.since(0));
        self.machines.set_uefi(asked.head.chaddr, is_uefi, cx.now);
        Some(())
    }
}

impl Service for Boot {
    fn datagram(
        &mut self,
        cx: &mut Cx<'_>,
        at: Local,
        from: SocketAddr,
        input: &[u8],
        output: &mut [u8],
    ) -> Option<Transmit> {
        if (DHCP_SOCKET..POOL_SOCKET).contains(&at.socket) {
            return self.answer_dhcp(cx, at, from, input, output);
        }
        // A request to all hosts is answered by none. RFC 1123 section 4.2.3.4.
        if at.cast != Cast::Unicast {
            return None;
        }
        let mut scene = Scene {
            cx,
            menu: &mut self.menu,
            machines: self.machines,
        };
        self.tftp.handle(&mut scene, at, from, input, output)
    }

    fn due(&mut self, cx: &mut Cx<'_>, output: &mut [u8]) -> Due {
        self.machines.report_silence(cx);
        let mut scene = Scene {
            cx,
            menu: &mut self.menu,
            machines: self.machines,
        };
        let sent = self.tftp.due(&mut scene, output);
        sent.map_or(Due::Nothing, Due::Send)
    }

    fn ended(&mut self, cx: &mut Cx<'_>, ended: Ended) {
        self.tftp.ended(ended, cx.now);
    }

    fn poll_at(&self) -> Instant {
        self.tftp.poll_at().min(self.machines.poll_at())
    }
}
