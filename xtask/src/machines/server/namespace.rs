//! A network of one's own for a test: port 111 is free there, whatever runs on the machine. Needs root.

use crate::setup;
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace with loopback up. Dropping it removes its name; it ends with its last process.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self {
            name: format!("stowaway-{}-{number}", std::process::id()),
        };
        ip(&format!("netns add {}", namespace.name))?;
        ip(&format!("-n {} link set lo up", namespace.name))?;
        Ok(namespace)
    }

    /// Two hosts, 192.0.2.1 and 192.0.2.2, that a cable joins at eth0.
    pub fn pair() -> Result<(Self, Self)> {
        let (first, second) = (Self::new()?, Self::new()?);
        let (a, b) = (&first.name, &second.name);
        ip(&format!(
            "link add eth0 netns {a} type veth peer name eth0 netns {b}"
        ))?;
        for (host, address) in [(&first, "192.0.2.1"), (&second, "192.0.2.2")] {
            // Else an address of IPv6 can be used a second or two later.
            let at_once = "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad";
            setup::quietly(host.command("sh").args(["-c", at_once]))?;
            ip(&format!("-n {} addr add {address}/24 dev eth0", host.name))?;
            ip(&format!("-n {} link set eth0 up", host.name))?;
        }
        Ok((first, second))
    }

    /// What `ip` calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The words that start a command inside; for `ServerOptions::through`.
    pub fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name]
            .map(String::from)
            .to_vec()
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// The file that stands for it.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `work` on a thread inside: sockets that it opens belong to the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
                setns(file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("cannot enter {path}"))?;
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing better can be done about a name that stays.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Runs `ip` with these words.
pub fn ip(words: &str) -> Result<()> {
    setup::quietly(Command::new("ip").args(words.split(' '))).map(drop)
}
