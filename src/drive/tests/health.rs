//! The health of a server, as one of its tasks learns it.

use super::{MOMENT, read, with_loop, with_server_on};
use crate::drive::health::heartbeat;
use crate::drive::{Task, World};
use crate::engine::service::Health;
use crate::engine::testing::tree::Tree;
use crate::event::Fatal;
use crate::event::testing::Sink;
use crate::net::Signals;
use crate::net::sim::Sim;
use crate::sys::Needs;
use crate::time::{Duration, Instant};
use crate::vfs;
use core::sync::atomic::{AtomicU32, Ordering};

/// Asks for the health in each turn.
#[derive(Default)]
struct Asker(Health);

impl Task for Asker {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        world.watch_health();
        Ok(())
    }

    fn add_needs(&self, _: &vfs::Tree, _: &mut Needs) {}

    fn ready(&mut self, _: &mut World<'_>, _: u32) {}

    fn turn(&mut self, world: &mut World<'_>, _: Signals) {
        self.0 = world.health();
    }

    fn poll_at(&self) -> Instant {
        Instant::NEVER
    }

    fn stop(&mut self, _: &mut World<'_>) {}
}

const SECOND: Duration = Duration::SECOND;

#[test]
fn waiting_connection_is_stalled_after_five_seconds() {
    with_server_on(0, 10, true, |bench| {
        bench.host.holds_jobs.set(true);
        bench.host.has_descriptors.set(true);
        bench.host.is_cold.set(true);
        let peer = bench.connect();
        // A connection that is silent for long waits for nothing.
        bench.run(Duration::from_secs(20));
        assert!(!bench.server.is_stalled(bench.sim.now()));
        bench.sim.send(peer, &read(0, 4).record());
        bench.run(Duration::from_secs(4));
        assert!(!bench.server.is_stalled(bench.sim.now()));
        bench.run(Duration::from_secs(2));
        assert!(bench.server.is_stalled(bench.sim.now()));
        bench.host.holds_jobs.set(false);
        bench.run(MOMENT);
        assert!(!bench.server.is_stalled(bench.sim.now()));
    });
}

/// Heartbeats of two processes: `beats[0]` is that of the loop under test.
fn share(now: Instant) -> &'static [AtomicU32; 3] {
    let first = heartbeat(now, false);
    Box::leak(Box::new([first, first, 0].map(AtomicU32::new)))
}

/// Runs `script` with a loop that has an [`Asker`] and shares heartbeats. Its argument runs the loop for a time, and returns the
/// health.
fn with_beats(
    beats: &'static [AtomicU32; 3],
    sim: &Sim,
    script: impl FnOnce(&mut dyn FnMut(Duration)),
) -> Health {
    let (mut asker, mut tree) = (Asker::default(), Tree::writable());
    with_loop(sim, &mut tree, &mut [&mut asker], &Sink::default(), |all| {
        let own = &beats[0];
        all.set_beats((beats, own));
        assert_eq!(all.start(), Ok(()));
        script(&mut |time| {
            sim.allow(time);
            all.turns();
        });
    });
    asker.0
}

#[test]
fn idle_loop_writes_and_sees_heartbeats() {
    let sim = Sim::new(1);
    let beats = share(sim.now());
    let health_after = |secs: u32| with_beats(beats, &sim, |run| run(Duration::from_secs(secs)));
    let beat = |is_stalled| beats[1].store(heartbeat(sim.now(), is_stalled), Ordering::Relaxed);
    let fine = with_beats(beats, &sim, |run| {
        for _ in 0..20 {
            beat(false);
            run(SECOND);
            let own = beats[0].load(Ordering::Relaxed);
            let oldest = sim.now().secs().saturating_sub(3);
            assert!(own >= heartbeat(Instant::from_ms(u64::from(oldest) * 1000), false));
        }
    });
    assert_eq!(fine, Health::Fine);
    assert_eq!(health_after(4), Health::Fine);
    assert_eq!(health_after(4), Health::Role);
    beat(true);
    assert_eq!(health_after(1), Health::Disk);
    beat(false);
    assert_eq!(health_after(1), Health::Fine);
}
