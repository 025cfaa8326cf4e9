//! Directories with valid, malformed and unreadable service files.

use super::*;
use crate::event::Logged;
use crate::os::source;
use crate::os::source::tests::{TestDir, memory};
use crate::sys::Errno;

/// The reported lines.
#[derive(Debug)]
struct Reported(Vec<String>);

impl Logged for Reported {}

impl Sink for Reported {
    fn write_line(&mut self, line: &[u8], _: event::Marks) {
        self.0.push(String::from_utf8(line.to_vec()).unwrap());
    }
}

/// Returns the services (`NAME:PORT`) and the reported lines, without the directory's path.
fn read(test_dir: &TestDir) -> (Vec<String>, Vec<String>) {
    read_all(&[test_dir])
}

/// Reads several directories. The reported lines are of the first.
fn read_all(test_dirs: &[&TestDir]) -> (Vec<String>, Vec<String>) {
    let (mut reported, mut services) = (Reported(Vec::new()), Vec::new());
    let paths: Vec<_> = test_dirs.iter().map(|dir| dir.path()).collect();
    let paths: Vec<_> = paths.iter().map(|path| &**path).collect();
    super::read(
        &paths,
        &mut memory(),
        &mut Watch::default(),
        &mut reported,
        &mut |service, _| {
            let name = String::from_utf8(service.name.to_vec()).unwrap();
            services.push(format!("{name}:{}", service.port));
        },
    )
    .unwrap();
    let dir = format!("{}/", test_dirs[0].0.display());
    let lines = reported.0.iter().map(|line| {
        let line = line.replace(&dir, "");
        let after = line.strip_prefix("stowaway: ").unwrap();
        let after = after.strip_prefix("left out ").unwrap_or(after);
        after.strip_suffix('\n').unwrap().to_owned()
    });
    let mut lines: Vec<_> = lines.collect();
    // The order of directory entries is arbitrary.
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
fn malformed_files_are_left_out_and_reported() {
    let test_dir = TestDir::new("files");
    test_dir.put("b.service", group("b", &["1", "2"]));
    test_dir.put("a.dnssd", "[Service]\nName=a\nType=_a._udp\nPort=3\n");
    test_dir.put("c.service.bak", "no");
    test_dir.put("d.xml", "no");
    test_dir.put("e.service/inside", "no");
    // The second service of this file is malformed, so its valid first service must not be announced either.
    test_dir.put("f.service", group("f", &["4", "x"]));
    test_dir.put("g.dnssd", "[Service]\nName=%?\n");
    test_dir.put("h.service", [b' '; source::FILE_BYTES_MAX + 1]);
    test_dir.put("z.service", group("z", &["5"]));
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, test_dir.0.join(name)).unwrap();
    };
    test_dir.put("elsewhere/k", group("k", &["6"]));
    link("elsewhere/k", "k.service");
    link("gone", "i.service");
    test_dir.fifo("j.service");
    let (services, reported) = read(&test_dir);
    assert_eq!(services, ["a:3", "b:1", "b:2", "k:6", "z:5"]);
    assert_eq!(
        reported,
        [
            "e.service: is a directory",
            "f.service:5: a number is 0 to 65535",
            "g.dnssd:2: % must be followed by % or by a specifier of systemd.dnssd(5) that this host has",
            "h.service: longer than 64 KiB",
            "i.service: does not exist; check the path",
            "j.service: not a regular file",
        ]
    );
}

