//! `resolve`: prints the addresses of hosts, and the names of addresses. Flags and lines are avahi-resolve's.
//!
//! Of each name the first address is printed. A host that denies that there is one is believed at once. RFC 6762 section 6.1.

use super::args::address;
use super::browse_common::{self, Finder, Interfaces, Links};
use super::flags::{Flags, flags};
use super::terminal_safe::Out;
use super::{DONE, FAILED, Fatal, SEE_HELP, USAGE, complain, network, refuse};
use crate::engine::mdns::browser::{Event, Goal, WISH_COUNT_MAX, What, Wish};
use crate::sys::Args;
use crate::text::{Text, text};
use crate::wire::dns::escape::parse;
use crate::wire::dns::{NAME_BYTES_MAX, Name, REVERSE_BYTES_MAX, reverse};
use crate::wire::label::is_like;

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text =
    text!("  resolve -n|-a ...\tprints addresses of hosts, and names of addresses\n");
const HELP: &[Text] = &[
    text!(include_str!("help.txt")),
    #[cfg(feature = "smol")]
    super::stack::HELP,
    text!(
        "\nexit 0: all were found. Who has no such address says so; who is not there\nis waited for, five seconds\n"
    ),
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

/// Something that is looked for.
struct Sought {
    /// As on the command line.
    text: &'static [u8],
    /// The name that is asked for, in the form without pointers.
    name: [u8; NAME_BYTES_MAX],
}

/// What the arguments ask for, and then what is still to be found of it.
struct Options {
    goal: Option<Goal>,
    /// As in [`Wish::families`]; 0: both.
    families: u8,
    interfaces: Interfaces,
    sought: heapless::Vec<Sought, WISH_COUNT_MAX>,
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
                self.sought.push(Sought { text, name }).ok()?;
            }
        }
        Some(())
    }
}

impl Sought {
    /// Finds out which name is to be asked for.
    fn read(&mut self, goal: Goal) -> Option<()> {
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

/// Prints what it finds until it has found all, or been told that there is none.
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
        let what = text!("say with -n that these are names, or with -a that they are addresses");
        return Err(complain(USAGE, what, b"", SEE_HELP));
    };
    if options.sought.is_empty() {
        return Err(complain(USAGE, Flag::Argument.wanted(), b"", SEE_HELP));
    }
    for sought in options.sought.iter_mut() {
        if sought.read(goal).is_none() {
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
    let mut wishes = options.sought.iter().map(|sought| Wish {
        goal,
        name: Name::of(&sought.name),
        links: u8::MAX,
        resolves: false,
        families,
    });
    let mut asker = Asker {
        left: (1 << options.sought.len()) - 1,
        sought: &options.sought,
        out: Out::new(),
        status: DONE,
    };
    browse_common::run(
        &network,
        &mut asker,
        &options.interfaces,
        &mut wishes,
        false,
    )?;
    // One that was asked to stop before has not found all.
    if asker.left != 0 || asker.status != DONE {
        return Err(FAILED);
    }
    Ok(())
}

/// Waits for what is to be found.
struct Asker<'a> {
    sought: &'a [Sought],
    /// A bit for each that was not found yet.
    left: u32,
    out: Out,
    status: Fatal,
}

// There is a bit for each.
const _: () = assert!(WISH_COUNT_MAX < u32::BITS as usize);

impl Finder for Asker<'_> {
    fn take(&mut self, _: &Links, event: &Event<'_>) -> bool {
        let names = event.names();
        for (at, sought) in self.sought.iter().enumerate() {
            let bit = 1 << at;
            let name = names.find(Name::of(&sought.name));
            if self.left & bit == 0 || !name.is_some_and(|name| event.is_of(name)) {
                continue;
            }
            self.left &= !bit;
            let why = match event.what {
                What::Found => {
                    let out = self.out.begin();
                    out.put(sought.text).byte(b'\t');
                    match event.address {
                        None => out.name(names, event.host),
                        address => out.address(address),
                    };
                    out.end();
                    continue;
                }
                What::Absent => text!("its host says so"),
                _ => text!("it may be off, or not on these networks"),
            };
            self.status = complain(FAILED, text!("nothing was found of"), sought.text, why);
        }
        self.left != 0
    }
}
