//! The Debian and Python packages that xtask needs on this machine, and the progress spinner.
//!
//! As root, missing packages are installed by apt-get; other users get an error with the command to run. Nothing is ever skipped
//! silently.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;

use crate::root::workspace_root;

/// The table of Debian packages.
const PACKAGES: &str = include_str!("../packages.csv");

/// A Debian package, and the program or file that exists once it is installed.
#[derive(Clone, Copy, Debug)]
struct Package {
    name: &'static str,
    proof: &'static str,
}

impl Package {
    /// Every package of the table.
    fn all() -> impl Iterator<Item = Self> {
        let lines = PACKAGES.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| {
            let mut columns = line.split(',');
            let mut column = || columns.next().unwrap_or_default();
            let [name, proof] = [column(), column()];
            Self { name, proof }
        })
    }

    fn find(name: &str) -> Result<Self> {
        let found = Self::all().find(|package| package.name == name);
        found.with_context(|| format!("xtask/packages.csv has no package {name}"))
    }

    fn is_installed(&self) -> bool {
        let in_sbin = |dir| Path::new(dir).join(self.proof).exists();
        which::which(self.proof).is_ok() || ["/usr/sbin", "/sbin"].into_iter().any(in_sbin)
    }
}

/// Installs all packages of the table that are missing.
pub fn install_all() -> Result<()> {
    install(&Package::all().collect::<Vec<_>>())
}

/// Installs the missing ones of `names` as root. Other users get an error with the command to run.
pub fn install_packages(names: &[&str]) -> Result<()> {
    let packages: Result<Vec<_>> = names.iter().map(|name| Package::find(name)).collect();
    install(&packages?)
}

fn install(packages: &[Package]) -> Result<()> {
    // apt-get fails instead of waiting if another apt-get holds its lock.
    static APT: Mutex<()> = Mutex::new(());
    let _guard = APT.lock().unwrap_or_else(PoisonError::into_inner);
    let names = to_install(
        packages,
        nix::unistd::geteuid().is_root(),
        which::which("apt-get").is_ok(),
    )?;
    if names.is_empty() {
        return Ok(());
    }
    let _waiting = progress(&format!("installing {}", names.join(" ")));
    let _quiet = NoServices::new()?;
    // apt-get install finds no package if the machine has no package lists, as in a fresh container image.
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &*names].concat())?;
    match packages.iter().find(|package| !package.is_installed()) {
        Some(package) => bail!(
            "package {} was installed, but {:?} is missing",
            package.name,
            package.proof
        ),
        None => Ok(()),
    }
}

/// Returns the names of the missing packages. If some are missing and this user cannot install packages, the error says what to do.
fn to_install(packages: &[Package], is_root: bool, has_apt: bool) -> Result<Vec<&'static str>> {
    let missing = packages.iter().filter(|package| !package.is_installed());
    let names: Vec<&str> = missing.map(|package| package.name).collect();
    let list = names.join(" ");
    if names.is_empty() || (is_root && has_apt) {
        Ok(names)
    } else if has_apt {
        bail!("missing packages: {list}. Run: sudo apt-get install --no-install-recommends {list}")
    } else {
        bail!(
            "missing packages: {list} (Debian's names); no apt-get found: use this system's package manager"
        )
    }
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "Acquire::Retries=3"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run_captured(&mut command)?;
    Ok(())
}

