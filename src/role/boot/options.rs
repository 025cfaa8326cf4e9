//! The arguments of `boot`, and the directories of loaders.

use super::super::flags::{Flags, ParsedFlag, flags};
use super::super::serve::{Arguments, Beside};
use super::super::{http, network, nfs};
use super::HELP;
use crate::drive::Tasks;
use crate::engine::boot::Append;
use crate::engine::boot::machines::Machines;
use crate::engine::boot::menu::{Menu, Wishes};
use crate::engine::http::Script;
use crate::exports::Wanted;
use crate::mem;
use crate::os;
use crate::text::text;
use crate::wire::label::cut;
use core::cell::Cell;
use core::ffi::CStr;

flags! {
    pub(in super::super) enum Flag of Boot {
        Interface { long: text!("--interface"), takes: Value(text!("interface: such as eth0")) },
        Loaders { long: text!("--loaders"), takes: Path(text!("directory: a path")) },
        Export { long: text!("--export"), takes: Value(text!("export: DIR[:OPTION,...] without .. and below 1024 bytes")) },
        NoDhcp { long: text!("--no-dhcp") },
        Default { long: text!("--default"), takes: Value(text!("image: the name of a file, such as debian.iso")) },
        Append { long: text!("--append"), takes: Value(text!("words: PATTERN=ARGUMENTS, such as 'debian*=console=ttyS0'")) },
        Http { long: text!("--http"), takes: Value(text!("address: PORT or ADDRESS:PORT, such as 8080 or localhost:8080")) },
        AccessLog { long: text!("--access-log"), takes: Path(text!("file: a path")) },
        NoMdns { long: text!("--no-mdns") },
        Foreground { short: Some(b'd') },
        Daemon { short: Some(b'D') },
        LogLevel { long: text!("--log-level"), takes: Value(text!("level: one of error, warn, info, debug")) },
        LogFormat { long: text!("--log-format"), takes: Value(text!("format: one of text, json")) },
        Log { long: text!("--log"), takes: Value(text!("log: a path below 250 bytes, syslog, or syslog:ADDRESS[:PORT]")) },
        PidFile { short: Some(b'i'), takes: Path(text!("file: a path")) },
        Dir { takes: Operand(text!("directory: DIR[:OPTION,...] without .. and below 1024 bytes")) },
    }
}

pub(in super::super) const FLAGS: Flags = network::with(Flags {
    foreign: &[
        (text!("--tftp-root"), text!("--loaders")),
        (text!("--port"), text!("--http")),
        (text!("-v"), text!("--version")),
    ],
    ..Flags::of(Flag::ROWS, HELP)
});

/// Directories where packages put loaders: Debian and Fedora.
const PACKAGES: [&CStr; 2] = [c"/usr/lib/ipxe", c"/usr/share/ipxe"];

/// The parsed arguments.
#[derive(Default)]
pub(super) struct Options {
    /// The only interface; `None`: each that has an IPv4 address.
    pub(super) interface: Option<&'static [u8]>,
    /// True if proxyDHCP is not served (`--no-dhcp`).
    pub(super) has_no_dhcp: bool,
    /// True with a network stack of our own, whose address may come later.
    pub(super) is_own_stack: bool,
    /// The image that is booted after a while, and more words for kernels.
    pub(super) wishes: Wishes,
    /// The machines that boot, in the process that serves them.
    machines: Cell<Option<&'static Machines>>,
}

/// Adds the directories in which packages put loaders to the exports, as far as they exist.
pub(super) fn add_packages(exports: &mut Wanted) {
    for path in PACKAGES {
        if os::files::exists(path) {
            let _ = exports.add(path.to_bytes());
        }
    }
}

impl Options {
    /// Sets the option of a flag. Returns `None` if the value is wrong.
    pub(super) fn set(&mut self, served: &mut Arguments, given: ParsedFlag) -> Option<()> {
        let value = given.value;
        let text = value.to_bytes();
        let flag = match Flag::of(given.flag)? {
            Flag::Interface if (1..16).contains(&text.len()) => {
                self.interface = Some(text);
                return Some(());
            }
            Flag::Interface => return None,
            Flag::NoDhcp => {
                self.has_no_dhcp = true;
                return Some(());
            }
            Flag::Default => {
                self.wishes.default = text;
                return Some(());
            }
            Flag::Append => return self.append(text),
            Flag::Loaders | Flag::Export => return served.nfs.exports.add(text),
            Flag::Dir => return served.nfs.exports.add_first_images(text),
            Flag::Http => return served.http.set(http::Flag::Http, value),
            Flag::AccessLog => return served.http.set(http::Flag::AccessLog, value),
            Flag::NoMdns => {
                served.is_silent = true;
                return Some(());
            }
            Flag::Foreground => nfs::Flag::Foreground,
            Flag::Daemon => nfs::Flag::Daemon,
            Flag::LogLevel => nfs::Flag::LogLevel,
            Flag::LogFormat => nfs::Flag::LogFormat,
            Flag::Log => nfs::Flag::Log,
            Flag::PidFile => nfs::Flag::PidFile,
        };
        served.nfs.set(flag, value)
    }

    /// The machines that boot.
    pub(super) fn machines(&self) -> &'static Machines {
        let machines = self.machines.get();
        let machines = machines.unwrap_or_else(|| mem::leak(Machines::new()));
        self.machines.set(Some(machines));
        machines
    }

    /// The menu for HTTP on this port.
    pub(super) fn menu(&self, http_port: u16) -> Menu {
        Menu::new(http_port, self.wishes, true)
    }

    /// Adds `PATTERN=WORDS`. Returns `None` if it has another form, or control characters.
    fn append(&mut self, text: &'static [u8]) -> Option<()> {
        let (pattern, words) = cut(text, b'=');
        if pattern.is_empty() || words.is_empty() || text.iter().any(u8::is_ascii_control) {
            return None;
        }
        self.wishes.append = Some(mem::leak(Append {
            pattern,
            words,
            is_used: Cell::new(false),
            before: self.wishes.append,
        }));
        Some(())
    }
}

impl Beside for Options {
    fn script(&self, http_port: u16) -> Script {
        Script {
            menu: Some(self.menu(http_port)),
            machines: Some(self.machines()),
        }
    }

    fn add_task(&'static self, http_port: u16, tasks: &mut Tasks) {
        super::task::add_task(self, http_port, tasks);
    }
}
