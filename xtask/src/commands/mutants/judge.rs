//! Runs the unit tests against one mutant, as the runner that cargo calls: first the quick ones of the module that was changed,
//! then all quick ones, then the others, and no further than the first that fails.
//!
//! Without a mutant it runs them all and notes how long each takes.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use walkdir::WalkDir;

/// What cargo-mutants writes beside every change.
const MARK: &str = "~ changed by cargo-mutants ~";
/// Tests that take longer come last.
const QUICK_S: f64 = 0.5;
/// What the quick tests may use of a processor, of which they need a fifth: others do not end.
const QUICK_CPU_S: u64 = 20;
/// The same of all tests.
const CPU_S: u64 = 120;
/// Tests that wait use nothing: this long without a result, and they wait forever.
const SILENCE: Duration = Duration::from_secs(60);
/// A fault may ask for memory without end.
const MEMORY_BYTES: u64 = 3 << 30;

/// Seconds by the test's name.
type Times = BTreeMap<String, f64>;

/// Runs `program`, which is the unit tests, and fails when one of them does.
pub(super) fn main(program: &[OsString]) -> Result<()> {
    // Cargo runs it in the package's directory.
    let tree = env::current_dir()?;
    let noted = tree.join("target/times.json");
    let program = Path::new(program.first().context("there is no program")?);
    setrlimit(Resource::RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES)?;
    // In memory, where there is such: half of the time would go into waiting for the disk.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory
    } else {
        &env::temp_dir()
    };
    let place = tempfile::tempdir_in(place)?;
    let tests = || {
        let mut tests = Command::new(program);
        tests.current_dir(&tree).env("TMPDIR", place.path());
        tests
    };
    let Some(file) = mutated(&tree.join("src"))? else {
        let mut all = tests();
        // Stable's libtest tells times when it takes itself for nightly's.
        all.args(["-Zunstable-options", "--report-time"])
            .env("RUSTC_BOOTSTRAP", "1");
        let times = run(all, CPU_S)?;
        return Ok(fs::write(&noted, serde_json::to_vec(&times)?)?);
    };
    let times: Times = fs::read(&noted)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let (near, far) = stages(&times, &file);
    for stage in [&near, &far] {
        if !stage.is_empty() {
            let mut some = tests();
            some.arg("--exact").args(stage);
            run(some, QUICK_CPU_S)?;
        }
    }
    let mut others = tests();
    others.arg("--exact");
    for test in near.iter().chain(&far) {
        others.args(["--skip", test]);
    }
    run(others, CPU_S)?;
    Ok(())
}

/// The file that is changed, from `src` on.
fn mutated(src: &Path) -> Result<Option<PathBuf>> {
    for entry in WalkDir::new(src) {
        let entry = entry?;
        if entry.file_type().is_file() && fs::read_to_string(entry.path())?.contains(MARK) {
            return Ok(Some(entry.path().strip_prefix(src)?.to_path_buf()));
        }
    }
    Ok(None)
}

/// The quick tests of the nearest module around `file` that has any, and the other quick ones.
fn stages<'a>(times: &'a Times, file: &Path) -> (Vec<&'a str>, Vec<&'a str>) {
    let quick = times.iter().filter(|(_, time)| **time < QUICK_S);
    let quick: Vec<&str> = quick.map(|(test, _)| test.as_str()).collect();
    let file = file.with_extension("");
    for module in file.ancestors() {
        let prefix: String = module
            .iter()
            .map(|part| format!("{}::", part.display()))
            .collect();
        let (near, far): (Vec<&str>, Vec<&str>) =
            quick.iter().partition(|test| test.starts_with(&prefix));
        if !near.is_empty() {
            return (near, far);
        }
    }
    (Vec::new(), quick)
}

/// Runs tests until one fails, stays silent or uses more than `cpu_s`; the time of each.
fn run(mut tests: Command, cpu_s: u64) -> Result<Times> {
    setrlimit(Resource::RLIMIT_CPU, cpu_s, RLIM_INFINITY)?;
    let mut child = tests
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {tests:?}"))?;
    let output = child.stdout.take().context("it has no output")?;
    let (lines, results) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            println!("{line}");
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let mut times = Times::new();
    let mut failure = None;
    while failure.is_none() {
        match results.recv_timeout(SILENCE) {
            Ok(line) if line.ends_with("... FAILED") => failure = Some(line),
            Ok(line) => times.extend(time(&line)),
            Err(RecvTimeoutError::Timeout) => failure = Some("nothing ends".to_owned()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Some(failure) = failure {
        let _ = child.kill();
        let _ = child.wait();
        bail!("{failure}");
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the tests ended with {status}");
    }
    Ok(times)
}

/// `test NAME ... ok <0.001s>`
fn time(line: &str) -> Option<(String, f64)> {
    let (name, time) = line.strip_prefix("test ")?.split_once(" ... ok <")?;
    Some((name.to_owned(), time.strip_suffix("s>")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_tests_come_first_and_slow_ones_in_no_stage() {
        let tests = [
            ("engine::nfs::read::tests::a", 0.1),
            ("engine::tests::b", 0.1),
            ("engine::tests::slow", 3.0),
            ("vfs::c", 0.0),
        ];
        let times = tests.map(|(name, time)| (name.to_owned(), time)).into();
        let of = |file: &str| stages(&times, Path::new(file));
        let (a, b, c) = ("engine::nfs::read::tests::a", "engine::tests::b", "vfs::c");
        assert_eq!(of("engine/nfs/read.rs"), (vec![a], vec![b, c]));
        assert_eq!(of("engine/nfs/write.rs"), (vec![a], vec![b, c]));
        assert_eq!(of("engine/rpc.rs"), (vec![a, b], vec![c]));
        assert_eq!(of("wire/xdr.rs"), (vec![a, b, c], vec![]));
    }

    #[test]
    fn tests_are_run_no_further_than_the_first_that_fails() {
        let script = |text: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", text]);
            run(shell, RLIM_INFINITY)
        };
        let passes = script("echo 'test a ... ok <0.250s>'; echo 'test b ... ok <1.5s>'").unwrap();
        assert_eq!(
            passes,
            [("a".to_owned(), 0.25), ("b".to_owned(), 1.5)].into()
        );
        let fails = script("echo 'test a ... FAILED'; exec sleep 1000").unwrap_err();
        assert_eq!(fails.to_string(), "test a ... FAILED");
        assert!(script("exit 101").is_err());
    }

    #[test]
    fn the_changed_file_is_the_marked_one() -> Result<()> {
        let src = tempfile::tempdir()?;
        fs::create_dir(src.path().join("vfs"))?;
        let file = src.path().join("vfs/walk.rs");
        fs::write(&file, "a + b")?;
        assert_eq!(mutated(src.path())?, None);
        fs::write(&file, format!("a - /* {MARK} */ b"))?;
        assert_eq!(mutated(src.path())?, Some(PathBuf::from("vfs/walk.rs")));
        Ok(())
    }
}
