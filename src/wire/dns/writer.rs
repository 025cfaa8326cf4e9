//! Builds a message. Names are compressed if the caller numbers them: names with a common end share its bytes.

use super::{HEADER_BYTES, Section};
use crate::wire;

/// A label of a name, and the number of the name that begins with it.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// The label, 1 to 63 bytes.
    pub bytes: &'a [u8],
    /// Number, chosen by the caller, of the name that consists of this label and all that follow. 0: the name is never compressed.
    pub number: u16,
}

/// Maximum number of names that one message can refer to by pointers.
const PLACE_COUNT: usize = 64;

/// Writes a message. A question or record that does not fit is undone; everything before it stays.
#[derive(Debug)]
#[repr(C)] // −16 bytes.
pub struct Writer<'a> {
    out: wire::Writer<'a>,
    /// Query ID, flags, and the numbers of questions and of records in each section.
    header: [u16; HEADER_BYTES / 2],
    place_count: usize,
    /// The number of each name that was written, and its offset in the message.
    places: [[u16; 2]; PLACE_COUNT],
}

impl<'a> Writer<'a> {
    /// Begins a message in this buffer.
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

    /// Length of the message (bytes).
    pub const fn len(&self) -> usize {
        self.out.position()
    }

    /// Returns true if there is neither a question nor a record.
    pub fn is_empty(&self) -> bool {
        let [_, _, counts @ ..] = &self.header;
        *counts == [0; 4]
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.put(bytes);
    }

    /// Appends a 16-bit number.
    pub fn word(&mut self, word: u16) {
        self.put(&word.to_be_bytes());
    }

    /// Appends a name. With `shortens`, ends with a pointer if the rest of the name is already in the message.
    pub fn name(&mut self, labels: &mut dyn Iterator<Item = Label<'_>>, shortens: bool) {
        for label in labels {
            let mut known = self.places.iter().take(self.place_count);
            match known.find(|[number, _]| *number == label.number) {
                Some([_, place]) if shortens => return self.word(0xc000 | *place),
                // Only names that are not yet in the table are added, or uncompressed names would fill it with duplicates.
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

    /// Appends the output of `write`, or nothing if it does not fit. Increments word `which` of the header. Returns true if it
    /// fitted.
    fn add_whole(&mut self, which: usize, write: &mut dyn FnMut(&mut Self)) -> bool {
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

    /// Appends a question. Returns true if it fitted.
    pub fn question(
        &mut self,
        labels: &mut dyn Iterator<Item = Label<'_>>,
        kind: u16,
        class: u16,
    ) -> bool {
        self.add_whole(2, &mut |writer| {
            writer.name(labels, true);
            writer.word(kind);
            writer.word(class);
        })
    }

    /// Appends a record, whose rdata `write` writes. Returns true if it fitted.
    pub fn record(
        &mut self,
        section: Section,
        labels: &mut dyn Iterator<Item = Label<'_>>,
        head: Head,
        write: &mut dyn FnMut(&mut Self),
    ) -> bool {
        self.add_whole(section as usize + 3, &mut |writer| {
            writer.name(labels, true);
            writer.word(head.kind);
            writer.word(head.class);
            writer.put(&head.ttl.to_be_bytes());
            let len_at = writer.len();
            writer.word(0);
            let begin = writer.len();
            write(writer);
            let end = writer.len();
            // Go back and write the length. An overrun remains one, because its end is beyond any buffer.
            writer.out.truncate(len_at);
            writer.word((end - begin) as u16);
            writer.out.put_ahead(end - begin);
        })
    }

    /// Sets a bit of the flags.
    pub const fn flag(&mut self, bit: u16) {
        self.header[1] |= bit;
    }

    /// Writes the header. Returns the length of the message.
    pub fn finish(mut self) -> usize {
        let len = self.len();
        self.out.truncate(0);
        for word in self.header {
            self.word(word);
        }
        len
    }
}

/// The fields between a record's name and its rdata.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The type.
    pub kind: u16,
    /// The class, with the cache-flush bit.
    pub class: u16,
    /// Time to live (seconds).
    pub ttl: u32,
}
