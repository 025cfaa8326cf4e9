//! Servers are killed in the middle of a client's work, again and again: what was promised is kept.
//!
//! Two servers, one with each kind of handle, take turns: a client that lost its connection soon after it was made waits for
//! three seconds before it tries again, and the other one works meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::testing::full;

use crate::ground::{Ground, HOST, Place, differences, exercise};
use crate::world::World;

/// How often in all a server is killed.
const KILLS: u64 = 50;
/// The same for the long proof.
const KILLS_FULL: u64 = 150;
/// How much work must be done between two kills of a server: its client goes on.
const PROGRESS: u64 = 40;
/// How long that may take. A client that is refused a connection waits for three seconds, then for six.
const PROGRESS_MAX: Duration = Duration::from_secs(90);
/// How long a server is left in peace after that, at most.
const PEACE_MAX_MS: u64 = 200;

pub fn fifty_kills_lose_nothing(world: &mut World) -> Result<()> {
    let mut loads = Vec::new();
    // What was moved elsewhere is found again by a kernel handle only.
    for (handles, wish) in [("kernel", ""), ("path", "--stay")] {
        let ground = Ground::new(world, handles, Place::Disk)?;
        loads.push(Load {
            name: handles,
            ground,
            done: 0,
        });
        loads[loads.len() - 1].begin(world, wish)?;
    }
    let full = full();
    let kills = if full { KILLS_FULL } else { KILLS };
    let mut outcome = (0..kills as usize).try_for_each(|kill| {
        let at = kill % loads.len();
        loads[at]
            .kill(world)
            .with_context(|| format!("kill {kill}"))
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
    name: &'static str,
    ground: Ground,
    /// Operations that were done when it was last looked.
    done: u64,
}

impl Load {
    /// Mounts and begins to work, with one more word for `exercise load`.
    fn begin(&self, world: &mut World, wish: &str) -> Result<()> {
        let name = self.name;
        world.guest.sh(&format!(
            "set -e; {mount}; rm -rf /run/{name}; mkdir /run/{name}; cd /run/{name}; : >log; : >kills
            (
                code=0
                exercise load /mnt/{name} {wish} --workers 3 \\
                    --log log --kills kills --stop stop --manifest manifest || code=$?
                echo $code >code
            ) >said 2>&1 &",
            mount = self.ground.mount(HOST, &format!("/mnt/{name}")),
        ))?;
        Ok(())
    }

    /// Lets the client work for a while, then kills the server and starts it.
    fn kill(&mut self, world: &mut World) -> Result<()> {
        self.progress(world)?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(..PEACE_MAX_MS)));
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
        let name = self.name;
        let said = world.guest.sh(&format!(
            "cd /run/{name}; touch stop
            timeout 60 sh -c 'until [ -e code ]; do usleep 50000; done'
            cat said code; umount /mnt/{name} || umount -fl /mnt/{name}"
        ))?;
        ensure!(
            said.ends_with("\n0\n"),
            "the load with {name} handles failed:\n{said}"
        );
        println!("{name} handles: {said}");
        last
    }

    /// What the client was promised is what there is, on the host and for a client that comes later.
    fn compare(&self, world: &mut World) -> Result<()> {
        let name = self.name;
        let promised = world.guest.sh(&format!("cat /run/{name}/manifest"))?;
        let kept = exercise(&["manifest", "."], &self.ground.export())?;
        ensure!(
            promised == kept,
            "with {name} handles, promised and kept: {}",
            differences(&promised, &kept)
        );
        let seen = self.ground.sh(world, "exercise manifest .")?;
        ensure!(
            promised == seen,
            "with {name} handles, promised and seen: {}",
            differences(&promised, &seen)
        );
        Ok(())
    }
}
