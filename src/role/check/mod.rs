//! `check`: whether what is to be served is served, asked as a client would. For who has no shell to ask with.
//!
//! An open port is not enough: every export is mounted and its root looked at, so that a disk that hangs or is gone is found.

mod peer;

use super::flags::Flags;
use super::words::{address, port};
use super::{Console, DONE, FAILED, Status, USAGE, complain, inform, print};
use crate::config::{CHECK_JSON_BYTES, CHECK_PATIENCE, NFS_PORT, REPLY_BYTES};
use crate::event::{self, Line};
use crate::sys::start::Args;
use crate::sys::{self, heap};
use crate::text::{Text, nth, place_in, text};
use crate::time::Instant;
use crate::wire::nfs3::Procedure;
use crate::wire::{Reader, Writer, mount, nfs3};
use core::ffi::CStr;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use peer::{Peer, ROOM_BYTES, STRANGE};

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text = text!("  check nfs|all\t\twhether it serves: exit 0 or 1\n");
/// In the order of [`Target::set`].
const FLAGS: Flags = Flags {
    names: b"--json n m l",
    bare_count: 1,
    wanted: Text::row(&[
        "name a port below 65536",
        "name a port below 65536",
        "name an address in numbers, such as 192.0.2.1 or 2001:db8::1",
    ]),
    help: HELP,
};
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// What can be checked; the first is all the others.
const NAMES: &[u8] = b"all nfs";
/// How, in the same order.
const SERVICES: [Check; 1] = [nfs];

