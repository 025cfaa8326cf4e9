//! The table of requests over the model: whole, byte by byte, with operations that stop, and read-only.

use super::*;
use crate::vfs::ram::Ram;
use cases::sftp::table::{Case, Object, TREE, cases};

impl World {
    /// A server of the table's tree, with a session after INIT.
    pub(super) fn of_table(permits: Permits) -> Self {
        let mut ram = Ram::model(b"/export");
        for (path, object) in TREE {
            match object {
                Object::File(content) => ram.file(path, content),
                Object::Directory => ram.dir(path),
                Object::Link(target) => ram.symlink(path, target.as_bytes()),
                Object::Fifo => ram.fifo(path),
            }
        }
        ram.writable = true;
        let mut world = Self::new(Tree::of(ram), permits, Level::default(), Memory::leaked());
        world.greet();
        world
    }

    /// Sends a request in pieces of this length; returns the parsed reply.
    pub(super) fn exchange(
        &mut self,
        request: &cases::sftp::Request<'_>,
        piece: usize,
    ) -> anyhow::Result<cases::sftp::Reply> {
        let packet = Packet(request.message(7));
        let talk = self.talk(&packet.bytes(), || piece);
        let all = talk.replies();
        anyhow::ensure!(
            talk.closed.is_none() && all.len() == 1,
            "{} replies",
            all.len()
        );
        all[0].check(&packet)?;
        all[0].parse()
    }
}

/// Plays cases in pieces of this length; returns the trees. Before each request, sets the number of operations before one that waits
/// for a disk, and counts in `stop_count` those that did.
fn play(
    cases: impl Iterator<Item = Case>,
    piece: usize,
    stops_after: Option<u32>,
    stop_count: &mut usize,
) -> Vec<World> {
    let (mut wrong, mut worlds) = (Vec::new(), Vec::new());
    for case in cases {
        let mut world = World::of_table(Permits::default());
        let played = case.play("/export", |request| {
            world.tree.host.stops_after.set(stops_after);
            // A large packet has more pieces than the test has time for.
            let is_large = request.message(7).len() > 5000;
            let reply = world.exchange(request, if is_large { piece.max(270) } else { piece });
            let has_stopped = world.tree.host.stops_after.take().is_none();
            *stop_count += usize::from(stops_after.is_some() && has_stopped);
            reply
        });
        wrong.extend(played.err());
        world.hang_up();
        world.tree.ram().check();
        worlds.push(world);
    }
    assert!(
        wrong.is_empty(),
        "in pieces of {piece}, stopped after {stops_after:?}: {wrong:#?}"
    );
    worlds
}

#[test]
fn rows_are_answered_whole_and_in_pieces() {
    for piece in [usize::MAX, 1, 281, 282, 4096, 65_536] {
        play(cases().into_iter(), piece, None, &mut 0);
    }
}

/// Whichever operation of a request stops first, the request goes on with the same reply, and changes nothing twice.
#[test]
fn stopped_rows_are_answered_as_others() {
    let cases = || {
        cases()
            .into_iter()
            .filter(|case| case.name != "unknown_handles")
    };
    let mut stop_count = 0;
    let expect = play(cases(), usize::MAX, None, &mut stop_count);
    for stops_after in 0..8 {
        let worlds = play(cases(), usize::MAX, Some(stops_after), &mut stop_count);
        for (case, (world, expect)) in cases().zip(worlds.iter().zip(&expect)) {
            let is_like = world.tree.ram().is_like(&expect.tree.ram());
            assert!(is_like, "{} after {stops_after} operations", case.name);
        }
    }
    assert!(
        stop_count > 500,
        "only {stop_count} operations have stopped"
    );
}

#[test]
fn read_only_rows_change_nothing() {
    for case in cases() {
        let mut permits = Permits::default();
        permits.read_only();
        let mut world = World::of_table(permits);
        let before = world.tree.ram().clone();
        let played = case.play_read_only(|request| world.exchange(request, usize::MAX));
        played.unwrap_or_else(|wrong| panic!("{}: {wrong:#}", case.name));
        assert!(world.tree.ram().is_like(&before), "{}", case.name);
        world.hang_up();
    }
}
