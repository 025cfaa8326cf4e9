//! The commands by which clients mount the exports, printed when the server has started and has an address.

use super::{Host, PUBLISHED, first};
use crate::config::{HAS_NFS4, NFS_PORT};
use crate::event::{Events, Line};
use crate::mem::letters;
use crate::net::OwnAddresses;
use crate::sys;
use crate::text::{Text, text};
use core::ffi::CStr;
use core::net::SocketAddrV6;

/// A command of one system: the text before the source, and after it.
struct Command {
    before: Text,
    /// The option before the path. None: host and path are one word, HOST:PATH.
    path_option: Option<Text>,
    after: Text,
    /// The quotation mark of its shell.
    quote: u8,
    ports: Ports,
}

/// How a client finds the ports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// From the portmapper, always.
    Asked,
    /// By the options at the end of `before`.
    Named,
    /// As `Named`, but it asks the portmapper despite them, unless the transport is named, too.
    NamedWithTransport,
    /// One port is needed, and 2049 is known.
    One,
}

const LINUX: Command = Command {
    before: text!("mount -t nfs -o nolock,vers=3"),
    path_option: None,
    after: text!(" /mnt"),
    quote: b'\'',
    ports: Ports::NamedWithTransport,
};
/// By version 4.1, or an older one if the client has no other.
const LINUX_4: Command = Command {
    before: text!("mount -t nfs"),
    ports: Ports::One,
    ..LINUX
};
/// The commands for other systems, which a terminal gets for the first export.
static OTHERS: [Command; 3] = [
    Command {
        before: text!("mount_nfs -o locallocks,resvport,vers=3"),
        after: text!(" /tmp/mnt  # macOS"),
        ports: Ports::Named,
        ..LINUX
    },
    Command {
        before: text!("mount -o anon,nolock"),
        after: text!(" Z:  # Windows"),
        quote: b'"',
        ports: Ports::Asked,
        ..LINUX
    },
    Command {
        before: text!("esxcli storage nfs add -v stowaway -H"),
        path_option: Some(text!(" -s ")),
        after: text!("  # ESXi"),
        ports: Ports::Asked,
        ..LINUX
    },
];

/// The address and the ports of NFS and MOUNT.
#[derive(Clone, Copy, Debug)]
pub struct Mounting {
    /// Address and port of NFS. Unspecified: all addresses of the host.
    pub nfs_at: SocketAddrV6,
    /// The port of MOUNT. `None`: version 4.1 is served alone, which has no MOUNT.
    pub mount_port: Option<u16>,
    /// True if version 4.1 is served.
    pub has_4: bool,
    /// True if clients find the ports by themselves: from a portmapper on port 111, or because there is only 2049.
    pub has_portmap: bool,
}

impl Mounting {
    /// Reports the command for each of `paths`. `own`: the addresses by which other hosts reach this one: the commands have the
    /// IPv4 one, else the IPv6 one, else the host's name.
    pub fn report(
        self,
        own: OwnAddresses,
        paths: &mut dyn Iterator<Item = &CStr>,
        events: &mut Events,
    ) {
        let host = Host::of(*self.nfs_at.ip(), first(&own));
        let shown = Shown {
            mounting: self,
            host,
        };
        for (index, path) in paths.enumerate() {
            let linux = match HAS_NFS4 && self.has_4 {
                true => &LINUX_4,
                false => &LINUX,
            };
            shown.report(linux, path, events);
            if index == 0 && self.mount_port.is_some() && sys::is_terminal() {
                for command in &OTHERS {
                    shown.report(command, path, events);
                }
            }
        }
    }
}

/// The parts that the commands of all systems have.
struct Shown {
    mounting: Mounting,
    host: Host,
}

impl Shown {
    /// Reports one command, unless its system has no way to mount this server.
    fn report(&self, command: &Command, path: &CStr, events: &mut Events) {
        let Mounting {
            nfs_at, mount_port, ..
        } = self.mounting;
        let has_no_portmap = self.host.is_published || !self.mounting.has_portmap;
        let names_ports = match command.ports {
            Ports::One => self.host.is_published || nfs_at.port() != NFS_PORT,
            _ => has_no_portmap,
        };
        // Windows has no notation for IPv6 addresses here; Windows and ESXi ask the portmapper.
        if command.ports == Ports::Asked
            && (names_ports || self.host.is_v6 && command.path_option.is_none())
        {
            return;
        }
        let mut line = Line::default();
        line.prefix()
            .say(text!("mount it with: "))
            .say(command.before);
        if names_ports {
            if command.ports == Ports::NamedWithTransport {
                line.say(text!(",proto=tcp"));
                if self.host.is_v6 {
                    line.byte(b'6');
                }
            }
            line.say(match command.ports {
                Ports::One => text!(" -o port="),
                _ => text!(",port="),
            });
            line.number(nfs_at.port().into());
            if let Some(port) = mount_port
                && command.ports != Ports::One
            {
                line.say(text!(",mountport=")).number(port.into());
            }
        }
        line.byte(b' ');
        let (host, mut source) = (self.host.name.bytes(), Line::default());
        match command.path_option {
            Some(option) => {
                line.raw(host).say(option);
            }
            None if self.host.is_v6 => {
                source.byte(b'[').raw(host).text("]:");
            }
            None => {
                source.raw(host).byte(b':');
            }
        }
        source.raw(path.to_bytes());
        put_word(&mut line, source.bytes(), command.quote);
        line.say(command.after);
        if self.host.is_published {
            line.say(PUBLISHED);
        }
        // Half a command does not help.
        if !line.is_full() {
            events.report_line(&mut line);
        }
    }
}

