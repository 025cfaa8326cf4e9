//! Lists of a host's virtual machines: ESXi's `vmInventory.xml`, libvirt's domains (`*.xml`), Proxmox' `*.conf`.
//!
//! Reads the few elements and keys that are used; skips everything else. A damaged file yields fewer machines.

use super::Writer;
use super::announce::letter;
use super::label::{put_byte, put_letter, until};
use super::uuid::Uuid;
use super::vmx::Machine;
use crate::mem::Ends as _;

/// Keys of Proxmox' files, in the order of `parse_lines`. Every machine has `memory` unless it has a default size.
const CONF_KEYS: &[u8] = b"name ostype smbios1 memory";
/// Maximum length of a libvirt name (bytes); a longer one is skipped.
const NAME_BYTES_MAX: usize = 255;
/// Maximum length of an entity (bytes), without the ampersand.
const ENTITY_BYTES_MAX: usize = 10;

/// Passes the path of each machine in ESXi's `vmInventory.xml` to `each`, in `buffer` and with a NUL. Returns the number of bytes
/// up to the end of the last path: the rest of a longer file is parsed from there.
pub fn parse_esxi(file: &[u8], buffer: &mut [u8], each: &mut dyn FnMut(&[u8])) -> usize {
    let (mut rest, mut used) = (file, 0);
    let mut out = Writer::new(buffer);
    while let Some(path) = element(&mut rest, b"<vmxCfgPath>") {
        used = file.len() - rest.len();
        out.truncate(0);
        unescape(path, &mut out);
        put_byte(&mut out, 0);
        each(out.since(0));
    }
    used
}

impl Machine {
    /// Reads libvirt's description of a domain, or its status file in /run. Returns false if it is neither.
    pub fn parse_libvirt(&mut self, file: &[u8]) -> bool {
        let mut buffer = [0; NAME_BYTES_MAX];
        let mut out = Writer::new(&mut buffer);
        let text = |tag| element(&mut { file }, tag).unwrap_or_default();
        unescape(text(b"<name>"), &mut out);
        self.name.set(out.since(0));
        self.uuid = Uuid::parse(text(b"<uuid>"));
        let mut rest = file;
        until(&mut rest, b"<domstatus ");
        let mut attributes = until(&mut rest, b">").unwrap_or_default();
        until(&mut attributes, b"state=");
        self.is_running = attributes.tail(1).starts_with(b"running");
        !self.name.is_empty()
    }

    /// Reads Proxmox' file of a machine, up to its first snapshot. A machine without a name gets the name `other`. Returns false if
    /// the file does not describe a machine.
    pub fn parse_proxmox(&mut self, file: &[u8], other: &[u8]) -> bool {
        let main = until(&mut { file }, b"\n[").unwrap_or(file);
        self.parse_lines(main, b':', CONF_KEYS, other)
    }
}

/// Returns the text of the next element with this start tag, and skips the element.
fn element<'a>(rest: &mut &'a [u8], tag: &[u8]) -> Option<&'a [u8]> {
    until(rest, tag)?;
    until(rest, b"</")
}

