//! The machines that boot over the network: the last step of each, in words of the sheet after those of the clients.

use super::{CLIENT_COUNT_MAX, Meter, Operation, Sheet, word_count};
use crate::config::BOOT_MACHINE_COUNT_MAX;
use crate::event::Line;
use crate::mem::{Ends as _, copy_into, nth};
use crate::time::Instant;
use core::net::Ipv6Addr;

/// Longest end of a path that is kept (bytes).
const PATH_BYTES: usize = 64;
/// Words of a machine: number of the step + 1 above the MAC address; address (2); time of the step (ms of the monotonic clock); path.
const WORDS: usize = PATH_AT + PATH_BYTES / 8;
const PATH_AT: usize = 4;
const MACHINES_AT: usize = word_count(CLIENT_COUNT_MAX);
/// Bits of a MAC address.
const MAC_BITS: u32 = 48;
/// Number of words for all machines.
pub const MACHINE_WORDS: usize = BOOT_MACHINE_COUNT_MAX * WORDS;

/// The last step of a machine, as a reader sees it.
pub(super) struct MachineStep {
    /// Its MAC address and its address, as far as they are known, and the end of the path or name, with a zero byte between them.
    pub(super) names: Line,
    /// The step.
    pub(super) step: Operation,
    /// Time of the step (ms of the monotonic clock).
    pub(super) at_ms: u64,
}

impl Sheet {
    /// The last step of the machine at this place. Places are used in their order.
    pub(super) fn machine(self, at: usize) -> Option<MachineStep> {
        let words: [u64; WORDS] =
            core::array::from_fn(|word| self.read(MACHINES_AT + at * WORDS + word));
        let [first, high, low, at_ms, ..] = words;
        let step = Operation::boot(((first >> MAC_BITS) as u32).wrapping_sub(1))?;
        let mut names = Line::default();
        let mac = first << (u64::BITS - MAC_BITS);
        if mac != 0 {
            names.mac(&mac.to_be_bytes());
        }
        names.byte(0);
        let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        if !address.is_unspecified() {
            names.address(address);
        }
        names.byte(0);
        for word in &words[PATH_AT..] {
            names.raw(nth(&word.to_be_bytes(), 0, 0));
        }
        Some(MachineStep { names, step, at_ms })
    }

    /// Forgets the machines of a process that has ended.
    pub(super) fn forget_machines(self) {
        for at in (MACHINES_AT..MACHINES_AT + MACHINE_WORDS).step_by(WORDS) {
            if self.read(at) == 0 {
                return;
            }
            self.write(at, 0);
        }
    }
}

impl Meter {
    /// Records the step `step` (a number of [`Operation::boot`]) of the machine at this place. Zeros: its MAC address or its address
    /// is unknown.
    pub fn stepped(&self, at: usize, mac: [u8; 6], address: Ipv6Addr, step: u8, path: &[u8]) {
        let mut first = [0; 8];
        first[1] = step + 1;
        copy_into(&mut first[2..], &mac);
        let bits = address.to_bits();
        let mut end = [0; PATH_BYTES];
        copy_into(&mut end, path.tail(path.len().saturating_sub(PATH_BYTES)));
        let words = [
            u64::from_be_bytes(first),
            (bits >> 64) as u64,
            bits as u64,
            self.now.since(Instant::from_ms(0)).as_ms(),
        ];
        let path = end
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_be_bytes(*word));
        for (word, value) in words.into_iter().chain(path).enumerate() {
            self.sheet.write(MACHINES_AT + at * WORDS + word, value);
        }
    }
}
