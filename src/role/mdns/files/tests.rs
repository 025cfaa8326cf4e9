//! Directories with files of all kinds.

use super::super::source::tests::{Place, memory};
use super::*;
use crate::vfs::FsError;

/// Lines that were told.
struct Told(Vec<String>);

impl Sink for Told {
    fn take(&mut self, line: &[u8]) {
        self.0.push(String::from_utf8(line.to_vec()).unwrap());
    }
}

/// Names and ports of services, and what was told, without where the directory is.
fn read(place: &Place) -> (Vec<String>, Vec<String>) {
    let (mut told, mut services) = (Told(Vec::new()), Vec::new());
    super::read(&place.path(), &mut memory(), &mut told, &mut |service| {
        let name = String::from_utf8(service.name.to_vec()).unwrap();
        services.push(format!("{name}:{}", service.port));
    })
    .unwrap();
    let start = format!("stowaway: left out {}/", place.0.display());
    let lines = told.0.iter().map(|line| {
        let rest = line.strip_prefix(&start).unwrap();
        rest.strip_suffix('\n').unwrap().to_owned()
    });
    let mut lines: Vec<_> = lines.collect();
    // A directory has no order.
    services.sort();
    lines.sort();
    (services, lines)
}

fn group(name: &str, ports: &[&str]) -> String {
    let service = |port| format!("<service>\n<type>_a._tcp</type><port>{port}</port></service>\n");
    let services: String = ports.iter().map(service).collect();
    format!("<service-group><name>{name}</name>\n{services}</service-group>")
}

#[test]
fn files_are_read_and_what_is_wrong_is_left_out() {
    let place = Place::new("files");
    place.put("b.service", group("b", &["1", "2"]));
    place.put("a.dnssd", "[Service]\nName=a\nType=_a._udp\nPort=3\n");
    place.put("c.service.bak", "no");
    place.put("d.xml", "no");
    place.put("e.service/inside", "no");
    // The first of its services is good.
    place.put("f.service", group("f", &["4", "x"]));
    place.put("g.dnssd", "[Service]\nName=%m\n");
    place.put("h.service", [b' '; source::FILE_BYTES_MAX + 1]);
    place.put("z.service", group("z", &["5"]));
    std::os::unix::fs::symlink("b.service", place.0.join("i.service")).unwrap();
    place.fifo("j.service");
    let (services, told) = read(&place);
    assert_eq!(services, ["a:3", "b:1", "b:2", "z:5"]);
    assert_eq!(
        told,
        [
            "e.service: it is a directory",
            "f.service:5: a number is 0 to 65535",
            "g.dnssd:2: behind % there can be H and %",
            "h.service: it is longer than 64 KiB",
            "i.service: it is a symbolic link, or there are too many in its path",
            "j.service: it is no ordinary file",
        ]
    );
}

#[test]
fn there_is_an_end_to_files_and_entries() {
    let place = Place::new("many");
    for number in 0..FILE_COUNT_MAX + 5 {
        let unit = format!("[Service]\nName=n{number:03}\nType=_a._tcp\n");
        place.put(format!("{number:03}.dnssd"), unit);
    }
    let (services, told) = read(&place);
    assert_eq!(services.len(), FILE_COUNT_MAX);
    assert!(told.is_empty());
}

#[test]
fn long_and_odd_names_are_told_as_they_can_be() {
    let place = Place::new("odd");
    let long = format!("{}.service", "x".repeat(247));
    place.put(&long, "");
    place.put("a\x1b[2J.dnssd", "");
    let (services, told) = read(&place);
    assert!(services.is_empty());
    assert_eq!(
        told[0],
        r"a\x1b[2J.dnssd:1: a name has 1 to 63 bytes of UTF-8 and no control characters"
    );
    assert!(told[1].starts_with(&format!("{long}:1: it breaks off")));
    assert_eq!(told.len(), 2);
}

#[test]
fn a_directory_that_is_none_is_an_error() {
    let place = Place::new("none");
    place.put("file", "");
    for (name, error) in [
        ("file", FsError::NotDirectory),
        ("missing", FsError::NoEntry),
    ] {
        let path = std::ffi::CString::new(place.0.join(name).to_str().unwrap()).unwrap();
        let done = super::read(&path, &mut memory(), &mut Told(vec![]), &mut |_| {});
        assert_eq!(done, Err(error), "{name}");
    }
}

#[test]
fn every_flaw_has_its_advice() {
    for (flaw, part) in [
        (Flaw::Name, "a name has"),
        (Flaw::Kind, "a type is"),
        (Flaw::Subtype, "a subtype"),
        (Flaw::Host, "a host's name"),
        (Flaw::Domain, "domain"),
        (Flaw::Number, "65535"),
        (Flaw::String, "255"),
        (Flaw::Key, "key in ASCII"),
        (Flaw::Strings, "1300"),
        (Flaw::Digits, "base64"),
        (Flaw::Long, "too long"),
        (Flaw::Unknown, "element, attribute"),
        (Flaw::Form, "breaks off"),
        (Flaw::Entity, "entity"),
        (Flaw::Declarations, "declarations"),
        (Flaw::Specifier, "behind %"),
        (Flaw::Escape, "backslash"),
    ] {
        assert!(advice(flaw).known().contains(part), "{flaw:?}");
    }
}
