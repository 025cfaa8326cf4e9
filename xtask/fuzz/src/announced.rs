//! The target `announced`: the first byte of an input selects the parser of the other bytes.

use std::path::Path;

use stowaway::wire::announce::{Draft, Flaw, ROOM_BYTES, Service};
use stowaway::wire::announce::{is_kind, parse_avahi, parse_line, parse_unit};
use stowaway::wire::dns::escape::{self, LABEL_TEXT_BYTES_MAX};
use stowaway::wire::dns::{NAME_BYTES_MAX, Name};
use stowaway::wire::label::{BYTES_MAX, is_clean};
use stowaway::wire::smbios::{EntryPoint, Hardware};
use stowaway::wire::vmx::Machine;
use stowaway::wire::{inventory, txt};

/// Runs one input.
pub fn read(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let mut room = [0; ROOM_BYTES];
    let mut draft = Draft::new(&mut room);
    match kind % 8 {
        kind @ 0..2 => {
            draft.forget();
            let done = match kind {
                0 => parse_avahi(bytes, &mut draft, &mut check),
                _ => parse_unit(bytes, &mut draft),
            };
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            match done {
                Ok(()) if kind == 0 => {}
                Ok(()) => _ = draft.hand_out(&mut check),
                Err(wrong) => assert!((1..=lines).contains(&(wrong.line as usize))),
            }
        }
        2 => {
            if let Err(flaw) = parse_line(bytes, &mut draft, &mut check) {
                assert!(!matches!(flaw, Flaw::Form | Flaw::Entity | Flaw::Specifier));
            }
        }
        3 => {
            let mut machine = Machine::default();
            let _ = match bytes.first() {
                Some(b'<') => machine.parse_libvirt(bytes),
                Some(b'#') => machine.parse_proxmox(bytes, b"other"),
                _ => machine.parse_vmx(bytes, b"other"),
            };
            inventory::parse_esxi(bytes, &mut [0; 64], &mut |_| {});
            for text in [machine.name.bytes(), machine.guest.bytes()] {
                assert!(is_clean(text) && text.len() <= BYTES_MAX);
            }
        }
        4 => {
            let version = bytes.first().map_or((0, 0), |byte| (byte >> 4, byte & 15));
            Hardware::parse(bytes, version);
        }
        5 => {
            EntryPoint::find(bytes);
        }
        6 => name(bytes),
        _ => texts(bytes),
    }
}

/// Parses a DNS name in text form. Its escaped form must parse to the same name.
fn name(text: &[u8]) {
    let mut room = [0; NAME_BYTES_MAX];
    let Some(len) = escape::parse(text, &mut room) else {
        return;
    };
    let mut written = Vec::new();
    for label in Name::of(&room[..len]).labels() {
        let mut text = [0; LABEL_TEXT_BYTES_MAX];
        let end = escape::escape(label, &mut text);
        written.extend_from_slice(&text[..end]);
        written.push(b'.');
    }
    let mut again = [0; NAME_BYTES_MAX];
    assert_eq!(escape::parse(&written, &mut again), Some(len));
    assert_eq!(again[..len], room[..len]);
}

/// Parses a TXT record: each key must be returned once, and all pairs together must not be longer than the record.
fn texts(content: &[u8]) {
    let mut known = Vec::new();
    let mut sum = 0;
    for (key, value) in txt::pairs(content) {
        assert!(!key.is_empty() && key.iter().all(|byte| matches!(byte, b' '..=b'~')));
        sum += 1 + key.len() + value.map_or(0, |value| 1 + value.len());
        let key = key.to_ascii_lowercase();
        assert!(!known.contains(&key));
        known.push(key);
    }
    assert!(sum <= content.len());
}

/// Fails unless a parsed service has a valid name and type, and no TXT or subtype string is empty or cut off.
fn check(service: &Service<'_>) {
    assert!((1..=BYTES_MAX).contains(&service.name.len()) && is_kind(service.kind));
    let mut room = [0; BYTES_MAX];
    assert!(is_clean(service.name_on("Büro".as_bytes(), &mut room)));
    for mut strings in [service.subtypes, service.txt] {
        while let Some((len, after_len)) = strings.split_first() {
            assert!(*len > 0);
            strings = after_len
                .get(usize::from(*len)..)
                .expect("strings are whole");
        }
    }
}

/// Writes a valid input for each parser to the directory in [`super::SEEDS`].
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(super::SEEDS) else {
        return;
    };
    let seeds: [&[u8]; 8] = [
        b"\0<?xml version='1.0'?><!DOCTYPE service-group SYSTEM \"a\"><service-group>\
          <name replace-wildcards=\"yes\">%h &amp; &#65;</name><service protocol='ipv4'>\
          <type>_a._tcp</type><subtype>_b._sub._a._tcp</subtype><domain-name>local</domain-name>\
          <host-name>h.local</host-name><port>1</port><txt-record>k<![CDATA[=]]></txt-record>\
          <txt-record value-format='binary-hex'>h=00</txt-record>\
          <txt-record value-format='binary-base64'>b=AA==</txt-record>\
          </service><!-- --></service-group>",
        b"\x01[Service]\nName=%H %%\nType=_a._tcp\nSubType=_b\nPort=1\nPriority=1\nWeight=1\n\
          TxtText=a=\"b c\" \\x41 \\\n;\n'd'\nTxtData=e=AA==\n#\n[X]\n",
        br"\x02a\,b\\,_a._tcp,80,k=v,l",
        b"\x03displayName = \"a|22\"\nguestOS = \"b\"\nuuid.bios = \"00 11 22 33 44 55 66 77-88 99 aa bb cc dd ee ff\"\n",
        b"\x04\x01\x1b\0\0\x01\x02\0\x030123456789abcdef\0\0\0a\0b\0c\0\0\x7f\x04\0\0\0\0",
        b"\x05_SM3_\x46\x18\x03\x02\0\x01\0\x00\x10\0\0\0\0\0\0\0\0\0\0",
        br" A\.b\\c\032d._x._tcp.local.",
        b"\x07\x03a=b\x03A=c\x01d\x02e=\x02=f\0",
    ];
    for (number, seed) in seeds.iter().enumerate() {
        let mut seed = seed.to_vec();
        seed[0] = number as u8;
        let path = Path::new(&dir).join(number.to_string());
        std::fs::write(&path, seed).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
