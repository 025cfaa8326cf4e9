//! The figures as rows, which Prometheus' text and the pages have in common.

use super::form::Form;
use crate::event::Line;
use crate::mem::nth;
use crate::stats::clients::{CALLS, OPEN, SEEN};
use crate::stats::names::FIGURE_COUNT;
use crate::stats::{
    BUCKET_COUNT, CLIENT_COUNT_MAX, Client, Family, Figure, LIMITS_US, Operation, RESIDENT, Sheet,
    VERSION,
};
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Returns the path of the export with this number, and true if it is open. `None` after the last.
pub type Exports<'a> = &'a dyn Fn(usize) -> Option<(&'a [u8], bool)>;

/// The figures to read.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The sheets of the server.
    pub sheets: &'a [Sheet],
    /// The exports.
    pub exports: Exports<'a>,
    /// The numbers of clients, of opens and of denying opens of NFS 4.1; none if it is not served.
    pub nfs4: &'a [AtomicU32],
    /// The monotonic clock (ms).
    pub now_ms: u64,
    /// Seconds since 1970.
    pub wall_secs: u64,
}

/// A kind of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rows {
    Processes,
    Protocols,
    Operations,
    Exports,
    Clients,
    Mdns,
    /// Version 4.1 of NFS, one row.
    Nfs4,
    /// The machines that boot.
    Machines,
    /// The server, one row.
    Server,
    /// The buckets of operations, of which Prometheus' text has lines of their own.
    Buckets,
}

/// Most numbers of a row.
const NUMBER_COUNT: usize = FIGURE_COUNT;

/// A row: its texts, then its numbers.
#[derive(Default)]
pub(super) struct Row<'a> {
    /// The first text, if it is not in `texts`; those after `texts` follow, each after a zero byte.
    name: Line,
    texts: [&'a [u8]; 2],
    pub(super) numbers: [u64; NUMBER_COUNT],
    /// True if the row shows a failure.
    pub(super) fails: bool,
    /// False if the row is of nothing.
    pub(super) is_there: bool,
}

impl Row<'_> {
    pub(super) fn texts(&self) -> [&[u8]; 4] {
        let [mut first, second] = self.texts;
        let names = [0, 1, 2].map(|at| nth(self.name.bytes(), 0, at));
        if !self.name.bytes().is_empty() {
            first = names[0];
        }
        [first, second, names[1], names[2]]
    }

    #[inline(never)]
    fn set(&mut self, numbers: &[u64]) {
        self.is_there = true;
        for (place, number) in self.numbers.iter_mut().zip(numbers) {
            *place = *number;
        }
    }
}

/// Clients in a table, those with the most calls. JSON has all.
const CLIENT_COUNT: usize = 10;
/// Age (seconds) up to which a process that replaces another is shown as a failure.
const FAILED_SECS: u64 = 600;
/// Calls of which an error is a failure. Others ask for what may not exist; HTTP has 4xx for that.
const MOVES_DATA: [&str; 6] = ["read", "write", "commit", "close", "get", "head"];
/// Buckets of calls that took less than 1 ms.
const BELOW_1MS_COUNT: usize = 5;
const _: () = assert!(LIMITS_US[BELOW_1MS_COUNT - 1] == 1000);
/// A duration above the limits of all buckets.
pub(super) const ABOVE: u64 = u64::MAX;

impl<'a> Reader<'a> {
    /// Fills the row at this place, unless it is of nothing. `None`: it is after the last one.
    pub(super) fn fill(&self, rows: Rows, form: Form, at: usize, row: &mut Row<'a>) -> Option<()> {
        match rows {
            Rows::Processes => self.fill_process(at, row)?,
            Rows::Protocols => self.fill_protocol(*Family::ALL.get(at)?, 0, row),
            Rows::Operations => self.fill_operation(Operation::nth(at)?, row),
            Rows::Exports => self.fill_export(at, row)?,
            Rows::Clients => self.fill_client(form, at, row)?,
            Rows::Machines => self.fill_machine(at, row)?,
            Rows::Mdns | Rows::Server | Rows::Nfs4 if at > 0 => return None,
            Rows::Nfs4 => self.fill_nfs4(row),
            Rows::Mdns => self.fill_protocol(Family::Mdns, Figure::Records as usize, row),
            _ => self.fill_server(row),
        };
        Some(())
    }

