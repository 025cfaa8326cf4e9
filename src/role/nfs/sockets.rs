//! The sockets of NFS, MOUNT and the portmapper, and the table of programs that the portmapper answers from.

use super::super::args::canonical;
use super::options::Options;
use super::rpcbind::{OURS, REGISTERED};
use super::{Nfs, cannot_listen, failed, net_errno};
use crate::config::HAS_SERVE;
use crate::drive::World;
use crate::drive::platform::host::loops;
use crate::drive::service::Served;
use crate::engine::programs::ProgramSet;
use crate::engine::sessions::Rpc;
use crate::event::Fatal;
use crate::exports::Mounting;
use crate::net::{Binding, NetError, NetResult};
use crate::os::daemon;
use crate::sys::Errno;
use crate::text::{Text, text};
use crate::wire::portmap::{Mapping, Transport};
use crate::wire::{nfs3, portmap};
use core::net::{Ipv4Addr, SocketAddrV6};

const NFS: ProgramSet = ProgramSet::NFS;
const MOUNT: ProgramSet = ProgramSet::MOUNT;
const BOTH: ProgramSet = NFS.and(MOUNT);
const PORTMAP: ProgramSet = ProgramSet::PORTMAP;

/// Numbers of the TCP listeners. NFS_TOKEN also serves MOUNT if both have the same port.
const NFS_TOKEN: u32 = 0;
const MOUNT_TOKEN: u32 = 1;
const PORTMAP_TOKEN: u32 = 2;
/// Numbers of the UDP sockets.
const MOUNT_DATAGRAMS: u16 = 3;
const PORTMAP_DATAGRAMS: u16 = 4;
pub(super) const SOCKET_COUNT: usize = 5;

/// Fails if another program listens on the ports of NFS or MOUNT. With several loops the sockets use SO_REUSEPORT, so bind(2)
/// would not report a program of the same user.
pub(in super::super) fn check_ports(options: &Options) -> Result<(), Fatal> {
    let nfs_port = options.address.port();
    let mount_port = options.mount_port.filter(|port| *port != nfs_port);
    for port in [Some(nfs_port), mount_port].into_iter().flatten() {
        let mut at = options.address;
        at.set_port(port);
        if loops::is_taken(at, canonical(&at)) {
            return Err(cannot_listen(&at, Errno::ADDRINUSE));
        }
    }
    Ok(())
}

