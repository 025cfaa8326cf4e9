//! Rock Ridge: POSIX attributes, in fields of the system use area and its continuation areas.

use super::date::Dates;
use super::record::numbers;
use super::{DirRecord, NAME_BYTES_MAX, TARGET_BYTES_MAX, name};

impl DirRecord {
    /// Parses the fields of an area. Attributes without a field, or with one that is too short, keep their values. Bytes that are
    /// not a field end the area. As on Linux, the name is then that of the identifier.
    pub fn read(&mut self, area: &[u8]) {
        let mut rest = area;
        // Up to two bytes may follow the last field.
        while let [a, b, len, ..] = rest {
            let Some(([_, _, _, field @ ..], tail)) = rest.split_at_checked((*len).into()) else {
                (self.names.len, self.more) = (self.plain_len, [0; 3]);
                return;
            };
            rest = tail;
            // The version is not checked.
            let field = field.get(1..).unwrap_or_default();
            match u16::from_le_bytes([*a, *b]) {
                ST => return,
                CE => {
                    numbers(&mut self.more, field);
                }
                PX => {
                    numbers(&mut self.posix, field);
                }
                PN => {
                    numbers(&mut self.numbers, field);
                }
                CL | PL => {
                    let [block, _] = &mut self.extent;
                    match numbers(core::slice::from_mut(block), field) {
                        true => self.flags |= Self::DIRECTORY,
                        false => self.malformed = true,
                    }
                }
                RE => self.flags |= Self::ASSOCIATED,
                ER => self.extended = true,
                SP => {
                    if let [0xbe, 0xef, skip, ..] = field {
                        self.skip = *skip;
                    }
                }
                TF => self.set_times(field),
                NM => self.add_name(field),
                SL => self.add_target(field),
                ZF => self.compressed = true,
                _ => {}
            }
        }
    }

    fn add_name(&mut self, field: &[u8]) {
        // Flags other than 0 and 1 (CONTINUE) mean ".", ".." or a host name. "." and ".." are named by their records; a host name
        // is ignored.
        let [is_cut, _] = &mut self.is_cut;
        if let [0 | 1, text @ ..] = field
            && !self.dots
            && !*is_cut
        {
            // As on Linux, a field that makes the name too long is dropped, with those after it.
            *is_cut = self.names.add(text, self.plain_len + NAME_BYTES_MAX);
            name::end_at_nul(&mut self.names, self.plain_len);
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
                if dates.are_short() {
                    return;
                }
                // The order in TF is creation, modification, access, attribute change. As on Linux, both the first and the last set
                // `times[0]`, because some images store the time of the attribute change as the time of creation.
                if let Some(place) = self.times.get_mut(at % 3) {
                    *place = time;
                }
            }
            flags >>= 1;
        }
    }

    fn add_target(&mut self, field: &[u8]) {
        let &[_, ref rest @ ..] = field else {
            return;
        };
        let mut rest = rest;
        // A component that is not whole is ignored.
        while let [flags, len, tail @ ..] = rest
            && let Some((mut text, tail)) = tail.split_at_checked((*len).into())
        {
            rest = tail;
            // A flag of 2 stands for ".", a flag of 4 for "..". As on Linux, a component with another flag is empty.
            let dots = flags & !(CONTINUES | TOP);
            if dots != 0 {
                text = b"..".get(..(dots / 2).into()).unwrap_or_default();
            }
            if self.separated {
                self.target.put(b'/');
            }
            if flags & TOP != 0 {
                self.target.put(b'/');
            }
            let [_, is_cut] = &mut self.is_cut;
            *is_cut |= self.target.add(text, TARGET_BYTES_MAX);
            // No "/" follows the root, which ends with one, or a component that the next one continues.
            self.separated = flags & (CONTINUES | TOP) == 0;
        }
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
const ZF: u16 = signature(*b"ZF");