    pub(super) fn sum(&self, value: impl Fn(Sheet) -> u64) -> u64 {
        let values = self.sheets.iter().map(|sheet| value(*sheet));
        values.fold(0, u64::wrapping_add)
    }

    /// PID, uptime, restarts and start.
    fn fill_process(&self, at: usize, row: &mut Row<'a>) -> Option<()> {
        let sheet = self.sheets.get(at)?;
        if sheet.pid() != 0 {
            let (started, restarts) = (sheet.started(), sheet.restarts());
            let uptime = self.wall_secs.saturating_sub(started);
            row.name.raw(nth(&sheet.role(), 0, 0));
            row.fails = restarts > 0 && uptime < FAILED_SECS;
            row.set(&[sheet.pid(), uptime, restarts, started]);
        }
        Some(())
    }

    /// The figures of a protocol from `first` on.
    fn fill_protocol(&self, protocol: Family, first: usize, row: &mut Row<'a>) {
        row.texts = [protocol.name().as_bytes(), b""];
        row.is_there = true;
        for (place, figure) in row.numbers.iter_mut().zip(Figure::ALL.iter().skip(first)) {
            *place = self.sum(|sheet| sheet.figure(protocol, *figure));
        }
    }

    /// Calls, share, errors, mean and p99 of the durations, share of those below 1 ms.
    fn fill_operation(&self, operation: Operation, row: &mut Row<'a>) {
        let calls = self.calls_below(operation, BUCKET_COUNT);
        if calls == 0 {
            return;
        }
        let all = Operation::all().map(|operation| self.calls_below(operation, BUCKET_COUNT));
        let of = |all: u64, part: u64| (part * 100).checked_div(all).unwrap_or(0);
        let errors = self.sum(|sheet| sheet.calls(operation).2);
        let p99 = (1..BUCKET_COUNT)
            .find(|count| self.calls_below(operation, *count) * 100 >= calls * 99)
            .and_then(|count| LIMITS_US.get(count - 1).copied());
        row.texts = operation.texts();
        row.fails = errors > 0 && MOVES_DATA.contains(&operation.name());
        row.set(&[
            calls,
            of(all.sum(), calls),
            errors,
            self.sum(|sheet| sheet.calls(operation).1) / calls,
            p99.unwrap_or(ABOVE),
            of(calls, self.calls_below(operation, BELOW_1MS_COUNT)),
        ]);
    }

    /// The calls of an operation in its first buckets.
    #[inline(never)]
    pub(super) fn calls_below(&self, operation: Operation, bucket_count: usize) -> u64 {
        self.sum(|sheet| sheet.calls(operation).0.iter().take(bucket_count).sum())
    }

    /// 1 if the export is open.
    fn fill_export(&self, at: usize, row: &mut Row<'a>) -> Option<()> {
        let (path, is_open) = (self.exports)(at)?;
        // An export that is removed at SIGHUP keeps its number.
        if !path.is_empty() {
            row.texts = [if is_open { b"open" } else { b"MISSING" }, path];
            row.fails = !is_open;
            row.set(&[is_open.into()]);
        }
        Some(())
    }

