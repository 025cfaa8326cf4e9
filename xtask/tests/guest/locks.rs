//! Locks of NFS 4.1: programs of two guests add to a number in a file and to one in a database, while servers are killed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xtask::machines::qemu::Guest;
use xtask::testing::is_full_run;

use crate::fixture::{Fixture, HOST, Storage};
use crate::world::World;

/// Time limit for all additions, and the fewest kills meanwhile.
const COUNT_MAX: Duration = Duration::from_secs(300);
const KILLS_MIN: u32 = 4;

/// What is killed, and how often.
#[derive(Clone, Copy, Debug)]
enum Kills {
    /// One of two loops, which the supervisor restarts. Clients keep their locks.
    Loop,
    /// The whole server, which starts again. Clients reclaim their locks.
    Server,
}

impl Kills {
    /// The time between two kills.
    const fn pause(self) -> Duration {
        match self {
            Self::Loop => Duration::from_secs(2),
            Self::Server => Duration::from_secs(7),
        }
    }

    /// The additions of each program. A client that has lost its server waits for seconds.
    const fn rounds(self) -> u32 {
        match self {
            Self::Loop => 200,
            Self::Server => 150,
        }
    }
}

/// Two programs of each guest add to a number in a file, one under locks of fcntl(2), one under locks of flock(2); another adds to a
/// number in a database with a rollback journal. No addition is lost, and no program sees an error. A program of the first guest holds
/// a lock all the time, which the second asks for each second and gets at the end.
pub fn locks_of_two_guests_outlive_kills(world: &mut World) -> Result<()> {
    let mut other = world.boot()?;
    for kills in [Kills::Loop, Kills::Server] {
        let rounds = kills.rounds() * if is_full_run() { 2 } else { 1 };
        let mut fixture = Fixture::over_4_1(world, "serve", "kernel", "2", Storage::Memory)?;
        let hold = "flock held sh -c \"echo \\$\\$ >/run/side; exec sleep 1000\"";
        let ask = "echo $$ >/run/side; while sleep 1; do flock -n held echo given twice; done";
        let started = begin(&fixture, &mut world.guest, ["one", hold], rounds)
            .and_then(|()| begin(&fixture, &mut other, ["two", ask], rounds));
        let counted = started.and_then(|()| count(world, &mut other, &mut fixture, kills));
        // The second guest stops asking before the first lets go. Unmounts for the next test, also after a failure.
        let stopped = other.run_ok("kill $(cat /run/side); sleep 1");
        let seen = [&mut world.guest, &mut other].map(|guest| {
            guest.run_ok(
                "kill $(cat /run/side) 2>/dev/null; sleep 1; cat /run/counts
                cd /mnt/1 && flock -n held cat number && sqlite3 base 'select * from number; pragma integrity_check'
                cd /; umount /mnt/1 || umount -fl /mnt/1",
            )
        });
        stopped?;
        let count = counted.with_context(|| format!("{kills:?}: {seen:?}"))?;
        for seen in seen {
            let expect = [
                "done",
                &(4 * rounds).to_string(),
                &(2 * rounds).to_string(),
                "ok",
            ];
            let seen = seen?;
            ensure!(
                seen.split_whitespace().eq(expect),
                "{kills:?}: {seen} instead of {expect:?}"
            );
        }
        ensure!(count >= KILLS_MIN, "{kills:?}: only {count} kills");
        println!("{kills:?}: {count} kills");
    }
    Ok(())
}

/// Mounts the export in a guest that has this host name, and starts its programs. One of them, `side`, writes its number to a file when
/// it works. The first guest makes the database.
fn begin(fixture: &Fixture, guest: &mut Guest, [name, side]: [&str; 2], rounds: u32) -> Result<()> {
    guest.run_ok(&format!(
        "set -e; hostname {name}; {mount}; cd /mnt/1
        test -e base || sqlite3 base 'create table number(number); insert into number values(0)'
        rm -f /run/side; : >/run/counts
        sh -c '{side}' >>/run/counts 2>&1 &
        until test -s /run/side; do sleep 0.1; done
        (
            (exercise count number --rounds {rounds} || echo failed) &
            (exercise count number --rounds {rounds} --whole || echo failed) &
            (
                (echo .timeout 100000; yes 'update number set number = number + 1;' | head -n {rounds}) |
                    sqlite3 -bail base || echo failed
            ) &
            wait; echo done
        ) >>/run/counts 2>&1 &",
        mount = fixture.mount(HOST, "/mnt/1"),
    ))?;
    Ok(())
}

/// Kills until the programs of both guests have ended. Returns the number of kills.
fn count(world: &mut World, other: &mut Guest, fixture: &mut Fixture, kills: Kills) -> Result<u32> {
    let start = Instant::now();
    let mut count = 0;
    loop {
        sleep(kills.pause());
        let is_done = |guest: &mut Guest| -> Result<bool> {
            Ok(guest.run_ok("cat /run/counts")?.ends_with("done\n"))
        };
        if is_done(&mut world.guest)? && is_done(other)? {
            return Ok(count);
        }
        ensure!(start.elapsed() < COUNT_MAX, "not done after {count} kills");
        match kills {
            Kills::Loop => fixture.kill_child()?,
            Kills::Server => {
                fixture.kill()?;
                fixture.start(world)?;
            }
        }
        count += 1;
    }
}
