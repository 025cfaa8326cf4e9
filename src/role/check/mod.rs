//! `check`: tests the servers of a host as clients do and exits with 0 or 1; meant for containers without a shell.
//!
//! The questions to mDNS and SFTP are sent before those to NFS, so that their answers are there even if NFS takes all the time.

use super::args::{address, port, socket};
use super::flags::{Flags, flags, is_words};
use super::{Console, DONE, FAILED, Fatal, USAGE, answer_help, complain, print, quote};
use crate::config::{
    CHECK_JSON_BYTES, CHECK_NFS_TIMEOUT, CHECK_SFTP_PORT, CHECK_TIMEOUT, NFS_PORT,
};
use crate::event::{Line, Marks, Sink as _};
use crate::mem;
use crate::os::check::mdns::{Answer, Mdns};
use crate::os::check::nfs::Nfs;
use crate::os::check::sftp::Sftp;
use crate::sys;
use crate::sys::Args;
use crate::sys::address::ServerAddress;
use crate::text::{Text, text};
use crate::wire::Writer;
use core::ffi::CStr;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

#[cfg_attr(not(feature = "http"), path = "no_http.rs")]
mod http;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  check nfs|all\t\texits with 0 if the server works, else 1\n");
flags! {
    pub(super) enum Flag of Check {
        Json { long: text!("--json") },
        Port { short: Some(b'n'), takes: Value(text!("port: a number below 65536")) },
        MountPort { short: Some(b'm'), takes: Value(text!("port: a number below 65536")) },
        Address { short: Some(b'l'), takes: Value(text!("address: numeric, such as 192.0.2.1 or 2001:db8::1")) },
        Sftp { short: Some(b's'), long: text!("--sftp"), takes: Value(text!("address: ADDRESS:PORT or the absolute path of a socket file (107 bytes at most)")) },
        Host { takes: Operand(text!("host: one numeric address, such as 192.0.2.1 or 2001:db8::1")) },
        #[cfg(feature = "http")] {
            Http { long: text!("--http"), takes: Value(text!("address: ADDRESS:PORT, such as 127.0.0.1:80")) },
        }
    }
}

pub(super) const FLAGS: Flags = Flags::of(Flag::ROWS, HELP);
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// The subject of the check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Nfs,
    Mdns,
    Sftp,
    Http,
    All,
}

impl Subject {
    /// Returns the protocol that the first argument selects.
    fn of(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"nfs" => Self::Nfs,
            b"mdns" => Self::Mdns,
            b"sftp" => Self::Sftp,
            b"http" => Self::Http,
            b"all" => Self::All,
            _ => return None,
        })
    }
}

/// The parsed arguments.
struct Options {
    protocol: Subject,
    /// The server; IPv4 is IPv4-mapped.
    host: Ipv6Addr,
    has_host: bool,
    port: u16,
    mount_port: Option<u16>,
    is_json: bool,
    /// Address of the SFTP server, if given.
    sftp: Option<ServerAddress>,
    /// The value of `--sftp`.
    sftp_text: &'static [u8],
    /// Address of the HTTP server, if given.
    http: Option<SocketAddrV6>,
}

/// Checks the servers that the arguments name.
pub(super) fn run(mut args: Args) -> Result<(), Fatal> {
    let word = args.next().unwrap_or_default().to_bytes();
    answer_help(word, HELP)?;
    let Some(protocol) = Subject::of(word) else {
        let what = text!("cannot check");
        let why = text!("choose one of nfs, mdns, sftp, http, all");
        if is_words(word) {
            return Err(FLAGS.print_words(args, why));
        }
        return Err(complain(USAGE, what, word, why));
    };
    let mut options = Options {
        protocol,
        host: Ipv4Addr::LOCALHOST.to_ipv6_mapped(),
        has_host: false,
        port: NFS_PORT,
        mount_port: None,
        is_json: false,
        sftp: None,
        sftp_text: b"",
        http: None,
    };
    FLAGS.read(args, &mut |given| {
        options.set(Flag::of(given.flag)?, given.value)
    })?;
    options.check()
}

