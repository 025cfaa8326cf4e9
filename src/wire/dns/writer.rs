//! A message under construction. Names that share an end share its bytes, as far as the caller knows them by number.

use super::{HEADER_BYTES, Section};
use crate::wire;

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
    out: wire::Writer<'a>,
    /// Query ID, flags, and how many questions there are, and records in each section.
    header: [u16; HEADER_BYTES / 2],
    place_count: usize,
    /// Numbers of names, and where they stand.
    places: [[u16; 2]; PLACE_COUNT],
}

impl<'a> Writer<'a> {
    /// A message in this buffer.
    pub fn new(buffer: &'a mut [u8], id: u16, flags: u16) -> Self {
        let mut out = wire::Writer::new(buffer);
        out.put(&[0; HEADER_BYTES]);
        Self {
            out,
            header: [id, flags, 0, 0, 0, 0],
            place_count: 0,
            places: [[0; 2]; PLACE_COUNT],
        }
    }

    /// Bytes so far.
    pub const fn len(&self) -> usize {
        self.out.position()
    }

    /// Whether there is neither a question nor a record in it.
    pub fn is_empty(&self) -> bool {
        let [_, _, counts @ ..] = &self.header;
        *counts == [0; 4]
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.put(bytes);
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
            match known.find(|[number, _]| *number == label.number) {
                Some([_, place]) if shortens => return self.word(0xc000 | *place),
                // Once is enough: names in full would fill the table with what it has.
                None if label.number != 0 && self.len() < 0x4000 => {
                    if let Some(place) = self.places.get_mut(self.place_count) {
                        *place = [label.number, self.out.position() as u16];
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

    /// Appends what `write` does, or nothing if that does not fit: whether it did. It counts in this word of the header.
    #[inline(never)]
    fn whole(&mut self, which: usize, write: &mut dyn FnMut(&mut Self)) -> bool {
        let (len, place_count) = (self.len(), self.place_count);
        write(self);
        if self.out.written().is_none() {
            self.out.truncate(len);
            self.place_count = place_count;
            return false;
        }
        if let Some(count) = self.header.get_mut(which) {
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
        self.whole(2, &mut |writer| {
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
        self.whole(section as usize + 3, &mut |writer| {
            writer.name(labels, true);
            writer.word(head.kind);
            writer.word(head.class);
            writer.put(&head.ttl.to_be_bytes());
            let len_at = writer.len();
            writer.word(0);
            let begin = writer.len();
            write(writer);
            let end = writer.len();
            // Back to the length; an overrun stays one, as the end of it is where no buffer reaches.
            writer.out.truncate(len_at);
            writer.word((end - begin) as u16);
            writer.out.put_ahead(end - begin);
        })
    }

    /// Sets a bit of the flags.
    pub const fn flag(&mut self, bit: u16) {
        self.header[1] |= bit;
    }

    /// The end: how many bytes there are.
    pub fn finish(mut self) -> usize {
        let len = self.len();
        self.out.truncate(0);
        for word in self.header {
            self.word(word);
        }
        len
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
