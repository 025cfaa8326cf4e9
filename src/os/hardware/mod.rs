//! The machine's vendor, product, serial number and UUID: from `--hwid`, else from SMBIOS or the devicetree. DSP0134.
//!
//! Serial number and UUID are private: they are read only with `--identify`.

use super::files::Directory;
use super::source::{FILE_BYTES_MAX, Memory};
use crate::mem::{Ends as _, nth, parts};
use crate::sys::Errno;
use crate::wire::Writer;
use crate::wire::announce::next_field;
use crate::wire::label::Word;
use crate::wire::smbios::{AREA_BYTES, AREA_START, EntryPoint, Hardware, is_filler};
use crate::wire::uuid::Uuid;

/// The machine's identity, as far as known.
#[derive(Default, Debug)]
pub struct HardwareId {
    /// Vendor, product, serial number.
    pub words: [Word; 3],
    /// The UUID.
    pub uuid: Option<Uuid>,
    /// True if serial number and UUID are read, too.
    is_private: bool,
}

impl HardwareId {
    /// Returns true if the product is known.
    pub const fn is_known(&self) -> bool {
        let [_, product, _] = &self.words;
        !product.is_empty()
    }

    /// Parses the value of `--hwid`: `VENDOR,PRODUCT[,SERIAL[,UUID]]`. A backslash escapes a comma or a backslash.
    pub fn parse(&mut self, text: &[u8]) -> Option<()> {
        let mut remaining = Some(text);
        for index in 0..4 {
            let mut buffer = [0; 256];
            let mut out = Writer::new(&mut buffer);
            next_field(&mut remaining, &mut out).ok()?;
            let field = out.since(0);
            match self.words.get_mut(index) {
                Some(word) => word.set(field),
                None if field.is_empty() => self.uuid = None,
                None => self.uuid = Some(Uuid::parse(field)?),
            }
        }
        (remaining.is_none() && self.is_known()).then_some(())
    }

    /// Reads the identity from the host's files below `root`, which is "/" except in tests.
    pub fn find(&mut self, root: &Directory, is_private: bool, memory: &mut Memory) {
        self.is_private = is_private;
        let tables = self.read_tables(root, memory);
        self.read_files(root, memory);
        // Only PCs have SMBIOS at fixed addresses; on other processors, reading those may hang the machine.
        if cfg!(any(target_arch = "x86_64", target_arch = "x86"))
            && tables.is_err()
            && self.is_incomplete()
        {
            let _ = self.read_memory(root, memory);
        }
    }

    /// Reads the identity from the firmware of a machine without an operating system (QEMU's fw_cfg).
    #[cfg(bare)]
    pub fn ask_firmware(&mut self, is_private: bool, memory: &mut Memory) -> Option<()> {
        use crate::sys::bare::read_firmware;
        self.is_private = is_private;
        let mut anchor = [0; 32];
        let len = read_firmware(b"etc/smbios/smbios-anchor", &mut anchor)?;
        let entry = EntryPoint::parse(anchor.head(len))?;
        let len = read_firmware(b"etc/smbios/smbios-tables", &mut memory[..])?;
        self.set_all(memory.head(len), entry.version);
        Some(())
    }

    /// Returns true if a wanted part is still unknown.
    fn is_incomplete(&self) -> bool {
        let [public @ .., serial] = &self.words;
        public.iter().any(Word::is_empty)
            || self.is_private && (serial.is_empty() || self.uuid.is_none())
    }

    /// Sets a word that is wanted and still unknown, unless `text` is a vendor's filler such as "Default string".
    fn set_word(&mut self, index: usize, text: &[u8]) {
        if let Some(word) = self.words.get_mut(index)
            && word.is_empty()
            && (index < 2 || self.is_private)
            && !is_filler(text)
        {
            word.set(text);
        }
    }

    /// Sets all unknown parts from SMBIOS structures.
    fn set_all(&mut self, structures: &[u8], version: (u8, u8)) {
        let found = Hardware::parse(structures, version);
        for (index, text) in found.words.iter().enumerate() {
            self.set_word(index, text);
        }
        self.set_uuid(found.uuid);
    }

    fn set_uuid(&mut self, uuid: Option<Uuid>) {
        if self.is_private && self.uuid.is_none() {
            self.uuid = uuid;
        }
    }

    /// Reads the SMBIOS tables in sysfs. Only root may read them.
    fn read_tables(&mut self, root: &Directory, memory: &mut Memory) -> Result<(), Errno> {
        const ENTRY: &[u8] = b"sys/firmware/dmi/tables/smbios_entry_point";
        let entry = EntryPoint::parse(root.read(ENTRY, memory)?).ok_or(Errno::INVAL)?;
        let structures = root.read(b"sys/firmware/dmi/tables/DMI", memory)?;
        self.set_all(structures, entry.version);
        Ok(())
    }

    /// Reads single SMBIOS fields in sysfs, some of which every user may read, and the devicetree of small boards, whose model is
    /// for example `Raspberry Pi 4 Model B Rev 1.4`.
    fn read_files(&mut self, root: &Directory, memory: &mut Memory) {
        const UUID: usize = 3;
        /// Index of the first devicetree file.
        const TREE: usize = 4;
        const FILES: &[u8] = b"sys/class/dmi/id/sys_vendor sys/class/dmi/id/product_name \
            sys/class/dmi/id/product_serial sys/class/dmi/id/product_uuid \
            proc/device-tree/model proc/device-tree/serial-number";
        for (number, path) in parts(FILES, b' ').enumerate() {
            let index = if number < TREE {
                number
            } else {
                1 + number % 2
            };
            // Private files are not even opened.
            if index > 1 && !self.is_private {
                continue;
            }
            let Ok(text) = root.read(path, memory) else {
                continue;
            };
            let text = nth(text, 0, 0);
            if index == UUID {
                self.set_uuid(Uuid::parse(text));
            }
            if number >= TREE && index == 1 && !self.is_known() {
                self.set_word(0, maker(text));
            }
            self.set_word(index, text);
        }
    }

    /// Reads the SMBIOS tables of a PC from /dev/mem, for hosts whose kernel does not provide them in sysfs. Only root may do so.
    fn read_memory(&mut self, root: &Directory, memory: &mut Memory) -> Result<(), Errno> {
        const NAME: &[u8] = b"dev/mem";
        let area = root.read_at(NAME, AREA_START, memory.head_mut(AREA_BYTES))?;
        let entry = EntryPoint::find(area).ok_or(Errno::NOENT)?;
        let table = memory.head_mut(FILE_BYTES_MAX.min(entry.len as usize));
        let table = root.read_at(NAME, entry.address, table)?;
        self.set_all(table, entry.version);
        Ok(())
    }
}

/// Returns the vendor of a board: the first word of its model, or two words if the second is `Pi`, as in `Raspberry Pi`.
fn maker(model: &[u8]) -> &[u8] {
    let first = nth(model, b' ', 0).len();
    match nth(model, b' ', 1) {
        b"Pi" => model.head(first + 3),
        _ => model.head(first),
    }
}

#[cfg(test)]
mod tests;
