//! Locks of NFS 4.1: programs of two guests add to a number in a file and to one in a database, while servers are killed.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xtask::machines::qemu::Guest;
use xtask::testing::is_full_run;

use crate::fixture::{Fixture, HOST, Storage};
use crate::world::World;

/// Additions that a program makes before it says so.
const ADDED: usize = 10;

/// The process that is killed, and how often.
#[derive(Clone, Copy, Debug)]
enum Kills {
    /// A loop of two, which the supervisor restarts. Clients keep their locks.
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

    /// The mode of the database's rollback journal. A new server cannot know that the killed one has removed the journal: the client
    /// repeats REMOVE, which fails (NOENT) as with every NFS server, and SQLite takes that for an error of the disk.
    const fn journal(self) -> &'static str {
        match self {
            Self::Loop => "delete",
            Self::Server => "truncate",
        }
    }

    /// The number of kills.
    const fn count(self) -> u32 {
        match self {
            Self::Loop => 10,
            Self::Server => 5,
        }
    }
}

/// Two programs of each guest add to a number in a file, one under locks of fcntl(2), one under locks of flock(2); another adds to a
/// number in a database with a rollback journal. No addition is lost, and no program sees an error. A program of the first guest holds
/// a lock all the time, which the second asks for each second and gets at the end.
pub fn locks_of_two_guests_outlive_kills(world: &mut World) -> Result<()> {
    let mut other = world.boot()?;
    for kills in [Kills::Loop, Kills::Server] {
        let count = kills.count() * if is_full_run() { 4 } else { 1 };
        let mut fixture = Fixture::over_4_1(world, "serve", "kernel", "2", Storage::Memory)?;
        let killed = kill(world, &mut other, &mut fixture, kills, count);
        // The second guest ends first, which asks for the lock of the other. Both unmount for the next test, also after a failure.
        let said = [&mut other, &mut world.guest].map(|guest| guest.run_ok(END));
        let seen = [&mut other, &mut world.guest].map(|guest| guest.run_ok(READ));
        killed.with_context(|| format!("{kills:?}: {said:?}, {seen:?}"))?;
        let [said, more] = said;
        let said = said? + &more?;
        let added = |name: &str| said.split_whitespace().filter(|word| *word == name).count();
        let [number, base] = ["number", "base"].map(|name| ADDED * added(name));
        let expect = [&number.to_string(), &base.to_string(), "ok"];
        let is_name = |word: &str| ["number", "base"].contains(&word);
        ensure!(
            said.split_whitespace().all(is_name) && number.min(base) > 50,
            "{kills:?}: {said}"
        );
        for seen in seen {
            let seen = seen?;
            ensure!(
                seen.split_whitespace().eq(expect),
                "{kills:?}: {seen} instead of {expect:?}"
            );
        }
        println!("{kills:?}: {number} and {base} additions, {count} kills");
    }
    Ok(())
}

/// Starts the programs of both guests, and kills again and again.
fn kill(
    world: &mut World,
    other: &mut Guest,
    fixture: &mut Fixture,
    kills: Kills,
    count: u32,
) -> Result<()> {
    let hold = "flock held sh -c \"echo \\$\\$ >/run/side; exec sleep 1000\"";
    let ask = "echo $$ >/run/side; while sleep 1; do flock -n held echo given twice; done";
    begin(fixture, &mut world.guest, kills, ["one", hold])?;
    begin(fixture, other, kills, ["two", ask])?;
    for _ in 0..count {
        sleep(kills.pause());
        match kills {
            Kills::Loop => fixture.kill_child()?,
            Kills::Server => {
                fixture.kill()?;
                fixture.start(world)?;
            }
        }
    }
    Ok(())
}

/// Ends the programs of a guest, `side` first, and prints their output, after a failure with the kernel's lines.
const END: &str = "kill $(cat /run/side); sleep 1; touch /run/end
    until grep -q ended /run/counts; do sleep 0.2; done; grep -v ended /run/counts
    if grep -q failed /run/counts; then dmesg | grep NFS | tail -n 20; fi";

/// Prints both numbers, under the lock of `side`, and unmounts.
const READ: &str = "cd /mnt/1 && flock -n held cat number &&
    sqlite3 base 'select * from number; pragma integrity_check'
    cd /; umount /mnt/1 || umount -fl /mnt/1";

/// Mounts the export in a guest that has this host name, and starts its programs. One of them, `side`, writes its number to a file when
/// it works. The first guest makes the database.
fn begin(
    fixture: &Fixture,
    guest: &mut Guest,
    kills: Kills,
    [name, side]: [&str; 2],
) -> Result<()> {
    guest.run_ok(&format!(
        "set -e; hostname {name}; {mount}; cd /mnt/1
        test -e base || sqlite3 base 'create table number(number); insert into number values(0)'
        rm -f /run/side /run/end; : >/run/counts
        sh -c '{side}' >>/run/counts 2>&1 &
        until test -s /run/side; do sleep 0.1; done
        update() {{
            (
                printf '%s\\n' '.timeout 100000' 'pragma journal_mode={journal};'
                yes 'update number set number = number + 1;' | head -n {ADDED}
            ) | sqlite3 -bail base >/dev/null
        }}
        repeat() {{
            name=$1; shift
            until test -e /run/end; do \"$@\" && echo $name || echo failed; done
        }}
        (
            repeat number exercise count number --rounds {ADDED} &
            repeat number exercise count number --rounds {ADDED} --whole &
            repeat base update &
            wait; echo ended
        ) >>/run/counts 2>&1 &",
        journal = kills.journal(),
        mount = fixture.mount(HOST, "/mnt/1"),
    ))?;
    Ok(())
}
