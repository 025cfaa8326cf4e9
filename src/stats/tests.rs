//! A sheet that is counted in and read.

use super::clients::CLIENT_NONE;
use super::forms::{Form, Place, Reader};
use super::*;
use crate::time::Instant;
use core::net::Ipv6Addr;
use core::sync::atomic::AtomicU32;

fn sheet(client_count: usize) -> Sheet {
    let count = match client_count {
        CLIENT_COUNT_MAX => word_count(client_count) + MACHINE_WORDS,
        _ => word_count(client_count),
    };
    let words = (0..count).map(|_| AtomicU64::new(0));
    let sheet = Sheet::of(words.collect::<Vec<_>>().leak());
    sheet.begin("nfs", 7, 1000);
    sheet
}

static NFS4: [AtomicU32; 3] = [AtomicU32::new(2), AtomicU32::new(30), AtomicU32::new(1)];

/// Figures beside two exports.
fn reader(sheets: &[Sheet]) -> Reader<'_> {
    Reader {
        sheets,
        exports: &|number| match number {
            0 => Some((b"/srv \"\xc3\xbc\xff", true)),
            1 => Some((b"/gone <b>&\x1b", false)),
            _ => None,
        },
        nfs4: &NFS4,
        now_ms: 5000,
        wall_secs: 1100,
    }
}

/// The figures in a form, written in pieces.
fn written(sheets: &[Sheet], form: Form, piece: usize) -> String {
    let (mut whole, mut next) = (Vec::new(), Some(Place::default()));
    while let Some(place) = next {
        let mut buffer = vec![0; piece];
        let (len, place) = reader(sheets).write(form, place, &mut buffer);
        next = place;
        whole.extend(&buffer[..len]);
    }
    String::from_utf8(whole).unwrap()
}

#[test]
fn calls_are_in_the_bucket_of_their_duration() {
    let ticks = || 3_000_000;
    let sheet = sheet(2);
    let mut meter = Meter::new(sheet, &[], ticks);
    meter.turn(Instant::from_ms(500));
    let getattr = Operation::rpc(100_003, 1).unwrap();
    for (since, outcome) in [
        (500, Outcome::Done),
        (495, Outcome::Failed),
        (200, Outcome::Done),
    ] {
        meter.serve(Family::Rpc, CLIENT_NONE, Instant::from_ms(since));
        meter.called(Some(getattr), outcome);
        meter.served();
    }
    let buckets = [1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0];
    assert_eq!(sheet.calls(getattr), (buckets, 305_000, 1));
    assert_eq!((getattr.family(), getattr.name()), ("nfs", "getattr"));
    let last = Operation::all().last().unwrap();
    assert_eq!((last.family(), last.name()), ("nfs4", "compound"));
    assert_eq!(Operation::sftp(200).unwrap().name(), "extended");
}

#[test]
fn clients_that_are_connected_keep_their_place() {
    let sheet = sheet(2);
    let meter = Meter::new(sheet, &[], || 0);
    let address = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let open = |last| meter.opened(Family::Http, address(last), Instant::from_ms(last.into()));
    assert_eq!([open(1), open(2), open(1), open(3)], [0, 1, 0, CLIENT_NONE]);
    meter.closed(Family::Http, 1);
    assert_eq!(open(3), 1);
    let clients: Vec<_> = sheet
        .clients()
        .map(|[high, low, _, open, ..]| (u128::from(high) << 64 | u128::from(low), open))
        .collect();
    let expected = [(1, 2), (3, 1)].map(|(last, open)| (address(last).to_bits(), open));
    assert_eq!(clients, expected);
    assert_eq!(sheet.figure(Family::Http, Figure::Open), 4);
}

#[test]
fn restart_keeps_counters_and_clears_states() {
    let sheet = sheet(CLIENT_COUNT_MAX);
    let meter = Meter::new(sheet, &[], || 0);
    meter.stepped(0, [1; 6], Ipv6Addr::LOCALHOST, 1, b"snponly.efi");
    meter.add(Family::Rpc, Figure::Accepted, 5);
    meter.set(Family::Rpc, Figure::Waiting, 3);
    sheet.begin("nfs", 8, 2000);
    let figures = [Figure::Accepted, Figure::Waiting].map(|it| sheet.figure(Family::Rpc, it));
    assert_eq!((figures, sheet.restarts(), sheet.pid()), ([5, 0], 1, 8));
    assert!(sheet.machine(0).is_none());
}

