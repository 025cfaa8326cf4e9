//! The machines that boot: the last step of each, for people.

use crate::config::{
    BOOT_FILE_BYTES, BOOT_MACHINE_COUNT_MAX, BOOT_MACHINE_COUNT_MIN, BOOT_SILENCE,
};
use crate::engine::Cx;
use crate::event::{Events, Level, Line};
use crate::mem::{Ends as _, Slots, copy_into, scaled};
use crate::stats::{Operation, Outcome};
use crate::text::{Text, text};
use crate::time::Instant;
use core::cell::Cell;
use core::net::Ipv6Addr;

/// Time (seconds) for which the same offer is not reported again.
const REPEAT_SECS: u32 = 10;

/// A step of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Step {
    /// The machine has asked for a type of loader that the server does not have.
    Unsupported,
    /// The server has offered a loader.
    Offered,
    /// The server has offered the menu.
    OfferedMenu,
    /// The machine has asked for a file that does not exist.
    Missing,
    /// The machine has asked for a file that it may not read, or by a name with "..".
    Refused,
    /// The machine has got a file by TFTP.
    Got,
    /// The machine has stopped after its loader.
    Silent,
    /// The machine fetches a file by HTTP.
    Fetches,
}

impl Step {
    /// The step in words, before the name of the file.
    pub const fn text(self) -> Text {
        match self {
            Self::Unsupported => text!("asks for a loader that is not there:"),
            Self::Offered => text!("is offered"),
            Self::OfferedMenu => text!("runs iPXE and is offered"),
            Self::Missing => text!("asked for a file that is not there:"),
            Self::Refused => text!("asked for a file that is refused:"),
            Self::Got => text!("got by TFTP"),
            Self::Silent => text!("has been silent since it got"),
            Self::Fetches => text!("fetches by HTTP"),
        }
    }

    /// Failed if the machine does not boot by this step.
    const fn outcome(self) -> Outcome {
        Outcome::of_error(matches!(
            self,
            Self::Unsupported | Self::Missing | Self::Refused | Self::Silent
        ))
    }

    /// The level of the event, and the advice for people.
    const fn advice(self) -> (Level, Text) {
        match self {
            Self::Unsupported => (
                Level::Warn,
                text!("put it into the directory, or see --loaders"),
            ),
            Self::Missing => (Level::Warn, text!("put it into the directory")),
            Self::Refused => (
                Level::Warn,
                text!("let everyone read it (chmod); names have no .."),
            ),
            Self::Silent => (
                Level::Warn,
                text!("does Secure Boot refuse an unsigned loader?"),
            ),
            _ => (Level::Info, Text::NOTHING),
        }
    }
}

/// A machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Its MAC address; zeros: unknown.
    pub mac: [u8; 6],
    /// Its address; unspecified: unknown. IPv4 is IPv4-mapped.
    pub address: Ipv6Addr,
    /// Its last step.
    pub step: Step,
    /// The time of that.
    pub at: Instant,
    /// True if it has UEFI.
    is_uefi: bool,
    /// The time at which its silence is reported.
    silent_at: Instant,
    /// The path of the last file that it got.
    file: [u8; BOOT_FILE_BYTES],
    file_len: u8,
}

impl Machine {
    const NEW: Self = Self {
        mac: [0; 6],
        address: Ipv6Addr::UNSPECIFIED,
        step: Step::Silent,
        at: Instant::from_ms(0),
        is_uefi: false,
        silent_at: Instant::NEVER,
        file: [0; _],
        file_len: 0,
    };

    /// The path of the last file that it got; empty: none, or too long.
    pub fn file(&self) -> &[u8] {
        self.file.head(self.file_len.into())
    }

    /// Passes its last step, at this place of the table, to readers of the figures. `about`: see [`Machines::note`].
    fn publish(&self, at: usize, cx: &Cx<'_>, about: &[u8]) {
        let step = self.step as u8;
        cx.stats.stepped(at, self.mac, self.address, step, about);
    }

    /// Appends its MAC address, or else its address.
    pub fn write_name(&self, line: &mut Line) {
        if self.mac == [0; 6] {
            line.address(self.address);
            return;
        }
        line.mac(&self.mac);
        if !self.address.is_unspecified() {
            line.byte(b' ').byte(b'(').address(self.address).byte(b')');
        }
    }
}

/// The identity of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// Its MAC address.
    Mac([u8; 6]),
    /// Its address.
    Address(Ipv6Addr),
}

/// The machines of a process. A new one replaces the one that was silent for longest.
#[derive(Debug)]
pub struct Machines {
    table: &'static [Cell<Machine>],
    /// Number of known machines.
    count: Cell<usize>,
    /// Earliest time at which a silence is to be reported.
    silent_at: Cell<Instant>,
    /// The state of the files that assign images to machines, as they were reported last.
    pub(super) assigned: Cell<u64>,
}

impl Machines {
    /// Makes the table.
    pub fn new() -> Self {
        let count = scaled(BOOT_MACHINE_COUNT_MIN, BOOT_MACHINE_COUNT_MAX);
        let mut table = Slots::new(count);
        while table.push(Cell::new(Machine::NEW)).is_some() {}
        Self {
            table: table.leak(),
            count: Cell::new(0),
            silent_at: Cell::new(Instant::NEVER),
            assigned: Cell::new(0),
        }
    }

    /// The known machines.
    pub fn iter(&self) -> impl Iterator<Item = Machine> {
        self.known().iter().map(Cell::get)
    }

    fn known(&self) -> &[Cell<Machine>] {
        self.table.get(..self.count.get()).unwrap_or_default()
    }

