//! The commands of `image/doc/recipes.md` and `README.md`, run as they are written there. A line `<!-- test: NAME -->` names the block
//! that follows.
//!
//! Commands run in namespaces where changes below /etc, /srv, /usr and other directories are discarded. Where a path or an address
//! cannot be as in the text, `Recipe::with` replaces it, and fails if the text does not have it.

mod containers;
mod hosts;
mod networks;
mod picture;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use xtask::build::{Arch, workspace_root};
use xtask::clients::nfs::Client;
use xtask::machines::mounts::{self, mount};
use xtask::machines::server::{Namespace, binary, public_dir};
use xtask::machines::wait_for;
use xtask::setup::run_captured;

/// Time limit for a program in the background to print a line.
const PATIENCE: Duration = Duration::from_secs(60);
/// The server's last line before clients can connect.
const LISTENING: &str = "for NFS and MOUNT";
/// Directories that each [`on_host`] may change.
const CHANGEABLE: [&str; 3] = ["/etc", "/usr", "/var"];
/// The line before a block of commands, without the name and the end.
const MARK: &str = "<!-- test: ";

/// The text of the documents.
fn documents() -> Result<String> {
    let mut all = String::new();
    for name in ["README.md", "image/doc/recipes.md"] {
        all += &fs::read_to_string(workspace_root().join(name))?;
    }
    Ok(all)
}

/// A block of commands in a document.
pub struct Recipe {
    name: String,
    text: String,
}

impl Recipe {
    pub fn load(name: &str) -> Result<Self> {
        let documents = documents()?;
        let mark = format!("{MARK}{name} -->\n\n");
        let (_, after) = documents
            .split_once(&mark)
            .with_context(|| format!("no document has a block {name}"))?;
        let lines = after.lines().map_while(|line| line.strip_prefix("    "));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        ensure!(!text.is_empty(), "the block {name} is empty");
        let name = name.to_owned();
        Ok(Self { name, text })
    }

    /// Replaces what this machine does not have.
    pub fn with(mut self, from: &str, to: &str) -> Result<Self> {
        let name = &self.name;
        ensure!(self.text.contains(from), "the block {name} has no {from:?}");
        self.text = self.text.replace(from, to);
        Ok(self)
    }

    /// The commands, as a shell script.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The arguments of a shell that runs the commands and ends at the first that fails. With the trap, SIGTERM ends the command that
    /// runs, and the shell waits for it.
    fn arguments(&self) -> [String; 2] {
        ["-ec".to_owned(), format!("trap : TERM\n{}", self.text)]
    }

    fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        shell.args(self.arguments()).process_group(0);
        shell
    }

    /// Runs the commands to their end with `input` as stdin, and returns their stdout.
    fn run(&self, directory: &Path, input: &str) -> Result<String> {
        let mut shell = self.shell();
        let child = shell
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.context("cannot start sh")?;
        let mut stdin = child.stdin.take().context("the shell has no stdin")?;
        // A program that ends before it reads its input is reported by its status.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let name = &self.name;
        ensure!(
            output.status.success(),
            "the block {name} ended with {}:\n{}{stdout}{stderr}",
            output.status,
            self.text
        );
        Ok(stdout)
    }

    /// Starts the commands, the last of which does not end.
    fn start(&self, directory: &Path) -> Result<Running> {
        self.start_by(self.shell(), directory)
    }

    /// As [`Self::start`], on another host of the network.
    fn start_on(&self, host: &Namespace, directory: &Path) -> Result<Running> {
        let mut shell = host.command("sh");
        shell.args(self.arguments()).process_group(0);
        self.start_by(shell, directory)
    }

    fn start_by(&self, mut shell: Command, directory: &Path) -> Result<Running> {
        let log = tempfile::NamedTempFile::new()?;
        let output: File = log.reopen()?;
        let child = shell
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn();
        let name = self.name.clone();
        let child = child.with_context(|| format!("cannot start the block {name}"))?;
        Ok(Running { name, child, log })
    }
}