/// Appends text with its entities replaced.
fn unescape(text: &[u8], out: &mut Writer<'_>) {
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let mut ahead = tail.head(tail.len().min(ENTITY_BYTES_MAX));
        if *byte == b'&'
            && let Some(entity) = until(&mut ahead, b";")
            && let Some(letter) = letter(entity)
        {
            put_letter(out, letter);
            rest = tail.tail(entity.len() + 1);
        } else {
            put_byte(out, *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_libvirt(file: &[u8]) -> Option<Machine> {
        let mut machine = Machine::default();
        machine.parse_libvirt(file).then_some(machine)
    }

    fn parse_proxmox(file: &[u8], other: &[u8]) -> Option<Machine> {
        let mut machine = Machine::default();
        machine.parse_proxmox(file, other).then_some(machine)
    }

    const UUID: &str = "564d8a1c-5e2f-3b4c-9d0e-1f2a3b4c5d6e";

    #[test]
    fn esxi_paths_are_listed() {
        let file = "<ConfigRoot>\n <ConfigEntry id=\"0000\">\n  <objID>1</objID>\n\
            <vmxCfgPath>/vmfs/volumes/5f/a &amp; b/a.vmx</vmxCfgPath>\n </ConfigEntry>\n\
            <ConfigEntry id=\"0001\"><vmxCfgPath>/vmfs/volumes/5f/B&#252;ro/b.vmx</vmxCfgPath></ConfigEntry>\n</ConfigRoot>\n";
        let mut paths = Vec::new();
        let mut buffer = [0; 64];
        let mut add = |path: &[u8]| paths.push(String::from_utf8(path.to_vec()).unwrap());
        let used = parse_esxi(file.as_bytes(), &mut buffer, &mut add);
        assert!(file[used..].starts_with("vmxCfgPath></ConfigEntry>\n</Con"));
        assert_eq!(
            paths,
            [
                "/vmfs/volumes/5f/a & b/a.vmx\0",
                "/vmfs/volumes/5f/Büro/b.vmx\0"
            ]
        );
        // A part of the file yields the same paths in two steps; the second has no complete path left.
        for len in 0..file.len() {
            let mut count = 0;
            let used = parse_esxi(&file.as_bytes()[..len], &mut buffer, &mut |_| count += 1);
            parse_esxi(&file.as_bytes()[used..], &mut buffer, &mut |_| count += 1);
            assert_eq!(count, 2, "{len}");
        }
        // A path that does not fit is empty.
        parse_esxi(file.as_bytes(), &mut [0; 8], &mut |path| {
            assert_eq!(path, b"")
        });
    }

    #[test]
    fn libvirt_domains_are_parsed() {
        let domain = format!(
            "<!--\nWARNING: use virsh edit\n-->\n<domain type='kvm'>\n  <uuid>{UUID}</uuid>\n  <name>a&amp;b</name>\n</domain>\n"
        );
        let machine = parse_libvirt(domain.as_bytes()).unwrap();
        assert_eq!(machine.name.bytes(), b"a&b");
        assert_eq!(machine.uuid, Uuid::parse(UUID.as_bytes()));
        assert!(!machine.is_running);
        for (state, is_running) in [("running", true), ("paused", false), ("", false)] {
            for quote in ["'", "\""] {
                let status = format!(
                    "<domstatus state={quote}{state}{quote} reason='booted' pid='7'>\n  <taint flag='x'/>\n{domain}</domstatus>\n"
                );
                let machine = parse_libvirt(status.as_bytes()).unwrap();
                assert_eq!(
                    (machine.name.bytes(), machine.is_running),
                    (&b"a&b"[..], is_running)
                );
            }
        }
        for file in [
            "",
            "<network>\n</network>",
            "<domain><name></name>",
            "<name>",
            "<name> &#10; </name>",
        ] {
            assert_eq!(parse_libvirt(file.as_bytes()), None, "{file}");
        }
        for len in 0..domain.len() {
            let uuid = parse_libvirt(&domain.as_bytes()[..len]).and_then(|machine| machine.uuid);
            assert!(uuid.is_none_or(|uuid| Uuid::parse(UUID.as_bytes()) == Some(uuid)));
        }
    }

    #[test]
    fn proxmox_machines_are_parsed() {
        let file = format!(
            "#name%3A no\ncores: 2\nname: web\nostype: l26\nsmbios1: base64=1,uuid={UUID},serial=eA==\n\n[before]\nname: old\n"
        );
        let machine = parse_proxmox(file.as_bytes(), b"100").unwrap();
        assert_eq!(
            (machine.name.bytes(), machine.guest.bytes()),
            (&b"web"[..], &b"l26"[..])
        );
        assert_eq!(machine.uuid, Uuid::parse(UUID.as_bytes()));
        let nameless = parse_proxmox(b"memory: 512\n", b"100").unwrap();
        assert_eq!((nameless.name.bytes(), nameless.uuid), (&b"100"[..], None));
        assert_eq!(parse_proxmox(b"[a]\n", b"100"), None);
    }
}
