//! Two hosts on one link: ours and one with avahi, each a network namespace of its own.

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
use xtask::machines::lockdown;
use xtask::machines::server::Namespace;
use xtask::setup::{self, Package};

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(40);

/// The link, with a host at each end.
pub struct World {
    pub ours: Namespace,
    pub theirs: Namespace,
    /// Whatever of ours is started finds a poor host.
    is_poor: bool,
}

impl World {
    pub fn new() -> Result<Self> {
        setup::need(&[
            Package::IPROUTE2,
            Package::AVAHI,
            Package::AVAHI_UTILS,
            Package::DBUS,
        ])?;
        let (ours, theirs) = Namespace::pair()?;
        for host in [&ours, &theirs] {
            wait_for_v6(host)?;
        }
        Ok(Self {
            ours,
            theirs,
            is_poor: false,
        })
    }

    /// The same where the kernel neither lists interfaces nor says where a packet came in, and /proc and /sys are empty, for
    /// all of ours, but not for what is beside it.
    pub fn poor() -> Result<Self> {
        Ok(Self {
            is_poor: true,
            ..Self::new()?
        })
    }

    /// Starts a role of ours on a host with these words.
    fn begin<T: Send>(
        &self,
        host: &Namespace,
        role: &str,
        words: &[&str],
        start: impl FnOnce(Command) -> Result<T> + Send,
    ) -> Result<T> {
        if !self.is_poor {
            let mut command = ours(host, role)?;
            command.args(words);
            return start(command);
        }
        // What lists interfaces for itself, as `ip` does, would not even start in here.
        let script = "mount -t tmpfs none /sys && mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", host.path()))
            .args(["unshare", "--mount", "sh", "-c", script])
            .arg(file(role)?)
            .arg(role)
            .args(words);
        lockdown::without_netlink(|| start(command))
    }

    /// Starts our responder with these words.
    pub fn announce(&self, words: &[&str]) -> Result<Running> {
        self.begin(&self.ours, "mdns", words, Running::logging)
    }

    /// Starts another role that announces, with these words.
    pub fn start(&self, role: &str, words: &[&str]) -> Result<Running> {
        self.begin(&self.ours, role, words, Running::logging)
    }

    /// The responder on a host that calls itself so.
    pub fn announce_as(&self, hostname: &str, words: &[&str]) -> Result<Running> {
        let path = file("mdns")?;
        let script = "name=$1 && shift && echo \"$name\" > /proc/sys/kernel/hostname && exec \"$0\" mdns \"$@\"";
        let mut command = self.ours.command("unshare");
        command.args(["--uts", "sh", "-c", script]);
        command.arg(&path).arg(hostname).args(words);
        Running::logging(command)
    }

    /// Starts our browser on our host with these words.
    pub fn browse(&self, words: &[&str]) -> Result<Running> {
        self.begin(&self.ours, "browse", words, Running::printing)
    }

    /// The same on theirs.
    pub fn browse_from_theirs(&self, words: &[&str]) -> Result<Running> {
        self.begin(&self.theirs, "browse", words, Running::printing)
    }

    /// What it says there until it ends.
    pub fn browse_there_once(&self, words: &[&str]) -> Result<Said> {
        self.begin(&self.theirs, "browse", words, |mut command| {
            Said::by(&mut command)
        })
    }

    /// Our browser on a host, to be started.
    pub fn browser(&self, host: &Namespace, words: &[&str]) -> Result<Command> {
        let mut command = ours(host, "browse")?;
        command.args(words);
        Ok(command)
    }

    /// What `resolve` says on our host.
    pub fn resolve(&self, words: &[&str]) -> Result<Said> {
        self.resolve_from(&self.ours, words)
    }

    /// What it says on theirs.
    pub fn resolve_from_theirs(&self, words: &[&str]) -> Result<Said> {
        self.resolve_from(&self.theirs, words)
    }

    fn resolve_from(&self, host: &Namespace, words: &[&str]) -> Result<Said> {
        self.begin(host, "resolve", words, |mut command| Said::by(&mut command))
    }

    /// A host has no address of IPv6 from now on.
    pub fn without_ipv6_on(&self, host: &Namespace) -> Result<()> {
        let off = "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6";
        setup::quietly(host.command("sh").args(["-c", off])).map(drop)
    }
}

