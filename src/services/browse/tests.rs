//! Output lines, the file of `--keep`, and the environment of `--exec`.

use super::Links;
use super::exec::describe;
use super::keep::{Keep, write_lost};
use super::line::Form;
use crate::console::terminal::Out;
use crate::engine::mdns::Destination;
use crate::engine::mdns::browser::tests::bench::{Bench, PEER, Say, answer, wire};
use crate::engine::mdns::browser::{Event, EventKind, Goal};
use crate::wire::dns::{CLASS_IN, kind};
use std::ffi::CString;
use std::path::PathBuf;

const NFS: &str = "_nfs._tcp.local";

/// Passes a message to the browser and lets 20 ms pass; calls `each` for the events.
fn hear(bench: &mut Bench, say: Say, each: &mut dyn FnMut(&Event<'_>)) {
    bench.handle(0, PEER, Destination::Multicast, &say.0);
    pass(bench, 20, each);
}

/// Lets `ms` milliseconds pass and calls `each` for the events.
fn pass(bench: &mut Bench, ms: u64, each: &mut dyn FnMut(&Event<'_>)) {
    let end = bench.ms + ms;
    let mut buffer = [0; 2000];
    loop {
        let now = bench.now();
        while bench.browser.poll_transmit(now, &mut buffer).is_some() {}
        while let Some(event) = bench.browser.next_event(now) {
            each(&event);
        }
        let next = bench.browser.poll_at().since(now).as_ms();
        if bench.ms + next > end {
            bench.ms = end;
            return;
        }
        bench.ms += next;
    }
}

fn browsing() -> Bench {
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, NFS).wait(2000).lines();
    bench
}

fn txt(strings: &[&[u8]]) -> Vec<u8> {
    let mut content = Vec::new();
    for string in strings {
        content.push(string.len() as u8);
        content.extend_from_slice(string);
    }
    content
}

fn service(instance: &[u8], host: &str, port: u16, content: &[u8]) -> Say {
    let mut name = vec![instance.len() as u8];
    name.extend_from_slice(instance);
    name.extend_from_slice(&wire(NFS));
    let mut srv = vec![0, 0, 0, 0];
    srv.extend_from_slice(&port.to_be_bytes());
    srv.extend_from_slice(&wire(host));
    answer()
        .record(1, &wire(NFS), kind::PTR, CLASS_IN, 4500, &name)
        .record(1, &name, kind::SRV, 0x8001, 120, &srv)
        .record(1, &name, kind::TXT, 0x8001, 4500, content)
        .a(host, 120, [192, 0, 2, 9])
}

fn written(out: &Out) -> String {
    String::from_utf8(out.bytes().to_vec()).unwrap()
}

/// Returns the output lines of a service that is announced, changes its port and says goodbye.
fn lines(form: Form, instance: &[u8], content: &[u8]) -> Vec<String> {
    let (mut bench, mut out, mut lines) = (browsing(), Out::allocate(), Vec::new());
    out.is_json = form == Form::Json;
    let mut each = |event: &Event<'_>| {
        if form.write(out.clear(), b"eth0", event, false).is_some() {
            lines.push(written(&out));
        }
    };
    hear(
        &mut bench,
        service(instance, "h.local", 2049, content),
        &mut each,
    );
    pass(&mut bench, 2000, &mut each);
    hear(
        &mut bench,
        service(instance, "h.local", 80, content),
        &mut each,
    );
    let mut name = vec![instance.len() as u8];
    name.extend_from_slice(instance);
    name.extend_from_slice(&wire(NFS));
    let bye = answer().record(1, &wire(NFS), kind::PTR, CLASS_IN, 0, &name);
    hear(&mut bench, bye, &mut each);
    pass(&mut bench, 2000, &mut each);
    lines
}

