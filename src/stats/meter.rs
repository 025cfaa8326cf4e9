//! The meter of a loop: the client that is served, the time since when it waits, and the calls that are answered.

use super::clients::{CLIENT_NONE, Work};
use super::history::INTERVAL_SECS;
use super::{BUCKET_COUNT, ERRORS, Family, Figure, LIMITS_US, Operation, Outcome, SUM, Sheet};
use crate::config::HAS_HTTP;
use crate::time::Instant;
use core::net::Ipv6Addr;
use core::sync::atomic::AtomicU32;

/// Largest number of ticks of one turn that are converted; more count as these.
const TICKS_MAX: u64 = 1 << 40;
/// Base-2 logarithm of the unit of [`Meter::rate`], and its largest value: a product with the ticks does not overflow.
const RATE_SHIFT: u32 = 20;
const RATE_MAX: u64 = (1 << 23) - 1;
/// Times (ms) after the start at which the ticks are compared with the clock.
const COMPARED_MS: [u64; 3] = [50, 1_000, 20_000];

/// Counts the calls of a loop.
#[derive(Debug)]
pub struct Meter {
    pub(super) sheet: Sheet,
    /// All sheets of the server, for readers.
    sheets: &'static [Sheet],
    /// Numbers of NFS 4.1, which its servers share.
    nfs4: &'static [AtomicU32],
    /// A counter that runs at a constant rate; it costs no system call. Constant where the processor has none.
    ticks: fn() -> u64,
    /// The ticks when the present turn began.
    began: u64,
    /// Microseconds for each tick, times 2²⁰; 0 while that is unknown.
    rate: u64,
    /// Clock and ticks at the first turn.
    first: Option<(Instant, u64)>,
    /// Number of the comparisons of ticks and clock.
    compared: usize,
    pub(super) now: Instant,
    /// Time of the next sample for the rates; never, unless HTTP may be asked for them.
    sample_at: Instant,
    protocol: Family,
    /// The client that is served.
    client: u16,
    /// Time (µs) for which the served request had waited before this turn.
    waited_us: u64,
    run: Run,
    work: Work,
}

/// Calls of one operation in succession, which are counted together: their replies are sent together.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// Place of the operation's figures.
    at: usize,
    calls: u64,
    errors: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self::IDLE
    }
}

impl Meter {
    /// A meter that counts nothing.
    pub const IDLE: Self = Self::new(Sheet::NONE, &[], || 0);

    /// Counts in `sheet`, one of `sheets`.
    pub const fn new(sheet: Sheet, sheets: &'static [Sheet], ticks: fn() -> u64) -> Self {
        Self {
            sheet,
            sheets,
            nfs4: &[],
            ticks,
            began: 0,
            rate: 0,
            first: None,
            compared: 0,
            now: Instant::from_ms(0),
            sample_at: Instant::NEVER,
            protocol: Family::Rpc,
            client: CLIENT_NONE,
            waited_us: 0,
            run: Run {
                at: 0,
                calls: 0,
                errors: 0,
            },
            work: Work {
                calls: 0,
                received: 0,
                sent: 0,
            },
        }
    }

