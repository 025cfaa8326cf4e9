//! `nfs`, also as `unfsd`: NFS version 3 with MOUNT and a portmapper of its own. RFC 1813, RFC 1833.
//!
//! The flags are unfsd's where unfsd has them: -n, -m, -l, -p.

mod options;

use super::{Failure, Outcome, print};
use crate::config::{
    CONNECTION_COUNT_MAX, DESCRIPTOR_RESERVE, KEY_DIRECTORY, KEY_NAME, NODE_COUNT_MAX,
    NODE_COUNT_MIN,
};
use crate::drive::Driver;
use crate::engine::rpc::{Programs, Service};
use crate::event::{Event, Events, Line};
use crate::net::NetError;
use crate::net::kernel::Kernel;
use crate::sys::frames::{self, BUILD_ID_BYTES};
use crate::sys::start::Args;
use crate::sys::stdio::Stdio;
use crate::sys::{self, Errno, process};
use crate::vfs::host::{ExportError, Form, Host, KeyError};
use crate::wire::portmap::{Mapping, Transport};
use crate::wire::{mount, nfs3, portmap};
use alloc::boxed::Box;
use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use options::terminated;

pub(super) use options::{Options, Parsed};

pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Outcome {
    match Options::parse(args, "nfs")? {
        Parsed::Options(options) => serve(&options, build_id),
        Parsed::Shown(text) => print(text),
    }
}

/// Serves until the process is asked to stop.
pub(super) fn serve(options: &Options, build_id: &[u8; BUILD_ID_BYTES]) -> Outcome {
    if let Some(path) = options.log {
        frames::open(path, build_id)
            .map_err(|errno| cannot("write traces to", path.to_bytes(), why(errno)))?;
    }
    let stop = process::signals(false);
    let descriptors = process::descriptor_limit();
    // Half of a small limit is kept for what is not a client.
    let spare = descriptors - DESCRIPTOR_RESERVE.min(descriptors / 2);
    let node_count = (spare / 4).clamp(NODE_COUNT_MIN, NODE_COUNT_MAX);
    let connection_count = spare.saturating_sub(node_count).min(CONNECTION_COUNT_MAX);
    if connection_count == 0 {
        return Err(Failure::failed(|line| {
            line.text("only ")
                .number(descriptors as u64)
                .text(" descriptors are allowed; raise the limit (ulimit -n 256)");
        }));
    }
    let mut events = Events::new(Box::new(Stdio::error()));
    let mut host = Host::new(node_count);
    export(options, &mut host, &mut events)?;
    let mut verifier = [0; 16];
    sys::entropy(&mut verifier);
    let verifier = *verifier.first_chunk().unwrap_or(&[0; nfs3::VERIFIER_BYTES]);
    let mut net = Kernel::new(stop);
    let programs = Programs::new(verifier);
    let mut driver = Driver::new(
        &mut net,
        &mut host,
        events,
        programs,
        connection_count,
        sys::now(),
    );
    open_doors(options, &mut driver)?;
    driver.run();
    Ok(())
}

/// Exports what was asked for, with kernel handles where they work and their secret can be kept.
fn export(options: &Options, host: &mut Host, events: &mut Events) -> Outcome {
    let mut keyed = None;
    for wanted in &options.exports {
        let path = wanted.path;
        let form = match options.form {
            Some(form) => form,
            None if Host::gives_kernel_handles(path) => Form::Kernel,
            None => Form::Trail,
        };
        if form == Form::Kernel && keyed.is_none() {
            let key_file = options.key_file.unwrap_or_else(|| default_key_file());
            keyed = Some(match host.load_key(key_file) {
                Ok(()) => true,
                // Asked for by name: then it must work.
                Err(error) if options.form.is_some() || options.key_file.is_some() => {
                    return Err(cannot(
                        "use the key file",
                        key_file.to_bytes(),
                        key_error(error),
                    ));
                }
                Err(error) => {
                    let what = "no kernel handles, because their secret cannot be kept in /var/lib/stowaway";
                    let remedy = "clients may lose files whose directories are moved; name another place with --key-file";
                    events.tell(sys::now(), Event::Degraded(what, key_error(error), remedy));
                    false
                }
            });
        }
        let form = if keyed == Some(false) {
            Form::Trail
        } else {
            form
        };
        host.export(path, form, wanted.fsid)
            .map_err(|error| cannot("export", path.to_bytes(), export_error(error)))?;
        let handles = match form {
            Form::Kernel => "kernel",
            Form::Trail => "path",
        };
        events.tell(sys::now(), Event::Exporting(path.to_bytes(), handles));
        if path == c"/" {
            let remedy = "export a directory below it for them";
            events.tell(
                sys::now(),
                Event::Degraded(
                    "Windows clients cannot use the export /",
                    "its name",
                    remedy,
                ),
            );
        }
    }
    events.tell(
        sys::now(),
        Event::ServingAs(rustix::process::geteuid().as_raw()),
    );
    Ok(())
}