#[test]
fn link_local_addresses_have_a_scope_with_once() {
    for (has_scopes, shown) in [(true, "fe80::9%eth0"), (false, "fe80::9")] {
        let (mut bench, mut out, mut lines) = (browsing(), Out::allocate(), Vec::new());
        out.has_scopes = has_scopes;
        let mut each = |event: &Event<'_>| {
            for form in [Form::Columns, Form::Fields, Form::Json] {
                if event.kind == EventKind::Resolved
                    && form.write(out.clear(), b"eth0", event, false).is_some()
                {
                    lines.push(written(&out));
                }
            }
        };
        let mut said = service(b"x", "h.local", 2049, b"");
        // The additional A record at the end becomes an AAAA record of another host's name.
        let address = "fe80::9".parse::<core::net::Ipv6Addr>().unwrap();
        said = said.record(
            1,
            &wire("g.local"),
            kind::AAAA,
            0x8001,
            120,
            &address.octets(),
        );
        let mut srv = vec![0, 0, 0, 0, 8, 1];
        srv.extend_from_slice(&wire("g.local"));
        let name = [&[1, b'x'][..], &wire(NFS)].concat();
        said = said.record(1, &name, kind::SRV, 0x8001, 120, &srv);
        hear(&mut bench, said, &mut each);
        pass(&mut bench, 2000, &mut each);
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, end) in lines.iter().zip(["]", ";", "\""]) {
            assert!(line.contains(&format!("{shown}{end}")), "{line}");
        }
    }
}

#[test]
fn lines_match_avahi_browse() {
    let content = txt(&[b"path=/a b", b"say=\"\\", b"", b"flag"]);
    let text = r#""path=/a b" "say=\"\\" "flag""#;
    let name = r"My\032Files\059\.\195\182";
    assert_eq!(
        lines(Form::Fields, "My Files;.ö".as_bytes(), &content),
        [
            format!("+;eth0;IPv4;{name};_nfs._tcp;local"),
            format!("=;eth0;IPv4;{name};_nfs._tcp;local;h.local;192.0.2.9;2049;{text}"),
            format!("!;eth0;IPv4;{name};_nfs._tcp;local;h.local;192.0.2.9;80;{text}"),
            format!("-;eth0;IPv4;{name};_nfs._tcp;local"),
        ]
    );
    let head =
        "  eth0 IPv4 My Files                                      _nfs._tcp            local";
    let more = |port| {
        format!(
            "\n   hostname = [h.local]\n   address = [192.0.2.9]\n   port = [{port}]\n   txt = [{text}]"
        )
    };
    assert_eq!(
        lines(Form::Columns, b"My Files", &content),
        [
            format!("+ {head}"),
            format!("= {head}{}", more(2049)),
            format!("! {head}{}", more(80)),
            format!("- {head}"),
        ]
    );
}