impl Options {
    /// Sets the option of a flag. Returns `None` if the value is wrong.
    fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::Json => self.is_json = true,
            Flag::Host if self.has_host => return None,
            Flag::Address | Flag::Host => {
                self.has_host |= flag == Flag::Host;
                // A server at the wildcard address also listens on loopback.
                self.host = match u128::from(address(text)?) {
                    0 => 1.into(),
                    0xffff_0000_0000 => 0xffff_7f00_0001.into(),
                    ip => ip.into(),
                };
            }
            Flag::Port => self.port = port(text)?,
            Flag::MountPort => self.mount_port = Some(port(text)?),
            Flag::Sftp => {
                let at = match text.starts_with(b"/") {
                    true => ServerAddress::file(value)?,
                    false => ServerAddress::Host(socket(text)?),
                };
                (self.sftp, self.sftp_text) = (Some(at), text);
            }
            Flag::Http => self.http = Some(socket(text)?),
        }
        Some(())
    }

    /// Returns true if `protocol` is to be checked.
    fn asks(&self, protocol: Subject) -> bool {
        self.protocol == protocol || self.protocol == Subject::All
    }

    /// Checks and reports each protocol.
    fn check(self) -> Result<(), Fatal> {
        let start = sys::now();
        let until = start.after(CHECK_TIMEOUT);
        let mut report = Report {
            json: self
                .is_json
                .then(|| Writer::new(mem::bytes(CHECK_JSON_BYTES))),
            status: DONE,
        };
        let mdns = self.asks(Subject::Mdns).then(|| Mdns::ask(self.host));
        let sftp = self.asks(Subject::Sftp).then(|| {
            let mut about = Line::default();
            let at = self.sftp.unwrap_or_else(|| {
                let at = SocketAddrV6::new(self.host, CHECK_SFTP_PORT, 0, 0);
                about.socket(&at);
                ServerAddress::Host(at)
            });
            about.escaped(self.sftp_text);
            (Sftp::ask(&at), about)
        });
        if self.asks(Subject::Nfs) {
            let is_alone = self.protocol == Subject::Nfs;
            let until = if is_alone {
                until
            } else {
                start.after(CHECK_NFS_TIMEOUT)
            };
            let at = SocketAddrV6::new(self.host, self.port, 0, 0);
            let mount_port = self.mount_port.unwrap_or(self.port);
            report.nfs(&mut Nfs::new(until, at, mount_port));
        }
        if let Some(mdns) = mdns {
            let mut name = Line::default();
            let answer = mdns.answer(until, &mut name);
            let about = if name.bytes().is_empty() {
                name.address(self.host).bytes()
            } else {
                name.bytes()
            };
            match answer {
                Answer::Announced => {
                    report.pass("mdns", about, text!(" is announced"), "name", about);
                }
                Answer::NotServed if self.protocol == Subject::All => report.lack("mdns"),
                Answer::NotServed => {
                    let why = text!("not served; no responder uses UDP port 5353, or none answers");
                    report.fail("mdns", about, why);
                }
                Answer::Silence => {
                    let why = text!("not announced (no answer within 3 s; see the log of mdns)");
                    report.fail("mdns", about, why);
                }
            }
        }
        if let Some((mut sftp, about)) = sftp {
            let is_optional = self.protocol == Subject::All && self.sftp_text.is_empty();
            if sftp.answer(until).is_some() {
                let serves = text!(" serves SFTP");
                report.pass("sftp", about.bytes(), serves, "at", about.bytes());
            } else if is_optional && !sftp.is_served {
                report.lack("sftp");
            } else {
                report.fail("sftp", about.bytes(), sftp.why);
            }
        }
        http::check(&self, &mut report, until);
        report.end()
    }
}

/// The report: lines, or one line of JSON.
struct Report {
    json: Option<Writer<'static>>,
    status: Fatal,
}

impl Report {
    /// Begins the JSON object of a protocol. Returns `None` if lines are printed instead.
    fn begin(&mut self, protocol: &str, start: &[u8]) -> Option<&mut Writer<'static>> {
        let json = self.json.as_mut()?;
        json.put(if json.position() == 0 { b"{" } else { b"," });
        quote(json, protocol.as_bytes());
        json.put(start);
        Some(json)
    }

    /// Reports a protocol that works: a line about its server, or a member of JSON.
    fn pass(&mut self, protocol: &str, about: &[u8], serves: Text, key: &str, value: &[u8]) {
        if let Some(json) = self.begin(protocol, b":{\"ok\":true,") {
            quote(json, key.as_bytes());
            json.put(b":");
            quote(json, value);
            return json.put(b"}");
        }
        let mut line = Line::default();
        line.text(protocol).text(": ").raw(about).say(serves);
        print(line.end_line());
    }

    /// Reports a protocol that is not served.
    fn lack(&mut self, protocol: &str) {
        if let Some(json) = self.begin(protocol, b":{\"ok\":true,\"served\":false}") {
            let _ = json;
            return;
        }
        let mut line = Line::default();
        line.text(protocol).say(text!(": not served"));
        print(line.end_line());
    }

    /// Reports the server or the export that fails, and the reason.
    fn fail(&mut self, protocol: &str, about: &[u8], why: Text) {
        self.status = FAILED;
        if let Some(json) = self.begin(protocol, b":{\"ok\":false,\"about\":") {
            quote(json, about);
            json.put(b",\"why\":");
            quote(json, why.decode(&mut [0; 128]));
            return json.put(b"}");
        }
        let mut line = Line::default();
        line.prefix().text(protocol).say(text!(" fails at"));
        Console.write_line(line.details(about, why).end_line(), Marks::ERROR);
    }

    /// Checks NFS and reports the number of exports.
    fn nfs(&mut self, nfs: &mut Nfs) {
        let count = nfs.count_exports();
        let mut address = Line::default();
        address.socket(&nfs.address);
        let Some(count) = count else {
            let about = match nfs.about {
                [] => address.bytes(),
                path => path,
            };
            return self.fail("nfs", about, nfs.why);
        };
        let mut digits = Line::default();
        digits.number(count);
        if let Some(json) = self.begin("nfs", b":{\"ok\":true,\"exports\":") {
            json.put(digits.bytes());
            return json.put(b"}");
        }
        let mut line = Line::default();
        line.text("nfs: ").raw(address.bytes());
        line.say(text!(" serves, exports: ")).raw(digits.bytes());
        print(line.end_line());
    }

    /// Prints the JSON, and returns the exit status.
    fn end(mut self) -> Result<(), Fatal> {
        if let Some(json) = &mut self.json {
            json.put(b"}\n");
            print(json.since(0));
        }
        match self.status {
            DONE => Ok(()),
            status => Err(status),
        }
    }
}