/// systemd.dnssd(5): drop-ins of all directories are applied in the order of their names.
#[test]
fn drop_ins_are_applied_in_order() {
    let (first, second) = (TestDir::new("drop-ins-1"), TestDir::new("drop-ins-2"));
    let port = |port| format!("[Service]\nPort={port}\n");
    first.put("a.dnssd", "[Service]\nName=a\nType=_a._tcp\nPort=1\n");
    first.put("a.dnssd.d/20.conf", port(2));
    first.put("a.dnssd.d/ignored", port(3));
    second.put("a.dnssd.d/10.conf", port(4));
    assert_eq!(
        read_all(&[&first, &second]),
        (vec!["a:2".to_owned()], vec![])
    );
    second.put("a.dnssd.d/30.conf", port(5));
    second.put("a.dnssd.d/20.conf", port(6));
    assert_eq!(read_all(&[&first, &second]).0, ["a:5"]);
    // A drop-in of the same name masks one in a later directory.
    first.put("a.dnssd.d/30.conf", "");
    assert_eq!(read_all(&[&first, &second]).0, ["a:2"]);
    // A drop-in without a unit has no effect.
    second.put("b.dnssd.d/10.conf", "[Service]\nName=b\nType=_b._tcp\n");
    first.put("a.dnssd.d/40.conf", "[Service]\nColour=red\n");
    assert_eq!(
        read_all(&[&first, &second]),
        (
            vec!["a:2".to_owned()],
            vec![
                "ignored a.dnssd.d/40.conf:2: unknown element, attribute, value or key".to_owned()
            ]
        )
    );
    first.put("a.dnssd.d/50.conf", "[Service]\nPort=x\n");
    let (services, reported) = read_all(&[&first, &second]);
    assert!(services.is_empty());
    assert_eq!(reported[0], "a.dnssd.d/50.conf:2: a number is 0 to 65535");
}

#[test]
fn earlier_directories_replace_and_mask_files() {
    let (first, second) = (TestDir::new("path-1"), TestDir::new("path-2"));
    for name in ["a", "b", "c", "d"] {
        let text = format!("[Service]\nName={name}\nType=_a._tcp\nPort=2\n");
        second.put(format!("{name}.dnssd"), text);
    }
    second.put("e.service", group("e", &["2"]));
    first.put("a.dnssd", "[Service]\nName=a\nType=_a._tcp\nPort=1\n");
    first.put("b.dnssd", "");
    std::os::unix::fs::symlink("/dev/null", first.0.join("c.dnssd")).unwrap();
    first.put("e.service", "");
    let (services, reported) = read_all(&[&first, &second]);
    assert_eq!(services, ["a:1", "d:2"]);
    assert_eq!(reported, [""; 0]);
}

#[test]
fn directories_of_units_are_searched_together() {
    let mut paths = Paths::new();
    push(&mut paths, c"/etc/avahi/services").unwrap();
    push(&mut paths, c"/etc/systemd/dnssd").unwrap();
    assert_eq!(
        paths,
        [
            c"/etc/avahi/services",
            c"/etc/systemd/dnssd",
            c"/run/systemd/dnssd",
            c"/usr/local/lib/systemd/dnssd",
            c"/usr/lib/systemd/dnssd"
        ]
    );
    for _ in 0..6 {
        push(&mut paths, c"/x").unwrap();
    }
    assert_eq!(push(&mut paths, c"/x"), None);
}

#[test]
fn entry_limit_is_reported() {
    let test_dir = TestDir::new("many");
    test_dir.put("a.dnssd", "[Service]\nName=a\nType=_a._tcp\n");
    for number in 0..ENTRY_COUNT_MAX {
        std::fs::hard_link(
            test_dir.0.join("a.dnssd"),
            test_dir.0.join(format!("{number}.dnssd")),
        )
        .or_else(|_| {
            std::fs::copy(
                test_dir.0.join("a.dnssd"),
                test_dir.0.join(number.to_string()),
            )
            .map(drop)
        })
        .unwrap();
    }
    let mut reported = Reported(Vec::new());
    let mut count = 0;
    super::read(
        &[&test_dir.path()],
        &mut memory(),
        &mut Watch::default(),
        &mut reported,
        &mut |_, _| count += 1,
    )
    .unwrap();
    assert!(
        count + 2 >= ENTRY_COUNT_MAX && count < ENTRY_COUNT_MAX,
        "{count}"
    );
    assert_eq!(reported.0.len(), 1);
    let expect = format!(
        "left out some of {}: the directory has more",
        test_dir.0.display()
    );
    assert!(reported.0[0].contains(&expect), "{reported:?}");
}

