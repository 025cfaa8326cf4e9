//! `probe`: prints what this host lacks, and for each role whether it works here and without what.
//!
//! The report has sections of named values: a line for each value, or with `--json` an object of objects of strings.

use super::flags::{Flags, flags};
use super::{Fatal, print, quote};
use crate::config::NFS_PORT;
use crate::event::Line;
use crate::mem::{c_str, parts};
use crate::os::probe::{
    Use, calls, can_become, list_interfaces, path_use, port_use, with_kernel_release,
};
use crate::sys::interface::Interfaces;
use crate::sys::loss::{Loss, Presence};
use crate::sys::{self, Args};
use crate::text::{Text, text, texts};
use crate::wire::Writer;
use core::ffi::CStr;
use core::net::IpAddr;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  probe\t\t\tprints what this host lacks, and which roles work\n");
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

flags! {
    pub(super) enum Flag of Probe {
        Json { long: text!("--json") },
    }
}

pub(super) const FLAGS: Flags = Flags::of(Flag::ROWS, HELP);

const SECONDS_OF_YEAR: i64 = 31_556_952;
const PORTMAP_PORT: u16 = 111;
/// The anonymous user, unless exports name another one.
const ANONYMOUS: u32 = 65534;
/// Maximum length (bytes) of a section, a name and a value, quoted.
const ITEM_BYTES: usize = 2 << 10;

/// Paths that roles use.
const PATHS: [&CStr; 5] = [
    c"/proc/self/fd",
    c"/sys/class/net",
    c"/dev/urandom",
    c"/var/lib",
    c"/var/lib/stowaway",
];

texts! {
    /// Descriptions of losses, for roles that work without. The texts have consecutive numbers.
    fn without(Loss) {
        Nothing => "nothing",
        Everything => "openat",
        Handles => "kernel handles: a file that is renamed while the server restarts is stale",
        Users => "users: all clients act as one, the server's or (started by root) anonuid of all exports",
        Loops => "several loops",
        Speed => "copies and reads inside the kernel",
        Sandbox => "the full sandbox: no_new_privs, seccomp or Landlock is missing",
        FileNotice => "notice of changed files, which are read again every few seconds",
        InterfaceNotice => "notice of changed interfaces, which are listed every few seconds",
        Ipv6 => "IPv6",
        Stack => "packet sockets",
        Programs => "programs for events",
        Portmap => "port 111: clients must name the ports of NFS and MOUNT",
        NfsPort => "port 2049",
        Squash => "squashing: root starts it only if all exports say no_root_squash, and then serves all as root",
    }
}

/// Names of roles, each with a space after it.
const ROLES: &str = "nfs serve sftp-server mdns publish browse resolve --net ";
/// Losses that matter to each of [`ROLES`].
const MATTERS: [u16; 8] = [
    NFS,
    NFS | MDNS | bit(Loss::Loops),
    bit(Loss::Sandbox),
    MDNS,
    NETWORK,
    NETWORK | bit(Loss::Programs),
    NETWORK,
    bit(Loss::Stack),
];
const NETWORK: u16 = bit(Loss::InterfaceNotice) | bit(Loss::Ipv6) | bit(Loss::Sandbox);
const MDNS: u16 = NETWORK | bit(Loss::FileNotice);
const NFS: u16 = bit(Loss::Handles)
    | bit(Loss::Users)
    | bit(Loss::Squash)
    | bit(Loss::Speed)
    | bit(Loss::Sandbox)
    | bit(Loss::Ipv6)
    | bit(Loss::Portmap)
    | bit(Loss::NfsPort);

/// Prints the report.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let mut report = Report {
        is_json: false,
        section: "",
        is_first: true,
    };
    FLAGS.read(args, &mut |given| {
        report.is_json = Flag::of(given.flag)? == Flag::Json;
        Some(())
    })?;
    let mut losses = print_missing(&mut report);
    print_host(&mut report);
    if sys::user_id() != 0 {
        losses |= bit(Loss::Users);
    } else if losses & bit(Loss::Users) != 0 && !can_become(ANONYMOUS) {
        losses ^= bit(Loss::Users) | bit(Loss::Squash);
    }
    report.begin("path");
    for path in PATHS {
        report.say(path.to_bytes(), path_use(path));
    }
    report.begin("port");
    for (port, loss) in [(NFS_PORT, Loss::NfsPort), (PORTMAP_PORT, Loss::Portmap)] {
        let port_use = port_use(port);
        if port_use != Use::Allowed {
            losses |= bit(loss);
        }
        report.say(Line::default().number(port.into()).bytes(), port_use);
    }
    print_interfaces(&mut report);
    report.begin("role");
    for (role, matters) in parts(ROLES.as_bytes(), b' ').zip(MATTERS) {
        let mut line = Line::default();
        let mut lost = losses & (matters | bit(Loss::Everything));
        let mut answer = text!("works");
        if lost & bit(Loss::Everything) != 0 {
            answer = text!("does not work: the kernel has no openat; use Linux 2.6.16 or later");
        } else if lost & bit(Loss::NfsPort) != 0 {
            answer =
                text!("does not work: see port 2049; stop that server, or choose a port by -n");
        }
        line.say(answer);
        if answer != text!("works") {
            lost = 0;
        }
        while lost != 0 {
            let loss = lost.trailing_zeros() as u8;
            line.say(text!(", without "))
                .say(without(Loss::Nothing).plus(loss));
            lost &= lost - 1;
        }
        report.item(role, line.bytes());
    }
    report.end();
    Ok(())
}

