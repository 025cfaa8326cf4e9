//! Servers are killed in the middle of a client's work, again and again: what was promised is kept.
//!
//! Servers with each kind of handle take turns: a client that lost its connection soon after it was made waits for three seconds
//! before it tries again, and the others work meanwhile. Some are under `serve`, whose replies outlive them: there, nothing that
//! is sent again fails because it was done before.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::testing::full;

use crate::ground::{Ground, HOST, Place, differences, exercise};
use crate::world::World;

/// How often each server is killed that is started by the test.
const KILLS: u32 = 9;
/// The same for the long proof.
const KILLS_FULL: u32 = 50;
/// How often each under `serve`: the supervisor's pause doubles with each kill.
const KILLS_SERVED: u32 = 4;
/// The same for the long proof, which has twice as many of them.
const KILLS_SERVED_FULL: u32 = 13;
/// How much work must be done between two kills of a server: its client goes on.
const PROGRESS: u64 = 40;
/// How long that may take. A client that is refused a connection waits for three seconds, then for six.
const PROGRESS_MAX: Duration = Duration::from_secs(180);
/// How long a server is left in peace after that, at most.
const PEACE_MAX_MS: u64 = 200;

pub fn kills_lose_nothing(world: &mut World) -> Result<()> {
    let (kills, kills_served, served) = if full() {
        (KILLS_FULL, KILLS_SERVED_FULL, 2)
    } else {
        (KILLS, KILLS_SERVED, 1)
    };
    let mut loads = Vec::new();
    let roles = std::iter::once("nfs").chain(std::iter::repeat_n("serve", served));
    for (number, role) in roles.enumerate() {
        // What was moved elsewhere is found again by a kernel handle only.
        for (handles, wish) in [("kernel", ""), ("path", "--stay")] {
            let load = Load {
                name: format!("{role}-{handles}-{number}"),
                ground: Ground::of(world, role, handles, Place::Disk)?,
                is_served: role == "serve",
                done: 0,
            };
            load.begin(world, wish)?;
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
    // However it went, the next test finds nothing mounted.
    for load in &mut loads {
        let ended = load.end(world);
        outcome = outcome.and(ended);
    }
    outcome?;
    loads.iter().try_for_each(|load| load.compare(world))
}

/// A server, and a client that changes what it exports.
struct Load {
    name: String,
    ground: Ground,
    /// By a supervisor, which starts it again.
    is_served: bool,
    /// Operations that were done when it was last looked.
    done: u64,
}

impl Load {
    /// Mounts and begins to work, with one more word for `exercise load`.
    fn begin(&self, world: &mut World, wish: &str) -> Result<()> {
        let name = &self.name;
        let kept = if self.is_served { "--replies-kept" } else { "" };
        world.guest.sh(&format!(
            "set -e; {mount}; rm -rf /run/{name}; mkdir /run/{name}; cd /run/{name}; : >log; : >kills
            (
                code=0
                exercise load /mnt/{name} {wish} {kept} --workers 3 \\
                    --log log --kills kills --stop stop --manifest manifest || code=$?
                echo $code >code
            ) >said 2>&1 &",
            mount = self.ground.mount(HOST, &format!("/mnt/{name}")),
        ))?;
        Ok(())
    }

    /// Lets the client work for a while, then kills the server, which is started at once or by its supervisor.
    fn kill(&mut self, world: &mut World) -> Result<()> {
        self.progress(world)?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(..PEACE_MAX_MS)));
        if self.is_served {
            return self.ground.kill_child();
        }
        // Said before and after, so that the load knows which of its requests may have been sent twice.
        let tell = format!("printf x >>/run/{}/kills", self.name);
        world.guest.sh(&tell)?;
        self.ground.kill()?;
        self.ground.start(world)?;
        world.guest.sh(&tell)?;
        Ok(())
    }

    /// Waits until enough operations are done since the last time.
    fn progress(&mut self, world: &mut World) -> Result<()> {
        let wanted = self.done + PROGRESS;
        let start = Instant::now();
        loop {
            let look = format!("cd /run/{}; wc -l <log; ls", self.name);
            let state = world.guest.sh(&look)?;
            self.done = state.lines().next().unwrap_or_default().trim().parse()?;
            if self.done >= wanted {
                return Ok(());
            }
            if state.lines().any(|line| line == "code") {
                let said = world.guest.sh(&format!("cat /run/{}/said", self.name))?;
                bail!("the load ended after {} operations:\n{said}", self.done);
            }
            ensure!(
                start.elapsed() < PROGRESS_MAX,
                "{} operations instead of {wanted} after {PROGRESS_MAX:?}",
                self.done
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the client end what it is doing, and unmounts.
    fn end(&mut self, world: &mut World) -> Result<()> {
        let last = self.progress(world);
        let name = &self.name;
        let said = world.guest.sh(&format!(
            "cd /run/{name}; touch stop
            timeout 60 sh -c 'until [ -e code ]; do usleep 50000; done'
            cat said code; umount /mnt/{name} || umount -fl /mnt/{name}"
        ))?;
        ensure!(
            said.ends_with("\n0\n"),
            "the load of {name} failed:\n{said}"
        );
        println!("{name}: {said}");
        last
    }

    /// What the client was promised is what there is, on the host and for a client that comes later.
    fn compare(&self, world: &mut World) -> Result<()> {
        let name = &self.name;
        let promised = world.guest.sh(&format!("cat /run/{name}/manifest"))?;
        let kept = exercise(&["manifest", "."], &self.ground.export())?;
        ensure!(
            promised == kept,
            "with {name}, promised and kept: {}",
            differences(&promised, &kept)
        );
        let seen = self.ground.sh(world, "exercise manifest .")?;
        ensure!(
            promised == seen,
            "with {name}, promised and seen: {}",
            differences(&promised, &seen)
        );
        Ok(())
    }
}
