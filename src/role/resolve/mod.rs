//! `resolve`: prints the addresses of host names, the names of addresses, and where a service is. Flags and output as
//! avahi-resolve(1), which has no `-s`.
//!
//! Prints the first address of each name. A service is searched among those of its type. A negative answer (NSEC record) ends the
//! search at once. RFC 6762 section 6.1.

use super::args::address;
use super::flags::{Flags, flags};
use super::{DONE, FAILED, Fatal, complain, network, refuse_usage, refuse_value};
use crate::console::terminal::Out;
use crate::drive::endpoint::Choice;
use crate::engine::mdns::LinkSet;
use crate::engine::mdns::browser::{Event, EventKind, Goal, LOOKUP_COUNT_MAX, Lookup};
use crate::services::browse::{self, Finder, Interfaces, Links, in_local};
use crate::sys::Args;
use crate::text::{Text, text};
use crate::wire::announce::is_kind;
use crate::wire::dns::escape::parse;
use crate::wire::dns::{NAME_BYTES_MAX, Name, REVERSE_BYTES_MAX, reverse};
use crate::wire::label::{is_like, without_dot};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  resolve -n|-a|-s ...\tprints addresses of hosts, their names, or a service\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    super::network::HELP,
    text!("\nExits with 0 if all were found. Waits up to 5 s for an answer\n"),
];

flags! {
    pub(super) enum Flag of Resolve {
        Name { short: Some(b'n'), long: text!("--name") },
        Address { short: Some(b'a'), long: text!("--address") },
        Service { short: Some(b's'), long: text!("--service") },
        Ipv4 { short: Some(b'4') },
        Ipv6 { short: Some(b'6') },
        Verbose { short: Some(b'v'), long: text!("--verbose") },
        Interface { long: text!("--interface"), takes: Value(text!("interface: such as eth0; 64 at most")) },
        Argument { takes: Operand(text!("host: such as box.local; 16 at most")) },
    }
}

pub(super) const FLAGS: Flags = network::with(Flags::of(Flag::ROWS, HELP));

/// A name or address to resolve.
struct SoughtName {
    /// The command-line argument.
    text: &'static [u8],
    /// The name to query, in uncompressed wire form.
    name: [u8; NAME_BYTES_MAX],
}

/// The parsed arguments.
#[repr(C)] // Largest field last: the others have short offsets.
struct Options {
    goal: Option<Goal>,
    /// As in [`Lookup::families`]; 0: both.
    families: u8,
    interfaces: Interfaces,
    sought: heapless::Vec<SoughtName, LOOKUP_COUNT_MAX>,
}

impl Options {
    fn set(&mut self, flag: Flag, value: &'static [u8]) -> Option<()> {
        match flag {
            Flag::Name => self.goal = Some(Goal::Host),
            Flag::Address => self.goal = Some(Goal::Address),
            Flag::Service => self.goal = Some(Goal::Services),
            Flag::Ipv4 => self.families |= 1,
            Flag::Ipv6 => self.families |= 2,
            Flag::Verbose => {}
            _ if value.is_empty() => return None,
            Flag::Interface => self.interfaces.push(value).ok()?,
            Flag::Argument => {
                let (text, name) = (value, [0; NAME_BYTES_MAX]);
                self.sought.push(SoughtName { text, name }).ok()?;
            }
        }
        Some(())
    }
}

impl SoughtName {
    /// Sets the name to query: the host name, the reverse name of the address, or the type of the service. `None`: the argument is
    /// none of them.
    fn set_name(&mut self, goal: Goal) -> Option<()> {
        match goal {
            Goal::Address => {
                let name: &mut [u8; REVERSE_BYTES_MAX] = self.name.first_chunk_mut()?;
                reverse(address(self.text)?.to_canonical(), name);
                Some(())
            }
            Goal::Services => {
                let kind = Some(without_dot(self.text)).filter(|kind| is_kind(kind))?;
                in_local(kind, &mut self.name)
            }
            _ => {
                parse(self.text, &mut self.name)?;
                let mut labels = Name::of(&self.name).labels();
                let last = labels.by_ref().skip(1).last();
                is_like(last?, b"local").then_some(())
            }
        }
    }