/// Asks a service: the number of things that it serves, or why it does not. What that is about is left in the second argument,
/// unless it is the address.
type Check = fn(&mut Target, &mut &'static [u8]) -> Result<u32, Text>;

/// Where a server should be.
#[derive(Clone, Copy)]
struct Target {
    /// An address of version 4 is mapped into version 6.
    at: SocketAddrV6,
    mount_port: Option<u16>,
    is_json: bool,
    /// When patience is at its end.
    until: Instant,
}

/// Checks what the arguments name.
pub(super) fn run(mut args: Args) -> Result<(), Status> {
    let word = args.next().unwrap_or_default().to_bytes();
    inform(word, HELP)?;
    let Some(wanted) = place_in(NAMES, word) else {
        let what = text!("cannot check");
        return Err(complain(USAGE, what, word, text!("name nfs or all")));
    };
    let here = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let mut target = Target {
        at: SocketAddrV6::new(here, NFS_PORT, 0, 0),
        mount_port: None,
        is_json: false,
        until: sys::now().after(CHECK_PATIENCE),
    };
    FLAGS.read(args, &mut |flag, value| target.set(flag, value))?;
    let mut json = Writer::new(heap::bytes(CHECK_JSON_BYTES));
    let mut status = DONE;
    for (place, check) in SERVICES.iter().enumerate() {
        let place = place + 1;
        if wanted == 0 || wanted == place {
            json.put(if json.position() == 0 { b"{" } else { b"," });
            let served = target.check(nth(NAMES, b' ', place), *check, &mut json);
            status = if served { status } else { FAILED };
        }
    }
    if target.is_json {
        json.put(b"}\n");
        print(json.since(0));
    }
    Err(status)
}

impl Target {
    /// Takes the value of the flag at `place`; `None`: it is not what the flag takes.
    fn set(&mut self, place: usize, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match place {
            0 => self.is_json = true,
            1 => self.at.set_port(port(text)?),
            2 => self.mount_port = Some(port(text)?),
            _ => {
                let ip = address(text)?;
                // Who listens everywhere listens there, too.
                self.at.set_ip(if ip.is_unspecified() {
                    Ipv6Addr::LOCALHOST
                } else if ip == Ipv4Addr::UNSPECIFIED.to_ipv6_mapped() {
                    Ipv4Addr::LOCALHOST.to_ipv6_mapped()
                } else {
                    ip
                });
            }
        }
        Some(())
    }

    /// Checks a service and says what came of it, or puts it behind the rest; whether it is served.
    fn check(mut self, name: &[u8], check: Check, json: &mut Writer<'_>) -> bool {
        let mut about = &b""[..];
        let found = check(&mut self, &mut about);
        let (mut place, mut line) = (Line::default(), Line::default());
        place.socket(self.at.into());
        let about = if about.is_empty() {
            place.bytes()
        } else {
            about
        };
        quote(json, name);
        match found {
            Ok(count) => {
                line.number(count);
                json.put(text!(":{\"ok\":true,\"exports\":").bytes());
                json.put(line.bytes());
            }
            Err(why) => {
                json.put(text!(":{\"ok\":false,\"about\":").bytes());
                quote(json, about);
                json.put(text!(",\"why\":").bytes());
                quote(json, why.bytes());
            }
        }
        json.put(b"}");
        if !self.is_json {
            let mut line = Line::default();
            line.raw(name);
            match found {
                Ok(count) => {
                    line.say(text!(": ")).number(count);
                    line.say(text!(" exports at ")).raw(place.bytes());
                    print(line.end());
                }
                Err(why) => {
                    line.say(text!(" fails at"));
                    event::tell(&mut Console, line.bytes(), about, why);
                }
            }
        }
        found.is_ok()
    }
}

/// Puts a text into JSON: what the line would show as `\xNN` is shown so there, too.
#[inline(never)]
fn quote(json: &mut Writer<'_>, text: &[u8]) {
    json.put(b"\"");
    for byte in text {
        for letter in Line::default().escaped(&[*byte]).bytes() {
            if matches!(letter, b'"' | b'\\') {
                json.put(b"\\");
            }
            json.put(&[*letter]);
        }
    }
    json.put(b"\"");
}

/// Has NFS answer, then mounts each export and looks at what a client would mount.
fn nfs(target: &mut Target, about: &mut &'static [u8]) -> Result<u32, Text> {
    const NULL: u32 = Procedure::Null as u32;
    const GET_ATTR: u32 = Procedure::GetAttr as u32;
    let (room, handle_room) = (heap::bytes(ROOM_BYTES), heap::bytes(ROOM_BYTES));
    let mut files = Peer::new(&target.at, target.until)?;
    end(files.ask(nfs3::PROGRAM, NULL, None, room)?)?;

    let nfs_port = target.at.port();
    target.at.set_port(target.mount_port.unwrap_or(nfs_port));
    let mut mounts = Peer::new(&target.at, target.until)?;
    let list_room = heap::bytes(REPLY_BYTES);
    let mut list = mounts.ask(mount::PROGRAM, mount::procedure::EXPORT, None, list_room)?;
    let mut count = 0;
    while list.flag() {
        let path = list.opaque(mount::PATH_BYTES_MAX);
        while list.flag() {
            list.opaque(mount::GROUP_BYTES_MAX);
        }
        list.check().map_err(|_| STRANGE)?;
        *about = path;
        let procedure = mount::procedure::MNT;
        let mut mounted = mounts.ask(mount::PROGRAM, procedure, Some(path), handle_room)?;
        if mounted.u32() != mount::Status::Ok as u32 {
            return Err(text!("the server cannot go there; see what it says"));
        }
        let handle = mounted.opaque(nfs3::HANDLE_BYTES_MAX);
        let flavor_count = mounted.u32() as usize;
        mounted.take(flavor_count.saturating_mul(4));
        end(mounted)?;
        let mut got = files.ask(nfs3::PROGRAM, GET_ATTR, Some(handle), room)?;
        if got.u32() != nfs3::Status::Ok as u32 {
            return Err(text!(
                "it is gone, or its disk failed; see what the server says"
            ));
        }
        // A file, as an image is one, or a directory.
        if !matches!(got.u32(), 1 | 2) {
            return Err(STRANGE);
        }
        got.take(nfs3::ATTRIBUTES_BYTES - 4);
        end(got)?;
        count += 1;
    }
    end(list)?;
    *about = b"";
    target.at.set_port(nfs_port);
    Ok(count)
}

/// Whether all was as it should be, and nothing follows.
fn end(results: Reader<'_>) -> Result<(), Text> {
    match results.check() {
        Ok(()) if results.rest().is_empty() => Ok(()),
        _ => Err(STRANGE),
    }
}
