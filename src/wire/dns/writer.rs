//! A message under construction. Names that share an end share its bytes, as far as the caller knows them by number.

use super::{HEADER_BYTES, Section};

/// A label of a name, and the number by which the name that begins with it is known; 0: by none.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// At most 63 bytes, and at least one.
    pub bytes: &'a [u8],
    /// Of the label with all that follow it.
    pub number: u16,
}

/// Names whose places are remembered in one message.
const PLACE_COUNT: usize = 64;

/// Writes a message. What does not fit is as if it had never been begun, and everything before it stays.
#[derive(Debug)]
#[repr(C)]
pub struct Writer<'a> {
    len: usize,
    buffer: &'a mut [u8],
    place_count: usize,
    /// Numbers of names, and where they stand.
    places: [(u16, u16); PLACE_COUNT],
    /// Of questions and of the records in each section.
    counts: [u16; 4],
    overrun: bool,
}

impl<'a> Writer<'a> {
    /// A message in this buffer.
    pub fn new(buffer: &'a mut [u8], id: u16, flags: u16) -> Self {
        let mut writer = Self {
            len: 0,
            buffer,
            place_count: 0,
            places: [(0, 0); PLACE_COUNT],
            counts: [0; 4],
            overrun: false,
        };
        writer.word(id);
        writer.word(flags);
        writer.put(&[0; 8]);
        writer
    }

    /// Bytes so far.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is neither a question nor a record in it.
    pub fn is_empty(&self) -> bool {
        self.counts == [0; 4]
    }

    /// Whether there is a record in it that is not an additional one.
    pub const fn has_answers(&self) -> bool {
        self.counts[1] != 0
    }

    /// Appends bytes.
    #[inline(never)]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.buffer.get_mut(self.len..end) {
            Some(buffer) => {
                buffer.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.overrun = true,
        }
    }

    /// Appends a number.
    #[inline(never)]
    pub fn word(&mut self, word: u16) {
        self.put(&word.to_be_bytes());
    }

    /// Appends a name, by pointers where its end was written before and `shortens`.
    #[inline(never)]
    pub fn name(&mut self, labels: &mut dyn Iterator<Item = Label<'_>>, shortens: bool) {
        for label in labels {
            let mut known = self.places.iter().take(self.place_count);
            let known = known.find(|place| place.0 == label.number);
            match known {
                Some((_, place)) if shortens => return self.word(0xc000 | *place),
                // Once is enough: names in full would fill the table with what it has.
                None if label.number != 0 && self.len < 0x4000 => {
                    if let Some(place) = self.places.get_mut(self.place_count) {
                        *place = (label.number, self.len as u16);
                        self.place_count += 1;
                    }
                }
                _ => {}
            }
            self.put(&[label.bytes.len() as u8]);
            self.put(label.bytes);
        }
        self.put(&[0]);
    }

    /// Appends what `write` does, or nothing if that does not fit: whether it did. `which` counts it.
    #[inline(never)]
    fn whole(&mut self, which: usize, write: &mut dyn FnMut(&mut Self)) -> bool {
        let (len, place_count) = (self.len, self.place_count);
        write(self);
        if core::mem::take(&mut self.overrun) {
            (self.len, self.place_count) = (len, place_count);
            return false;
        }
        if let Some(count) = self.counts.get_mut(which) {
            *count += 1;
        }
        true
    }

    /// Appends a question; whether it fitted.
    pub fn question(
        &mut self,
        labels: &mut dyn Iterator<Item = Label<'_>>,
        kind: u16,
        class: u16,
    ) -> bool {
        self.whole(0, &mut |writer| {
            writer.name(labels, true);
            writer.word(kind);
            writer.word(class);
        })
    }

    /// Appends a record whose rdata `write` writes; whether it fitted.
    #[inline(never)]
    pub fn record(
        &mut self,
        section: Section,
        labels: &mut dyn Iterator<Item = Label<'_>>,
        head: Head,
        write: &mut dyn FnMut(&mut Self),
    ) -> bool {
        let which = section as usize + 1;
        self.whole(which, &mut |writer| {
            writer.name(labels, true);
            writer.word(head.kind);
            writer.word(head.class);
            writer.put(&head.ttl.to_be_bytes());
            let len_at = writer.len;
            writer.word(0);
            let begin = writer.len;
            write(writer);
            let len = (writer.len - begin) as u16;
            writer.patch(len_at, len);
        })
    }

    fn patch(&mut self, at: usize, word: u16) {
        let place = self
            .buffer
            .get_mut(at..)
            .and_then(|buffer| buffer.first_chunk_mut());
        if let Some(place) = place {
            *place = word.to_be_bytes();
        }
    }

    /// Sets a bit of the flags.
    pub fn flag(&mut self, bit: u16) {
        let flags = self.buffer.get(2..).and_then(|buffer| buffer.first_chunk());
        let flags = flags.map_or(0, |flags| u16::from_be_bytes(*flags));
        self.patch(2, flags | bit);
    }

    /// The end: how many bytes there are.
    pub fn finish(mut self) -> usize {
        for (which, count) in self.counts.into_iter().enumerate() {
            self.patch(which * 2 + 4, count);
        }
        self.len
    }
}

/// What stands between a record's name and its rdata.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// What it holds.
    pub kind: u16,
    /// Its class, and whether it replaces what was known before.
    pub class: u16,
    /// For how many seconds it may be remembered.
    pub ttl: u32,
}

const _: () = assert!(HEADER_BYTES == 12);
