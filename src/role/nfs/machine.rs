//! Exports of a machine without an operating system: ISO images on its disks and in the boot module, and files in memory.

use super::super::{FAILED, Fatal, boot_words, complain};
use crate::config::{
    MACHINE_BYTES_MIN, MACHINE_SMALL_BYTES, REGION_BYTES, REGION_FIXED_BYTES, STACK_FIXED_BYTES,
    STACK_HEAP_BYTES,
};
use crate::drive::platform::machine::{self, MODULE, Media};
use crate::event::Events;
use crate::exports::{ExportArgument, Wanted, cannot_export, export_errno};
use crate::mem;
use crate::net::link::FRAME_BYTES_MAX;
use crate::sys::{self, Errno, bare};
use crate::text::text;
use crate::vfs::ram::{Counts, Ram, archive};
use crate::vfs::{Backend, ExportRoot, FileTime, Rules, Tree, media};

/// Export path of the files in memory.
pub(in super::super) const RAM: &[u8] = b"/ram";

/// Memory (bytes) for everything except files in memory, including the network card's frame buffers.
pub(in super::super) const MEMORY_BYTES: usize = 2 * REGION_BYTES + STACK_HEAP_BYTES + FIXED_BYTES;
const FIXED_BYTES: usize = REGION_FIXED_BYTES + STACK_FIXED_BYTES + 16 * FRAME_BYTES_MAX;

/// Memory (bytes) for SFTP: buffers and open files of its sessions.
const SFTP_BYTES: usize = 1_920 << 10;
/// Least memory (bytes) for HTTP: a block for a request and one for a reply, a path and names.
const HTTP_BYTES: usize = 256 << 10;

/// Least memory (bytes) for network boot, with HTTP: two menus, and transfers.
const BOOT_BYTES: usize = HTTP_BYTES + (512 << 10);

/// Returns true if, after the memory of [`more_bytes`], too little is left for large frames and tables.
pub(in super::super) fn is_small() -> bool {
    bare::memory_bytes() < MACHINE_SMALL_BYTES + more_bytes()
}

/// Returns the part (bytes) of [`MEMORY_BYTES`] that stays the same if tables are shortened for lack of memory.
pub(in super::super) fn fixed_bytes() -> usize {
    match is_small() {
        true => MACHINE_BYTES_MIN,
        false => FIXED_BYTES,
    }
}

/// Returns the memory (bytes) for the files of the boot module; 0 if the module is no archive.
fn archive_bytes() -> usize {
    archive::counts(bare::module()).map_or(0, Counts::bytes)
}

/// Returns the memory (bytes) for the files of the boot module, and for SFTP and HTTP if a boot argument turns them on.
pub(in super::super) fn more_bytes() -> usize {
    let of = |name, bytes| match boot_words::has(bare::command_line(), name) {
        true => bytes,
        false => 0,
    };
    archive_bytes() + of(b"sftp", SFTP_BYTES) + of(b"http", HTTP_BYTES) + of(b"boot", BOOT_BYTES)
}

/// Returns the memory (bytes) for the export `/ram`: the larger of half the memory and all that [`MEMORY_BYTES`] leaves free, but
/// at least [`MACHINE_BYTES_MIN`] remain for everything else.
pub(in super::super) fn ram_bytes() -> usize {
    let all = bare::memory_bytes().saturating_sub(more_bytes());
    let left = |bytes| all.saturating_sub(bytes);
    (all / 2)
        .max(left(MEMORY_BYTES))
        .min(left(MACHINE_BYTES_MIN))
}

/// Adds all exports to the tree. Does nothing under an operating system.
pub(in super::super) fn export(wanted: &Wanted, tree: &mut Tree) -> Result<(), Fatal> {
    if !sys::is_bare() {
        return Ok(());
    }
    tree.add(Backend::Media, mem::leak(media::Media::new(Media::open())));
    // A medium that cannot be exported is reported, but a server without any export ends, as does one with contradictory arguments.
    let mut first = None;
    for (number, export) in wanted.list.iter().enumerate() {
        let mut earlier = wanted.list.iter().take(number);
        if earlier.any(|other| other.path == export.path) {
            let why = text!("the path is given twice; name all its options at once");
            let path = export.path.to_bytes();
            return Err(complain(FAILED, text!("cannot export"), path, why));
        }
        if let Err(status) = add_export(export, tree) {
            first = first.or(Some(status));
        }
    }
    Media::start();
    let is_any = tree.exports().iter().any(|export| export.root.is_some());
    match first.filter(|_| !is_any) {
        None => Ok(()),
        Some(status) => Err(status),
    }
}

/// Adds an export to the tree.
fn add_export(wanted: &ExportArgument, tree: &mut Tree) -> Result<(), Fatal> {
    let root = match wanted.path.to_bytes() {
        RAM => ram(wanted, tree)?,
        MODULE if archive_bytes() > 0 => unpack(wanted, tree)?,
        path => {
            let number = Media::number_of(path);
            let number = number.ok_or_else(|| cannot_export(wanted, Errno::NOENT))?;
            media::Media::export(number as u32)
        }
    };
    // The tree has the export's hosts already. Opens an exported image now, so that a disk without a file system is reported.
    let number = tree.export(wanted.path.to_bytes(), &[], root);
    let number = number.map_err(|error| cannot_export(wanted, export_errno(error)))?;
    let opened = tree.root(number).map(drop);
    opened.map_err(|error| {
        tree.close_export(number);
        cannot_export(wanted, export_errno(error))
    })
}

/// Reports a disk that has not answered for some time, once until it answers.
pub(super) fn report_stalled_disk(events: &mut Events) {
    if let Some(path) = machine::stalled_disk() {
        let why = text!("its clients wait until it answers; see the host's log");
        events.report(text!("the disk stalls:").warn(), &path, why);
    }
}

/// Adds the files in memory, which can be exported once. Their handles contain a random number. Without a random source the
/// handles can be guessed, so a writable export is then refused.
fn ram(wanted: &ExportArgument, tree: &mut Tree) -> Result<ExportRoot, Fatal> {
    let path = wanted.path.to_bytes();
    let mut entropy = [0; 16];
    if !bare::has_entropy(&mut entropy) && wanted.rules.has(Rules::WRITABLE) {
        let what = text!("cannot export for writing");
        let why = text!("no random numbers; add the device virtio-rng-device");
        return Err(complain(FAILED, what, path, why));
    }
    let (instance, _) = entropy.split_at(8);
    let instance = u64::from_le_bytes(instance.try_into().unwrap_or_default());
    let ram = mem::leak(Ram::new(Counts::within(ram_bytes()), instance, clock));
    let root = ram.export(&wanted.rules);
    tree.add(Backend::Ram, ram);
    Ok(root)
}

fn clock() -> FileTime {
    let (secs, nanos) = sys::wall_clock();
    FileTime { secs, nanos }
}

/// Unpacks the boot module, a cpio archive, into files in memory and adds them to the tree.
fn unpack(wanted: &ExportArgument, tree: &mut Tree) -> Result<ExportRoot, Fatal> {
    let (path, module) = (wanted.path.to_bytes(), bare::module());
    let counts = archive::counts(module).unwrap_or(Counts::within(0));
    let ram = mem::leak(Ram::new(counts, archive::instance(module), clock));
    ram.backend = Backend::Host;
    let root = archive::unpack(ram, module, &wanted.rules);
    let root = root.map_err(|_| {
        let why = text!("the archive is damaged, lacks a directory, or has 65,535 objects or more");
        complain(FAILED, text!("cannot export"), path, why)
    })?;
    tree.add(Backend::Host, ram);
    Ok(root)
}
