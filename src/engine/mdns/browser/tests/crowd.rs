//! Many hosts, and little time.

use super::super::{Goal, Limits};
use super::world::{Say, World};
use std::time::Instant;

const HTTP: &str = "_http._tcp.local";

#[test]
fn thousands_of_hosts_within_a_minute_stay_within_bounds() {
    let limits = Limits::USUAL;
    let mut world = World::of(&limits);
    world.wish(Goal::Services, HTTP).wait(300);
    let begin = Instant::now();
    for count in 0..5000 {
        let say = Say::answer().service(
            &format!("instance {count}.{HTTP}"),
            &format!("host-{count}.local"),
            120,
        );
        world.hear(say).wait(12);
        let (records, bytes) = world.browser.weight();
        assert!(records <= limits.records && bytes <= limits.rdata_bytes);
    }
    let took = begin.elapsed();
    // Unoptimised and on a busy machine: far below a second of each second.
    assert!(took.as_secs() < 30, "{took:?}");
    println!(
        "{took:?}, {:?}, {} messages",
        world.browser.weight(),
        world.sent.len()
    );
    assert!(world.browser.weight().0 > limits.records * 3 / 4);
    assert!(world.sent.len() < 200, "{}", world.sent.len());
    // As many as fit are known, all the time.
    let count = |world: &World, what: &str| {
        let of = world.told.iter().filter(|line| line.1.starts_with(what));
        of.count()
    };
    let known = count(&world, "Resolved");
    assert!(
        (300..500).contains(&known) && count(&world, "Removed") == 0,
        "{known}"
    );
    // When nobody says them again, they are gone, and there is space for others.
    world.wait(130_000);
    assert_eq!(count(&world, "Removed"), count(&world, "Added"));
    world
        .hear(Say::answer().service(&format!("late.{HTTP}"), "late.local", 120))
        .wait(20);
    assert_eq!(count(&world, "Resolved"), known + 1);
}

/// As many records as a message holds, each new, a thousand times: no message costs more than another, nor
/// much more than a browser takes for it that knows nothing.
#[test]
fn a_full_table_is_as_fast_as_an_empty_one() {
    let message = |number: usize| {
        (0..200).fold(Say::answer(), |say, count| {
            say.ptr(HTTP, 4500, &format!("{number} {count}.{HTTP}"))
        })
    };
    let took = |world: &mut World, from: usize| {
        let messages: Vec<_> = (from..from + 10).map(message).collect();
        let begin = Instant::now();
        for say in messages {
            world.hear(say);
        }
        begin.elapsed()
    };
    let mut world = World::of(&Limits::USUAL);
    (0..10).for_each(|round| _ = took(&mut world, round * 10));
    let rounds = (10..20).map(|round| {
        let mut other = World::of(&Limits::USUAL);
        (took(&mut world, round * 10), took(&mut other, round * 10))
    });
    let (full, empty): (Vec<_>, Vec<_>) = rounds.unzip();
    // The shortest of each: whoever else wants the processor makes it no shorter.
    let (full, empty) = (full.iter().min(), empty.iter().min());
    let (full, empty) = (full.unwrap(), empty.unwrap());
    println!("{empty:?} and {full:?}");
    assert!(*full < *empty * 20, "{empty:?} {full:?}");
}