#[test]
fn rates_are_those_of_the_last_minute() {
    // Times (s) at which the loop runs and answers ten calls of 600 bytes; the time of the question; calls and bytes in ten seconds.
    let rows: [(Vec<u64>, u64, [u64; 2]); 5] = [
        (vec![], 100, [0, 0]),
        ((1..6).map(|turn| 2 * turn).collect(), 10, [62, 3750]),
        ((1..500).collect(), 500, [100, 6000]),
        (vec![1, 900], 910, [1, 100]),
        (vec![1, 900], 1000, [0, 0]),
    ];
    for (turns, secs, expected) in rows {
        let (sheet, at) = (sheet(1), |secs| Instant::from_ms(secs * 1000));
        let mut meter = Meter::new(sheet, &[], || 0);
        meter.keep_samples();
        for turn in turns {
            meter.turn(at(turn));
            meter.serve(Family::Rpc, CLIENT_NONE, at(turn));
            for _ in 0..10 {
                meter.called(Operation::rpc(100_003, 1), Outcome::Done);
                meter.received(60);
            }
            meter.served();
        }
        meter.turn(at(secs));
        assert_eq!(sheet.rates(secs), expected, "{secs}");
    }
}

#[test]
fn text_is_the_same_in_pieces() {
    let (one, two) = (sheet(2), sheet(2));
    for sheet in [one, two] {
        let mut meter = Meter::new(sheet, &[], || 0);
        meter.opened(Family::Rpc, Ipv6Addr::LOCALHOST, Instant::from_ms(1000));
        meter.serve(Family::Rpc, 0, Instant::from_ms(0));
        meter.called(Operation::rpc(100_003, 6), Outcome::Failed);
        meter.received(100);
        meter.served();
    }
    for (sheet, sizes) in [(one, [0; 2]), (two, [8192, 0])] {
        Meter::new(sheet, &[], || 0).measure(sizes);
    }
    let whole = written(&[one, two], Form::Prometheus, 1 << 16);
    assert!(!whole.contains("\nprocess_open_fds"), "{whole}");
    assert_eq!(written(&[one, two], Form::Prometheus, 512), whole);
    for line in [
        "# TYPE stowaway_call_duration_seconds histogram",
        "stowaway_call_duration_seconds_bucket{program=\"nfs\",procedure=\"read\",le=\"0.000010\"} 2",
        "stowaway_call_duration_seconds_bucket{program=\"nfs\",procedure=\"read\",le=\"+Inf\"} 2",
        "stowaway_call_duration_seconds_sum{program=\"nfs\",procedure=\"read\"} 0.000000",
        "stowaway_call_duration_seconds_count{program=\"nfs\",procedure=\"read\"} 2",
        "stowaway_call_errors_total{program=\"nfs\",procedure=\"read\"} 2",
        "stowaway_received_bytes_total{protocol=\"rpc\"} 200",
        "stowaway_process_start_time_seconds{role=\"nfs\",pid=\"7\",number=\"0\"} 1000",
        "stowaway_process_restarts_total{role=\"nfs\",number=\"1\"} 0",
        "stowaway_build_info{version=\"0.1.0\"} 1",
        "process_start_time_seconds 1000",
        "# TYPE process_resident_memory_bytes gauge",
        "process_resident_memory_bytes 8192",
        "stowaway_export_open{export=\"/srv \\\"ü\\\\377\",number=\"0\"} 1",
        "stowaway_export_open{export=\"/gone <b>&\\\\033\",number=\"1\"} 0",
    ] {
        assert!(
            whole.lines().any(|other| other == line),
            "{line} is not in {whole}"
        );
    }
    assert!(!whole.contains("client="), "{whole}");
}