    /// The sheets of all processes of the server.
    pub const fn sheets(&self) -> &'static [Sheet] {
        self.sheets
    }

    /// The numbers of clients and opens of NFS 4.1; none if it is not served.
    pub const fn nfs4(&self) -> &'static [AtomicU32] {
        self.nfs4
    }

    /// Reads the numbers of NFS 4.1 from these words.
    pub const fn watch_nfs4(&mut self, words: &'static [AtomicU32]) {
        self.nfs4 = words;
    }

    /// A turn of the loop begins: it has waited until `now`.
    pub fn turn(&mut self, now: Instant) {
        (self.now, self.began) = (now, (self.ticks)());
        if HAS_HTTP && now >= self.sample_at {
            let secs = u64::from(now.secs());
            self.sample_at = Instant::from_ms((secs / INTERVAL_SECS + 1) * INTERVAL_SECS * 1000);
            self.sheet.sample(secs);
        }
        let (clock, ticks) = *self.first.get_or_insert((now, self.began));
        let elapsed_ms = now.since(clock).as_ms();
        let due_ms = COMPARED_MS.get(self.compared);
        if due_ms.is_some_and(|due_ms| elapsed_ms >= *due_ms) {
            self.compared += 1;
            let ticks = self.began.wrapping_sub(ticks);
            let scaled = elapsed_ms.saturating_mul(1000 << RATE_SHIFT);
            self.rate = scaled.checked_div(ticks).unwrap_or(0).min(RATE_MAX);
        }
    }

    /// The driver begins to serve a client. Its request has been there since `since`, which is this turn if it did not wait for a
    /// disk.
    pub const fn serve(&mut self, protocol: Family, client: u16, since: Instant) {
        (self.protocol, self.client) = (protocol, client);
        self.waited_us = self.now.since(since).as_ms() * 1000;
    }

    /// Bytes were received from the client that is served.
    pub const fn received(&mut self, count: usize) {
        self.work.received += count as u64;
    }

    /// Bytes were sent to the client that is served.
    pub const fn sent(&mut self, count: usize) {
        self.work.sent += count as u64;
    }

    /// The driver has served the client.
    pub fn served(&mut self) {
        self.end_run();
        let work = core::mem::take(&mut self.work);
        self.add(self.protocol, Figure::Received, work.received);
        self.add(self.protocol, Figure::Sent, work.sent);
        let now_ms = self.now.since(Instant::from_ms(0)).as_ms();
        self.sheet.add_work(self.client, now_ms, work);
        self.client = CLIENT_NONE;
    }

    /// Counts a call that is answered.
    pub fn called(&mut self, operation: Option<Operation>, outcome: Outcome) {
        let Some(operation) = operation else {
            return;
        };
        if self.run.at != operation.at() {
            self.end_run();
            self.run.at = operation.at();
        }
        self.run.calls += 1;
        self.run.errors += u64::from(outcome == Outcome::Failed);
    }

    /// Counts the calls of the run, all with the time that has passed now.
    fn end_run(&mut self) {
        let Run { at, calls, errors } = core::mem::take(&mut self.run);
        if calls == 0 {
            return;
        }
        let ticks = (self.ticks)().wrapping_sub(self.began).min(TICKS_MAX);
        let us = self.waited_us + ((ticks * self.rate) >> RATE_SHIFT);
        let bucket = LIMITS_US.iter().position(|limit| us <= *limit);
        self.sheet
            .add(at + bucket.unwrap_or(BUCKET_COUNT - 1), calls);
        self.sheet.add(at + SUM, us * calls);
        self.sheet.add(at + ERRORS, errors);
        self.work.calls += calls;
    }

    /// Keeps samples from now on.
    pub const fn keep_samples(&mut self) {
        self.sample_at = Instant::from_ms(0);
    }

    /// Records the memory in use (bytes) and the number of open descriptors.
    pub fn measure(&self, sizes: [u64; 2]) {
        self.sheet.measure(sizes);
    }

    /// Adds to a figure; `u64::MAX` subtracts 1.
    #[inline(always)]
    pub fn add(&self, protocol: Family, figure: Figure, count: u64) {
        self.sheet.add(figure.at(protocol), count);
    }

    /// Sets a figure that tells a present state.
    #[inline(always)]
    pub fn set(&self, protocol: Family, figure: Figure, value: u64) {
        self.sheet.write(figure.at(protocol), value);
    }

    /// A connection of `address` was accepted. Returns the client's number for [`Meter::serve`].
    pub fn opened(&self, protocol: Family, address: Ipv6Addr, now: Instant) -> u16 {
        self.add(protocol, Figure::Accepted, 1);
        self.add(protocol, Figure::Open, 1);
        let now_ms = now.since(Instant::from_ms(0)).as_ms();
        let client = self.sheet.place_of(address, now_ms);
        self.sheet.add_open(client, 1);
        client
    }

    /// A connection of this client was closed.
    pub fn closed(&self, protocol: Family, client: u16) {
        self.add(protocol, Figure::Open, u64::MAX);
        self.sheet.add_open(client, -1);
    }

    /// A client has mounted or unmounted an export: it now has `count`.
    pub fn mounted(&self, address: Ipv6Addr, count: usize) {
        let now_ms = self.now.since(Instant::from_ms(0)).as_ms();
        let client = self.sheet.place_of(address, now_ms);
        self.sheet.set_mounts(client, count as u64);
    }
}