/// Appends one word of a shell command, in quotation marks unless all of its characters are plain. Only `$'...'` has escapes; of
/// the shells without it, a word without control characters needs none.
fn put_word(line: &mut Line, word: &[u8], quote: u8) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/:._-+@,=".contains(byte);
    if word.iter().all(is_plain) {
        line.raw(word);
        return;
    }
    let has_codes = letters(word).any(|(_, is_printable)| !is_printable);
    if has_codes {
        line.byte(b'$');
    }
    line.byte(quote);
    for (letter, is_printable) in letters(word) {
        match letter {
            b"'" if quote == b'\'' => line.text(if has_codes { "\\'" } else { "'\\''" }),
            b"\\" if has_codes => line.escaped(letter),
            _ if is_printable => line.letter(letter),
            _ => line.code(letter),
        };
    }
    line.byte(quote);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::boxed::Box;

    /// Collects lines.
    struct Kept(std::rc::Rc<core::cell::RefCell<Vec<String>>>);

    impl crate::event::Logged for Kept {}

    impl crate::event::Sink for Kept {
        fn write_line(&mut self, line: &[u8], _: crate::event::Marks) {
            let line = String::from_utf8(line.to_vec()).unwrap();
            self.0.borrow_mut().push(line.trim_end().to_owned());
        }
    }

    fn command(
        versions: (bool, u16),
        bound: Ipv6Addr,
        own: OwnAddresses,
        has_portmap: bool,
        path: &CStr,
    ) -> String {
        let (has_4, port) = versions;
        let lines = std::rc::Rc::default();
        let mut events = Events::new(Box::new(Kept(std::rc::Rc::clone(&lines))));
        let mounting = Mounting {
            nfs_at: SocketAddrV6::new(bound, port, 0, 0),
            mount_port: Some(20048),
            has_4,
            has_portmap,
        };
        mounting.report(own, &mut [path].into_iter(), &mut events);
        let lines = lines.borrow();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let command = lines[0].strip_prefix("stowaway: mount it with: mount -t nfs");
        let options = if has_4 { "" } else { " -o nolock,vers=3" };
        command.unwrap().strip_prefix(options).unwrap().to_owned()
    }

    #[test]
    fn commands_have_brackets_quotes_and_ports() {
        let any = Ipv6Addr::UNSPECIFIED;
        let global = "2001:db8::5".parse().unwrap();
        let v4 = [Ipv4Addr::new(192, 0, 2, 5).to_ipv6_mapped(), global];
        let v6 = [any, global];
        let loopback = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        for (bound, own, has_portmap, path, expect) in [
            (any, v4, true, c"/srv", " 192.0.2.5:/srv /mnt"),
            (any, v6, true, c"/srv", " '[2001:db8::5]:/srv' /mnt"),
            (
                any,
                v4,
                false,
                c"/my files",
                ",proto=tcp,port=2049,mountport=20048 '192.0.2.5:/my files' /mnt",
            ),
            (
                any,
                v4,
                true,
                c"/it's $HOME",
                r" '192.0.2.5:/it'\''s $HOME' /mnt",
            ),
            (any, v4, true, c"/Müsik\\", r" '192.0.2.5:/Müsik\' /mnt"),
            (
                any,
                v4,
                true,
                c"/it's\\\x01\xff",
                r" $'192.0.2.5:/it\'s\\\001\377' /mnt",
            ),
            (loopback, v4, true, c"/", " 127.0.0.1:/ /mnt"),
        ] {
            assert_eq!(
                command((false, 2049), bound, own, has_portmap, path),
                expect
            );
        }
        for (port, has_portmap, expect) in [
            (2049, true, " 192.0.2.5:/srv /mnt"),
            (2049, false, " 192.0.2.5:/srv /mnt"),
            (4049, true, " -o port=4049 192.0.2.5:/srv /mnt"),
        ] {
            assert_eq!(command((true, port), any, v4, has_portmap, c"/srv"), expect);
        }
    }
}
