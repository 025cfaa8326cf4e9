//! Messages about files that are read repeatedly. Each line is printed once, as long as each reading reports it again.

use crate::console::Console;
use crate::event::{Logged, Marks, Sink};
use crate::os::source::stamped;

/// Most lines of one reading that are recognised in the next; further ones are printed again.
const LINE_COUNT_MAX: usize = 32;

/// A sink that passes on only new lines.
#[derive(Default)]
pub struct Complaints {
    /// Hashes of the lines of the last reading.
    before: heapless::Vec<u64, LINE_COUNT_MAX>,
    /// Hashes of the lines of the current reading.
    current: heapless::Vec<u64, LINE_COUNT_MAX>,
}

impl Complaints {
    /// Starts a reading.
    pub fn start_scan(&mut self) {
        self.before = core::mem::take(&mut self.current);
    }

    /// Forgets all lines: the next reading prints its lines again.
    pub fn forget(&mut self) {
        self.current.clear();
    }
}

impl Logged for Complaints {}

impl Sink for Complaints {
    fn write_line(&mut self, line: &[u8], marks: Marks) {
        let hash = stamped(line, 0);
        let _ = self.current.push(hash);
        // `contains` is unrolled: 200 bytes.
        if self.before.iter().all(|other| *other ^ hash != 0) {
            Console.write_line(line, marks);
        }
    }
}