    /// Connections, mounts, calls, bytes received and sent of a client, and the time since it was served (seconds).
    fn fill_client(&self, form: Form, at: usize, row: &mut Row<'a>) -> Option<()> {
        let found = match form {
            Form::Json => self
                .sheets
                .get(at / CLIENT_COUNT_MAX)?
                .client(at % CLIENT_COUNT_MAX),
            _ => Some((*self.top_clients().get(at)?)?),
        };
        let Some([high, low, ..]) = found else {
            return Some(());
        };
        let (mut whole, mut first) = (Client::default(), at);
        self.each_client(&mut |at, client| {
            if client[..SEEN] == [high, low] {
                first = first.min(at);
                for (word, (sum, value)) in whole.iter_mut().zip(client).enumerate() {
                    *sum = if word < OPEN {
                        (*value).max(*sum)
                    } else {
                        *sum + value
                    };
                }
            }
        });
        // JSON has a client that several processes know at the place in the first of them.
        if form != Form::Json || first == at {
            let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
            let [_, _, seen_ms, open, mounts, calls, received, sent] = whole;
            let idle_secs = self.now_ms.saturating_sub(seen_ms) / 1000;
            row.name.address(address);
            row.set(&[open, mounts, calls, received, sent, idle_secs]);
        }
        Some(())
    }

    /// Clients, opens, and opens that deny something to others.
    fn fill_nfs4(&self, row: &mut Row<'a>) {
        row.is_there = !self.nfs4.is_empty();
        for (place, word) in row.numbers.iter_mut().zip(self.nfs4) {
            *place = word.load(Ordering::Relaxed).into();
        }
    }

    /// The time since the last step of a machine (seconds). Only one process boots machines.
    fn fill_machine(&self, at: usize, row: &mut Row<'a>) -> Option<()> {
        let machine = self.sheets.iter().find_map(|sheet| sheet.machine(at))?;
        row.name = machine.names;
        row.texts = [b"", machine.step.name().as_bytes()];
        row.set(&[self.now_ms.saturating_sub(machine.at_ms) / 1000]);
        Some(())
    }

    /// Passes the place and the words of each client to `call`.
    fn each_client(&self, call: &mut dyn FnMut(usize, &Client)) {
        for (number, sheet) in self.sheets.iter().enumerate() {
            for at in 0..CLIENT_COUNT_MAX {
                // Places are used in their order.
                let Some(client) = sheet.client(at) else {
                    break;
                };
                call(number * CLIENT_COUNT_MAX + at, &client);
            }
        }
    }

    /// The clients with the most calls. One that several processes know counts with the calls of the first of them.
    fn top_clients(&self) -> [Option<Client>; CLIENT_COUNT] {
        let mut top = [None::<Client>; CLIENT_COUNT];
        self.each_client(&mut |_, client| {
            let mut known = top.iter().flatten();
            if known.any(|known| known[..SEEN] == client[..SEEN]) {
                return;
            }
            let mut next = Some(*client);
            for place in &mut top {
                if place.map(|client| client[CALLS]) < next.map(|client| client[CALLS]) {
                    core::mem::swap(place, &mut next);
                }
            }
        });
        top
    }

    /// 1, the start, the memory (bytes) and the open descriptors of the server; 0 where the host has no such number.
    fn fill_server(&self, row: &mut Row<'a>) {
        let started = self.sheets.iter().map(|sheet| sheet.started());
        let size = |word: usize| self.sum(|sheet| sheet.read(RESIDENT + word));
        row.texts = [VERSION.as_bytes(), b""];
        row.set(&[
            1,
            started.filter(|secs| *secs > 0).min().unwrap_or(0),
            size(0),
            size(1),
        ]);
    }

    /// Writes the calls and the megabytes of the last minute, per second.
    #[inline(never)] // −112 bytes, with escape_html.
    pub fn put_rates(&self, line: &mut Line) {
        let secs = self.now_ms / 1000;
        for (word, unit, name) in [(0, 1, " calls/s, "), (1, 1_000_000, " MB/s")] {
            let rate = self.sum(|sheet| sheet.rates(secs).get(word).copied().unwrap_or(0)) / unit;
            line.digits(rate / 10, 10, 1).byte(b'.');
            line.digits(rate % 10, 10, 1).text(name);
        }
    }
}
