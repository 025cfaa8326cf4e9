//! The fuzz targets' functions. They share the model tree, the client and the strict parser of replies with the unit tests.

pub mod announced;
pub mod boot;
pub mod exports;
pub mod frames;
pub mod http;
mod image;
pub mod mdns;
pub mod nfs4;
mod play;
mod script;
pub mod sftp;

use std::path::Path;

use stowaway::config::DRC_BYTES;
use stowaway::engine::testing::Bench;
use stowaway::engine::testing::calls::{all_calls, large_calls};
use stowaway::engine::testing::tree::Tree;

pub use image::{inside, inside_udf};
pub use play::play;
pub use script::Script;

/// Environment variable: the directory to which the targets write their first inputs.
const SEEDS: &str = "STOWAWAY_SEEDS";

thread_local! {
    /// A model tree to copy, which is faster than making a new one for each input.
    static TREE: Tree = Tree::writable();
}

/// Runs `case` with a new server, so that an input always has the same effect.
fn with_bench(case: impl FnOnce(Bench)) {
    let memory = Box::into_raw(vec![0; DRC_BYTES].into_boxed_slice());
    // SAFETY: no other reference to the box exists, and `case` drops the server that borrows it before the box is dropped.
    let replies = unsafe { &mut *memory };
    case(Bench::new(TREE.with(Tree::copy), replies));
    // SAFETY: the pointer came from Box::into_raw above and is used only once.
    drop(unsafe { Box::from_raw(memory) });
}

/// Sends any bytes to a connection. The first byte of `input` selects the size of the pieces in which the others arrive.
pub fn records(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let piece = match *size {
        0 => usize::MAX,
        size => usize::from(size) * usize::from(size) / 8 + 1,
    };
    with_bench(|mut bench| {
        bench.send_any_bytes(stream, || piece);
        bench.tree.ram().check();
    });
}

/// Writes the unit tests' calls to the directory in [`SEEDS`], as inputs of [`records`].
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(SEEDS) else {
        return;
    };
    let mut bench = Bench::default();
    let mut calls = all_calls(&mut bench);
    calls.extend(large_calls(&mut bench).into_iter().take(1));
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
            std::fs::write(&path, input).expect("the directory in STOWAWAY_SEEDS is writable");
        }
    }
}
