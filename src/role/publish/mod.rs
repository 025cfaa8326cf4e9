//! `publish`: announces one service, or one name of an address, until it is stopped. The flags are those of avahi-publish(1).

use super::args::{address, ttl};
use super::flags::{Flags, flags};
use super::mdns::{self, Announcer};
use super::{Console, Fatal, USAGE, complain, network, refuse_usage, refuse_value};
use crate::config::LINK_COUNT_MAX;
use crate::drive::endpoint::Choice;
use crate::drive::platform;
use crate::mem;
use crate::net::Signals;
use crate::services::announce::{add, files::advice};
use crate::sys;
use crate::sys::Args;
use crate::text::{Text, text};
use crate::wire::announce::{self, Draft, Part, host_labels};
use crate::wire::label;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  publish -s|-a ...\tannounces one service, or one name of an address\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    super::network::HELP,
    text!("\nSeveral services:  stowaway mdns --service NAME,TYPE,PORT ...\n"),
];

/// Limit of positional arguments: name, type, port and TXT strings.
const WORD_COUNT_MAX: usize = 64;
/// Limit of `--subtype` options.
const SUBTYPE_COUNT_MAX: usize = 8;

flags! {
    pub(super) enum Flag of Publish {
        Service { short: Some(b's'), long: text!("--service") },
        Address { short: Some(b'a'), long: text!("--address") },
        NoReverse { short: Some(b'R'), long: text!("--no-reverse") },
        NoHost { long: text!("--no-host") },
        Verbose { short: Some(b'v'), long: text!("--verbose") },
        NoFail { short: Some(b'f'), long: text!("--no-fail") },
        Host { short: Some(b'H'), long: text!("--host"), takes: Value(text!("host: such as other.local")) },
        Subtype { long: text!("--subtype"), takes: Value(text!("subtype: such as _x._sub._http._tcp; 8 at most")) },
        Ttl { long: text!("--ttl"), takes: Value(text!("number of seconds: from 1 to 86400")) },
        Domain { short: Some(b'd'), long: text!("--domain"), takes: Value(text!("domain: only local is supported")) },
        Interface { long: text!("--interface"), takes: Value(text!("interface: such as eth0; 64 at most")) },
        Argument { takes: Operand(text!("service: NAME TYPE PORT and at most 61 TXT strings")) },
    }
}

pub(super) const FLAGS: Flags = network::with(Flags::of(Flag::ROWS, HELP));

/// The parsed arguments.
#[derive(Default)]
#[repr(C)] // Largest field last: the others have short offsets.
struct Options {
    /// True with `-a`: announces a name of an address, not a service.
    is_address: bool,
    /// True with `-R`: announces no reverse mapping (PTR record).
    omits_reverse: bool,
    /// True with `--no-host`: does not announce the host's own addresses.
    omits_host: bool,
    /// TTL of `--ttl` (seconds); 0: as usual.
    service_ttl: u32,
    /// Host of the service; empty: this host.
    host: &'static [u8],
    subtypes: heapless::Vec<&'static [u8], SUBTYPE_COUNT_MAX>,
    interfaces: heapless::Vec<&'static [u8], LINK_COUNT_MAX>,
    /// Positional arguments.
    words: heapless::Vec<&'static [u8], WORD_COUNT_MAX>,
}

impl Options {
    fn set(&mut self, flag: Flag, value: &'static [u8]) -> Option<()> {
        match flag {
            Flag::Service => self.is_address = false,
            Flag::Address => self.is_address = true,
            Flag::NoReverse => self.omits_reverse = true,
            Flag::NoHost => self.omits_host = true,
            Flag::Verbose | Flag::NoFail => {}
            Flag::Domain => return label::is_local(value).then_some(()),
            Flag::Argument => self.words.push(value).ok()?,
            _ if value.is_empty() => return None,
            Flag::Host => self.host = value,
            Flag::Ttl => self.service_ttl = ttl(value)?,
            Flag::Subtype => self.subtypes.push(value).ok()?,
            Flag::Interface => self.interfaces.push(value).ok()?,
        }
        Some(())
    }
}

/// Announces until SIGTERM or SIGINT. `is_address`: a name of an address, unless `-s` is given.
pub(super) fn run(args: Args, is_address: bool) -> Result<(), Fatal> {
    let options = mem::leak(Options::default());
    options.is_address = is_address;
    let network = network::read(&FLAGS, args, &mut |given| {
        options.set(Flag::of(given.flag)?, given.value.to_bytes())
    })?;
    let mut words = options.words.iter().copied();
    let mut next = || words.next().unwrap_or_default();
    let now = sys::now();
    let announcer = mem::leak(Announcer::new(now));
    let responder = &mut announcer.responder;
    let name = next();
    let mut subject = None;
    // With `-a` the name belongs to another address, so the host's own addresses are not announced.
    let omits_host = options.omits_host || options.is_address;
    mdns::omit(responder, omits_host, options.omits_reverse);
    responder.set_service_ttl(options.service_ttl);
    if options.is_address {
        let labels = host_labels(name).filter(|labels| label::cut(labels, b'.').0 == *labels);
        let Some(labels) = labels else {
            let why = text!("host name: it must end with .local");
            return Err(refuse_value(b"-a", name, why));
        };
        let word = next();
        let Some(address) = address(word).filter(|_| next().is_empty()) else {
            let why = text!("address: numeric, such as 192.0.2.1 or 2001:db8::1");
            return Err(refuse_value(b"", word, why));
        };
        subject = responder
            .add_alias(labels, Some(&address.to_canonical()))
            .ok();
    } else {
        mdns::set_host(responder, network.name());
        let mut buffer = [0; announce::ROOM_BYTES];
        let mut draft = Draft::new(&mut buffer);
        let wrong = |about, flaw| complain(USAGE, text!("cannot announce"), about, advice(flaw));
        let mut put = |part, bytes| draft.put(part, bytes).map_err(|flaw| wrong(bytes, flaw));
        if options.words.len() < 3 {
            let what = text!("a service is missing: NAME TYPE PORT");
            return Err(refuse_usage(what, b"", Text::NOTHING));
        }
        put(Part::Name, name)?;
        put(Part::Kind, next())?;
        put(Part::Port, next())?;
        if !options.host.is_empty() {
            put(Part::Host, options.host)?;
        }
        for subtype in &options.subtypes {
            put(Part::Subtype, subtype)?;
        }
        for string in words {
            put(Part::Txt, string)?;
        }
        // Cannot fail: name and type are set above.
        let _ = draft.hand_out(&mut |service| subject = add(responder, now, service, b""));
    }
    announcer.subject = subject.unwrap_or(announcer.responder.host());
    let task = announcer.task(Choice {
        names: &options.interfaces,
        ..Choice::default()
    });
    platform::run(
        "publish",
        &network,
        &mut [task],
        Console::leak(),
        Signals::RELOAD,
    )
}