#[test]
fn hostile_names_are_escaped_in_every_form() {
    let name = b"a\x1b[2J\xc2\x9b\xff\xe2\x80\xae\x07\n\"\\";
    let content = txt(&[name, b"k=\x1b]0;x\x07", &[0xfe; 255]]);
    for form in [Form::Fields, Form::Columns, Form::Json] {
        let lines = lines(form, name, &content);
        assert_eq!(lines.len(), 4);
        for line in lines {
            let is_plain = |byte: u8| matches!(byte, b' '..=b'~');
            assert!(line.replace("\n   ", "").bytes().all(is_plain), "{line}");
            if form == Form::Json {
                assert!(line.starts_with(r#"{"event":""#) && line.ends_with('}'));
                assert!(
                    line.contains(r#""name":"a\u001b[2J\u009b\u00ff\u202e\u0007\u000a\"\\""#),
                    "{line}"
                );
            }
        }
    }
}

/// Returns the program's environment for the event `pick`.
fn environment(content: &[u8], pick: EventKind) -> Vec<Vec<u8>> {
    let (mut bench, mut out, mut found) = (browsing(), Out::allocate(), None);
    let mut each = |event: &Event<'_>| {
        if event.kind == pick {
            describe(&mut out, b"word", &Links::of("eth0", true), event);
            found = Some(out.bytes().to_vec());
        }
    };
    hear(
        &mut bench,
        service(b"A \x1b\0b", "h.local", 2049, content),
        &mut each,
    );
    let bye = answer().record(
        1,
        &wire(NFS),
        kind::PTR,
        CLASS_IN,
        0,
        &[&b"\x05A \x1b\0b"[..], &wire(NFS)].concat(),
    );
    hear(&mut bench, bye, &mut each);
    pass(&mut bench, 2000, &mut each);
    let found = found.unwrap();
    let (last, all) = found.split_last().unwrap();
    assert_eq!(*last, 0);
    all.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

#[test]
fn exec_environment_has_unescaped_bytes() {
    let content = txt(&[
        b"path=/srv \xff\x01",
        b"PATH=/other",
        b"a-b c=1",
        b"a.b.c=2",
        b"flag",
        b"=no key",
        b"k\xff=no key",
        b"nul=a\0b",
        b"LD_PRELOAD=x",
    ]);
    assert_eq!(
        environment(&content, EventKind::Resolved),
        [
            &b"DNSSD_EVENT=word"[..],
            b"DNSSD_INTERFACE=eth0",
            b"DNSSD_FAMILY=IPv4",
            b"DNSSD_NAME=A \x1bb",
            b"DNSSD_TYPE=_nfs._tcp",
            b"DNSSD_HOST=h.local",
            b"DNSSD_ADDRESS=192.0.2.9",
            b"DNSSD_ADDRESSES=192.0.2.9",
            b"DNSSD_PORT=2049",
            b"DNSSD_TXT_path=/srv \xff\x01",
            b"DNSSD_TXT_a_b_c=1",
            b"DNSSD_TXT_flag=",
            b"DNSSD_TXT_nul=ab",
            b"DNSSD_TXT_LD_PRELOAD=x",
        ]
    );
    assert_eq!(environment(&content, EventKind::Removed).len(), 5);
    // A record with 1,000 keys: 64 of them are passed.
    let keys: Vec<_> = (0..1000).map(|key| format!("{key}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_bytes).collect();
    assert_eq!(environment(&txt(&keys), EventKind::Resolved).len(), 9 + 64);
}

/// A directory that is removed at the end of the test.
struct TestDir(PathBuf);

impl TestDir {
    fn new(test: &str) -> Self {
        let name = format!("stowaway-keep-{}-{test}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> &'static core::ffi::CStr {
        let path = CString::new(self.0.join(name).to_str().unwrap()).unwrap();
        Box::leak(path.into_boxed_c_str())
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Checks the time of a line of the file and removes it.
fn without_time(line: &str) -> String {
    let mut fields: Vec<_> = line.split(';').collect();
    assert!(fields[9].len() == 10 && fields[9].parse::<u64>().unwrap() > 1_700_000_000);
    fields.remove(9);
    fields.join(";")
}

#[test]
fn service_is_kept_until_its_goodbye() {
    let test_dir = TestDir::new("remembered");
    let path = test_dir.path("file");
    let (links, mut out) = (Links::of("eth0", true), Out::allocate());
    let content = txt(&[b"a=b", b"path=/srv;\x1b\"\xc3\xb6"]);
    let line = r#"eth0;IPv4;My\032Files;_nfs._tcp;local;h.local;192.0.2.9;2049;"path=/srv;\027\034\195\182""#;
    for farewell in [true, false] {
        let _ = std::fs::remove_file(test_dir.0.join("file"));
        let (mut bench, mut keep) = (browsing(), Keep::read(path).unwrap());
        let mut each = |event: &Event<'_>| keep.update(Form::Fields, &mut out, &links, event);
        hear(
            &mut bench,
            service(b"My Files", "h.local", 2049, &content),
            &mut each,
        );
        hear(
            &mut bench,
            service(b"other", "h.local", 2049, &content),
            &mut each,
        );
        if farewell {
            let bye = answer().ptr(NFS, 0, "My Files._nfs._tcp.local");
            hear(&mut bench, bye, &mut each);
            pass(&mut bench, 2000, &mut each);
        } else {
            // Without a goodbye, the SRV and A records expire after 120 s.
            pass(&mut bench, 121_000, &mut each);
        }
        keep.save(bench.now());
        let text = test_dir.text("file");
        let lines: Vec<_> = text.lines().map(without_time).collect();
        let other = line.replace(r"My\032Files", "other");
        if farewell {
            assert_eq!(lines, [format!("=;{other}")]);
        } else {
            assert_eq!(lines, [format!("?;{line}"), format!("?;{other}")]);
        }
        assert!(!test_dir.0.join("file.new").exists());
    }
    // A lost service that is found on another host is present again. Its line then names the new host.
    let (mut bench, mut keep) = (browsing(), Keep::read(path).unwrap());
    let mut each = |event: &Event<'_>| keep.update(Form::Fields, &mut out, &links, event);
    hear(
        &mut bench,
        service(b"My Files", "i.local", 2050, &content),
        &mut each,
    );
    keep.save(bench.now());
    let text = test_dir.text("file");
    let lines: Vec<_> = text.lines().map(without_time).collect();
    assert!(lines[0].starts_with("?;eth0;IPv4;other;"), "{text}");
    assert!(
        lines[1].starts_with(r"=;eth0;IPv4;My\032Files;_nfs._tcp;local;i.local;192.0.2.9;2050;"),
        "{text}"
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn own_link_down_keeps_services_without_output() {
    let test_dir = TestDir::new("away");
    let mut out = Out::allocate();
    let (mut bench, mut keep) = (browsing(), Keep::read(test_dir.path("file")).unwrap());
    let links = Links::of("eth0", true);
    let mut each = |event: &Event<'_>| keep.update(Form::Fields, &mut out, &links, event);
    hear(&mut bench, service(b"a", "h.local", 2049, b"\0"), &mut each);
    bench.links[0].addresses.clear();
    let now = bench.now();
    bench.browser.link_changed(now, 0, &bench.links[0]);
    let away = Links::of("eth0", false);
    let mut count = 0;
    let mut each = |event: &Event<'_>| {
        count += 1;
        keep.update(Form::Fields, &mut out, &away, event);
    };
    pass(&mut bench, 100, &mut each);
    assert_eq!(count, 1);
    keep.save(bench.now());
    assert!(test_dir.text("file").starts_with("?;eth0;IPv4;a;"));
}

#[test]
fn malformed_lines_and_files_are_rejected() {
    let test_dir = TestDir::new("others");
    let good = r"=;eth0;IPv4;A;_nfs._tcp;local;h.local;192.0.2.9;2049;1795176000;";
    let long = format!(r#"{good}"{}""#, "x".repeat(3000));
    let mut text = String::new();
    for line in [
        "",
        "\u{1b}[2J",
        "=",
        "=;;;;;;;;;;",
        &good[..good.len() - 1],
        &good.replace("1795176000", "17951760000"),
        &good.replace("1795176000", "179517600x"),
        &good.replace("2049", "\"}"),
        &good.replace("eth0", "eth\u{1b}"),
        &good.replace("eth0", "ethö"),
        &good.replace('=', "+"),
        &long,
        good,
    ] {
        text += line;
        text += "\n";
    }
    // Appends a line without a newline, which may have been cut off: it must be dropped.
    text += good;
    let path = test_dir.path("file");
    std::fs::write(test_dir.0.join("file"), &text).unwrap();
    let mut keep = Keep::read(path).unwrap();
    keep.save(crate::time::Instant::default());
    assert_eq!(test_dir.text("file"), format!("?{}\n", &good[1..]));
    // A file of 5,000 lines is cut to 1,024, and a file of 1 MiB, which is longer than the limit, to nothing.
    let lines: String = (0..5000)
        .map(|at| format!("{}\n", good.replace(";A;", &format!(";A{at};"))))
        .collect();
    std::fs::write(test_dir.0.join("file"), &lines).unwrap();
    Keep::read(path)
        .unwrap()
        .save(crate::time::Instant::default());
    assert_eq!(test_dir.text("file").lines().count(), 1024);
    std::fs::write(test_dir.0.join("file"), [b'x'; 1 << 20]).unwrap();
    Keep::read(path)
        .unwrap()
        .save(crate::time::Instant::default());
    assert_eq!(test_dir.text("file"), "");
    // Files that are a link, a directory or a device are refused.
    std::os::unix::fs::symlink("file", test_dir.0.join("link")).unwrap();
    for strange in ["link", "."] {
        assert!(Keep::read(test_dir.path(strange)).is_err(), "{strange}");
    }
    assert!(Keep::read(c"/dev/null").is_err() && Keep::read(c"").is_err());
}

/// At the limit of 1,024 lines, the oldest lost services are removed.
#[test]
fn present_services_evict_the_oldest_lost() {
    let test_dir = TestDir::new("buffer");
    let (links, mut out) = (Links::of("eth0", true), Out::allocate());
    let old: String = (0..1024)
        .map(|at| {
            format!("=;eth0;IPv4;old{at};_nfs._tcp;local;h.local;192.0.2.9;2049;1795176000;\n")
        })
        .collect();
    std::fs::write(test_dir.0.join("file"), old).unwrap();
    let (mut bench, mut keep) = (browsing(), Keep::read(test_dir.path("file")).unwrap());
    let mut each = |event: &Event<'_>| keep.update(Form::Fields, &mut out, &links, event);
    for instance in ["a", "b"] {
        hear(
            &mut bench,
            service(instance.as_bytes(), "h.local", 2049, b"\0"),
            &mut each,
        );
    }
    keep.save(bench.now());
    let text = test_dir.text("file");
    assert_eq!(text.lines().count(), 1024);
    assert!(
        text.starts_with("?;eth0;IPv4;old2;")
            && text.contains(";a;_nfs")
            && text.contains(";b;_nfs")
    );
}

#[test]
fn failed_save_leaves_the_old_file() {
    let test_dir = TestDir::new("stays");
    let good = "?;eth0;IPv4;A;_nfs._tcp;local;h.local;192.0.2.9;2049;1795176000;\n";
    std::fs::write(test_dir.0.join("file"), good).unwrap();
    std::fs::create_dir(test_dir.0.join("file.new")).unwrap();
    let mut keep = Keep::read(test_dir.path("file")).unwrap();
    std::fs::write(test_dir.0.join("file"), "other").unwrap();
    keep.save(crate::time::Instant::default());
    assert_eq!(test_dir.text("file"), "other");
    std::fs::remove_dir(test_dir.0.join("file.new")).unwrap();
    keep.save(crate::time::Instant::default());
    assert_eq!(test_dir.text("file"), good);
}

#[test]
fn lost_service_is_printed_with_time_and_host() {
    let line = br#"?;eth0;IPv4;My\032F\195\182\.;_vm._tcp;local;h.local;192.0.2.9;0;1795222861;"path=/v \027\"""#;
    let lost = |form| {
        let mut out = Out::allocate();
        out.is_json = form == Form::Json;
        write_lost(form, &mut out, line);
        written(&out)
    };
    assert_eq!(lost(Form::Fields).as_bytes(), line);
    assert_eq!(
        lost(Form::Columns),
        r#"lost My Fö. _vm._tcp eth0, last seen 2026-11-21 01:01:01 UTC on h.local at 192.0.2.9 "path=/v \027\"""#
    );
    assert_eq!(
        lost(Form::Json),
        r#"{"event":"lost","interface":"eth0","family":"IPv4","name":"My Fö.","type":"_vm._tcp","domain":"local","host":"h.local","address":"192.0.2.9","port":0,"time":1795222861,"path":"/v \u001b\""}"#
    );
    let date = |time: &str| {
        let mut out = Out::allocate();
        super::keep::put_date(&mut out, time.as_bytes());
        written(&out)
    };
    for (time, expect) in [
        ("0000000000", "1970-01-01 00:00:00"),
        ("0951782399", "2000-02-28 23:59:59"),
        ("0951782400", "2000-02-29 00:00:00"),
        ("1735689599", "2024-12-31 23:59:59"),
        ("4107542400", "2100-03-01 00:00:00"),
        ("9999999999", "2286-11-20 17:46:39"),
    ] {
        assert_eq!(date(time), expect);
    }
}