/// The file that has a role: the responder in one of its own, the others in the one with everything. Made once.
fn file(role: &str) -> Result<PathBuf> {
    static MADE: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let made = &MADE[usize::from(role == "mdns")];
    if let Some(path) = made.get() {
        return Ok(path.clone());
    }
    let path = match role {
        "mdns" => build::build_roles(Arch::X86_64, &[Role::Mdns])?,
        _ => build::build(Arch::X86_64)?,
    };
    Ok(made.get_or_init(|| path).clone())
}

/// A role of ours on a host, to be started.
pub fn ours(host: &Namespace, role: &str) -> Result<Command> {
    let mut command = host.command(&file(role)?.to_string_lossy());
    command.arg(role);
    Ok(command)
}

/// Waits until a host has its own address of IPv6, which it gets up to two seconds after its link. Each of us probes anew when
/// it comes, and avahi gives its name up to whoever happens to probe for it at that moment.
fn wait_for_v6(host: &Namespace) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut command = host.command("ip");
        let output = command
            .args(["-6", "addr", "show", "dev", "eth0", "scope", "link"])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("fe80::") && !said.contains("tentative") {
            return Ok(());
        }
        ensure!(Instant::now() < end, "eth0 never had an address: {said}");
        sleep(Duration::from_millis(50));
    }
}

/// What a program said until it ended.
#[derive(Debug)]
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Said {
    pub fn by(command: &mut Command) -> Result<Self> {
        let output = command.stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            code: output.status.code(),
        })
    }
}

/// A program that goes on, and whose lines are read as they come. It is killed when it is dropped.
pub struct Running {
    child: Child,
    said: Receiver<String>,
}

impl Running {
    /// One whose stderr is read.
    pub fn logging(mut command: Command) -> Result<Self> {
        let mut child = spawned(command.stderr(Stdio::piped()))?;
        let said = lines(child.stderr.take().context("its stderr is a pipe")?);
        Ok(Self { child, said })
    }

    /// One whose stdout is read.
    pub fn printing(mut command: Command) -> Result<Self> {
        let mut child = spawned(command.stdout(Stdio::piped()))?;
        let said = lines(child.stdout.take().context("its stdout is a pipe")?);
        Ok(Self { child, said })
    }

    /// Our responder on a host, with these words.
    pub fn responder(host: &Namespace, words: &[&str]) -> Result<Self> {
        let mut command = ours(host, "mdns")?;
        command.args(words);
        Self::logging(command)
    }

    /// Our browser on a host, with these words.
    pub fn browser(host: &Namespace, words: &[&str]) -> Result<Self> {
        let mut command = ours(host, "browse")?;
        command.args(words);
        Self::printing(command)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits until it says this.
    pub fn wait_for(&self, part: &str) -> Result<String> {
        self.wait_for_within(part, PATIENCE)
    }

    /// The same, if it may take longer.
    pub fn wait_for_within(&self, part: &str, patience: Duration) -> Result<String> {
        wait_for_all(&self.said, &[part], patience)
    }

    /// Waits until it has said all of these, in any order.
    pub fn wait_for_all(&self, parts: &[&str]) -> Result<()> {
        wait_for_all(&self.said, parts, PATIENCE).map(drop)
    }

    /// Ends it so that it can say nothing.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The status that it ends with by itself.
    pub fn end(mut self) -> Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        self.ask_to_stop()
    }

    /// The same; what it said that nobody waited for.
    pub fn stop_and_read(mut self) -> Result<String> {
        self.ask_to_stop()?;
        Ok(self.said.iter().collect::<Vec<_>>().join("\n"))
    }