/// Commands that run in the background. Drop kills them.
struct Running {
    name: String,
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Running {
    /// The output of the commands on stdout and stderr.
    fn output(&self) -> Result<String> {
        let output = fs::read(self.log.path())?;
        Ok(String::from_utf8_lossy(&output).replace('\r', ""))
    }

    /// Waits for a line that contains `part`.
    fn wait_for(&mut self, part: &str) -> Result<String> {
        let found = wait_for(PATIENCE, || {
            let has_ended = self.child.try_wait()?.is_some();
            let output = self.output()?;
            let line = output.lines().find(|line| line.contains(part));
            ensure!(line.is_some() || !has_ended, "the commands have ended");
            Ok(line.map(str::to_owned))
        });
        let found = found.and_then(|line| line.with_context(|| format!("no line with '{part}'")));
        found.with_context(|| {
            let output = self.output().unwrap_or_default();
            format!("the block {} printed:\n{output}", self.name)
        })
    }

    /// Sends `signal` to all commands of the block.
    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            signal,
        )?)
    }

    /// Sends SIGTERM and waits until the running command and the shell have ended.
    fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if the commands have ended already.
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Checks that `export` of the server at 127.0.0.1:2049 can be mounted, and has `name`.
pub fn ensure_exported(export: &str, name: &str) -> Result<()> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 2049));
    let root = Client::connect(server)?.mount(export)?;
    Client::connect(server)?.lookup(&root, name).map(drop)
}

/// Runs `work` as on a host where stowaway is installed and /srv has a file `hello.txt`, in the network `network` and with mounts of
/// its own. `work` gets an empty directory. Without root, prints that `what` is SKIPPED.
fn on_host(
    what: &str,
    network: &Namespace,
    work: impl FnOnce(&Path) -> Result<()> + Send,
) -> Result<()> {
    let program = binary(Arch::X86_64)?;
    let scratch = public_dir()?;
    let scratch = scratch.path();
    network.run(|| {
        mounts::private(what, || {
            let layers = scratch.join("layers");
            fs::create_dir(&layers)?;
            mount("tmpfs", "mode=755", &layers)?;
            for directory in CHANGEABLE {
                let [upper, work] =
                    ["upper", "work"].map(|kind| layers.join(kind).join(&directory[1..]));
                fs::create_dir_all(&upper)?;
                fs::create_dir_all(&work)?;
                fs::set_permissions(&upper, fs::metadata(directory)?.permissions())?;
                let options = format!(
                    "lowerdir={directory},upperdir={},workdir={}",
                    upper.display(),
                    work.display()
                );
                mount("overlay", &options, Path::new(directory))?;
            }
            mount("tmpfs", "mode=755", Path::new("/srv"))?;
            run_captured(
                Command::new("install")
                    .args(["-m", "755"])
                    .arg(&program)
                    .arg("/usr/sbin/stowaway"),
            )?;
            fs::write("/srv/hello.txt", "hello\n")?;
            let directory = scratch.join("work");
            fs::create_dir(&directory)?;
            work(&directory)
        })
    })
}

/// Writes an executable shell script.
fn install_script(path: &str, text: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    run_captured(Command::new("chmod").args(["755", path])).map(drop)
}

/// Every block that is named for a test is loaded by a test.
#[test]
fn every_named_recipe_is_run() -> Result<()> {
    let root = workspace_root();
    let documents = documents()?;
    let mut tests = String::new();
    for other in ["boot/mod.rs", "release/install.rs"] {
        tests += &fs::read_to_string(root.join("xtask/tests").join(other))?;
    }
    for entry in fs::read_dir(root.join("xtask/tests/recipes"))? {
        tests += &fs::read_to_string(entry?.path())?;
    }
    let names = documents.split(MARK).skip(1);
    let names: Vec<&str> = names.filter_map(|rest| rest.split(' ').next()).collect();
    ensure!(names.len() > 10, "only {names:?}");
    for name in names {
        let load = format!("Recipe::load(\"{name}\")");
        ensure!(tests.contains(&load), "no test runs the block {name}");
    }
    Ok(())
}
