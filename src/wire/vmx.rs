//! VMware's descriptions of virtual machines, `*.vmx`: lines of `key = "value"`. Reads the name, guest and UUID.
//!
//! Unknown lines are skipped; a file without any known key does not describe a machine. Some hosts write windows-1252, others UTF-8.

use super::Writer;
use super::label::{Word, cut, digit, index_like, put_byte, until};
use super::uuid::Uuid;

/// The keys that are used, and `config.version`, which VMware writes into every file.
const KEYS: &[u8] = b"displayName guestOS uuid.bios config.version";
/// Maximum length of a value (bytes); the rest is dropped.
const VALUE_BYTES_MAX: usize = 255;

/// A virtual machine.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Machine {
    /// The display name.
    pub name: Word,
    /// The guest's operating system in VMware's words; may be empty.
    pub guest: Word,
    /// The UUID that the guest sees in SMBIOS.
    pub uuid: Option<Uuid>,
    /// True if the machine is known to be running.
    pub is_running: bool,
}

impl Machine {
    /// Reads a file. A machine without a name gets the name `other`. Returns false if the file does not describe a machine.
    pub fn parse_vmx(&mut self, file: &[u8], other: &[u8]) -> bool {
        self.parse_lines(file, b'=', KEYS, other)
    }

    /// Reads lines of a key, `separator` and a value. The first three of `keys` are those of the name, the guest and the UUID; a
    /// file without any of the keys does not describe a machine.
    pub(super) fn parse_lines(
        &mut self,
        file: &[u8],
        separator: u8,
        keys: &[u8],
        other: &[u8],
    ) -> bool {
        let mut is_machine = false;
        let mut value_room = [0; VALUE_BYTES_MAX];
        let mut out = Writer::new(&mut value_room);
        let mut rest = file;
        while !rest.is_empty() {
            let (line, tail) = cut(rest, b'\n');
            rest = tail;
            let (key, value) = cut(line, separator);
            out.truncate(0);
            unescape(value.trim_ascii(), &mut out);
            let value = out.since(0);
            let place = index_like(keys, b' ', key.trim_ascii());
            is_machine |= place.is_some();
            match place {
                Some(0) => self.name.set(value),
                Some(1) => self.guest.set(value),
                Some(2) => {
                    // Proxmox has a list such as `uuid=…,manufacturer=…`.
                    let mut uuid = value;
                    let is_list = until(&mut uuid, b"uuid=").is_some();
                    self.uuid = Uuid::parse(if is_list { cut(uuid, b',').0 } else { value });
                }
                _ => {}
            }
        }
        if self.name.is_empty() {
            self.name.set(other);
        }
        is_machine
    }
}

