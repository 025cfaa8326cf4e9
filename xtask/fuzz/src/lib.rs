//! What the fuzz targets do with an input. They share the model tree, the client and the strict reader with the unit tests.

pub mod announced;
pub mod frames;
mod image;
pub mod mdns;
mod play;
mod script;
pub mod sftp;

use std::path::Path;

use stowaway::config::DRC_BYTES;
use stowaway::engine::testing::World;
use stowaway::engine::testing::calls::{every, large};
use stowaway::engine::testing::tree::Tree;

pub use image::inside;
pub use play::play;
pub use script::Script;

/// Where the first inputs are to be written, if anywhere.
const SEEDS: &str = "STOWAWAY_SEEDS";

thread_local! {
    /// To make others like it is faster than to make one from nothing.
    static TREE: Tree = Tree::writable();
}

/// Runs `case` with a server of its own, so that an input does the same every time.
fn with_world(case: impl FnOnce(World)) {
    let memory = Box::into_raw(vec![0; DRC_BYTES].into_boxed_slice());
    // SAFETY: nobody else has it, and the server that borrows it is gone before it is given back.
    let replies = unsafe { &mut *memory };
    case(World::new(TREE.with(Tree::another), replies));
    // SAFETY: it came from a box, once.
    drop(unsafe { Box::from_raw(memory) });
}

/// Gives bytes to a connection, whatever they are: the first says in which pieces.
pub fn records(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let piece = match *size {
        0 => usize::MAX,
        size => usize::from(size) * usize::from(size) / 8 + 1,
    };
    with_world(|mut world| {
        world.send_anything(stream, || piece);
        world.tree.ram().check();
    });
}

/// Writes the unit tests' calls to where the environment says, as inputs of [`records`].
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(SEEDS) else {
        return;
    };
    let mut world = World::default();
    let mut calls = every(&mut world);
    calls.extend(large(&mut world).into_iter().take(1));
    for (number, (_, call)) in calls.iter().enumerate() {
        let next = &calls[(number + 1) % calls.len()].1;
        let both = [call.record(), next.clone().xid(8).record()].concat();
        for (name, stream) in [
            ("whole", call.record()),
            ("cut", call.fragments(&[call.0.len() / 2])),
            ("two", both),
        ] {
            let input = [&[0][..], &stream].concat();
            let path = Path::new(&dir).join(format!("{number:02}-{name}"));
            std::fs::write(&path, input).expect("the directory for first inputs can be written to");
        }
    }
}
