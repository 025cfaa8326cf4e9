//! `init`: process 1 of a virtual machine with a Linux kernel. It mounts and serves the exports of the boot arguments, or all
//! disks if none is named. After SIGTERM, SIGINT, Ctrl-Alt-Del or the power button it unmounts them and switches the machine
//! off.

use super::boot_words::{LINE_BYTES, nothing_to_export, report, report_ignored, translate};
use super::serve::{self, Arguments};
use super::{Fatal, USAGE, complain};
use crate::console::reasons::{self, Reason, reason};
use crate::console::stamp_lines;
use crate::mem;
use crate::os::init::{self, MountResult};
use crate::sys::{Args, BUILD_ID_BYTES, Errno};
use crate::text::{Text, text};
use crate::vfs::Rules;
use crate::wire::Writer;
use core::ffi::CStr;

/// Serves until SIGTERM, SIGINT, Ctrl-Alt-Del or the power button, then switches the machine off.
pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    if !init::is_first() {
        let what = text!("init runs only as process 1, started by the Linux kernel");
        return Err(complain(USAGE, what, b"", Text::NOTHING));
    }
    stamp_lines();
    let card = init::prepare_machine(&mut report_module);
    if card.is_none() {
        let why = match init::has_driver(b"virtio_net") {
            false => text!("the kernel needs virtio_net, built in or in the initramfs"),
            true => text!("add a virtio network card; on PCI, the kernel needs virtio_pci, too"),
        };
        report(text!("no network interface"), b"", why);
    }
    let outcome = read(args).and_then(|served| {
        served.set_card(card);
        let served: &'static Arguments = served;
        let outcome = served.run_all(build_id);
        init::unmount(&mut served.exports().map(|wanted| wanted.path));
        outcome
    });
    init::power_off();
    outcome
}

/// Translates the boot arguments into those of `serve` and mounts the exports that they name.
fn read(args: Args) -> Result<&'static mut Arguments, Fatal> {
    let mut line = Writer::new(mem::array::<LINE_BYTES>());
    // Path handles stay valid after a reboot. Kernel handles need a key file, and this machine has no place to keep one.
    line.put(b"serve --handles=path");
    let unknown = &mut |word: &[u8]| {
        if init::is_unknown(word, args.clone()) {
            report_ignored(word);
        }
    };
    let boot_line = init::command_line(mem::array::<LINE_BYTES>());
    let mut has_exports = translate(boot_line, &mut line, unknown);
    if !has_exports {
        init::disks(&mut |path, found| {
            report_found(path, found);
            has_exports = true;
            line.put(b" --export=");
            line.put(path.to_bytes());
        });
    }
    if !has_exports {
        report_missing_driver(b"");
        let why = text!("add a disk, or the boot argument export=/ram:rw");
        return Err(nothing_to_export(why));
    }
    let mut args = Args::split(line.since(0));
    args.next();
    let served = serve::read(args)?;
    if !served.name().is_empty() {
        init::set_host_name(served.name());
    }
    for wanted in served.exports() {
        report_found(
            wanted.path,
            init::mount_export(wanted.path, wanted.rules.has(Rules::WRITABLE)),
        );
    }
    served.sftp_options.jail = Some(init::close_mounts());
    Ok(served)
}

/// Reports a kernel module of the initramfs that could not be loaded.
fn report_module(name: &[u8], errno: Errno) {
    let mut suffixes = [".xz", ".zst", ".gz"].iter();
    let why = match suffixes.any(|suffix| name.ends_with(suffix.as_bytes())) {
        true => text!("it is compressed: unpack it"),
        false => reasons::why(errno.raw_os_error() as u8, &MODULE_REASONS),
    };
    report(text!("cannot load the kernel module"), name, why);
}

/// Reasons why the kernel refuses a module.
const MODULE_REASONS: [Reason; 2] = [
    reason(
        Errno::NOENT,
        text!("its file, or a module that it needs, is missing"),
    ),
    reason(Errno::NOEXEC, text!("it was built for another kernel")),
];

/// Reports that the kernel has no driver for disks of virtio, if so, and returns true. `path` is the disk that was not found; empty:
/// any disk.
fn report_missing_driver(path: &[u8]) -> bool {
    let is_missing = !init::has_driver(b"virtio_blk");
    if is_missing {
        let why = text!("the kernel needs virtio_blk, built in or in the initramfs");
        report(text!("no disk"), path, why);
    }
    is_missing
}

/// Reports the kind of files mounted at an exported path; nothing if the path existed already.
fn report_found(path: &CStr, found: MountResult) {
    let path = path.to_bytes();
    if found == MountResult::Nothing && path.starts_with(b"/vd") && report_missing_driver(path) {
        return;
    }
    let what = match found {
        MountResult::There => return,
        MountResult::Memory => text!("files in memory"),
        MountResult::Disk => text!("a disk with a file system that the kernel mounts"),
        MountResult::Image => text!("a disk with an ISO 9660 image"),
        MountResult::Share => text!("a share of the hypervisor"),
        MountResult::Nothing => text!("neither a readable disk nor a share"),
    };
    report(text!("found"), path, what);
}
