//! The loop: one network, some tasks, two buffers. Only this module sees network, engine and files together.
//!
//! [`Loop`] waits once per turn and lends a [`World`] to each task. `service` serves any protocol over connections and
//! datagrams, `endpoint` is multicast DNS. `platform` is either a host with
//! processes or a machine without an operating system.

#![forbid(unsafe_code)]

#[cfg(feature = "multicast")]
pub mod endpoint;
#[cfg_attr(not(feature = "health"), path = "no_health.rs")]
mod health;
#[cfg_attr(not(feature = "transfers"), path = "no_jobs.rs")]
mod jobs;
pub mod platform;
#[cfg(feature = "streams")]
pub mod service;
mod task;
#[cfg(all(test, all_roles))]
mod tests;

pub use task::{TASK_COUNT_MAX, Task, Tasks, World};

use crate::config::HAS_STACK;
use crate::event::{Events, Fatal, STOPPING};
use crate::net::{Net, Ready};
use crate::stats::Meter;
use crate::sys::{Needs, has_supervisor};
use crate::text::{Text, text};
use crate::time::Instant;
use crate::vfs::Tree;

/// A network and the tasks that share it.
pub struct Loop<'a, 't> {
    tasks: &'a mut [&'t mut dyn Task],
    world: World<'a>,
    /// The name under which the loop reports its sandbox and its end; empty: it does not.
    name: &'static str,
}

impl<'a, 't> Loop<'a, 't> {
    /// Creates a loop; no task is started yet. At most 255 tasks. `rx` and `tx` must be as long as the longest buffer that a task
    /// needs.
    pub const fn new(
        net: &'a mut dyn Net,
        tree: &'a mut Tree,
        tasks: &'a mut [&'t mut dyn Task],
        events: &'a mut Events,
        [rx, tx]: [&'a mut [u8]; 2],
        stats: &'a mut Meter,
        now: Instant,
    ) -> Self {
        let world = World {
            now,
            task: 0,
            net,
            tree,
            events,
            rx,
            tx,
            stats,
            exit: None,
            pulse: health::Pulse::NONE,
        };
        Self {
            tasks,
            world,
            name: "",
        }
    }

    /// Calls `call` with each task and its [`World`].
    fn each(&mut self, call: &mut dyn FnMut(&mut dyn Task, &mut World<'_>)) {
        for (task, place) in self.tasks.iter_mut().zip(0..) {
            self.world.task = place;
            call(*task, &mut self.world);
        }
    }

    /// Starts all tasks, and the workers if the network can watch their wake-up descriptor.
    ///
    /// # Errors
    /// The error of the first task that cannot start.
    pub fn start(&mut self) -> Result<(), Fatal> {
        jobs::start(&mut self.world);
        let mut started = Ok(());
        self.each(&mut |task, world| {
            if started.is_ok() {
                started = task.start(world);
            }
        });
        started
    }

    /// Restricts this process to the needs of all tasks, and reports that if a task asks for it.
    pub fn confine(&mut self, mut needs: Needs) {
        self.each(&mut |task, world| task.add_needs(world.tree, &mut needs));
        self.name = needs.name;
        let sandbox = needs.confine();
        let why = match (sandbox.seccomp, sandbox.landlock) {
            (true, true) => text!("needed system calls and files only"),
            (true, false) => text!("needed system calls only"),
            (false, _) => text!("this host has no seccomp"),
        };
        if !self.name.is_empty() {
            let name = self.name.as_bytes();
            self.world.events.report(text!("sandbox:"), name, why);
        }
    }

    /// Runs the tasks, which are started, until the process gets a signal to stop, or a task ends the loop.
    ///
    /// # Errors
    /// The exit status. The reason is already reported.
    pub fn run(&mut self) -> Result<(), Fatal> {
        self.turns();
        self.stop();
        // Our own stack sends only while the loop waits: now the goodbyes of multicast DNS and the last replies.
        if HAS_STACK {
            let now = self.world.now;
            self.world.net.wait(now, now, &mut Ready::default());
        }
        match self.world.exit {
            None | Some(Fatal::Done) => Ok(()),
            Some(status) => Err(status),
        }
    }

    /// Stops all tasks.
    pub fn stop(&mut self) {
        // A supervisor says it for all its processes.
        if !self.name.is_empty() && !has_supervisor() {
            self.world.events.report(STOPPING, b"", Text::NOTHING);
        }
        self.each(&mut |task, world| task.stop(world));
    }

    /// Runs the tasks until the process gets a signal to stop, or a task ends the loop.
    pub fn turns(&mut self) {
        let mut ready = Ready::default();
        while !ready.signals.stop && self.world.exit.is_none() {
            self.turn(&mut ready);
        }
    }

    /// Waits once and runs each task that is ready or due. Not inlined, so that debuggers find the loop by its address.
    #[inline(never)]
    pub fn turn(&mut self, ready: &mut Ready) {
        let due = self.tasks.iter().map(|task| task.poll_at());
        let mut until = due.min().unwrap_or(Instant::NEVER);
        if jobs::have_ended(self.world.tree) {
            until = Instant::default();
        }
        until = until.min(self.world.pulse.poll_at());
        self.world.now = self.world.net.wait(self.world.now, until, ready);
        self.world.stats.turn(self.world.now);
        #[cfg(feature = "smol")]
        if let Some(address) = self.world.net.take_conflict() {
            let mut line = crate::event::Line::default();
            let about = line.address(address).bytes();
            let what = text!("another host uses the address").warn();
            let why = text!("change one of the two (--ip, or the boot argument ip=)");
            self.world.events.report(what, about, why);
        }
        if ready.signals.reload {
            self.world.events.reopen();
        }
        self.beat();
        let ended_count = jobs::reap(self.world.tree, ready);
        self.each(&mut |task, world| {
            for token in &ready.tokens {
                if token.task() == world.task {
                    task.ready(world, token.local());
                }
            }
            task.turn(world, ready.signals);
        });
        jobs::forget_ended(self.world.tree, ended_count);
    }

    /// Looks for stalled connections and writes the heartbeat, if that is due.
    fn beat(&mut self) {
        let now = self.world.now;
        if self.world.pulse.is_due(now) {
            let is_stalled = self.tasks.iter().any(|task| task.is_stalled(now));
            self.world.pulse.beat(now, is_stalled);
        }
    }

    /// Makes the loop write heartbeats.
    fn set_beats(&mut self, beats: health::Beats) {
        self.world.pulse = health::Pulse::of(beats);
    }
}