/// The expected values are read from the test host's files.
#[test]
fn specifiers_have_the_values_of_this_host() {
    let expand = |letter: u8| {
        let mut buffer = [0; 256];
        let mut out = crate::wire::Writer::new(&mut buffer);
        specifiers::write(letter, &mut out)?;
        Some(String::from_utf8(out.since(0).to_vec()).unwrap())
    };
    let content = |path: &str| std::fs::read_to_string(path).ok();
    let first = |path: &str| content(path).map(|text| text.trim_end().to_owned());
    let release = content("/etc/os-release");
    let field = |key: &str| {
        let mut lines = release.as_deref()?.lines();
        let value = lines.find_map(|line| line.strip_prefix(&format!("{key}=")));
        Some(value.unwrap_or_default().replace('"', ""))
    };
    assert_eq!(expand(b'v'), first("/proc/sys/kernel/osrelease"));
    assert_eq!(expand(b'm'), first("/etc/machine-id"));
    let boot = first("/proc/sys/kernel/random/boot_id");
    assert_eq!(expand(b'b'), boot.map(|id| id.replace('-', "")));
    for (letter, key) in [
        (b'o', "ID"),
        (b'w', "VERSION_ID"),
        (b'W', "VARIANT_ID"),
        (b'A', "IMAGE_VERSION"),
        (b'B', "BUILD_ID"),
        (b'M', "IMAGE_ID"),
    ] {
        assert_eq!(expand(letter), field(key), "{key}");
    }
    assert!(expand(b'a').is_some_and(|name| !name.is_empty()));
    for letter in [b'x', b'H', b' ', 0, b'/'] {
        assert_eq!(expand(letter), None, "{letter}");
    }
}

#[test]
fn odd_file_names_are_escaped_in_reports() {
    let test_dir = TestDir::new("odd");
    let long = format!("{}.service", "x".repeat(247));
    test_dir.put(&long, " ");
    test_dir.put("a\x1b[2J.dnssd", " ");
    let (services, reported) = read(&test_dir);
    assert!(services.is_empty());
    assert_eq!(
        reported[0],
        r"a\033[2J.dnssd: a name has 1 to 63 bytes of UTF-8 and no control characters"
    );
    assert!(reported[1].starts_with(&format!("{long}:1: syntax error")));
    assert_eq!(reported.len(), 2);
}

#[test]
fn unreadable_directory_fails() {
    let test_dir = TestDir::new("none");
    test_dir.put("file", "");
    for (name, error) in [("file", Errno::NOTDIR), ("missing", Errno::NOENT)] {
        let path = std::ffi::CString::new(test_dir.0.join(name).to_str().unwrap()).unwrap();
        let (watch, sink) = (&mut Watch::default(), &mut Reported(vec![]));
        let done = super::read(&[&path], &mut memory(), watch, sink, &mut |_, _| {});
        assert_eq!(done, Err((&*path, error)), "{name}");
    }
}

#[test]
fn every_flaw_has_its_advice() {
    for (flaw, part) in [
        (Flaw::Name, "a name has"),
        (Flaw::Kind, "a type is"),
        (Flaw::Subtype, "a subtype"),
        (Flaw::Host, "a host name"),
        (Flaw::Domain, "domain"),
        (Flaw::Number, "65535"),
        (Flaw::String, "255"),
        (Flaw::Key, "key in ASCII"),
        (Flaw::Strings, "1300"),
        (Flaw::Digits, "base64"),
        (Flaw::Long, "too long"),
        (Flaw::Unknown, "element, attribute"),
        (Flaw::Form, "truncated"),
        (Flaw::Entity, "entity"),
        (Flaw::Declarations, "declarations"),
        (Flaw::Specifier, "% must be"),
        (Flaw::Escape, "backslash"),
    ] {
        assert!(advice(flaw).known().contains(part), "{flaw:?}");
    }
}
