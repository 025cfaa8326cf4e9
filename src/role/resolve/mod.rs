//! `resolve`: prints the addresses of host names, and the names of addresses. Flags and output as avahi-resolve(1).
//!
//! Prints the first address of each name. A negative answer (NSEC record) ends the search at once. RFC 6762 section 6.1.

use super::args::address;
use super::browse_common::{self, Choice, Finder, Interfaces, Links};
use super::flags::{Flags, flags};
use super::terminal_safe::Out;
use super::{DONE, FAILED, Fatal, SEE_HELP, USAGE, complain, network, refuse};
use crate::engine::mdns::browser::{Event, EventKind, Goal, LOOKUP_COUNT_MAX, Lookup};
use crate::sys::Args;
use crate::text::{Text, text};
use crate::wire::dns::escape::parse;
use crate::wire::dns::{NAME_BYTES_MAX, Name, REVERSE_BYTES_MAX, reverse};
use crate::wire::label::is_like;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  resolve -n|-a ...\tprints addresses of host names, or names of addresses\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    #[cfg(feature = "smol")]
    super::stack::HELP,
    text!("\nExits with 0 if all were found. Waits up to 5 s for an answer\n"),
];

flags! {
    enum Flag {
        bare {
            Name "n" | "--name",
            Address "a" | "--address",
            Ipv4 "4",
            Ipv6 "6",
            Verbose "v" | "--verbose",
        }
        valued {
            Interface "--interface" => "name an interface, such as eth0; 8 at most",
            Argument "*" => "name hosts, such as box.local; 16 at most",
        }
    }
}

const FLAGS: Flags = network::with(Flag::table(HELP));

/// A name or address to resolve.
struct SoughtName {
    /// The command-line argument.
    text: &'static [u8],
    /// The name to query, in uncompressed wire form.
    name: [u8; NAME_BYTES_MAX],
}

/// The parsed arguments.
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
    /// Sets the name to query: the host name, or the reverse name of the address. `None`: the argument is neither.
    fn set_name(&mut self, goal: Goal) -> Option<()> {
        if goal == Goal::Address {
            let name: &mut [u8; REVERSE_BYTES_MAX] = self.name.first_chunk_mut()?;
            reverse(address(self.text)?.to_canonical(), name);
            return Some(());
        }
        parse(self.text, &mut self.name)?;
        let mut labels = Name::of(&self.name).labels();
        let last = labels.by_ref().skip(1).last();
        is_like(last?, b"local").then_some(())
    }
}

/// Resolves all arguments: prints each result, and reports each name without one.
#[inline(never)]
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let mut options = Options {
        goal: None,
        families: 0,
        interfaces: Interfaces::new(),
        sought: heapless::Vec::new(),
    };
    let network = network::read(&FLAGS, args, &mut |given| {
        options.set(Flag::of(given.number)?, given.value.to_bytes())
    })?;
    let Some(goal) = options.goal else {
        let what = text!("add -n to resolve names, or -a to resolve addresses");
        return Err(complain(USAGE, what, b"", SEE_HELP));
    };
    if options.sought.is_empty() {
        return Err(complain(USAGE, Flag::Argument.wanted(), b"", SEE_HELP));
    }
    for sought in options.sought.iter_mut() {
        if sought.set_name(goal).is_none() {
            let why = if goal == Goal::Host {
                Flag::Argument.wanted()
            } else {
                text!("name addresses, such as 192.0.2.1 or fe80::1; 16 at most")
            };
            return Err(refuse(sought.text, b"", why));
        }
    }
    let families = match options.families {
        0 => 3,
        families => families,
    };
    let mut lookups = options.sought.iter().map(|sought| Lookup {
        goal,
        name: Name::of(&sought.name),
        links: u8::MAX,
        resolves: false,
        families,
    });
    let mut asker = Asker {
        pending: (1 << options.sought.len()) - 1,
        sought: &options.sought,
        out: Out::new(),
        status: DONE,
    };
    browse_common::run(
        &network,
        &mut asker,
        Choice {
            names: &options.interfaces,
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
            let name = names.find(Name::of(&sought.name));
            if self.pending & bit == 0 || !name.is_some_and(|name| event.matches_name(name)) {
                continue;
            }
            self.pending &= !bit;
            let why = match event.kind {
                EventKind::Found => {
                    let out = self.out.clear();
                    out.put(sought.text).byte(b'\t');
                    match event.address {
                        None => out.name(names, event.host),
                        address => out.address(address),
                    };
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