/// The sheets of two processes, with two calls each. Both know one of two clients.
fn sheets() -> [Sheet; 2] {
    let (one, two) = (sheet(CLIENT_COUNT_MAX), sheet(2));
    for (sheet, last) in [(one, [1, 1]), (two, [1, 2])] {
        let mut meter = Meter::new(sheet, &[], || 0);
        for (procedure, last) in [1, 6].into_iter().zip(last) {
            let address = Ipv6Addr::from_bits(last);
            let client = meter.opened(Family::Rpc, address, Instant::from_ms(1000));
            meter.serve(Family::Rpc, client, Instant::from_ms(0));
            meter.called(
                Operation::rpc(100_003, procedure),
                Outcome::of_error(procedure == 6),
            );
            meter.received(1 << 20);
            meter.served();
        }
    }
    two.begin("nfs", 8, 1000);
    let meter = Meter::new(one, &[], || 0);
    let (known, unknown) = ([0x52, 0x54, 0, 0x12, 0x34, 0x56], Ipv6Addr::UNSPECIFIED);
    let path = [b"srv/".repeat(20), b"x\x1b\"".to_vec()].concat();
    meter.stepped(0, known, unknown, 1, b"snponly.efi");
    meter.stepped(1, [0; 6], Ipv6Addr::LOCALHOST, 3, b"");
    meter.stepped(2, known, Ipv6Addr::LOCALHOST, 7, &path);
    [one, two]
}

#[test]
fn pages_are_the_same_in_all_forms() {
    let rows = [
        (
            Form::Plain,
            vec![
                "role             pid  uptime restarts",
                "nfs                7    100s        0",
                "protocol    open accepted received    sent refused evicted duplicates waiting",
                "rpc            2        4       4M      0B       0       0          0       0",
                "nfs      getattr            2     50%       0     0us    10us      100%",
                "open     /srv \"ü\\377",
                "MISSING  /gone <b>&\\033",
                "::1                              2       0       3       3M      0B      5s",
                "clients   opens denying",
                "      2      30       1",
                "mac               step        address            idle path",
                "52:54:00:12:34:56 offer                            5s snponly.efi",
                "                  missing     ::1                  5s ",
                "52:54:00:12:34:56 http        ::1                  5s /srv/srv/srv/srv/srv/srv/srv/srv/srv/srv/srv/srv/srv/srv/srv/x\\033\"",
            ],
        ),
        (
            Form::Html,
            vec![
                "<h2>exports</h2><table><tr><th>state<th>path",
                "<tr class=x><td>MISSING<td>/gone &#60;b&#62;&#38;\\033",
                "<h2>machines</h2><table><tr><th>mac<th>step<th>address<th class=n>idle<th>path",
            ],
        ),
        (
            Form::Json,
            vec![
                "{\"processes\":[",
                "{\"role\":\"nfs\",\"pid\":7,\"uptime_seconds\":100,\"restarts\":0},",
                "{\"state\":\"open\",\"path\":\"/srv \\\"ü\\\\377\"},",
                "{\"client\":\"::1\",\"open\":2,\"mounts\":0,\"calls\":3,\"received_bytes\":3145728,\"sent_bytes\":0,\"idle_seconds\":5},",
                "{\"client\":\"::2\",\"open\":0,\"mounts\":0,\"calls\":1,\"received_bytes\":1048576,\"sent_bytes\":0,\"idle_seconds\":5}],\"mdns\":[],\"nfs4\":[",
                "{\"clients\":2,\"opens\":30,\"denying\":1}],\"machines\":[",
                "{\"mac\":\"52:54:00:12:34:56\",\"step\":\"offer\",\"address\":\"\",\"idle_seconds\":5,\"path\":\"snponly.efi\"},",
                "{\"mac\":\"\",\"step\":\"missing\",\"address\":\"::1\",\"idle_seconds\":5,\"path\":\"\"},",
            ],
        ),
    ];
    for (form, rows) in rows {
        let sheets = sheets();
        let whole = written(&sheets, form, 1 << 16);
        assert_eq!(written(&sheets, form, 512), whole);
        for row in rows {
            assert!(
                whole.lines().any(|line| line == row),
                "{row} is not in {whole}"
            );
        }
    }
}