    /// Returns true if the event is the answer for this item, or the end of the search for it.
    fn is_answered_by(&self, event: &Event<'_>) -> bool {
        let names = event.names();
        match event.kind {
            EventKind::Found | EventKind::Absent | EventKind::TimedOut => {
                let name = names.find(Name::of(&self.name));
                name.is_some_and(|name| event.matches_name(name))
            }
            EventKind::Resolved => is_like(names.label(event.name), self.text),
            kind => kind == EventKind::AllForNow,
        }
    }
}

/// Resolves all arguments: prints each result, and reports each name without one. `goal`: if no flag selects one.
pub(super) fn run(args: Args, goal: Option<Goal>) -> Result<(), Fatal> {
    let mut options = Options {
        goal,
        families: 0,
        interfaces: Interfaces::new(),
        sought: heapless::Vec::new(),
    };
    let network = network::read(&FLAGS, args, &mut |given| {
        options.set(Flag::of(given.flag)?, given.value.to_bytes())
    })?;
    let Some(goal) = options.goal else {
        let what = text!("add -n to resolve names, -a for addresses, or -s for a service");
        return Err(refuse_usage(what, b"", Text::NOTHING));
    };
    let wanted = match goal {
        Goal::Address => text!("address: such as 192.0.2.1 or fe80::1; 16 at most"),
        Goal::Services => text!("service: its name and its type, such as box _sftp-ssh._tcp"),
        _ => text!("host: such as box.local; 16 at most"),
    };
    // A service, the first argument, is searched among those of its type, the second one.
    let is_service = goal == Goal::Services;
    if options.sought.is_empty() || is_service && options.sought.len() != 2 {
        return Err(refuse_value(b"", b"", wanted));
    }
    let (service, queried) = options.sought.split_at_mut(usize::from(is_service));
    for sought in &mut *queried {
        if sought.set_name(goal).is_none() {
            return Err(refuse_value(b"", sought.text, wanted));
        }
    }
    let families = match options.families {
        0 => 3,
        families => families,
    };
    let mut lookups = queried.iter().map(|sought| Lookup {
        goal,
        name: Name::of(&sought.name),
        links: LinkSet::ALL,
        resolves: is_service,
        families,
    });
    let sought = if is_service { &*service } else { &*queried };
    let mut asker = Asker {
        pending: (1 << sought.len()) - 1,
        sought,
        out: Out::allocate(),
        status: DONE,
    };
    browse::run(
        &network,
        &mut asker,
        Choice {
            names: &options.interfaces,
            families: if is_service { families } else { 0 },
            ..Choice::default()
        },
        &mut lookups,
        false,
        false,
    )?;
    // Names are still pending if a signal stopped the search.
    if asker.pending != 0 || asker.status != DONE {
        return Err(FAILED);
    }
    Ok(())
}

/// Prints the results of the search.
struct Asker<'a> {
    sought: &'a [SoughtName],
    /// A bit for each item of `sought`, set until the item is answered.
    pending: u32,
    out: Out,
    status: Fatal,
}

// `pending` has a bit for each item.
const _: () = assert!(LOOKUP_COUNT_MAX < u32::BITS as usize);

impl Finder for Asker<'_> {
    fn handle_event(&mut self, _: &Links, event: &Event<'_>) -> bool {
        let names = event.names();
        for (index, sought) in self.sought.iter().enumerate() {
            let bit = 1 << index;
            if self.pending & bit == 0 || !sought.is_answered_by(event) {
                continue;
            }
            self.pending &= !bit;
            let why = match event.kind {
                EventKind::Found | EventKind::Resolved => {
                    let (out, is_service) = (self.out.clear(), event.kind == EventKind::Resolved);
                    out.put(sought.text).byte(b'\t');
                    if is_service || event.address.is_none() {
                        out.labels(&mut names.texts(event.host));
                    } else {
                        out.address(event.address);
                    }
                    if is_service {
                        out.byte(b'\t').address(event.address).byte(b'\t');
                        out.number(event.port.into()).byte(b'\t').texts(event.txt);
                    }
                    out.print_line();
                    continue;
                }
                EventKind::Absent => text!("the host denies that the record exists"),
                _ => text!("no answer; the host may be off, or not on these networks"),
            };
            self.status = complain(FAILED, text!("cannot resolve"), sought.text, why);
        }
        self.pending != 0
    }
}
