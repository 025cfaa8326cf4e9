//! The task that names loaders by proxyDHCP and serves them by TFTP.

use super::Options;
use crate::config::{BOOT_LINK_COUNT_MAX, TFTP_PORT_COUNT};
use crate::drive::service::{Limits, Served, Server, Serving};
use crate::drive::{Tasks, World};
use crate::engine::boot::{
    Boot, Link, POOL_SOCKET, PROXY_PORT, SOCKET_COUNT, TFTP_SOCKET, Way, write_memory,
};
use crate::event::{Event, Fatal, Line};
use crate::exports::Lookout;
use crate::mem::{self, Ends as _};
use crate::net::{Binding, Interface, Interfaces, NetError, Signals};
use crate::stats::Family;
use crate::sys::{Calls, Needs};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::Peer;
use crate::wire::dhcp::{CLIENT_PORT, SERVER_PORT};
use crate::wire::tftp::{BLOCK_BYTES_MAX, PORT};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The server's sockets and reports.
struct Role {
    options: &'static Options,
    http_port: u16,
    has_port: bool,
    /// The looks for the address of a network stack of our own.
    lookout: Lookout,
}

/// Adds the task, not started yet, to those of a loop. HTTP is served on this port.
pub(super) fn add_task(options: &'static Options, http_port: u16, tasks: &mut Tasks) {
    let served = Served::new(&Limits {
        protocol: Family::Rpc,
        socket_count: SOCKET_COUNT,
        datagram_bytes: usize::from(BLOCK_BYTES_MAX) + 4,
        ..Limits::DATAGRAMS
    });
    let _ = tasks.push(mem::leak(Serving {
        server: Role {
            options,
            http_port,
            has_port: false,
            lookout: Lookout::new(options.is_own_stack),
        },
        served,
        service: Boot::new(options.menu(http_port), options.machines(), http_port),
    }));
}

impl Server<Boot> for Role {
    fn start(
        &mut self,
        boot: &mut Boot,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        let mut requests = Binding::of((Ipv6Addr::UNSPECIFIED, PORT).into());
        let mut bound = served.bind(world, &requests, TFTP_SOCKET);
        if !matches!(bound, Ok(()) | Err(NetError::InUse | NetError::Denied)) {
            // A host without IPv6.
            requests.at = (Ipv4Addr::UNSPECIFIED, PORT).into();
            bound = served.bind(world, &requests, TFTP_SOCKET);
        }
        match bound {
            Ok(()) => world
                .events
                .report(text!("serving TFTP on port 69"), b"", Text::NOTHING),
            Err(error) => report_port(world, PORT, error, text!("machines get no loader by TFTP")),
        }
        self.has_port = bound.is_ok();
        let count = served.bind_pool(world, POOL_SOCKET, TFTP_PORT_COUNT, true, &mut || 0);
        boot.set_port_count(count);
        self.add_links(boot, served, world);
        report_images(boot, world);
        self.report_unused(world);
        boot.report_assigned(world.tree, world.events);
        Ok(())
    }

    fn poll_at(&self) -> Instant {
        self.lookout.at
    }

    fn turn(
        &mut self,
        boot: &mut Boot,
        served: &mut Served,
        world: &mut World<'_>,
        signals: Signals,
    ) {
        if world.now >= self.lookout.at {
            self.add_links(boot, served, world);
        }
        if signals.reload {
            boot.report_assigned(world.tree, world.events);
        }
    }

    fn add_needs(&self, needs: &mut Needs) {
        needs.report_for("boot");
        needs.add(Calls::NFS);
        needs.add(Calls::STREAMS);
        needs.add(Calls::DATAGRAMS);
    }
}