/// The key's usual place. Its directory is made if it can be; if not, opening the key says so.
fn default_key_file() -> &'static CStr {
    let mut path = Line::default();
    path.text(KEY_DIRECTORY);
    let _ = rustix::fs::mkdir(terminated(path.bytes()), rustix::fs::Mode::RWXU);
    path.text("/").text(KEY_NAME);
    terminated(path.bytes())
}

/// Listens for NFS and MOUNT, and for the portmapper if its port is free and may be used.
fn open_doors(options: &Options, driver: &mut Driver<'_>) -> Outcome {
    const NFS: Service = Service {
        nfs: true,
        mount: false,
        portmap: false,
    };
    const MOUNT: Service = Service {
        nfs: false,
        mount: true,
        portmap: false,
    };
    const BOTH: Service = Service { mount: true, ..NFS };
    let mount_versions = &[mount::VERSION_1, mount::VERSION_3];
    let nfs_port = options.nfs_port;
    let (nfs_at, mount_at) = match options.mount_port.filter(|port| *port != nfs_port) {
        None => {
            let at = listen(options, driver, nfs_port, BOTH, "NFS and MOUNT")?;
            (at, at)
        }
        Some(mount_port) => {
            let nfs_at = listen(options, driver, nfs_port, NFS, "NFS")?;
            (nfs_at, listen(options, driver, mount_port, MOUNT, "MOUNT")?)
        }
    };
    map(
        driver,
        nfs3::PROGRAM,
        &[nfs3::VERSION],
        Transport::Tcp,
        nfs_at,
    );
    map(
        driver,
        mount::PROGRAM,
        mount_versions,
        Transport::Tcp,
        mount_at,
    );
    match driver.bind(mount_at, MOUNT) {
        Ok(at) => map(driver, mount::PROGRAM, mount_versions, Transport::Udp, at),
        Err(error) => driver.tell(Event::Degraded(
            "no MOUNT over UDP",
            net_error(error),
            "clients use TCP",
        )),
    }
    if options.portmap {
        let doors = driver.door_count();
        match open_portmap(options, driver) {
            Ok(at) => driver.tell(Event::Listening(at, "portmap")),
            Err(error) => {
                driver.close_doors(doors);
                let why = match error {
                    NetError::InUse => "port 111 is taken, perhaps by rpcbind",
                    NetError::Denied => "port 111 is for root only",
                    other => net_error(other),
                };
                driver.tell(Event::NoPortmap(why, nfs_at.port(), mount_at.port()));
            }
        }
    }
    Ok(())
}

fn open_portmap(options: &Options, driver: &mut Driver<'_>) -> Result<SocketAddr, NetError> {
    const PORTMAP: Service = Service {
        nfs: false,
        mount: false,
        portmap: true,
    };
    let at = anywhere(options.address, |address| {
        driver.listen(SocketAddr::new(address, portmap::PORT), PORTMAP)
    })?;
    driver.bind(at, PORTMAP)?;
    map(
        driver,
        portmap::PROGRAM,
        &[portmap::VERSION],
        Transport::Tcp,
        at,
    );
    map(
        driver,
        portmap::PROGRAM,
        &[portmap::VERSION],
        Transport::Udp,
        at,
    );
    Ok(at)
}

