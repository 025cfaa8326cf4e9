//! `cargo xtask test`: every check there is, the quick ones first, each with its time; stops at the first that fails.
//!
//! What a step says goes to target/test/<step>.log; on the screen it is shown only when it failed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Arch, Role, workspace_root};
use crate::commands::fuzz::{self, Target};
use crate::commands::tidy;
use crate::measure::size;
use crate::setup;

/// `cargo xtask test`
#[derive(clap::Args)]
pub struct Args {
    /// Also the long proofs: more mutations, more files, more time
    #[arg(long)]
    full: bool,

    /// Only these tests against the built file, by the names in xtask/tests
    suites: Vec<String>,
}

/// Runs all steps and ends with the line `N passed, N failed`, the sum over all tests.
pub fn main(args: Args) -> Result<()> {
    let mut run = Run::new()?;
    let outcome = if args.suites.is_empty() {
        run.steps(args.full)
    } else {
        run.clients(args.full, &args.suites)
    };
    if outcome.is_err() && run.failed == 0 {
        // What failed was no test, but it failed.
        run.failed = 1;
    }
    println!("{} passed, {} failed", run.passed, run.failed);
    outcome
}

/// A test that took longer is shown by itself.
const SLOW: Duration = Duration::from_secs(2);

/// Roles that bring no other along: where one of them is alone, nothing is left over that only others use.
const ALONE: [Role; 7] = [
    Role::Nfs,
    Role::SftpServer,
    Role::Mdns,
    Role::Browse,
    Role::Resolve,
    Role::Ls,
    Role::Check,
];

struct Run {
    logs: PathBuf,
    passed: u64,
    failed: u64,
}

impl Run {
    fn new() -> Result<Self> {
        let logs = workspace_root().join("target/test");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Self {
            logs,
            passed: 0,
            failed: 0,
        })
    }

    fn steps(&mut self, full: bool) -> Result<()> {
        self.command("format", &mut cargo(&["fmt", "--all", "--", "--check"]))?;
        for package in ["stowaway", "xtask"] {
            let lint = [
                "clippy",
                "-p",
                package,
                "--all-targets",
                // Of stowaway: the other program, too.
                "--features",
                if package == "stowaway" { "unpack" } else { "" },
                "--",
                "-D",
                "warnings",
            ];
            self.command(&format!("clippy-{package}"), &mut cargo(&lint))?;
        }
        self.check("clippy-alone", || ALONE.iter().try_for_each(lint_alone))?;
        self.check("tidy", || tidy::main(tidy::Args {}))?;
        for arch in Arch::NATIVE {
            let mut unit = build::unit_tests(arch)?;
            if full {
                unit.env("STOWAWAY_FULL", "1");
            }
            self.command(&format!("unit-{}", arch.name()), &mut unit)?;
        }
        for arch in Arch::ALL {
            self.check(&format!("build-{}", arch.name()), || {
                build::build(arch).map(drop)
            })?;
        }
        self.check("size", size::check)?;
        for target in Target::ALL {
            let secs = if full { 600 } else { 15 };
            self.check(&format!("fuzz-{}", target.name()), || {
                fuzz::run(target, secs).map(|said| println!("  {said}"))
            })?;
        }
        self.clients(full, &[])
    }

    /// The tests against the built file: those of `suites`, or all.
    fn clients(&mut self, full: bool, suites: &[String]) -> Result<()> {
        // The servers of several tests want port 111: one after the other.
        let mut clients = cargo(&["test", "-p", "xtask", "--no-fail-fast"]);
        clients.args(suites.iter().flat_map(|suite| ["--test", suite]));
        clients.args(["--", "--test-threads=1"]);
        if full {
            clients.env("STOWAWAY_FULL", "1");
        }
        self.command("e2e", &mut clients)
    }

    /// One of our own commands, in this process.
    fn check(&mut self, step: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        run()
            .inspect_err(|_| report(step, "FAILED", start))
            .with_context(|| format!("step {step}"))?;
        report(step, "ok", start);
        Ok(())
    }

    /// Another program: its output is kept, its tests are counted.
    fn command(&mut self, step: &str, command: &mut Command) -> Result<()> {
        let start = Instant::now();
        let log = self.logs.join(format!("{step}.log"));
        let success = self.watch(step, command, &log)?;
        report(step, if success { "ok" } else { "FAILED" }, start);
        if !success {
            let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
            print!("{}", String::from_utf8_lossy(&said));
            bail!(
                "step {step} failed; its output is above and in {}",
                log.display()
            );
        }
        Ok(())
    }

    /// Shows each line for a moment and writes it to the log.
    fn watch(&mut self, step: &str, command: &mut Command, log: &Path) -> Result<bool> {
        let waiting = setup::progress(step);
        let (lines, output) = std::io::pipe().context("cannot make a pipe")?;
        let errors = OwnedFd::from(output.try_clone()?);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        // Our copies of the writing end go, or the reading would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut kept =
            fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut since = Instant::now();
        for line in BufReader::new(lines).split(b'\n') {
            let line = line?;
            kept.write_all(&line)?;
            kept.write_all(b"\n")?;
            let text = String::from_utf8_lossy(&line);
            if let Some((passed, failed)) = counts(&text) {
                self.passed += passed;
                self.failed += failed;
            }
            if text.starts_with("test ") && since.elapsed() > SLOW {
                waiting.println(&format!(
                    "  {:>7.1} s  {text}",
                    since.elapsed().as_secs_f64()
                ));
            }
            since = Instant::now();
            waiting.say(format!("{step}: {text}"));
        }
        Ok(child.wait()?.success())
    }
}

/// Lints what is in the file of one role alone.
fn lint_alone(role: &Role) -> Result<()> {
    let lint = [
        "clippy",
        "-q",
        "-p",
        "stowaway",
        "--lib",
        "--no-default-features",
    ];
    let mut lint = cargo(&lint);
    lint.args(["--features", role.name(), "--", "-D", "warnings"]);
    setup::quietly(&mut lint).map(drop)
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace_root()).args(args);
    cargo
}

fn report(step: &str, outcome: &str, start: Instant) {
    println!(
        "{step:<18}{outcome:<8}{:>7.1} s",
        start.elapsed().as_secs_f64()
    );
}

/// Passed and failed out of `test result: ok. 3 passed; 0 failed; …`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = numbers.split("; ");
    let passed = numbers.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = numbers.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_and_nothing_else_is() {
        let ok = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(counts(ok), Some((12, 0)));
        assert_eq!(
            counts("test result: FAILED. 3 passed; 2 failed; 0 ignored"),
            Some((3, 2))
        );
        assert_eq!(counts("test wire::short_is_malformed ... ok"), None);
    }

    #[test]
    fn output_is_kept_and_counted_and_a_failure_is_one() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut run = Run {
            logs: dir.path().to_path_buf(),
            passed: 0,
            failed: 0,
        };
        let script =
            "echo 'test result: FAILED. 3 passed; 2 failed; 0 ignored'; echo oops >&2; exit 1";
        let outcome = run.command("planted", Command::new("sh").args(["-c", script]));
        assert!(outcome.is_err());
        assert_eq!((run.passed, run.failed), (3, 2));
        assert!(fs::read_to_string(dir.path().join("planted.log"))?.contains("oops"));
        Ok(())
    }
}
