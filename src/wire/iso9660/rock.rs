//! Rock Ridge: what files are on Unix, in fields of the system use area and of the areas that continue it.

use super::{Area, NAME_BYTES_MAX, Record, date};

impl Record {
    /// Reads an area. What no field says stays as it was.
    #[inline(never)]
    pub fn read(&mut self, area: &[u8]) {
        let mut rest = area;
        // Behind the last field there may be less than a field.
        while let [a, b, len @ 4..=255, _, ..] = rest {
            let Some((field, behind)) = rest.split_at_checked((*len).into()) else {
                self.malformed = true;
                return;
            };
            rest = behind;
            match u16::from_be_bytes([*a, *b]) {
                ST => return,
                SP => self.skip = field.get(6).copied().unwrap_or_default(),
                ER => self.extended = true,
                CE => {
                    self.more = Area {
                        block: self.number(field, 4),
                        offset: self.number(field, 12),
                        len: self.number(field, 20),
                    };
                }
                PX => {
                    for place in 0..4 {
                        let number =
                            self.number(field, 8_usize.wrapping_mul(place).wrapping_add(4));
                        if let Some(place) = self.posix.get_mut(place) {
                            *place = number;
                        }
                    }
                }
                TF => self.set_times(field),
                // The other flags are for "." and "..", which have their names elsewhere, and for hosts.
                NM => {
                    if let [_, _, _, _, 0 | 1, text @ ..] = field {
                        let fits = self.name.len.saturating_add(text.len()) <= NAME_BYTES_MAX;
                        self.malformed |= !fits || !self.name.push(text);
                    }
                }
                SL => self.add_target(field),
                CL | PL => {
                    let block = self.number(field, 4);
                    self.move_to(block);
                }
                RE => self.hide(),
                _ => {}
            }
        }
    }

    fn set_times(&mut self, field: &[u8]) {
        let mut flags = field.get(4).copied().unwrap_or_default();
        let len = if flags & 0x80 != 0 { 17 } else { 7 };
        let mut rest = field.get(5..).unwrap_or_default();
        // Some have the time of the last change of attributes where that of the creation should be, as Linux takes it.
        for at in [0_usize, 1, 2, 0] {
            if flags & 1 != 0 {
                let (date, behind) = rest.split_at_checked(len).unwrap_or_default();
                rest = behind;
                self.malformed |= date.is_empty();
                if let Some(time) = self.times.get_mut(at) {
                    *time = date::seconds(date);
                }
            }
            flags >>= 1;
        }
    }

    fn add_target(&mut self, field: &[u8]) {
        let mut rest = field.get(5..).unwrap_or_default();
        while let [flags, len, behind @ ..] = rest {
            let text = behind.split_at_checked((*len).into());
            let (mut text, behind) = text.unwrap_or_default();
            match flags & !1 {
                0 if text.len() == usize::from(*len) => {}
                2 => text = b".",
                4 => text = b"..",
                8 => text = b"/",
                _ => self.malformed = true,
            }
            if self.separated {
                self.target.push(b"/");
            }
            self.malformed |= !self.target.push(text);
            // The top ends with its separator, and what is continued does not end here.
            self.separated = flags & 9 == 0;
            rest = behind;
        }
        self.malformed |= !rest.is_empty();
    }
}

const fn signature(name: [u8; 2]) -> u16 {
    u16::from_be_bytes(name)
}

const CE: u16 = signature(*b"CE");
const CL: u16 = signature(*b"CL");
const ER: u16 = signature(*b"ER");
const NM: u16 = signature(*b"NM");
const PL: u16 = signature(*b"PL");
const PX: u16 = signature(*b"PX");
const RE: u16 = signature(*b"RE");
const SL: u16 = signature(*b"SL");
const SP: u16 = signature(*b"SP");
const ST: u16 = signature(*b"ST");
const TF: u16 = signature(*b"TF");