/// Runs a program and returns its stdout. If the program fails, the error contains its stderr.
pub fn run_captured(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{command:?} failed ({}):\n{}",
            output.status,
            stderr.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A package from PyPI, installed into its own directory under target/.
#[derive(Clone, Copy, Debug)]
pub struct PythonPackage {
    name: &'static str,
    version: &'static str,
}

impl PythonPackage {
    /// Debian's interpreter, which every user may execute.
    pub const PYTHON: &str = "/usr/bin/python3";

    /// CycloneDX's library, with the schema and what validates by it.
    pub const CYCLONEDX: Self = Self {
        name: "cyclonedx-python-lib[json-validation]",
        version: "11.12.0",
    };
    /// paramiko, an SSH and SFTP client.
    pub const PARAMIKO: Self = Self {
        name: "paramiko",
        version: "4.0.0",
    };
    /// podman-compose. Debian 12's version cannot use the host's network.
    pub const PODMAN_COMPOSE: Self = Self {
        name: "podman-compose",
        version: "1.5.0",
    };
    /// The client library of Prometheus, with the parser of its text.
    pub const PROMETHEUS: Self = Self {
        name: "prometheus_client",
        version: "0.26.0",
    };
    /// zeroconf, a multicast DNS responder and browser.
    pub const ZEROCONF: Self = Self {
        name: "zeroconf",
        version: "0.148.0",
    };

    /// Every package.
    pub const ALL: [Self; 5] = [
        Self::CYCLONEDX,
        Self::PARAMIKO,
        Self::PODMAN_COMPOSE,
        Self::PROMETHEUS,
        Self::ZEROCONF,
    ];

    /// Returns the directory for PYTHONPATH; on first use, pip installs the package there.
    pub fn path(self) -> Result<PathBuf> {
        let target = workspace_root().join("target");
        let path = target.join(format!("{}-{}", self.name, self.version));
        if path.exists() {
            return Ok(path);
        }
        install_packages(&["python3", "python3-pip"])?;
        let _waiting = progress(&format!("installing {}", self.name));
        // pip installs into a temporary directory, which is then renamed, so that an interrupted install leaves no partial
        // directory at `path`.
        let fresh = tempfile::tempdir_in(target)?;
        run_captured(
            Command::new(Self::PYTHON)
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(fresh.path())
                .arg(format!("{}=={}", self.name, self.version)),
        )?;
        fs::rename(fresh.keep(), &path)?;
        Ok(path)
    }
}

/// apt-get with private package lists: works without root and does not change the system's apt state.
pub struct PrivateApt {
    options: Vec<String>,
}

impl PrivateApt {
    /// Keeps the package lists in `dir` and updates them.
    pub fn new(dir: &Path) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let options = [
            format!("-oDir::State={}/state", dir.display()),
            format!("-oDir::Cache={}/cache", dir.display()),
            // As root, apt downloads as the user _apt, which has no access to a home directory.
            "-oAPT::Sandbox::User=root".to_owned(),
            "-oAcquire::Retries=3".to_owned(),
        ];
        let apt = Self {
            options: options.into(),
        };
        // An error is not fatal, because the update of a repository that we do not need may have failed. If the update of ours
        // failed, the download fails later.
        if let Err(why) = run_captured(apt.command("apt-get").arg("update")) {
            eprintln!("{why:#}");
        }
        Ok(apt)
    }

    /// Downloads the .deb files of `packages` into a directory.
    pub fn download(&self, packages: &[&str], into: &Path) -> Result<()> {
        run_captured(
            self.command("apt-get")
                .current_dir(into)
                .arg("download")
                .args(packages),
        )?;
        Ok(())
    }

    /// Downloads the .deb files of `packages` and of all their dependencies, as if no package were installed.
    pub fn download_all(&self, packages: &[&str], into: &Path) -> Result<()> {
        let mut apt = self.command("apt-get");
        apt.arg(format!("-oDir::Cache::archives={}", into.display()))
            .arg("-oDir::State::status=/dev/null")
            .args(["-q", "--yes", "--no-install-recommends", "--download-only"])
            .arg("install")
            .args(packages);
        fs::create_dir_all(into.join("partial"))
            .with_context(|| format!("cannot make {}", into.display()))?;
        run_captured(&mut apt)?;
        Ok(())
    }

    /// The first dependency of `package` whose name starts with `prefix`.
    pub fn dependency(&self, package: &str, prefix: &str) -> Result<String> {
        let list =
            run_captured(
                self.command("apt-cache")
                    .args(["depends", "--important", package]),
            )?;
        list.lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .with_context(|| {
                format!("Debian's package {package} has no dependency named {prefix}…")
            })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// While this exists, installed packages do not start their services: rpcbind would occupy port 111, which tests need.
struct NoServices {
    /// True if we created the policy file and have to remove it.
    is_ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn new() -> Result<Self> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY);
        match file {
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n")
                    .with_context(|| format!("cannot write {POLICY}"))?;
                Ok(Self { is_ours: true })
            }
            // The machine already has a policy file, which is kept.
            Err(_) => Ok(Self { is_ours: false }),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Progress display on stderr: a spinner on a terminal, otherwise one line. Dropping it clears the spinner.
pub struct Progress {
    bar: ProgressBar,
}

/// Starts a progress display with `message`.
pub fn progress(message: &str) -> Progress {
    if !std::io::stderr().is_terminal() {
        eprintln!("{message} …");
    }
    let bar = ProgressBar::new_spinner().with_message(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    Progress { bar }
}

impl Progress {
    /// Replaces the spinner's message. Prints nothing if stderr is not a terminal.
    pub fn set_message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// Prints a permanent line above the spinner.
    pub fn println(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Clears the display, as dropping it does.
    pub fn done(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn package(name: &'static str, proof: &'static str) -> Package {
        Package { name, proof }
    }

    const INSTALLED: Package = package("dash", "sh");
    const MISSING: Package = package("no-such-package", "no-such-program");
    const NO_FILE: Package = package("no-such-file", "/no/such/file");

    #[test]
    fn installed_packages_are_not_installed_again() -> Result<()> {
        assert_eq!(to_install(&[INSTALLED], false, false)?, [""; 0]);
        let names = to_install(&[INSTALLED, MISSING, NO_FILE], true, true)?;
        assert_eq!(names, ["no-such-package", "no-such-file"]);
        Ok(())
    }

    #[test]
    fn packages_are_found_by_name() -> Result<()> {
        assert_eq!(Package::find("gdb")?.proof, "gdb");
        assert!(Package::find("no-such-package").is_err());
        assert!(Package::all().all(|package| !package.proof.is_empty()));
        assert!(package("python3", "/etc/passwd").is_installed());
        Ok(())
    }

    #[test]
    fn without_root_error_names_the_command() {
        let error = to_install(&[INSTALLED, MISSING], false, true)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("apt-get install --no-install-recommends no-such-package"),
            "{error}"
        );
        let error = to_install(&[MISSING], true, false).unwrap_err().to_string();
        assert!(error.contains("no-such-package"), "{error}");
    }

    #[test]
    fn failed_program_error_contains_stderr() {
        let mut failing = Command::new("sh");
        let why = run_captured(failing.args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(why.to_string().contains("no luck"), "{why}");
    }
}