    fn ask_to_stop(&mut self) -> Result<()> {
        kill(self.pid(), Signal::SIGTERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// All that it says until it ends.
    pub fn all(mut self) -> Result<String> {
        let said: Vec<String> = self.said.iter().collect();
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(said.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawned(command: &mut Command) -> Result<Child> {
    let child = command.stdin(Stdio::null()).spawn();
    child.with_context(|| format!("cannot start {command:?}"))
}

/// avahi-daemon with a bus of its own.
pub struct Avahi {
    child: Child,
    log: Arc<Mutex<String>>,
}

/// Where an avahi of this directory looks for its service files.
pub fn services(room: &Path) -> PathBuf {
    room.join("services-of-avahi")
}

impl Avahi {
    /// Starts it for the host of this name, and waits until it has announced that.
    pub fn start(world: &World, name: &str, room: &Path) -> Result<Self> {
        Self::on(&world.theirs, name, true, room)
    }

    /// The same on this host, which may have IPv6.
    pub fn on(host: &Namespace, name: &str, has_ipv6: bool, room: &Path) -> Result<Self> {
        let ipv6 = if has_ipv6 { "yes" } else { "no" };
        let config = room.join("avahi.conf");
        fs::write(
            &config,
            format!(
                "[server]\nhost-name={name}\nuse-ipv4=yes\nuse-ipv6={ipv6}\nratelimit-interval-usec=0\n[publish]\npublish-workstation=yes\n"
            ),
        )?;
        let services = services(room);
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
        let said = lines(child.stderr.take().context("its stderr is a pipe")?);
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
            &said,
            &["Server startup complete"],
            PATIENCE,
        )?);
        // It goes on to talk, and somebody has to listen.
        spawn(move || said.iter().for_each(|line| add(&line)));
        Ok(avahi)
    }

    /// What it said since it had the host's name.
    pub fn log(&self) -> String {
        let log = self.log.lock();
        log.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        self.child.wait()?;
        Ok(())
    }

    /// A command on its host.
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

    /// What it prints, as soon as it contains all of these.
    pub fn see(&self, words: &[&str], wanted: &[&str]) -> Result<String> {
        let said = self.ask_until(words, |said| wanted.iter().all(|part| said.contains(*part)))?;
        let missing = wanted.iter().find(|part| !said.contains(**part));
        ensure!(missing.is_none(), "it never said {missing:?}, but:\n{said}");
        Ok(said)
    }

    /// Waits until it does not print this any more.
    pub fn see_no_more(&self, words: &[&str], gone: &str) -> Result<()> {
        let said = self.ask_until(words, |said| !said.contains(gone))?;
        ensure!(!said.contains(gone), "it went on to say {gone:?}:\n{said}");
        Ok(())
    }

    /// What it prints last: as soon as this is `enough`, or when nobody waits any longer.
    fn ask_until(&self, words: &[&str], enough: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let (program, words) = words.split_first().context("a program is named")?;
            let output = self.command(program).args(words).output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if enough(&said) || Instant::now() > end {
                return Ok(said);
            }
            sleep(Duration::from_millis(200));
        }
    }

    /// Announces a service until it is dropped.
    pub fn publish(&self, words: &[&str]) -> Result<Running> {
        let mut command = self.command("avahi-publish");
        command.arg("-s").args(words);
        Running::printing(command)
    }

    /// A browser that goes on; its lines as they come.
    pub fn watch(&self, kind: &str) -> Result<Running> {
        let mut command = self.command("avahi-browse");
        command.args(["-p", "-k", kind]);
        Running::printing(command)
    }
}

impl Drop for Avahi {
    fn drop(&mut self) {
        // Its bus belongs to the group, too.
        let _ = killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, as they come.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (give, take) = channel();
    spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if give.send(line).is_err() {
                return;
            }
        }
    });
    take
}

/// Waits until all of these were said, in any order; the last line that said one.
fn wait_for_all(said: &Receiver<String>, parts: &[&str], patience: Duration) -> Result<String> {
    let (end, mut missing, mut all) = (Instant::now() + patience, parts.to_vec(), String::new());
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(line) = said.recv_timeout(left) else {
            bail!("it never said {missing:?}, but:\n{all}");
        };
        missing.retain(|part| !line.contains(part));
        if missing.is_empty() {
            return Ok(line);
        }
        all += &line;
        all += "\n";
    }
}