/// Listens at `at`. Replaces port 0 by the port that the kernel chose. On a host without IPv6, `::` falls back to 0.0.0.0.
pub(in super::super) fn listen(
    served: &mut Served,
    world: &mut World<'_>,
    at: &mut SocketAddrV6,
    local: u32,
) -> NetResult<()> {
    match served.listen(world, canonical(at), local) {
        Err(NetError::Unsupported | NetError::NoSuchAddress | NetError::Gone)
            if at.ip().is_unspecified() =>
        {
            at.set_ip(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
            listen(served, world, at, local)
        }
        opened => {
            at.set_port(opened?.port());
            Ok(())
        }
    }
}

impl Nfs {
    /// Opens the sockets of NFS and MOUNT, and of the portmapper. If the portmapper's port is in use or
    /// denied, reports that and continues without a portmapper.
    pub(super) fn open_sockets(
        &mut self,
        mut sockets: Sockets<'_>,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        let options = self.options;
        let (mut nfs_at, mut mount_at) = (options.address, options.address);
        let separate_port = options.mount_port.filter(|port| *port != nfs_at.port());
        let separate_port = separate_port.filter(|_| options.versions.has_3());
        let (service, what) = match separate_port {
            None if let Some(what) = options.versions.alone() => (NFS, what),
            Some(_) => (NFS, text!(" for NFS")),
            None => (BOTH, text!(" for NFS and MOUNT")),
        };
        sockets.listen(world, &mut nfs_at, NFS_TOKEN, service)?;
        if let Some(port) = separate_port {
            mount_at.set_port(port);
            sockets.listen(world, &mut mount_at, MOUNT_TOKEN, MOUNT)?;
        } else {
            mount_at = nfs_at;
        }
        // Reports only after all required sockets are open. Ports are reported last: a program that waits for the line
        // "listening on" has read the exports by then.
        if self.is_first {
            self.exported.write(world);
            world.events.report_listening(&nfs_at, what);
            if separate_port.is_some() {
                world
                    .events
                    .report_listening(&mount_at, text!(" for MOUNT"));
            }
        }
        let mut has_datagrams = false;
        if !options.has_no_datagrams && options.versions.has_3() {
            let bound = sockets.bind(world, &mount_at, MOUNT_DATAGRAMS, MOUNT);
            has_datagrams = bound.is_ok();
            if let Err(error) = bound
                && self.is_first
            {
                failed(
                    text!("no MOUNT over UDP, only over TCP"),
                    b"",
                    net_errno(error),
                );
            }
        }
        sockets.register(&nfs_at, mount_at.port(), has_datagrams);
        // SET changes the table of one process only.
        let has_portmap = options.portmap
            && options.versions.has_3()
            && self.is_first
            && self.open_portmap(&mut sockets, world, nfs_at);
        let reports = self.is_first && !options.leaves_commands;
        self.mounting = reports.then_some(Mounting {
            nfs_at,
            mount_port: options.versions.has_3().then_some(mount_at.port()),
            has_4: options.versions.has_4(),
            has_portmap,
        });
        self.report_commands(world);
        if HAS_SERVE && self.is_first && options.background.detaches {
            daemon::tell_ready();
        }
        Ok(())
    }

    /// Reports the commands that mount the exports. A network stack of our own that has no address yet does so when it has one.
    pub(super) fn report_commands(&mut self, world: &mut World<'_>) {
        let Some(mounting) = self.mounting else {
            return;
        };
        let Some(own) = self.lookout.look(world) else {
            return;
        };
        if !self.lookout.goes_on() {
            self.mounting = None;
        }
        let opened = world.tree.exports().iter();
        let opened = opened.filter(|export| !export.is_missing());
        mounting.report(own, &mut opened.map(|export| export.path), world.events);
    }

    /// Opens the portmapper's sockets, or registers the programs with that of another program. Reports which it was. Returns false if
    /// clients must name the ports.
    fn open_portmap(
        &mut self,
        sockets: &mut Sockets<'_>,
        world: &mut World<'_>,
        nfs_at: SocketAddrV6,
    ) -> bool {
        let mut portmap_at = nfs_at;
        portmap_at.set_port(portmap::PORT);
        let mut opened = sockets.open(world, &mut portmap_at, PORTMAP_TOKEN, PORTMAP);
        if opened.is_ok() {
            opened = sockets.bind(world, &portmap_at, PORTMAP_DATAGRAMS, PORTMAP);
            if opened.is_err() {
                sockets.served.close_listener(world);
            }
        }
        let Err(error) = opened else {
            world
                .events
                .report_listening(&portmap_at, text!(" for portmap"));
            return true;
        };
        let registered = self.rpcbind.register(&sockets.rpc.programs.mappings, error);
        let event = registered.err().unwrap_or(REGISTERED);
        world.events.report(event, b"", Text::NOTHING);
        registered.is_ok()
    }
}

/// The programs, and their sockets.
pub(super) struct Sockets<'a> {
    pub(super) rpc: &'a mut Rpc,
    pub(super) served: &'a mut Served,
}

impl Sockets<'_> {
    /// Adds the server's own programs to the portmapper's table. `has_datagrams`: MOUNT is also served over UDP.
    fn register(&mut self, nfs_at: &SocketAddrV6, mount_port: u16, has_datagrams: bool) {
        let own = portmap::VERSION..=portmap::VERSION_4;
        let own = own.map(|version| (portmap::PROGRAM, version));
        for (program, version) in own.chain(OURS) {
            let (port, has_udp) = match program {
                portmap::PROGRAM => (portmap::PORT, true),
                nfs3::PROGRAM => (nfs_at.port(), false),
                _ => (mount_port, has_datagrams),
            };
            for &transport in &Transport::ALL {
                let is_reached = nfs_at.ip().is_unspecified()
                    || transport.is_v6() == nfs_at.ip().to_ipv4_mapped().is_none();
                if is_reached && (has_udp || !transport.is_udp()) {
                    let _ = self.rpc.programs.mappings.push(Mapping {
                        program,
                        version,
                        transport,
                        port,
                    });
                }
            }
        }
    }

    /// Listens at `at` for the programs of `service`, and reports a failure. Replaces port 0 by the port that the kernel chose.
    fn listen(
        &mut self,
        world: &mut World<'_>,
        at: &mut SocketAddrV6,
        local: u32,
        service: ProgramSet,
    ) -> Result<(), Fatal> {
        let opened = self.open(world, at, local, service);
        opened.map_err(|error| cannot_listen(at, net_errno(error)))
    }

    /// Listens at `at` without reporting a failure.
    fn open(
        &mut self,
        world: &mut World<'_>,
        at: &mut SocketAddrV6,
        local: u32,
        service: ProgramSet,
    ) -> NetResult<()> {
        listen(self.served, world, at, local)?;
        self.rpc.set_service(local as u16, service);
        Ok(())
    }

    /// Binds a UDP socket for the programs of `service`.
    fn bind(
        &mut self,
        world: &mut World<'_>,
        at: &SocketAddrV6,
        number: u16,
        service: ProgramSet,
    ) -> NetResult<()> {
        self.rpc.set_service(number, service);
        self.served.bind(world, &Binding::of(canonical(at)), number)
    }
}
