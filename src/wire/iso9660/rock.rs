//! Rock Ridge: POSIX attributes, in fields of the system use area and its continuation areas.

use super::date::Dates;
use super::record::numbers;
use super::{DirRecord, NAME_BYTES_MAX, TARGET_BYTES_MAX};

impl DirRecord {
    /// Parses the fields of an area. Attributes without a field keep their values.
    #[inline(never)]
    pub fn read(&mut self, area: &[u8]) {
        let mut rest = area;
        // Fewer bytes than a field's head may follow the last field.
        while let [a, b, len @ 4..=255, _, tail @ ..] = rest {
            let len = usize::from(*len) - 4;
            let Some((field, tail)) = tail.split_at_checked(len) else {
                self.malformed = true;
                return;
            };
            rest = tail;
            let places: &mut [u32] = match u16::from_le_bytes([*a, *b]) {
                ST => return,
                CE => &mut self.more,
                PX => &mut self.posix,
                PN => &mut self.numbers,
                CL | PL => {
                    self.flags |= Self::DIRECTORY;
                    let [block, _] = &mut self.extent;
                    core::slice::from_mut(block)
                }
                RE => {
                    self.flags |= Self::ASSOCIATED;
                    continue;
                }
                ER => {
                    self.extended = true;
                    continue;
                }
                SP => {
                    if let [_, _, skip, ..] = field {
                        self.skip = *skip;
                    }
                    continue;
                }
                TF => {
                    self.set_times(field);
                    continue;
                }
                NM => {
                    self.add_name(field);
                    continue;
                }
                SL => {
                    self.add_target(field);
                    continue;
                }
                _ => continue,
            };
            self.malformed |= numbers(places, field);
        }
    }

    fn add_name(&mut self, field: &[u8]) {
        // Flags other than 0 and 1 (CONTINUE) mean ".", ".." or a host name. "." and ".." are named by their records; a host name
        // is ignored.
        if let [0 | 1, text @ ..] = field
            && !self.dots
        {
            if self.plain {
                self.plain = false;
                self.name.len = 0;
            }
            self.malformed |= self.name.add(text, NAME_BYTES_MAX);
        }
    }

    fn set_times(&mut self, field: &[u8]) {
        let &[mut flags, ref dates @ ..] = field else {
            return;
        };
        let mut dates = Dates::new(dates, flags);
        for at in 0..4 {
            if flags & 1 != 0 {
                let time = dates.seconds();
                // The order in TF is creation, modification, access, attribute change. As on Linux, both the first and the last set
                // `times[0]`, because some images store the time of the attribute change as the time of creation.
                if let Some(place) = self.times.get_mut(at % 3) {
                    *place = time;
                }
            }
            flags >>= 1;
        }
        self.malformed |= dates.are_short();
    }

    fn add_target(&mut self, field: &[u8]) {
        let &[_, ref rest @ ..] = field else {
            return;
        };
        let mut rest = rest;
        while let [flags, len, tail @ ..] = rest {
            let Some((mut text, tail)) = tail.split_at_checked((*len).into()) else {
                break;
            };
            rest = tail;
            // A flag of 2 stands for ".", a flag of 4 for "..".
            let dots = flags & !(CONTINUES | TOP);
            if dots != 0 {
                match b"..".get(..(dots / 2).into()) {
                    Some(dots) => text = dots,
                    None => self.malformed = true,
                }
            }
            if self.separated {
                self.target.put(b'/');
            }
            if flags & TOP != 0 {
                self.target.put(b'/');
            }
            self.malformed |= self.target.add(text, TARGET_BYTES_MAX);
            // No "/" follows the root, which ends with one, or a component that the next one continues.
            self.separated = flags & (CONTINUES | TOP) == 0;
        }
        self.malformed |= !rest.is_empty();
    }
}

/// Flags of a component of a target.
const CONTINUES: u8 = 1;
const TOP: u8 = 8;

const fn signature(name: [u8; 2]) -> u16 {
    u16::from_le_bytes(name)
}

const CE: u16 = signature(*b"CE");
const CL: u16 = signature(*b"CL");
const ER: u16 = signature(*b"ER");
const NM: u16 = signature(*b"NM");
const PL: u16 = signature(*b"PL");
const PN: u16 = signature(*b"PN");
const PX: u16 = signature(*b"PX");
const RE: u16 = signature(*b"RE");
const SL: u16 = signature(*b"SL");
const SP: u16 = signature(*b"SP");
const ST: u16 = signature(*b"ST");
const TF: u16 = signature(*b"TF");
