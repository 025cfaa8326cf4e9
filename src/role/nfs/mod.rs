//! `nfs`, also as `unfsd`: NFS version 3 with MOUNT and a portmapper of its own. RFC 1813, RFC 1833.
//!
//! The flags are unfsd's where unfsd has them: -n, -m, -l, -p.

mod options;

use super::{Console, FAILED, Status, complain, print};
use crate::config::{
    CONNECTION_COUNT_MAX, DESCRIPTOR_RESERVE, KEY_DIRECTORY, KEY_NAME, NODE_COUNT_MAX,
    NODE_COUNT_MIN,
};
use crate::drive::Driver;
use crate::engine::rpc::{Programs, Service};
use crate::event::{self, Events, Line};
use crate::net::NetError;
use crate::net::kernel::Kernel;
use crate::sys::frames::{self, BUILD_ID_BYTES};
use crate::sys::start::Args;
use crate::sys::{self, Errno, process};
use crate::vfs::host::{ExportError, Form, Host, KeyError};
use crate::wire::portmap::{Mapping, Transport};
use crate::wire::{mount, nfs3, portmap};
use alloc::boxed::Box;
use core::ffi::CStr;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use options::terminated;

pub(super) use options::{HELP, Options};

pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Status> {
    match Options::parse(args)? {
        Some(options) => serve(&options, build_id),
        None => print(HELP),
    }
}

/// Serves until the process is asked to stop.
pub(super) fn serve(options: &Options, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Status> {
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
        return Err(complain(
            FAILED,
            &[b"too few descriptors are allowed; raise the limit (ulimit -n 256)"],
        ));
    }
    let mut host = Host::new(node_count);
    let form = choose_form(options, &mut host)?;
    for wanted in &options.exports {
        let exported = host.export(wanted.path, form, wanted.fsid);
        exported.map_err(|error| cannot("export", wanted.path.to_bytes(), export_error(error)))?;
    }
    let mut verifier = [0; 16];
    sys::entropy(&mut verifier);
    let verifier = *verifier.first_chunk().unwrap_or(&[0; nfs3::VERIFIER_BYTES]);
    let mut net = Kernel::new(stop);
    let programs = Programs::new(verifier);
    let events = Events::new(Box::new(Console));
    let mut driver = Driver::new(
        &mut net,
        &mut host,
        events,
        programs,
        connection_count,
        sys::now(),
    );
    open_doors(options, &mut driver)?;
    let events = driver.events();
    for wanted in &options.exports {
        let kind = if form == Form::Kernel {
            "read-only, kernel handles"
        } else {
            "read-only, path handles"
        };
        events.tell(event::EXPORTING, wanted.path.to_bytes(), kind);
        if wanted.path == c"/" {
            events.tell(event::UNUSABLE_BY_WINDOWS, b"/", "");
        }
    }
    let mut user = Line::default();
    events.tell(
        event::READING_AS,
        user.number(rustix::process::geteuid().as_raw()).bytes(),
        "",
    );
    driver.run();
    Ok(())
}

/// Kernel handles where all exports have them and their secret can be kept; else trails.
fn choose_form(options: &Options, host: &mut Host) -> Result<Form, Status> {
    let possible = || {
        options
            .exports
            .iter()
            .all(|wanted| Host::gives_kernel_handles(wanted.path))
    };
    if !options
        .form
        .map_or_else(possible, |form| form == Form::Kernel)
    {
        return Ok(Form::Trail);
    }
    let key_file = options.key_file.unwrap_or_else(default_key_file);
    match host.load_key(key_file) {
        Ok(()) => Ok(Form::Kernel),
        Err(error) if options.form.is_none() && options.key_file.is_none() => {
            Events::new(Box::new(Console)).tell(
                event::NO_KERNEL_HANDLES,
                key_file.to_bytes(),
                key_error(error),
            );
            Ok(Form::Trail)
        }
        // Asked for by name: then it must work.
        Err(error) => Err(cannot(
            "use the key file",
            key_file.to_bytes(),
            key_error(error),
        )),
    }
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
fn open_doors(options: &Options, driver: &mut Driver<'_>) -> Result<(), Status> {
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
        Err(error) => driver
            .events()
            .tell(event::NO_DATAGRAMS, b"", net_error(error)),
    }
    if options.portmap {
        let doors = driver.door_count();
        match open_portmap(options, driver) {
            Ok(at) => tell_listening(driver, at, "portmap"),
            Err(error) => {
                driver.close_doors(doors);
                let why = match error {
                    NetError::InUse => "port 111 is taken, perhaps by rpcbind",
                    NetError::Denied => "port 111 is for root only",
                    other => net_error(other),
                };
                let mut ports = Line::default();
                ports
                    .text("port=")
                    .number(nfs_at.port().into())
                    .text(",mountport=")
                    .number(mount_at.port().into());
                driver.events().tell(event::NO_PORTMAP, ports.bytes(), why);
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
) -> Result<SocketAddr, Status> {
    let opened = anywhere(options.address, |address| {
        driver.listen(SocketAddr::new(address, port), service)
    });
    let at = opened.map_err(|error| {
        let at = SocketAddr::new(
            options.address.unwrap_or(Ipv6Addr::UNSPECIFIED.into()),
            port,
        );
        cannot(
            "listen on",
            Line::default().socket(at).bytes(),
            net_error(error),
        )
    })?;
    tell_listening(driver, at, what);
    Ok(at)
}

fn tell_listening(driver: &mut Driver<'_>, at: SocketAddr, what: &str) {
    let mut line = Line::default();
    driver.events().tell(
        event::LISTENING,
        line.socket(at).text(" for ").text(what).bytes(),
        "",
    );
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
fn cannot(what: &str, path: &[u8], why: &str) -> Status {
    complain(
        FAILED,
        &[
            b"cannot ",
            what.as_bytes(),
            b" ",
            path,
            b": ",
            why.as_bytes(),
        ],
    )
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
        NetError::InUse => "the port is in use; choose another with -n or -m",
        NetError::Denied => "ports below 1024 are for root only; choose another with -n or -m",
        NetError::NoSuchAddress => "this host has no such address; see -l",
        NetError::Full => "no descriptor or memory is left",
        NetError::Unsupported => "this host's network cannot do it",
        NetError::WouldBlock | NetError::Gone => "the host refuses",
    }
}