/// Adds a program to what the portmapper tells.
fn map(
    driver: &mut Driver<'_>,
    program: u32,
    versions: &[u32],
    transport: Transport,
    at: SocketAddr,
) {
    driver
        .programs()
        .mappings
        .extend(versions.iter().map(|version| Mapping {
            program,
            version: *version,
            transport,
            port: at.port(),
        }));
}

/// Listens for `service` and tells where.
fn listen(
    options: &Options,
    driver: &mut Driver<'_>,
    port: u16,
    service: Service,
    what: &'static str,
) -> Result<SocketAddr, Failure> {
    let opened = anywhere(options.address, |address| {
        driver.listen(SocketAddr::new(address, port), service)
    });
    let at = opened.map_err(|error| {
        Failure::failed(|line| {
            line.text("cannot listen for ").text(what).text(" on ");
            match options.address {
                Some(address) => line.socket(SocketAddr::new(address, port)),
                None => line.text("port ").number(port.into()),
            };
            line.text(": ")
                .text(net_error(error))
                .text("; choose another with ");
            line.text(if error == NetError::NoSuchAddress {
                "-l"
            } else {
                "-n or -m"
            });
        })
    })?;
    driver.tell(Event::Listening(at, what));
    Ok(at)
}

/// Opens at the address that was asked for; else at every address of both families, or of IPv4 where there is no other.
fn anywhere<T>(
    address: Option<IpAddr>,
    mut open: impl FnMut(IpAddr) -> Result<T, NetError>,
) -> Result<T, NetError> {
    match address {
        Some(address) => open(address),
        None => match open(Ipv6Addr::UNSPECIFIED.into()) {
            Err(NetError::Unsupported | NetError::NoSuchAddress | NetError::Gone) => {
                open(Ipv4Addr::UNSPECIFIED.into())
            }
            opened => opened,
        },
    }
}

/// "cannot WHAT PATH: WHY".
fn cannot(what: &str, path: &[u8], why: &str) -> Failure {
    Failure::failed(|line| {
        line.text("cannot ")
            .text(what)
            .text(" ")
            .escaped(path)
            .text(": ")
            .text(why);
    })
}

const fn why(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "it does not exist; check the path",
        Errno::NOTDIR => "it, or a part of its path, is not a directory",
        Errno::ISDIR => "it is a directory",
        Errno::ACCESS | Errno::PERM => {
            "this user may not; start as another user or change its mode"
        }
        Errno::NOSPC | Errno::DQUOT => "the disk is full; make room there",
        Errno::ROFS => "the file system there is read-only; choose another place",
        Errno::LOOP => "it is a symbolic link, or there are too many in its path",
        Errno::NAMETOOLONG => "a name in it is too long",
        Errno::NFILE | Errno::MFILE => "no descriptor is left; raise the limit (ulimit -n)",
        Errno::IO => "the disk failed; see the kernel's log",
        _ => "the host refuses; see that it is an ordinary local file or directory",
    }
}

const fn key_error(error: KeyError) -> &'static str {
    match error {
        KeyError::File(errno) => why(errno),
        KeyError::Length => "it is not 16 bytes long; remove it, and a new one is made",
        KeyError::Exposed => {
            "others may read it; chmod 600 it, or remove it, and a new one is made"
        }
    }
}

const fn export_error(error: ExportError) -> &'static str {
    match error {
        ExportError::Open(errno) => why(errno),
        ExportError::Pseudo => {
            "it shows the kernel's own state, not files; export an ordinary directory"
        }
        ExportError::Twice => {
            "it is exported already; name it once, or tell the two apart with fsid="
        }
        ExportError::TooMany => "there are too many exports; join some in one directory",
        ExportError::NoKernelHandles(Errno::PERM) => {
            "kernel handles are for root only; leave out --handles"
        }
        ExportError::NoKernelHandles(_) => {
            "its file system gives no kernel handles; leave out --handles"
        }
    }
}

const fn net_error(error: NetError) -> &'static str {
    match error {
        NetError::InUse => "it is in use",
        NetError::Denied => "ports below 1024 are for root only",
        NetError::NoSuchAddress => "this host has no such address",
        NetError::Full => "no descriptor or memory is left",
        NetError::Unsupported => "this host's network cannot do it",
        NetError::WouldBlock | NetError::Gone => "the host refuses",
    }
}
