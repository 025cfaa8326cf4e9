//! Which machine this is: what the user says, else what firmware does, as far as the host tells. DSP0134, devicetree.
//!
//! Serial number and UUID are only looked for when they are asked for: they are private.

use super::source::{FILE_BYTES_MAX, Memory};
use crate::drive::platform::host::files::Directory;
use crate::mem::{Ends as _, nth, parts};
use crate::vfs::{FsError, FsResult};
use crate::wire::Writer;
use crate::wire::announce::next_field;
use crate::wire::label::Word;
use crate::wire::smbios::{AREA_BYTES, AREA_START, Entry, Hardware, is_filler};
use crate::wire::uuid::Uuid;

/// What is known of the machine.
#[derive(Default, Debug)]
pub(super) struct HardwareId {
    /// Vendor, product, serial number.
    pub(super) words: [Word; 3],
    pub(super) uuid: Option<Uuid>,
    /// The last word and the UUID are wanted, too.
    is_private: bool,
}

impl HardwareId {
    /// Whether it is known what it is sold as.
    pub(super) const fn is_known(&self) -> bool {
        let [_, product, _] = &self.words;
        !product.is_empty()
    }

    /// What the user says: `VENDOR,PRODUCT[,SERIAL[,UUID]]`, a comma and a backslash behind a backslash being themselves.
    pub(super) fn parse(&mut self, text: &[u8]) -> Option<()> {
        let mut rest = Some(text);
        for place in 0..4 {
            let mut buffer = [0; 256];
            let mut out = Writer::new(&mut buffer);
            next_field(&mut rest, &mut out).ok()?;
            let field = out.since(0);
            match self.words.get_mut(place) {
                Some(word) => word.set(field),
                None if field.is_empty() => self.uuid = None,
                None => self.uuid = Some(Uuid::parse(field)?),
            }
        }
        (rest.is_none() && self.is_known()).then_some(())
    }

    /// Asks the host, whose files lie below `root`.
    pub(super) fn find(&mut self, root: &Directory, is_private: bool, memory: &mut Memory) {
        self.is_private = is_private;
        let told = self.read_tables(root, memory);
        self.read_files(root, memory);
        // Other processors have something else there, or nothing, and may stop at it.
        if cfg!(any(target_arch = "x86_64", target_arch = "x86")) && told.is_err() && self.lacks() {
            let _ = self.read_memory(root, memory);
        }
    }

    /// Asks the firmware of a machine without an operating system.
    #[cfg(bare)]
    pub(super) fn ask_firmware(&mut self, is_private: bool, memory: &mut Memory) -> Option<()> {
        use crate::sys::bare::read_firmware;
        self.is_private = is_private;
        let mut anchor = [0; 32];
        let len = read_firmware(b"etc/smbios/smbios-anchor", &mut anchor)?;
        let entry = Entry::parse(anchor.head(len))?;
        let len = read_firmware(b"etc/smbios/smbios-tables", &mut memory[..])?;
        self.learn_all(memory.head(len), entry.version);
        Some(())
    }

    /// Whether anything is still to be looked for.
    fn lacks(&self) -> bool {
        let [public @ .., serial] = &self.words;
        public.iter().any(Word::is_empty)
            || self.is_private && (serial.is_empty() || self.uuid.is_none())
    }

    /// Takes what was not known.
    fn learn(&mut self, place: usize, text: &[u8]) {
        if let Some(word) = self.words.get_mut(place)
            && word.is_empty()
            && (place < 2 || self.is_private)
            && !is_filler(text)
        {
            word.set(text);
        }
    }

    fn learn_all(&mut self, structures: &[u8], version: (u8, u8)) {
        let found = Hardware::parse(structures, version);
        for (place, text) in found.words.iter().enumerate() {
            self.learn(place, text);
        }
        self.learn_uuid(found.uuid);
    }

    #[inline(never)]
    fn learn_uuid(&mut self, uuid: Option<Uuid>) {
        if self.is_private && self.uuid.is_none() {
            self.uuid = uuid;
        }
    }

    /// The tables that the kernel found.
    fn read_tables(&mut self, root: &Directory, memory: &mut Memory) -> FsResult<()> {
        const ENTRY: &[u8] = b"sys/firmware/dmi/tables/smbios_entry_point";
        let entry = Entry::parse(root.read(ENTRY, memory)?).ok_or(FsError::Invalid)?;
        let structures = root.read(b"sys/firmware/dmi/tables/DMI", memory)?;
        self.learn_all(structures, entry.version);
        Ok(())
    }

    /// What the kernel tells every user of them, and the devicetree that small boards have: `Raspberry Pi 4 Model B Rev 1.4`.
    fn read_files(&mut self, root: &Directory, memory: &mut Memory) {
        const UUID: usize = 3;
        /// The first of the devicetree.
        const TREE: usize = 4;
        const FILES: &[u8] = b"sys/class/dmi/id/sys_vendor sys/class/dmi/id/product_name \
            sys/class/dmi/id/product_serial sys/class/dmi/id/product_uuid \
            proc/device-tree/model proc/device-tree/serial-number";
        for (number, path) in parts(FILES, b' ').enumerate() {
            let place = if number < TREE {
                number
            } else {
                1 + number % 2
            };
            // What is private is not even read.
            if place > 1 && !self.is_private {
                continue;
            }
            let Ok(text) = root.read(path, memory) else {
                continue;
            };
            let text = nth(text, 0, 0);
            if place == UUID {
                self.learn_uuid(Uuid::parse(text));
            }
            if number >= TREE && place == 1 && !self.is_known() {
                self.learn(0, maker(text));
            }
            self.learn(place, text);
        }
    }

    /// The tables where firmware of PCs left them, for hosts that show no files of the kernel. Only root may look there.
    fn read_memory(&mut self, root: &Directory, memory: &mut Memory) -> FsResult<()> {
        const NAME: &[u8] = b"dev/mem";
        let area = root.read_at(NAME, AREA_START, memory.head_mut(AREA_BYTES))?;
        let entry = Entry::find(area).ok_or(FsError::NoEntry)?;
        let table = memory.head_mut(FILE_BYTES_MAX.min(entry.len as usize));
        let table = root.read_at(NAME, entry.address, table)?;
        self.learn_all(table, entry.version);
        Ok(())
    }
}

/// The maker of a board: the first word of its model, and the second of a `Raspberry Pi` and its likes.
fn maker(model: &[u8]) -> &[u8] {
    let first = nth(model, b' ', 0).len();
    match nth(model, b' ', 1) {
        b"Pi" => model.head(first + 3),
        _ => model.head(first),
    }
}

#[cfg(test)]
mod tests;