/// Appends a value without its quotes. `|` and two hexadecimal digits, as in `|22`, are one byte. Bytes that do not fit are
/// dropped.
fn unescape(value: &[u8], out: &mut Writer<'_>) {
    let (mut rest, is_quoted) = match value {
        [b'"', rest @ ..] => (rest, true),
        _ => (value, false),
    };
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let mut byte = *byte;
        if byte == b'"' && is_quoted {
            break;
        }
        if let (b'|', [high, low, tail @ ..]) = (byte, rest)
            && let (Some(high), Some(low)) = (digit(*high, 16), digit(*low, 16))
        {
            byte = (high << 4 | low) as u8;
            rest = tail;
        }
        if out.space().is_empty() {
            break;
        }
        put_byte(out, byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A .vmx file as VMware writes it.
    const FILE: &str = ".encoding = \"UTF-8\"\n\
        config.version = \"8\"\n\
        virtualHW.version = \"19\"\n\
        displayName = \"Büro |22alt|22 |7C 1\"\n\
        guestOS = \"debian11-64\"\n\
        uuid.bios = \"56 4d 8a 1c 5e 2f 3b 4c-9d 0e 1f 2a 3b 4c 5d 6e\"\n\
        uuid.location = \"56 4d 00 00 00 00 00 00-00 00 00 00 00 00 00 01\"\n\
        annotation = \"displayName = |22no|22|0A\"\n";
    const UUID: Uuid = Uuid([
        0x56, 0x4d, 0x8a, 0x1c, 0x5e, 0x2f, 0x3b, 0x4c, 0x9d, 0x0e, 0x1f, 0x2a, 0x3b, 0x4c, 0x5d,
        0x6e,
    ]);

    fn parse(file: &[u8], other: &[u8]) -> Option<Machine> {
        let mut machine = Machine::default();
        machine.parse_vmx(file, other).then_some(machine)
    }

    fn check(file: &[u8], name: &str, guest: &str, uuid: Option<Uuid>) {
        let machine = parse(file, b"").unwrap();
        let text = String::from_utf8_lossy(file);
        assert_eq!(machine.name.bytes(), name.as_bytes(), "{text}");
        assert_eq!(
            (machine.guest.bytes(), machine.uuid),
            (guest.as_bytes(), uuid),
            "{text}"
        );
    }

    #[test]
    fn vmx_file_is_parsed() {
        let name = "Büro \"alt\" | 1";
        check(FILE.as_bytes(), name, "debian11-64", Some(UUID));
        let dos = FILE.replace('\n', "\r\n");
        check(dos.as_bytes(), name, "debian11-64", Some(UUID));
    }

    #[test]
    fn keys_ignore_case_and_quotes_are_optional() {
        check(b"DISPLAYNAME=\"a\"", "a", "", None);
        check(b"  displayname = a b \r\nGuestOS = x", "a b", "x", None);
        check(b"displayName = \"a\" # b", "a", "", None);
        check(b"displayName = \"a\"\ndisplayName = \"b\"", "b", "", None);
        check(b"displayName = \"a = b\"", "a = b", "", None);
    }

    #[test]
    fn damaged_values_are_shown_partly() {
        check(b"displayName = \"B\xfcro 5 \x80\"", "Büro 5 €", "", None);
        check(b"displayName = \"a|0Ab|1b[2J\"", "a b [2J", "", None);
        check(b"displayName = \"|2|zz|\"", "|2|zz|", "", None);
        check(b"displayName = \"a", "a", "", None);
        check(b"displayName", "", "", None);
        check(b"uuid.bios = \"00 00\"", "", "", None);
        let long = format!("displayName = \"{}\"", "ä".repeat(5000));
        check(long.as_bytes(), &"ä".repeat(31), "", None);
        let escaped = format!("displayName = \"{}\"", "|41".repeat(5000));
        check(escaped.as_bytes(), &"A".repeat(63), "", None);
    }

    #[test]
    fn missing_name_uses_the_given_name() {
        for file in [
            "config.version = \"8\"",
            "displayName = \"\"",
            "displayName = \" |0A \"",
        ] {
            let machine = parse(file.as_bytes(), b" nas ").unwrap();
            assert_eq!(machine.name.bytes(), b"nas");
        }
        let named = parse(b"displayName = \"a\"", b"nas").unwrap();
        assert_eq!(named.name.bytes(), b"a");
    }

    #[test]
    fn file_without_machine_is_rejected() {
        for file in ["", "= \"a\"\n=\n\n\"", "\0\0\0", "#!/usr/bin/vmware\n"] {
            assert_eq!(parse(file.as_bytes(), b"nas"), None, "{file}");
        }
    }

    #[test]
    fn truncated_file_has_valid_or_no_values() {
        for len in 0..FILE.len() {
            let machine = parse(&FILE.as_bytes()[..len], b"").unwrap_or_default();
            assert!(core::str::from_utf8(machine.name.bytes()).is_ok(), "{len}");
            assert!(machine.uuid.is_none_or(|uuid| uuid == UUID), "{len}");
        }
    }
}
