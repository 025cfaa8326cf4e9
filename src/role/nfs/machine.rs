//! What a machine without an operating system exports: what is inside its disks and its module, and files in memory.

use super::super::{FAILED, Fatal, complain};
use super::options::{Options, Wanted};
use super::{cannot_export, export_errno};
use crate::config::{
    MACHINE_BYTES_MIN, MACHINE_SMALL_BYTES, REGION_BYTES, REGION_FIXED_BYTES, STACK_FIXED_BYTES,
    STACK_HEAP_BYTES,
};
use crate::drive::bare::Media;
use crate::mem;
use crate::net::link::FRAME_BYTES_MAX;
use crate::sys::{self, Errno, bare};
use crate::text::text;
use crate::vfs::ram::Ram;
use crate::vfs::{Backend, FileTime, Top, Tree, disks};

/// The path of files in memory.
pub(in super::super) const RAM: &[u8] = b"/ram";

/// Bytes that everything but these files takes; with the frames that a card is at.
pub(in super::super) const MEMORY_BYTES: usize = 2 * REGION_BYTES + STACK_HEAP_BYTES + FIXED_BYTES;
const FIXED_BYTES: usize = REGION_FIXED_BYTES + STACK_FIXED_BYTES + 16 * FRAME_BYTES_MAX;

/// Of these, how many do not depend on how long the tables are.
pub(in super::super) fn fixed_bytes() -> usize {
    match bare::memory_bytes() < MACHINE_SMALL_BYTES {
        true => MACHINE_BYTES_MIN,
        false => FIXED_BYTES,
    }
}

/// Bytes for these files: what is left over, or half, or what the rest can do without.
pub(in super::super) fn ram_bytes() -> usize {
    let all = bare::memory_bytes();
    let left = |bytes| all.saturating_sub(bytes);
    (all / 2)
        .max(left(MEMORY_BYTES))
        .min(left(MACHINE_BYTES_MIN))
}

/// Puts all of them in the tree.
pub(super) fn export(options: &Options, tree: &mut Tree) -> Result<(), Fatal> {
    tree.add(
        Backend::Disks,
        mem::leak(disks::MachineDisks::new(Media::open())),
    );
    for wanted in options.exports.iter() {
        let path = wanted.path.to_bytes();
        let top = match path {
            RAM => ram(wanted, tree)?,
            path => {
                let number = Media::number_of(path);
                let number = number.ok_or_else(|| cannot_export(wanted, Errno::NOENT))?;
                disks::MachineDisks::export(number as u32)
            }
        };
        let exported = tree.export(path, wanted.rules, top);
        exported.map_err(|error| cannot_export(wanted, export_errno(error)))?;
    }
    Ok(())
}

/// Files in memory, once. Their handles cannot be guessed, so where they are written to there must be something to make them of.
fn ram(wanted: &Wanted, tree: &mut Tree) -> Result<Top, Fatal> {
    let path = wanted.path.to_bytes();
    if tree.exports().iter().any(|other| other.path == path) {
        return Err(cannot_export(wanted, Errno::EXIST));
    }
    let mut entropy = [0; 16];
    if !bare::has_entropy(&mut entropy) && wanted.rules.writable {
        let what = text!("cannot let anybody write to");
        let why = text!("there are no random numbers; add the device virtio-rng-device");
        return Err(complain(FAILED, what, path, why));
    }
    let (instance, _) = entropy.split_at(8);
    let instance = u64::from_le_bytes(instance.try_into().unwrap_or_default());
    let ram = mem::leak(Ram::new(path, ram_bytes(), instance, || {
        let (secs, nanos) = sys::wall_clock();
        FileTime { secs, nanos }
    }));
    let top = ram.export(&wanted.rules);
    tree.add(Backend::Ram, ram);
    Ok(top)
}
