//! Servers are killed repeatedly while a client works. Acknowledged changes must survive.
//!
//! Several servers run at once, because a client that loses a new connection waits three seconds before it reconnects; the other
//! clients work meanwhile. Servers under `serve` keep their duplicate request cache when they are killed, so a retransmitted
//! request must not fail because it was carried out before.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, ensure};
use nix::libc::EIO;
use xtask::build::workspace_root;
use xtask::machines::faulty::{Faulty, Op};
use xtask::machines::mounts::private;
use xtask::machines::server::{ServerOptions, public_dir};
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
/// Number of times that each server under `serve` is killed in the full test. Of two loops, one is killed.
const KILLS_SERVED_FULL: u32 = 13;
/// Operations that a client must complete between two kills of its server.
const PROGRESS: u64 = 40;
/// Time limit for [`PROGRESS`]. A client whose connection is refused waits three seconds, then six.
const PROGRESS_MAX: Duration = Duration::from_secs(180);
/// Upper bound (ms) of the random pause between progress and kill.
const PEACE_MAX_MS: u64 = 200;
/// Lines of the guest's calls that an error shows.
const ODD_COUNT: usize = 40;

/// The role of a load's server, its number of loops, and kind of handles.
type Row = (&'static str, &'static str, &'static str);

/// The loads that run at once, by version of NFS, and more of them in the full test.
const ROWS: [(&str, &[Row], &[Row]); 2] = [
    (
        "3",
        &[
            ("nfs", "1", "kernel"),
            ("nfs", "1", "path"),
            ("serve", "1", "kernel"),
            ("serve", "1", "path"),
        ],
        &[("serve", "2", "kernel"), ("serve", "2", "path")],
    ),
    (
        "4.1",
        &[("nfs", "1", "kernel"), ("serve", "2", "kernel")],
        &[
            ("serve", "1", "kernel"),
            ("nfs", "1", "path"),
            ("serve", "2", "path"),
        ],
    ),
];

pub fn kills_lose_no_acknowledged_change(world: &mut World) -> Result<()> {
    for (version, rows, more) in ROWS {
        let more = if is_full_run() { more } else { &[] };
        let rows: Vec<Row> = rows.iter().chain(more).copied().collect();
        kills_lose_no_change(world, version, &rows)
            .with_context(|| format!("version {version}"))?;
    }
    Ok(())
}

/// Runs the loads of these rows, and kills their servers in turn.
fn kills_lose_no_change(world: &mut World, version: &str, rows: &[Row]) -> Result<()> {
    let (kills, kills_served) = if is_full_run() {
        (KILLS_FULL, KILLS_SERVED_FULL)
    } else {
        (KILLS, KILLS_SERVED)
    };
    let mut loads = Vec::new();
    for &(role, loops, handles) in rows {
        let make = match version {
            "3" => Fixture::with_role,
            _ => Fixture::over_4_1,
        };
        let load = Load {
            name: format!("{role}-{loops}-{handles}-{version}"),
            fixture: make(world, role, handles, loops, Storage::Disk)?,
            is_served: role == "serve",
            done: 0,
        };
        // With path handles, the load must not move objects to other directories: only a kernel handle finds a moved object.
        let option = if handles == "path" { "--stay" } else { "" };
        load.start(world, option)?;
        loads.push(load);
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

/// A program of the guest that sees an error is shown with the calls before it: here a WRITE that fails with EIO.
pub fn error_under_kills_is_shown_with_its_calls(world: &mut World) -> Result<()> {
    let directory = public_dir()?;
    let export = directory.path().join("export");
    fs::create_dir(&export)?;
    private("a file system that fails", || {
        let faulty = Faulty::mount(&export)?;
        let options = ServerOptions {
            arguments: ["--handles", "path"].map(Into::into).to_vec(),
            ..ServerOptions::default()
        };
        let mut load = Load {
            name: "forced".into(),
            fixture: Fixture::existing(world, directory.path(), options)?,
            is_served: false,
            done: 0,
        };
        load.start(world, "--stay")?;
        load.kill(world)?;
        faulty.fail(Op::Write, EIO, usize::MAX);
        let outcome = (0..10).try_for_each(|_| load.progress(world));
        faulty.clear_faults();
        ensure!(load.stop(world).is_err(), "the load succeeded");
        let shown = format!("{:#}", outcome.err().context("no error was shown")?);
        ensure!(shown.contains("NFSPROC3_WRITE NFS3ERR_IO"), "{shown}");
        Ok(())
    })
}

/// The error of a load that has failed with this output. Writes the guest's calls of the last ten seconds to a file; the error has
/// the last of them that failed, and of the SYNs, FINs and RSTs.
fn failure(world: &mut World, output: &str) -> Result<Error> {
    let lines = world.tap.lines();
    let path = workspace_root().join("target/guest-calls");
    fs::write(&path, lines.join("\n") + "\n")?;
    let is_usual = |line: &str| {
        let ends = [" NFS3_OK", "LOOKUP NFS3ERR_NOENT"];
        line.contains(": call ") || ends.iter().any(|end| line.ends_with(end))
    };
    let mut odd: Vec<_> = lines.into_iter().filter(|line| !is_usual(line)).collect();
    let odd = odd.split_off(odd.len().saturating_sub(ODD_COUNT));
    // Renames the file, so that the failure is found once.
    let printed = world
        .guest
        .run_ok(&format!("cat {output}; mv {output} {output}.seen"))?;
    Ok(anyhow!(
        "a load failed, {output}:\n{printed}its calls are in {}; the last that failed:\n{}",
        path.display(),
        odd.join("\n")
    ))
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
            // Also finds a failure of another load, while the tap still has its calls.
            let look = format!(
                "wc -l </run/{}/log; grep -l ^failed /run/*/output || :",
                self.name
            );
            let state = world.guest.run_ok(&look)?;
            let mut lines = state.lines();
            self.done = lines.next().unwrap_or_default().trim().parse()?;
            if let Some(output) = lines.next() {
                return Err(failure(world, output)?);
            }
            if self.done >= wanted {
                return Ok(());
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
