//! A link with two hosts, each a network namespace: ours and one with avahi.

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use xtask::build::{self, Arch, Role};
use xtask::machines::lockdown::{self, calls::watched};
use xtask::machines::server::{Namespace, binary, children, runnable};
use xtask::setup;

/// Timeout of every wait, generous for a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A link with a host at each end.
pub struct World {
    pub ours: Namespace,
    pub theirs: Namespace,
    restriction: Restriction,
    /// The file of our programs. None: the built one for x86_64.
    file: Option<PathBuf>,
}

/// Restrictions of our programs. avahi has none.
#[derive(Clone)]
enum Restriction {
    Nothing,
    /// See [`World::poor`].
    Poor,
    /// See [`World::wrapped`].
    Wrapper(Vec<String>),
}

impl World {
    pub fn new() -> Result<Self> {
        setup::install_packages(&["iproute2", "avahi-daemon", "avahi-utils", "dbus-daemon"])?;
        let (ours, theirs) = Namespace::pair()?;
        for host in [&ours, &theirs] {
            wait_for_v6(host, "eth0")?;
        }
        Ok(Self {
            ours,
            theirs,
            restriction: Restriction::Nothing,
            file: None,
        })
    }

    /// A world in which our programs have no netlink and no packet info, and /proc and /sys are empty. avahi has no such
    /// restrictions.
    pub fn poor() -> Result<Self> {
        Ok(Self {
            restriction: Restriction::Poor,
            ..Self::new()?
        })
    }

    /// A world in which our programs, of `arch`, run under a profile of qemu/hosts.
    pub fn under(profile: &str, arch: Arch) -> Result<Self> {
        let words = [env!("CARGO_BIN_EXE_workshop"), "lockdown", profile, "--"];
        let mut world = Self::wrapped(words.map(String::from).into())?;
        if arch != Arch::X86_64 {
            world.file = Some(runnable(arch)?);
        }
        Ok(world)
    }

    /// A world in which our programs run from this file.
    pub fn of_file(file: PathBuf) -> Result<Self> {
        Ok(Self {
            file: Some(file),
            ..Self::new()?
        })
    }

    /// A world in which these words precede the commands of our programs.
    pub fn wrapped(wrapper: Vec<String>) -> Result<Self> {
        Ok(Self {
            restriction: Restriction::Wrapper(wrapper),
            ..Self::new()?
        })
    }

    /// A world in which these words precede the commands of our programs, which run from the file with all roles.
    pub fn shipped(wrapper: Vec<String>) -> Result<Self> {
        Ok(Self {
            file: Some(binary(Arch::X86_64)?),
            ..Self::wrapped(wrapper)?
        })
    }

