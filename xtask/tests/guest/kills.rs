//! Servers are killed repeatedly while a client works. Acknowledged changes must survive.
//!
//! Several servers run at once, because a client that loses a new connection waits three seconds before it reconnects; the other
//! clients work meanwhile. Servers under `serve` keep their duplicate request cache when they are killed, so a retransmitted
//! request must not fail because it was carried out before.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::testing::is_full_run;

use crate::fixture::{Fixture, HOST, Storage, differences, exercise};
use crate::world::World;

/// Number of times that each server without a supervisor is killed.
const KILLS: u32 = 5;
/// Number of times that each server without a supervisor is killed in the full test.
const KILLS_FULL: u32 = 50;
/// Number of times that each server under `serve` is killed. Less than `KILLS`, because the supervisor's restart delay doubles with
/// each kill.
const KILLS_SERVED: u32 = 3;
/// Number of times that each server under `serve` is killed in the full test, which has two such servers per kind of handle instead
/// of one.
const KILLS_SERVED_FULL: u32 = 13;
/// Operations that a client must complete between two kills of its server.
const PROGRESS: u64 = 40;
/// Time limit for [`PROGRESS`]. A client whose connection is refused waits three seconds, then six.
const PROGRESS_MAX: Duration = Duration::from_secs(180);
/// Upper bound (ms) of the random pause between progress and kill.
const PEACE_MAX_MS: u64 = 200;

pub fn kills_lose_no_acknowledged_change(world: &mut World) -> Result<()> {
    let (kills, kills_served, served) = if is_full_run() {
        (KILLS_FULL, KILLS_SERVED_FULL, 2)
    } else {
        (KILLS, KILLS_SERVED, 1)
    };
    let mut loads = Vec::new();
    let roles = std::iter::once("nfs").chain(std::iter::repeat_n("serve", served));
    for (number, role) in roles.enumerate() {
        // With path handles, the load must not move objects to other directories (`--stay`): only a kernel handle finds a moved
        // object.
        for (handles, option) in [("kernel", ""), ("path", "--stay")] {
            let load = Load {
                name: format!("{role}-{handles}-{number}"),
                fixture: Fixture::with_role(world, role, handles, Storage::Disk)?,
                is_served: role == "serve",
                done: 0,
            };
            load.start(world, option)?;
            loads.push(load);
        }
    }
    let mut outcome = (0..kills).try_for_each(|kill| {
        let mut loads = loads.iter_mut();
        loads.try_for_each(|load| {
            if load.is_served && kill >= kills_served {
                return Ok(());
            }
            let name = load.name.clone();
            load.kill(world)
                .with_context(|| format!("kill {kill} of {name}"))
        })
    });
    // Unmounts everything for the next test, also after a failure.
    for load in &mut loads {
        let ended = load.stop(world);
        outcome = outcome.and(ended);
    }
    outcome?;
    loads.iter().try_for_each(|load| load.compare(world))
}

/// A server, and a client that modifies its export.
struct Load {
    name: String,
    fixture: Fixture,
    /// True if a supervisor restarts the server.
    is_served: bool,
    /// Number of operations that were completed when the client's log was last read.
    done: u64,
}

impl Load {
    /// Mounts the export and starts `exercise load` in the guest, with one more option.
    fn start(&self, world: &mut World, option: &str) -> Result<()> {
        let name = &self.name;
        let kept = if self.is_served { "--replies-kept" } else { "" };
        world.guest.run_ok(&format!(
            "set -e; {mount}; rm -rf /run/{name}; mkdir /run/{name}; cd /run/{name}; : >log; : >kills
            (
                code=0
                exercise load /mnt/{name} {option} {kept} --workers 3 \\
                    --log log --kills kills --stop stop --manifest manifest || code=$?
                echo $code >code
            ) >output 2>&1 &",
            mount = self.fixture.mount(HOST, &format!("/mnt/{name}")),
        ))?;
        Ok(())
    }

    /// Lets the client work, then kills the server. The supervisor or this function restarts the server.
    fn kill(&mut self, world: &mut World) -> Result<()> {
        self.progress(world)?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(..PEACE_MAX_MS)));
        if self.is_served {
            return self.fixture.kill_child();
        }
        // The file `kills` grows before and after the kill, so that the load knows which of its requests may have been sent twice.
        let mark_kill = format!("printf x >>/run/{}/kills", self.name);
        world.guest.run_ok(&mark_kill)?;
        self.fixture.kill()?;
        self.fixture.start(world)?;
        world.guest.run_ok(&mark_kill)?;
        Ok(())
    }

    /// Waits until [`PROGRESS`] more operations are completed.
    fn progress(&mut self, world: &mut World) -> Result<()> {
        let wanted = self.done + PROGRESS;
        let start = Instant::now();
        loop {
            let look = format!("cd /run/{}; wc -l <log; ls", self.name);
            let state = world.guest.run_ok(&look)?;
            self.done = state.lines().next().unwrap_or_default().trim().parse()?;
            if self.done >= wanted {
                return Ok(());
            }
            if state.lines().any(|line| line == "code") {
                let output = world
                    .guest
                    .run_ok(&format!("cat /run/{}/output", self.name))?;
                bail!("the load ended after {} operations:\n{output}", self.done);
            }
            ensure!(
                start.elapsed() < PROGRESS_MAX,
                "the load completed {} operations instead of {wanted} within {PROGRESS_MAX:?}",
                self.done
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the client finish its operations, and unmounts the export.
    fn stop(&mut self, world: &mut World) -> Result<()> {
        let progress = self.progress(world);
        let name = &self.name;
        let output = world.guest.run_ok(&format!(
            "cd /run/{name}; touch stop
            timeout 60 sh -c 'until [ -s code ]; do usleep 50000; done'
            cat output code; umount /mnt/{name} || umount -fl /mnt/{name}"
        ))?;
        ensure!(
            output.ends_with("\n0\n"),
            "the load of {name} failed:\n{output}"
        );
        println!("{name}: {output}");
        progress
    }

    /// Compares the client's manifest with the files on the host, and with the files that a new mount shows.
    fn compare(&self, world: &mut World) -> Result<()> {
        let name = &self.name;
        let promised = world.guest.run_ok(&format!("cat /run/{name}/manifest"))?;
        let kept = exercise(&["manifest", "."], &self.fixture.export())?;
        ensure!(
            promised == kept,
            "{name}: the client's manifest and the files on the host differ: {}",
            differences(&promised, &kept)
        );
        let seen = self.fixture.run_ok(world, "exercise manifest .")?;
        ensure!(
            promised == seen,
            "{name}: the client's manifest and the files of a new mount differ: {}",
            differences(&promised, &seen)
        );
        Ok(())
    }
}
