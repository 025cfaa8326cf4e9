//! The arguments of HTTP: address and port, the path `/`, the access log, and the readers of the figures.

use super::super::args::{port, socket};
use super::super::flags::{Flags, ParsedFlag, flags};
use super::super::{Fatal, network, refuse};
use super::nfs;
use super::urls;
use crate::engine::http::Root;
use crate::engine::http::figures::{Access, FIGURES, FILES, NETWORK_COUNT_MAX};
use crate::event::Events;
use crate::mem::parts;
use crate::net::OwnAddresses;
use crate::sys;
use crate::text::{Text, text};
use crate::wire::exports::{Hosts, hosts};
use core::ffi::CStr;
use core::net::{Ipv6Addr, SocketAddrV6};

flags! {
    pub(in super::super) enum Flag of Http {
        Root { long: text!("--http-root") },
        Http { long: text!("--http"), takes: Value(text!("address: PORT or ADDRESS:PORT, such as 8080 or localhost:8080")) },
        AccessLog { long: text!("--access-log"), takes: Path(text!("file: a path")) },
        Metrics { long: text!("--metrics"), takes: Value(text!("address: PORT or ADDRESS:PORT, such as 9100 or localhost:9100")) },
        MetricsFrom { long: text!("--metrics-from"), takes: Value(text!("networks: up to 8, such as 192.0.2.0/24,2001:db8::1")) },
    }
}

// Flags of `nfs` that have a meaning here.
flags! {
    pub(in super::super) enum Shared of HttpExports {
        Test { short: Some(b'T') },
        SingleUser { short: Some(b's') },
        Address { short: Some(b'l'), takes: Value(text!("address: numeric or localhost, such as 192.0.2.1 or 2001:db8::1, not the name of an interface")) },
        LogLevel { long: text!("--log-level"), takes: Value(text!("level: one of error, warn, info, debug")) },
        File { short: Some(b'e'), takes: Path(text!("file of exports: a path; see exports(5)")) },
        Export { long: text!("--export"), takes: Value(text!("export: DIR[:OPTION,...] without .. and below 1024 bytes; see --help")) },
        Dir { takes: Operand(text!("export: DIR[:OPTION,...] without .. and below 1024 bytes; see --help")) },
        #[cfg(feature = "serve")] {
            Foreground { short: Some(b'd') },
            Daemon { short: Some(b'D') },
            LogFormat { long: text!("--log-format"), takes: Value(text!("format: one of text, json")) },
            Log { long: text!("--log"), takes: Value(text!("log: a path below 250 bytes, syslog, or syslog:ADDRESS[:PORT]")) },
            PidFile { short: Some(b'i'), takes: Path(text!("file: a path")) },
        }
    }
}

/// The table of all flags of the role. `serve` has the first part, too.
pub(in super::super) const FLAGS: Flags = Flags {
    more: Some(&network::with(Flags::of(Shared::ROWS, &[]))),
    foreign: &[
        (text!("--port"), text!("--http")),
        (text!("-p"), text!("--http")),
        (text!("--bind"), text!("-l")),
        (text!("--listen"), text!("-l")),
        (text!("--address"), text!("-l")),
        (text!("--directory"), text!("DIR")),
        (text!("-v"), text!("--version")),
    ],
    ..Flags::of(Flag::ROWS, super::HELP)
};

/// The parsed arguments of the role.
#[derive(Default)]
#[repr(C)] // Largest field last: the others have short offsets.
pub(super) struct Arguments {
    pub(super) http: Options,
    pub(super) nfs: nfs::Options,
}

impl Arguments {
    /// Sets the option of a flag. Returns `None` if the value is wrong.
    pub(super) fn set(&mut self, given: ParsedFlag) -> Option<()> {
        if let Some(flag) = Flag::of(given.flag) {
            return self.http.set(flag, given.value);
        }
        let flag = match Shared::of(given.flag)? {
            Shared::Test => nfs::Flag::Test,
            Shared::SingleUser => nfs::Flag::SingleUser,
            Shared::Foreground => nfs::Flag::Foreground,
            Shared::Daemon => nfs::Flag::Daemon,
            Shared::Address => nfs::Flag::Address,
            Shared::LogLevel => nfs::Flag::LogLevel,
            Shared::LogFormat => nfs::Flag::LogFormat,
            Shared::Log => nfs::Flag::Log,
            Shared::PidFile => nfs::Flag::PidFile,
            Shared::File => nfs::Flag::File,
            Shared::Export => nfs::Flag::Export,
            Shared::Dir => {
                let text = given.value.to_bytes();
                if listener(text).is_some() {
                    let advice = text!("a port is no directory; write --http");
                    nfs::refuse_port(given.value, advice);
                }
                self.http.has_dir = true;
                return self.nfs.exports.add_images(text);
            }
        };
        self.nfs.set(flag, given.value)
    }
}