    /// Builds the command for one of our roles on `host`, restricted as this world is, and passes it to `start`.
    fn start_role<T: Send>(
        &self,
        host: &Namespace,
        role: &str,
        words: &[&str],
        start: impl FnOnce(Command) -> Result<T> + Send,
    ) -> Result<T> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => file(role)?,
        };
        if let Restriction::Nothing = self.restriction {
            let mut command = host.command(&file.to_string_lossy());
            command.arg(role).args(words);
            return start(command);
        }
        if let Restriction::Wrapper(words_before) = &self.restriction {
            let (program, arguments) = words_before.split_first().context("no wrapper")?;
            let mut command = host.command(program);
            command.args(arguments);
            command.arg(file).arg(role).args(words);
            return start(command);
        }
        // nsenter and unshare also run without netlink; `ip netns exec` needs netlink.
        let script = "mount -t tmpfs none /sys && mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", host.path()))
            .args(["unshare", "--mount", "sh", "-c", script])
            .arg(file)
            .arg(role)
            .args(words);
        lockdown::without_netlink(|| start(command))
    }

    /// Starts our responder on our host.
    pub fn announce(&self, words: &[&str]) -> Result<Process> {
        self.start_role(&self.ours, "mdns", words, Process::logging)
    }

    /// Starts another announcing role on our host.
    pub fn start(&self, role: &str, words: &[&str]) -> Result<Process> {
        self.start_role(&self.ours, role, words, Process::logging)
    }

    /// Starts our responder on a host with this kernel host name.
    pub fn announce_as(&self, hostname: &str, words: &[&str]) -> Result<Process> {
        let path = file("mdns")?;
        let script = "name=$1 && shift && echo \"$name\" > /proc/sys/kernel/hostname && exec \"$0\" mdns \"$@\"";
        let mut command = self.ours.command("unshare");
        command.args(["--uts", "sh", "-c", script]);
        command.arg(&path).arg(hostname).args(words);
        Process::logging(command)
    }

    /// Starts our browser on our host.
    pub fn browse(&self, words: &[&str]) -> Result<Process> {
        self.start_role(&self.ours, "browse", words, Process::printing)
    }

    /// Starts our browser on the other host.
    pub fn browse_from_theirs(&self, words: &[&str]) -> Result<Process> {
        self.start_role(&self.theirs, "browse", words, Process::printing)
    }

    /// Runs our browser on the other host to its end; returns its output.
    pub fn browse_there_once(&self, words: &[&str]) -> Result<Output> {
        self.start_role(&self.theirs, "browse", words, |mut command| {
            Output::of(&mut command)
        })
    }

    /// A command for our browser on `host`, not yet started.
    pub fn browser(&self, host: &Namespace, words: &[&str]) -> Result<Command> {
        let mut command = ours(host, "browse")?;
        command.args(words);
        Ok(command)
    }

    /// Runs `resolve` on our host; returns its output.
    pub fn resolve(&self, words: &[&str]) -> Result<Output> {
        self.resolve_from(&self.ours, words)
    }

    /// Runs `resolve` on the other host; returns its output.
    pub fn resolve_from_theirs(&self, words: &[&str]) -> Result<Output> {
        self.resolve_from(&self.theirs, words)
    }

    fn resolve_from(&self, host: &Namespace, words: &[&str]) -> Result<Output> {
        self.start_role(host, "resolve", words, |mut command| {
            Output::of(&mut command)
        })
    }

    /// Disables IPv6 on a host.
    pub fn without_ipv6_on(&self, host: &Namespace) -> Result<()> {
        let disable = "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6";
        setup::run_captured(host.command("sh").args(["-c", disable])).map(drop)
    }
}

/// Path of the executable for a role, built once: `mdns` has a build with that role only, the others use the full build.
fn file(role: &str) -> Result<PathBuf> {
    static BUILT: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let built = &BUILT[usize::from(role == "mdns")];
    if let Some(path) = built.get() {
        return Ok(path.clone());
    }
    let path = match role {
        "mdns" => build::build_roles(Arch::X86_64, &[Role::MDNS])?,
        _ => build::build(Arch::X86_64)?,
    };
    let path = watched(path)?;
    Ok(built.get_or_init(|| path).clone())
}

/// A command for a role of ours on `host`, not yet started.
pub fn ours(host: &Namespace, role: &str) -> Result<Command> {
    let mut command = host.command(&file(role)?.to_string_lossy());
    command.arg(role);
    Ok(command)
}

/// Waits until an interface has its link-local IPv6 address, which appears up to two seconds after the link. Responders probe again
/// when an address appears. If another host probes for avahi's host name at that moment, avahi gives it up.
pub fn wait_for_v6(host: &Namespace, interface: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut command = host.command("ip");
        let output = command
            .args(["-6", "addr", "show", "dev", interface, "scope", "link"])
            .output()?;
        let output = String::from_utf8_lossy(&output.stdout);
        if output.contains("fe80::") && !output.contains("tentative") {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{interface} never had an address: {output}"
        );
        sleep(Duration::from_millis(50));
    }
}

/// Waits until `is_right` accepts the contents of the file, which are returned.
pub fn wait_for_text(path: &Path, is_right: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if is_right(&text) {
            return Ok(text);
        }
        ensure!(Instant::now() < deadline, "{}: {text}", path.display());
        sleep(Duration::from_millis(50));
    }
}

/// Output and exit code of a program that has ended.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Output {
    pub fn of(command: &mut Command) -> Result<Self> {
        let output = command.stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            code: output.status.code(),
        })
    }
}