/// The first IPv4 address of an interface.
fn first_address(interface: &Interface) -> Option<Ipv4Addr> {
    interface
        .addresses
        .iter()
        .find_map(|(address, _)| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
}

impl Role {
    /// Answers machines at all interfaces, unless a network stack of our own has no address yet.
    fn add_links(&mut self, boot: &mut Boot, served: &mut Served, world: &mut World<'_>) {
        if self.lookout.look(world).is_none() {
            return;
        }
        self.lookout.at = Instant::NEVER;
        let mut interfaces = Interfaces::default();
        world.net.interfaces(&mut interfaces);
        let mut count = 0;
        for interface in interfaces.iter() {
            if self.is_served(interface)
                && let Some(address) = first_address(interface)
            {
                self.add_link(boot, served, world, (interface, address));
                count += 1;
            }
        }
        if count == 0 {
            let why = text!(
                "no interface with an IPv4 address; start again when there is one, or with --ip"
            );
            let (what, at) = match self.options.interface {
                Some(name) => (text!("no machine can boot at").warn(), name),
                None => (text!("no machine can boot here").warn(), &b""[..]),
            };
            world.events.report(what, at, why);
        }
    }

    fn is_served(&self, interface: &Interface) -> bool {
        match self.options.interface {
            Some(name) => {
                let end = interface.name.iter().position(|byte| *byte == 0);
                interface.name.head(end.unwrap_or(16)) == name
            }
            // One without a carrier may get it later.
            None => !interface.is_loopback,
        }
    }

    /// Reports each `--append` that fits no kernel.
    fn report_unused(&self, world: &mut World<'_>) {
        let mut append = self.options.wishes.append;
        while let Some(one) = append {
            if !one.is_used.get() {
                let what = text!("--append fits no image:").warn();
                world.events.report(what, one.pattern, Text::NOTHING);
            }
            append = one.before;
        }
    }

    /// Answers machines at an interface, and reports that.
    fn add_link(
        &self,
        boot: &mut Boot,
        served: &mut Served,
        world: &mut World<'_>,
        (interface, address): (&Interface, Ipv4Addr),
    ) {
        let link = Link {
            index: interface.index,
            address,
        };
        let Some(number) = boot.add_link(link) else {
            let most = BOOT_LINK_COUNT_MAX as u64;
            let mut line = Line::default();
            line.say_number(text!("interfaces are limited to "), most);
            world
                .events
                .report(text!("left out:").warn(), line.bytes(), Text::NOTHING);
            return;
        };
        let end = interface.name.iter().position(|byte| *byte == 0);
        let mut line = Line::default();
        line.raw(interface.name.head(end.unwrap_or(16))).text(": ");
        line.text("http://").address(address.to_ipv6_mapped());
        if self.http_port != 80 {
            line.byte(b':').number(self.http_port.into());
        }
        line.text("/boot.ipxe");
        if !self.options.has_no_dhcp {
            for (number, port) in (number..).zip([SERVER_PORT, PROXY_PORT, CLIENT_PORT]) {
                let binding = Binding {
                    interface: Some(interface),
                    broadcasts: true,
                    ..Binding::of(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                };
                match served.bind(world, &binding, number) {
                    // Hears other servers. A DHCP client of this host may have it.
                    _ if port == CLIENT_PORT => {}
                    Ok(()) => _ = line.say_number(text!(", port "), port.into()),
                    Err(error) => report_port(world, port, error, without_dhcp(error)),
                }
            }
        }
        world
            .events
            .report(text!("machines boot at"), line.bytes(), Text::NOTHING);
        let mut line = Line::default();
        line.text("dhcp-boot=snponly.efi,,")
            .address(address.to_ipv6_mapped());
        let what = text!("dnsmasq can name the loader, too:");
        world.events.report(what, line.bytes(), Text::NOTHING);
    }
}

/// The consequence of a port of DHCP that cannot be used.
fn without_dhcp(error: NetError) -> Text {
    match error {
        NetError::InUse => text!("the DHCP server here must send option 60, PXEClient"),
        _ => text!("the DHCP server must name the loader"),
    }
}

/// Reports that a port cannot be used, and the consequence.
fn report_port(world: &mut World<'_>, port: u16, error: NetError, why: Text) {
    let what: Event = match error {
        NetError::InUse => text!("another program uses port").warn(),
        NetError::Denied => text!("only root may use port").warn(),
        _ => text!("cannot use port").warn(),
    };
    let mut line = Line::default();
    line.number(port.into());
    world.events.report(what, line.bytes(), why);
}

/// Reports each way to boot each image.
fn report_images(boot: &mut Boot, world: &mut World<'_>) {
    let (tree, events) = (&mut *world.tree, &mut *world.events);
    boot.menu()
        .fill(tree, &Peer::NONE, &mut |path, way, memory, why| {
            let mut line = Line::default();
            line.prefix().escaped(path).text(": ").say(way.text());
            write_memory(&mut line, memory);
            if way == Way::No {
                line.text(": ").say(why);
            }
            events.report_line(&mut line);
        });
}