/// The default port of root, and of other users.
const PORTS: [u16; 2] = [80, 8080];

/// The port without `--http`.
pub(in super::super) fn default_port() -> u16 {
    let [root, other] = PORTS;
    if sys::user_id() == 0 { root } else { other }
}

/// The parsed arguments.
#[derive(Default)]
pub(in super::super) struct Options {
    /// True if HTTP is to be served.
    pub(in super::super) is_asked: bool,
    /// True if the URL of the menu of images is reported.
    pub(in super::super) has_menu: bool,
    /// True if the only export is `/` (`--http-root`).
    has_root: bool,
    /// True if a DIR without a flag is named.
    has_dir: bool,
    /// Port and address; `None`: the default port, the address of `-l`.
    port: Option<u16>,
    address: Option<Ipv6Addr>,
    /// Port and address of the figures, if they have their own; `None`: the address of `-l`.
    metrics: Option<(Option<Ipv6Addr>, u16)>,
    /// The networks that may read the figures.
    networks: heapless::Vec<Hosts<'static>, NETWORK_COUNT_MAX>,
    /// The file of the access log.
    pub(super) access_log: Option<&'static CStr>,
}

/// Parses PORT, ADDRESS:PORT or :PORT.
fn listener(text: &[u8]) -> Option<(Option<Ipv6Addr>, u16)> {
    match port(text) {
        Some(port) => Some((None, port)),
        None => socket(text).map(|at| (Some(*at.ip()), at.port())),
    }
}