/// A running program whose lines are read as they come; killed when dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a program and reads its stderr.
    pub fn logging(mut command: Command) -> Result<Self> {
        let mut child = spawned(command.stderr(Stdio::piped()))?;
        let lines = lines(child.stderr.take().context("stderr is not a pipe")?);
        Ok(Self { child, lines })
    }

    /// Starts a program and reads its stdout.
    pub fn printing(mut command: Command) -> Result<Self> {
        let mut child = spawned(command.stdout(Stdio::piped()))?;
        let lines = lines(child.stdout.take().context("stdout is not a pipe")?);
        Ok(Self { child, lines })
    }

    /// Starts our responder on `host`.
    pub fn responder(host: &Namespace, words: &[&str]) -> Result<Self> {
        let mut command = ours(host, "mdns")?;
        command.args(words);
        Self::logging(command)
    }

    /// Starts our browser on `host`.
    pub fn browser(host: &Namespace, words: &[&str]) -> Result<Self> {
        let mut command = ours(host, "browse")?;
        command.args(words);
        Self::printing(command)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for a line that contains `part`, and returns it.
    pub fn wait_for(&self, part: &str) -> Result<String> {
        self.wait_for_within(part, PATIENCE)
    }

    /// Like `wait_for`, with another timeout.
    pub fn wait_for_within(&self, part: &str, patience: Duration) -> Result<String> {
        wait_for_all(&self.lines, &[part], patience)
    }

    /// Waits until lines with all of these parts were printed, in any order.
    pub fn wait_for_all(&self, parts: &[&str]) -> Result<()> {
        wait_for_all(&self.lines, parts, PATIENCE).map(drop)
    }

    /// Kills the program.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until the program ends by itself; returns its exit code.
    pub fn wait(mut self) -> Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }

    /// Sends SIGTERM and waits until the program has ended successfully.
    pub fn stop(mut self) -> Result<()> {
        self.send_sigterm()
    }

    /// Sends SIGTERM to the children of the program, e.g. of strace, and waits until the program has ended.
    pub fn stop_child(mut self) -> Result<()> {
        self.signal_children(Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal to the children of the program.
    pub fn signal_children(&self, signal: Signal) -> Result<()> {
        for child in children(self.child.id())? {
            kill(Pid::from_raw(child.cast_signed()), signal)?;
        }
        Ok(())
    }

    /// Like `stop`; returns the lines that were not yet read.
    pub fn stop_and_read(mut self) -> Result<String> {
        self.send_sigterm()?;
        Ok(self.lines.iter().collect::<Vec<_>>().join("\n"))
    }

    fn send_sigterm(&mut self) -> Result<()> {
        kill(self.pid(), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(())
    }

    /// Reads all lines until the program ends successfully.
    pub fn read_all(mut self) -> Result<String> {
        let output: Vec<String> = self.lines.iter().collect();
        let status = self.child.wait()?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(output.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawned(command: &mut Command) -> Result<Child> {
    let child = command.stdin(Stdio::null()).spawn();
    child.with_context(|| format!("cannot start {command:?}"))
}

/// avahi-daemon in a mount namespace of its own, with a D-Bus daemon of its own.
pub struct Avahi {
    child: Child,
    log: Arc<Mutex<String>>,
}

/// Directory that avahi reads service files from if it was started with `scratch`.
pub fn services(scratch: &Path) -> PathBuf {
    scratch.join("services-of-avahi")
}

impl Avahi {
    /// Starts avahi on the other host, and waits until it has announced the host name `name`.
    pub fn start(world: &World, name: &str, scratch: &Path) -> Result<Self> {
        Self::start_on(&world.theirs, name, scratch)
    }

    /// Starts avahi on `host`.
    pub fn start_on(host: &Namespace, name: &str, scratch: &Path) -> Result<Self> {
        let config = scratch.join("avahi.conf");
        fs::write(
            &config,
            format!(
                "[server]\nhost-name={name}\nuse-ipv4=yes\nuse-ipv6=yes\nratelimit-interval-usec=0\n[publish]\npublish-workstation=yes\n"
            ),
        )?;
        let services = services(scratch);
        fs::create_dir_all(&services)?;
        let script = "mount -t tmpfs none /run && mkdir /run/dbus /run/avahi-daemon && \
            mount --bind \"$1\" /etc/avahi/services && \
            dbus-daemon --system --fork --nopidfile && \
            exec avahi-daemon --no-drop-root --no-chroot --no-rlimits --file \"$0\"";
        let mut command = host.command("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command.args([&config, &services]);
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start avahi-daemon")?;
        let lines = lines(child.stderr.take().context("stderr is not a pipe")?);
        let log = Arc::default();
        let avahi = Self {
            child,
            log: Arc::clone(&log),
        };
        let add = move |line: &str| {
            let mut log: MutexGuard<'_, String> =
                log.lock().unwrap_or_else(PoisonError::into_inner);
            *log += line;
            *log += "\n";
        };
        add(&wait_for_all(
            &lines,
            &["Server startup complete"],
            PATIENCE,
        )?);
        // Keeps reading, so that avahi never blocks on a full pipe.
        spawn(move || lines.iter().for_each(|line| add(&line)));
        Ok(avahi)
    }

    /// Log lines from "Server startup complete" on.
    pub fn log(&self) -> String {
        let log = self.log.lock();
        log.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends SIGTERM and waits until avahi has ended.
    pub fn stop(mut self) -> Result<()> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        self.child.wait()?;
        Ok(())
    }

    /// A command in avahi's namespaces.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--mount",
            "--net",
            "--target",
            &self.child.id().to_string(),
            program,
        ]);
        command
    }

    /// Runs a command on avahi's host until its output contains all of `wanted`, and returns that output.
    pub fn wait_for_output(&self, words: &[&str], wanted: &[&str]) -> Result<String> {
        let output = self.ask_until(words, |output| {
            wanted.iter().all(|part| output.contains(*part))
        })?;
        let missing = wanted.iter().find(|part| !output.contains(**part));
        ensure!(
            missing.is_none(),
            "{words:?} never printed {missing:?}, but:\n{output}"
        );
        Ok(output)
    }

    /// Runs a command on avahi's host until its output no longer contains `gone`.
    pub fn wait_until_gone(&self, words: &[&str], gone: &str) -> Result<()> {
        let output = self.ask_until(words, |output| !output.contains(gone))?;
        ensure!(
            !output.contains(gone),
            "{words:?} still prints {gone:?}:\n{output}"
        );
        Ok(())
    }

    /// Repeats a command until `enough` accepts its output or the timeout is reached; returns the last output.
    fn ask_until(&self, words: &[&str], enough: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // avahi-browse -t sometimes never ends, if a service goes while it is resolved.
            let output = self.command("timeout").arg("20").args(words).output()?;
            let output = String::from_utf8_lossy(&output.stdout).into_owned();
            if enough(&output) || Instant::now() > deadline {
                return Ok(output);
            }
            sleep(Duration::from_millis(200));
        }
    }

    /// Publishes a service by avahi-publish until the result is dropped.
    pub fn publish(&self, words: &[&str]) -> Result<Process> {
        let mut command = self.command("avahi-publish");
        command.arg("-s").args(words);
        Process::printing(command)
    }

    /// Starts avahi-browse for a service type; it runs until dropped.
    pub fn watch(&self, kind: &str) -> Result<Process> {
        let mut command = self.command("avahi-browse");
        command.args(["-p", "-k", kind]);
        Process::printing(command)
    }
}

impl Drop for Avahi {
    fn drop(&mut self) {
        // The D-Bus daemon belongs to the process group, too.
        let _ = killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}

/// A channel with the lines of a pipe, as they come.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits until all of `parts` were printed, in any order; returns the line with the last one.
fn wait_for_all(lines: &Receiver<String>, parts: &[&str], patience: Duration) -> Result<String> {
    let (deadline, mut missing, mut all) =
        (Instant::now() + patience, parts.to_vec(), String::new());
    loop {
        let timeout = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(timeout) else {
            bail!("the program never printed {missing:?}, but:\n{all}");
        };
        missing.retain(|part| !line.contains(part));
        if missing.is_empty() {
            return Ok(line);
        }
        all += &line;
        all += "\n";
    }
}
