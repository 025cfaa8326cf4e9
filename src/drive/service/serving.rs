//! The task of a protocol: one for all of them. A role adds sockets, needs and reports.

use super::Served;
use crate::drive::task::{Task, World};
use crate::engine::service::Service;
use crate::event::Fatal;
use crate::net::Signals;
use crate::sys::Needs;
use crate::time::Instant;
use crate::vfs::Tree;

/// The part of a server that is not its protocol `S`.
pub trait Server<S> {
    /// Opens the sockets, and reports them.
    ///
    /// # Errors
    /// As [`Task::start`].
    fn start(
        &mut self,
        service: &mut S,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal>;
    /// See [`Task::add_needs`].
    fn add_needs(&self, needs: &mut Needs);
    /// Called in each turn of the loop, after the service was served.
    fn turn(
        &mut self,
        _service: &mut S,
        _served: &mut Served,
        _world: &mut World<'_>,
        _signals: Signals,
    ) {
    }
    /// The next time at which [`Server::turn`] has work.
    fn poll_at(&self) -> Instant {
        Instant::NEVER
    }
    /// Called when the loop ends, before the last sync.
    fn stop(&mut self, _world: &mut World<'_>) {}
}

/// A protocol with its connections and sockets, as a task.
#[repr(C)] // The service, which is the largest field, last: the others have short offsets.
pub struct Serving<S, R> {
    /// The role's part.
    pub server: R,
    /// The connections and sockets.
    pub served: Served,
    /// The protocol.
    pub service: S,
}

impl<S: Service, R: Server<S>> Task for Serving<S, R> {
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal> {
        self.server
            .start(&mut self.service, &mut self.served, world)
    }

    fn add_needs(&self, _: &Tree, needs: &mut Needs) {
        self.server.add_needs(needs);
    }

    fn ready(&mut self, world: &mut World<'_>, local: u32) {
        self.served.ready(world, &mut self.service, local);
    }

    fn turn(&mut self, world: &mut World<'_>, signals: Signals) {
        self.served.turn(world, &mut self.service);
        let (service, served) = (&mut self.service, &mut self.served);
        self.server.turn(service, served, world, signals);
    }

    fn poll_at(&self) -> Instant {
        let at = self.served.poll_at(&self.service);
        at.min(self.server.poll_at())
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.served.is_stalled(now)
    }

    fn stop(&mut self, world: &mut World<'_>) {
        self.server.stop(world);
        self.served.stop(world);
    }
}
