//! Load: thousands of hosts, and a limit on processing time.

use super::super::{Goal, Limits};
use super::bench::{Bench, HTTP, answer};
use crate::wire::dns::kind;
use std::time::Instant;

/// CPU time of this thread, which other processes do not change.
fn cpu_seconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let (ns, _) = text.split_once(' ').unwrap();
    ns.parse::<u64>().unwrap() / 1_000_000_000
}

#[test]
fn more_hosts_than_fit_stay_within_limits() {
    // A quarter of the tables, because the time grows with their square.
    let [records, names, rdata_bytes] = [
        Limits::DEFAULT.records,
        Limits::DEFAULT.names,
        Limits::DEFAULT.rdata_bytes,
    ]
    .map(|count| count / 4);
    let limits = Limits {
        records,
        names,
        rdata_bytes,
        ..Limits::DEFAULT
    };
    let mut bench = Bench::with_limits(&limits);
    bench.look_up(Goal::Services, HTTP).wait(300);
    let start = cpu_seconds();
    for count in 0..1250 {
        let say = answer().service(
            &format!("instance {count}.{HTTP}"),
            &format!("host-{count}.local"),
            120,
        );
        bench.hear(say, 12);
        let (records, bytes) = bench.browser.weight();
        assert!(records <= limits.records && bytes <= limits.rdata_bytes);
    }
    let took = cpu_seconds() - start;
    // The simulated 15 s must take less than 15 s, even unoptimised.
    assert!(took < 15, "{took}");
    println!(
        "{took} s, {:?}, {} messages",
        bench.browser.weight(),
        bench.sent.len()
    );
    assert!(bench.browser.weight().0 > limits.records * 3 / 4);
    assert!(bench.sent.len() < 200, "{}", bench.sent.len());
    // A full cache keeps the known services and drops the records of new ones.
    let count = |bench: &Bench, what: &str| {
        let of = bench.events.iter().filter(|line| line.1.starts_with(what));
        of.count()
    };
    let known = count(&bench, "Resolved");
    assert!(
        (300..425).contains(&known) && count(&bench, "Removed") == 0,
        "{known}"
    );
    // Without further responses the known services expire (TTL 120 s); then a new service fits into the cache.
    bench.wait(130_000);
    assert_eq!(count(&bench, "Removed"), count(&bench, "Added"));
    bench.hear(
        answer().service(&format!("late.{HTTP}"), "late.local", 120),
        20,
    );
    assert_eq!(count(&bench, "Resolved"), known + 1);
}

/// `take_overflow` returns true once. After goodbyes for the known services, the browser queries for the others at once, although its
/// queries had become rare.
#[test]
fn freed_space_is_used_at_once() {
    let name = |count: u32| format!("{count}.{HTTP}");
    let all = |counts: core::ops::Range<u32>, ttl| {
        counts.fold(answer(), |say, count| say.ptr(HTTP, ttl, &name(count)))
    };
    let limits = Limits {
        names: 64,
        ..Limits::DEFAULT
    };
    let mut bench = Bench::with_limits(&limits);
    bench.look_up(Goal::Services, HTTP).wait(300);
    assert!(!bench.browser.take_overflow());
    bench.hear(all(0..100, 4500), 30_000);
    assert!(bench.browser.take_overflow() && !bench.browser.take_overflow());
    let start = bench.ms;
    bench.hear(all(0..100, 0), 2000);
    assert!(!bench.query_times(start, HTTP, kind::PTR).is_empty());
    bench.hear(all(60..100, 4500), 100);
    assert!((60..100).all(|count| bench.has_service(&name(count))));
}

/// Messages of 200 new records each: a browser with a full cache takes at most 20 times as long as one with an empty cache.
#[test]
fn full_cache_is_not_much_slower() {
    let message = |number: usize| {
        (0..200).fold(answer(), |say, count| {
            say.ptr(HTTP, 4500, &format!("{number} {count}.{HTTP}"))
        })
    };
    let took = |bench: &mut Bench, from: usize| {
        let messages: Vec<_> = (from..from + 10).map(message).collect();
        let start = Instant::now();
        for say in messages {
            bench.receive(say);
        }
        start.elapsed()
    };
    let mut bench = Bench::with_limits(&Limits::DEFAULT);
    (0..10).for_each(|round| _ = took(&mut bench, round * 10));
    let rounds = (10..20).map(|round| {
        let mut other = Bench::with_limits(&Limits::DEFAULT);
        (took(&mut bench, round * 10), took(&mut other, round * 10))
    });
    let (full, empty): (Vec<_>, Vec<_>) = rounds.unzip();
    // Compare the fastest rounds, because other processes on the machine delay some rounds.
    let (full, empty) = (full.iter().min(), empty.iter().min());
    let (full, empty) = (full.unwrap(), empty.unwrap());
    println!("{empty:?} and {full:?}");
    assert!(*full < *empty * 20, "{empty:?} {full:?}");
}

/// One host has 1000 services. All PTR records arrive first, and all other records in one burst after the queries.
#[test]
fn thousand_services_of_one_host_are_resolved() {
    let mut bench = Bench::with_limits(&Limits::DEFAULT);
    bench.look_up(Goal::Services, HTTP).wait(300);
    let name = |number: usize| format!("Service {number:04}.{HTTP}");
    for first in (0..1000).step_by(40) {
        let say = (first..first + 40).fold(answer(), |say, at| say.ptr(HTTP, 4500, &name(at)));
        bench.receive(say);
    }
    bench.wait(200);
    let text = [&[99], &[b'x'; 99][..]].concat();
    for first in (0..1000).step_by(5) {
        let say = (first..first + 5).fold(answer(), |say, at| {
            say.srv(&name(at), 120, 80, "crowd.local")
                .txt(&name(at), 4500, &text)
                .nsec(&name(at), 120, &[kind::SRV, kind::TXT])
        });
        bench.receive(say);
    }
    bench.receive(answer().a("crowd.local", 120, [192, 0, 2, 9]));
    bench.wait(20);
    let lines = bench.lines();
    let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    println!("{:?}", bench.browser.weight());
    assert_eq!((count("Added"), count("Resolved")), (1000, 1000));
}