const fn bit(loss: Loss) -> u16 {
    1 << loss as u8
}

/// Tests all calls and prints the missing ones; returns the bits of their losses.
fn print_missing(report: &mut Report) -> u16 {
    let mut losses = 0;
    report.begin("missing");
    for (name, loss, presence) in calls() {
        let mut line = Line::default();
        match presence {
            Ok(Presence::Present) => continue,
            Ok(Presence::Fails(errno)) => line.say(text!("errno ")).number(errno.into()),
            Ok(Presence::WithoutEffect) => line.say(text!("has no effect")),
            Ok(Presence::Kills) => line.say(text!("kills the process")),
            Err(_) => line.say(text!("not tested: fork fails")),
        };
        losses |= bit(loss);
        report.item(name.decode(&mut [0; 64]), line.bytes());
    }
    losses
}

/// Prints the versions, the user, the limit of descriptors and the state of the clock.
fn print_host(report: &mut Report) {
    report.begin("host");
    report.item(b"stowaway", env!("CARGO_PKG_VERSION").as_bytes());
    with_kernel_release(|release| report.item(b"kernel", release));
    report.number(b"user", sys::user_id());
    let descriptors = sys::raise_descriptor_limit().min(u32::MAX as usize);
    report.number(b"descriptors", descriptors as u32);
    let year = 1970 + sys::wall_clock().0 / SECONDS_OF_YEAR;
    report.number(b"year", year as u32);
}

/// Prints the addresses of each interface.
#[inline(never)] // −16 bytes: one caller, whose frame stays small.
fn print_interfaces(report: &mut Report) {
    report.begin("interface");
    let mut interfaces = Interfaces::default();
    list_interfaces(&mut interfaces);
    for interface in interfaces.iter() {
        let mut line = Line::default();
        for (address, _) in &interface.addresses {
            let address = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => *address,
            };
            line.address(address).byte(b' ');
        }
        report.item(c_str(&interface.name).to_bytes(), line.bytes());
    }
}

/// The output.
struct Report {
    is_json: bool,
    section: &'static str,
    /// True before the first value of a section.
    is_first: bool,
}

impl Report {
    /// Begins a section.
    fn begin(&mut self, section: &'static str) {
        if self.is_json {
            let is_first = self.section.is_empty();
            print(if is_first { b"{" } else { b"}," });
            self.print_quoted(section.as_bytes(), b":{");
        }
        (self.section, self.is_first) = (section, true);
    }

    /// Prints whether a path or port can be used.
    fn say(&mut self, name: &[u8], what: Use) {
        let text = match what {
            Use::Allowed => text!("usable"),
            Use::Denied => text!("not allowed"),
            Use::Impossible if self.section == "port" => text!("in use"),
            Use::Impossible => text!("missing"),
        };
        self.item(name, text.decode(&mut [0; 128]));
    }

    /// Prints a number.
    fn number(&mut self, name: &[u8], number: u32) {
        self.item(name, Line::default().number(number).bytes());
    }

    /// Prints a value.
    fn item(&mut self, name: &[u8], value: &[u8]) {
        if self.is_json {
            print(if self.is_first { b"" } else { b"," });
            self.print_quoted(name, b":");
            self.print_quoted(value, b"");
        } else {
            let mut line = Line::default();
            line.text(self.section).byte(b' ').escaped(name);
            line.text(": ").raw(value);
            print(line.end_line());
        }
        self.is_first = false;
    }

    fn print_quoted(&self, text: &[u8], end: &[u8]) {
        let mut buffer = [0; ITEM_BYTES];
        let mut json = Writer::new(&mut buffer);
        quote(&mut json, text);
        json.put(end);
        print(json.since(0));
    }

    fn end(&self) {
        if self.is_json {
            print(b"}}\n");
        }
    }
}
