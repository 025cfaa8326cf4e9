//! Network namespaces for tests, in which port 111 is free regardless of the host's servers. Needs root.

use crate::machines::on_thread;
use crate::setup;
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace with loopback up. Drop removes its name; the kernel frees it when its last process ends.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates a namespace with a unique name.
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

    /// Creates two namespaces as hosts 192.0.2.1 and 192.0.2.2, connected by a veth pair; each end is named eth0.
    pub fn pair() -> Result<(Self, Self)> {
        let (first, second) = (Self::new()?, Self::new()?);
        let (a, b) = (&first.name, &second.name);
        ip(&format!(
            "link add eth0 netns {a} type veth peer name eth0 netns {b}"
        ))?;
        for (host, address) in [(&first, "192.0.2.1"), (&second, "192.0.2.2")] {
            // Without duplicate address detection, an IPv6 address is usable at once instead of after one or two seconds.
            let at_once = "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad";
            setup::run_captured(host.command("sh").args(["-c", at_once]))?;
            ip(&format!(
                "-n {} addr add {address}/24 brd + dev eth0",
                host.name
            ))?;
            ip(&format!("-n {} link set eth0 up", host.name))?;
        }
        Ok((first, second))
    }

    /// The name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The words that precede a command to run it in the namespace, for `ServerOptions::wrapper`.
    pub fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name]
            .map(String::from)
            .to_vec()
    }

    /// A command that runs `program` in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// The path of the namespace's file in /run/netns.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `work` on a thread in the namespace: sockets that it opens belong to the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        on_thread(|| {
            let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
            setns(file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter {path}"))?;
            work()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // If `ip netns del` fails, the name stays in /run/netns; drop cannot return the error.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Runs `ip` with the arguments in `words`.
pub fn ip(words: &str) -> Result<()> {
    setup::run_captured(Command::new("ip").args(words.split(' '))).map(drop)
}