    /// The machine with this key.
    pub fn get(&self, key: Key) -> Option<Machine> {
        self.iter().find(|machine| match key {
            Key::Mac(mac) => machine.mac == mac,
            Key::Address(address) => machine.address == address,
        })
    }

    /// Changes a machine, which may be new. Returns its place, too.
    fn update(
        &self,
        key: Key,
        now: Instant,
        change: &mut dyn FnMut(&mut Machine),
    ) -> (usize, Machine) {
        let is_it = |place: &&Cell<Machine>| match key {
            Key::Mac(mac) => place.get().mac == mac,
            Key::Address(address) => place.get().address == address,
        };
        let mut all = self.table.iter().enumerate();
        let (at, place) = match all
            .clone()
            .take(self.count.get())
            .find(|(_, one)| is_it(one))
        {
            Some(found) => found,
            None => {
                let count = self.count.get();
                let place = match all.nth(count) {
                    Some(place) => {
                        self.count.set(count + 1);
                        Some(place)
                    }
                    None => (self.table.iter().enumerate()).min_by_key(|(_, one)| one.get().at),
                };
                let Some(place) = place else {
                    return (0, Machine::NEW);
                };
                place.1.set(Machine::NEW);
                place
            }
        };
        let mut machine = place.get();
        match key {
            Key::Mac(mac) => machine.mac = mac,
            Key::Address(address) => machine.address = address,
        }
        machine.silent_at = Instant::NEVER;
        change(&mut machine);
        machine.at = now;
        place.set(machine);
        self.silent_at
            .set(self.silent_at.get().min(machine.silent_at));
        (at, machine)
    }

    /// Records the address of a machine, which it has asked a DHCP server for.
    pub fn learn(&self, mac: [u8; 6], address: Ipv6Addr, now: Instant) {
        if self.get(Key::Mac(mac)).is_none() {
            return;
        }
        // The machine that had it before.
        for place in self.known() {
            let mut machine = place.get();
            if machine.address == address && machine.mac != mac {
                machine.address = Ipv6Addr::UNSPECIFIED;
                place.set(machine);
            }
        }
        self.update(Key::Mac(mac), now, &mut |machine| machine.address = address);
    }

    /// Records a step, and reports it. `about` is a path or a name. A path that the machine got is kept.
    pub fn note(&self, cx: &mut Cx<'_>, key: Key, step: Step, about: &[u8]) {
        let now = cx.now;
        cx.stats
            .called(Operation::boot(step as u32), step.outcome());
        let mut is_known = false;
        let (at, machine) = self.update(key, now, &mut |machine| {
            // Clients repeat their requests.
            is_known = machine.step == step
                && machine.at.secs() + REPEAT_SECS > now.secs()
                && matches!(step, Step::Unsupported | Step::Offered | Step::OfferedMenu);
            let was_offered = machine.step == Step::Offered;
            machine.step = step;
            if step == Step::Got {
                let fits = about.len() <= BOOT_FILE_BYTES;
                machine.file_len = if fits { about.len() as u8 } else { 0 };
                copy_into(&mut machine.file, about);
                if machine.is_uefi && was_offered {
                    machine.silent_at = now.after(BOOT_SILENCE);
                }
            }
        });
        machine.publish(at, cx, about);
        if !is_known {
            report(&machine, step, about, now, cx.events);
        }
    }

    /// Records that a machine has this firmware.
    pub fn set_uefi(&self, mac: [u8; 6], is_uefi: bool, now: Instant) {
        self.update(Key::Mac(mac), now, &mut |machine| machine.is_uefi = is_uefi);
    }

    /// Earliest time at which [`Self::report_silence`] has work.
    pub const fn poll_at(&self) -> Instant {
        self.silent_at.get()
    }

    /// Reports the machines that have got a loader, and nothing since.
    pub fn report_silence(&self, cx: &mut Cx<'_>) {
        let now = cx.now;
        if now < self.silent_at.get() {
            return;
        }
        let mut next = Instant::NEVER;
        for (at, place) in self.known().iter().enumerate() {
            let mut machine = place.get();
            if machine.silent_at <= now {
                machine.silent_at = Instant::NEVER;
                machine.step = Step::Silent;
                let step = Operation::boot(Step::Silent as u32);
                cx.stats.called(step, Outcome::Failed);
                machine.publish(at, cx, machine.file());
                report(&machine, Step::Silent, machine.file(), now, cx.events);
                place.set(machine);
            }
            next = next.min(machine.silent_at);
        }
        self.silent_at.set(next);
    }
}

impl Default for Machines {
    fn default() -> Self {
        Self::new()
    }
}

/// Reports a step. The number of lines is limited for each machine.
fn report(machine: &Machine, step: Step, about: &[u8], now: Instant, events: &mut Events) {
    // Files that shim can do without.
    let name = about.iter().rposition(|byte| *byte == b'/');
    let name = about.tail(name.map_or(0, |at| at + 1));
    if name.starts_with(b"revocations_") || name.starts_with(b"shim_certificate_") {
        return;
    }
    let mut peer = machine.address;
    if peer.is_unspecified() {
        let mut octets = [0xfe; 16];
        copy_into(octets.tail_mut(10), &machine.mac);
        peer = Ipv6Addr::from(octets);
    }
    if !events.admits(now, peer, step.text()) {
        return;
    }
    let (level, why) = step.advice();
    let mut line = Line::default();
    line.prefix();
    machine.write_name(&mut line);
    line.byte(b' ').say(step.text()).details(about, why);
    line.marks.level = level;
    events.report_line(&mut line);
}