impl Options {
    /// Sets the option of a flag. Returns `None` if the value is wrong.
    pub(in super::super) fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::Root => self.has_root = true,
            Flag::Http => {
                self.is_asked = true;
                if !text.is_empty() {
                    let (address, port) = listener(text)?;
                    self.address = address.or(self.address);
                    self.port = Some(port);
                }
            }
            Flag::AccessLog if text.is_empty() => return None,
            Flag::AccessLog => self.access_log = Some(value),
            Flag::Metrics => self.metrics = Some(listener(text)?),
            Flag::MetricsFrom => {
                for word in parts(text, b',') {
                    match hosts(word) {
                        Ok(network @ Hosts::Network { .. }) => self.networks.push(network).ok()?,
                        _ => return None,
                    }
                }
            }
        }
        Some(())
    }

    /// Checks that the options fit each other and the exports.
    ///
    /// # Errors
    /// Exit status 2: they do not; that is reported.
    pub(in super::super) fn check(&self, exports: &nfs::Options) -> Result<(), Fatal> {
        const ROOT: &[u8] = b"--http-root";
        let refused = |option, why: Text| Err(refuse(option, b"", why));
        let needs = text!("works with --http only");
        if !self.networks.is_empty() && !self.serves() {
            return refused(
                b"--metrics-from",
                text!("works with --http or --metrics only"),
            );
        }
        match (self.is_asked, self.has_root, self.access_log) {
            (false, true, _) => refused(ROOT, needs),
            (false, _, Some(_)) => refused(b"--access-log", needs),
            (true, true, _) if !exports.exports.is_single() => {
                refused(ROOT, text!("needs one export on the command line"))
            }
            _ => Ok(()),
        }
    }

    /// The object at `/`. A DIR of `http` is that, if it is the only export.
    pub(super) fn root(&self, exports: &nfs::Options) -> Root {
        match self.has_root || self.has_dir && exports.exports.is_single() {
            true => Root::Single,
            false => Root::Exports,
        }
    }

    /// The port of files.
    pub(in super::super) fn port(&self) -> u16 {
        self.port.unwrap_or_else(default_port)
    }

    /// Sets the port of files, unless one was given.
    pub(in super::super) fn set_default_port(&mut self, port: u16) {
        self.port.get_or_insert(port);
    }

    /// Returns true if files or figures are served.
    pub(in super::super) const fn serves(&self) -> bool {
        self.is_asked || self.metrics.is_some()
    }

    /// The addresses at which to listen for files and for figures, and that of the menu of images, if it is to be reported. IPv4 is
    /// IPv4-mapped.
    pub(super) fn at(&self, exports: &nfs::Options) -> [Option<SocketAddrV6>; 3] {
        let at = |(address, port): (Option<Ipv6Addr>, u16)| {
            let ip = address.unwrap_or(*exports.address.ip());
            SocketAddrV6::new(ip, port, 0, 0)
        };
        let files = self.is_asked.then_some((self.address, self.port()));
        let menu = files.filter(|_| self.has_menu);
        [files.map(at), self.metrics.map(at), menu.map(at)]
    }

    /// Reports the listeners of another process at all of the host's addresses, which are now known.
    pub(in super::super) fn report_listeners(
        &self,
        exports: &nfs::Options,
        own: OwnAddresses,
        events: &mut Events,
    ) {
        let is_local = self.networks.is_empty();
        urls::report(&mut self.at(exports), Some(&own), is_local, events);
    }

    /// The peers that may read the figures.
    pub(super) fn access(&self) -> Access {
        Access {
            networks: self.networks.clone(),
            listener: match self.metrics {
                Some(_) => FIGURES,
                None => FILES,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::ExportArgument;
    use crate::vfs::Rules;

    fn parsed(line: &'static [u8]) -> Result<Arguments, Fatal> {
        let mut arguments = Arguments::default();
        arguments.http.is_asked = true;
        let args = crate::sys::Args::split(line);
        network::read(&FLAGS, args, &mut |given| arguments.set(given))?;
        arguments.http.check(&arguments.nfs)?;
        Ok(arguments)
    }

    #[test]
    fn address_is_that_of_http_else_of_l() {
        let [root, other] = PORTS;
        let port = if sys::user_id() == 0 { root } else { other };
        for (line, at) in [
            (&b"/srv"[..], format!("[::]:{port}")),
            (b"/srv --http 8000 -l ::1", "[::1]:8000".to_owned()),
            (b"/srv --http= -l ::1", format!("[::1]:{port}")),
            (b"/srv -l ::1 --http [::2]:0", "[::2]:0".to_owned()),
            (b"/srv -l ::1 --http :8000", "[::]:8000".to_owned()),
            (
                b"/srv -l localhost --http 0",
                "[::ffff:127.0.0.1]:0".to_owned(),
            ),
            (
                b"/srv --http localhost:1",
                "[::ffff:127.0.0.1]:1".to_owned(),
            ),
        ] {
            let Arguments { http, nfs } = parsed(line).unwrap();
            assert_eq!(http.at(&nfs)[0].unwrap().to_string(), at);
        }
        let Arguments { http, nfs } = parsed(b"/srv -l ::1 --metrics 9100").unwrap();
        assert_eq!(http.at(&nfs)[1].unwrap().to_string(), "[::1]:9100");
        assert!(parsed(b"/srv --http 192.0.2.1").is_err());
        assert!(parsed(b"/srv -p").is_err());
        assert!(parsed(b"/srv --metrics-from 10.0.0.0/8,::1 --metrics-from 192.0.2.1").is_ok());
        for wrong in ["*", "", "10.0.0.0/8,", "host", "10.0.0.0/33", "@netgroup"] {
            let line = format!("/srv --metrics-from={wrong}").leak();
            assert!(parsed(line.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_directory_is_root_and_has_images() {
        for (line, root) in [
            (&b"/srv"[..], Root::Single),
            (b"--export /srv", Root::Exports),
            (b"--export /srv --http-root", Root::Single),
            (b"/srv /home", Root::Exports),
        ] {
            let Arguments { http, nfs } = parsed(line).unwrap();
            assert_eq!(http.root(&nfs), root);
            let has_images = |export: &ExportArgument| export.rules.has(Rules::ISOS);
            let is_plain = line.starts_with(b"--export");
            assert_eq!(nfs.exports.list.iter().all(has_images), !is_plain);
        }
        assert!(parsed(b"/srv /home --http-root").is_err());
        assert!(parsed(b"-e /exports --http-root").is_err());
    }
}
