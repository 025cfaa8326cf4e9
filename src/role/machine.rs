//! Start of a machine without an operating system: translates the boot arguments into those of `serve`, or of `boot` with the argument
//! of that name, and reports on the console the memory, clock and disks that were found.

use super::args::digits;
use super::boot_words::{self, LINE_BYTES, nothing_to_export, report, report_ignored, translate};
use super::nfs::machine::{self, RAM};
use super::{FAILED, Fatal, Role, complain};
use crate::config::MACHINE_BYTES_MIN;
use crate::drive::platform::machine as drive;
use crate::event::Line;
use crate::mem::{self, parts, set_region};
use crate::sys::bare::virtio::{Lack, Unused};
use crate::sys::{self, Args, BUILD_ID_BYTES, bare};
use crate::text::{Text, text};
use crate::wire::Writer;

/// Boot argument that selects the role `boot`. Its value is the image that boots after a while.
const BOOT: &[u8] = b"boot";
/// Boot argument by which a hypervisor announces a virtio-mmio device: `SIZE@ADDRESS:PIN`.
const DEVICE: &[u8] = b"virtio_mmio.device=";

/// Serves the exports of the boot arguments and returns the exit status of the machine.
pub fn boot(build_id: &[u8; BUILD_ID_BYTES]) -> i32 {
    Fatal::status(start(build_id))
}

fn start(build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    let values = |name| boot_words::values(bare::command_line(), name);
    let more = machine::more_bytes();
    let missing = (MACHINE_BYTES_MIN + more).saturating_sub(bare::memory_bytes());
    if missing > 0 {
        let mut line = Line::default();
        line.number(missing.div_ceil(1 << 20) as u32).text(" MiB");
        let why = text!("6 MiB are enough, 2 MiB more for SFTP, and space for the boot module");
        let what = text!("too little memory; add");
        return Err(complain(FAILED, what, line.bytes(), why));
    }
    if bare::command_line().len() == bare::LINE_BYTES_MAX {
        let why = text!("the limit is 4,096 bytes; name fewer exports and services");
        return Err(complain(FAILED, text!("command line too long"), b"", why));
    }
    let has_ram = values(b"export=").any(|value| value.starts_with(RAM));
    let more = more + if has_ram { machine::ram_bytes() } else { 0 };
    let [wanted, fixed] = [machine::MEMORY_BYTES, machine::fixed_bytes()];
    set_region(sys::region(0), wanted + more, fixed + more);
    drive::find_devices(&mut values(DEVICE).filter_map(device), machine::is_small());
    report_machine();
    let mut line = Writer::new(mem::array::<LINE_BYTES>());
    let role: &[u8] = match boot_words::has(bare::command_line(), BOOT) {
        true => BOOT,
        false => b"serve",
    };
    line.put(role);
    for image in values(b"boot=").filter(|image| !image.is_empty()) {
        line.put(b" --default=");
        line.put(image);
    }
    let mut misspelt = None;
    let mut exports = translate(bare::command_line(), &mut line, &mut |word| {
        if !word.starts_with(DEVICE) && !boot_words::has(word, BOOT) {
            report_ignored(word);
            misspelt = misspelt.or(boot_words::meant(word));
        }
    });
    if let Some(name) = misspelt {
        // Without a misspelt export, all disks would be exported.
        let why = text!("correct the ignored boot argument above");
        return Err(complain(FAILED, text!("did you mean"), name, why));
    }
    let has_exports = exports;
    for (path, bytes) in drive::found() {
        let mut about = Line::default();
        about.raw(&path).text(", ");
        about.number((bytes >> 20) as u32).text(" MiB");
        report(text!("found"), about.bytes(), Text::NOTHING);
        if !has_exports {
            line.put(b" --export=");
            line.put(&path[..]);
            exports = true;
        }
    }
    if !exports {
        let why = text!("add a disk or a module (-initrd), or the boot argument export=/ram:rw");
        return Err(nothing_to_export(why));
    }
    let mut args = Args::split(line.since(0));
    args.next();
    match Role::of(role) {
        Some(role) => role.run(args, build_id),
        None => {
            let what = text!("this executable has no such role:");
            Err(complain(FAILED, what, role, Text::NOTHING))
        }
    }
}

/// Parses the address and the interrupt pin of `SIZE@ADDRESS:PIN`.
fn device(value: &[u8]) -> Option<(usize, u32)> {
    let (address, pin) = (parts(value, b'@').nth(1)?, parts(value, b':').nth(1)?);
    let address = parts(address, b':').next()?.strip_prefix(b"0x")?;
    Some((digits(address, 16)? as usize, digits(pin, 10)?))
}

/// Reports the machine's memory and clock, what of it is not used, and a missing real-time clock or random source.
fn report_machine() {
    let memory = bare::memory_bytes() >> 20;
    report_number(
        text!("runs without an operating system, in"),
        memory,
        " MiB",
        Text::NOTHING,
    );
    let unused = (bare::unused_bytes() >> 20) as usize;
    if unused > 0 {
        let why = text!("it is above 4 GiB, or not next to the program");
        report_number(text!("memory that is not used:"), unused, " MiB", why);
    }
    let left_out = bare::virtio::left_out_count();
    if left_out > 0 {
        let why = text!("at most 24 are used");
        report_number(text!("disks that are not used:"), left_out, "", why);
    }
    // Most machines have a disk controller, which matters only if a disk is wanted.
    let exports = || boot_words::values(bare::command_line(), b"export=");
    let wants_disk = exports().next().is_none() || exports().any(|value| value.starts_with(b"/vd"));
    for device in bare::virtio::unused() {
        if device.is_card || wants_disk {
            report_unused(device);
        }
    }
    if bare::virtio::is_out_of_reach() {
        let why =
            text!("their registers are in memory only; use virtio-net-device, virtio-blk-device");
        report(text!("devices on PCI are not used"), b"", why);
    }
    let lost = (bare::lost_module_bytes() >> 10) as usize;
    if lost > 0 {
        let why = text!("it does not fit beside the program; give the machine more memory");
        report_number(text!("boot module that is not used:"), lost, " KiB", why);
    }
    report_compressed(bare::module());
    let (mhz, source) = bare::describe_clock();
    let source = match source {
        bare::Source::Hypervisor => text!("reported by the hypervisor"),
        bare::Source::Processor => text!("reported by the processor"),
        bare::Source::Apic => text!("measured with the APIC timer"),
    };
    report_number(text!("clock: time-stamp counter of"), mhz, " MHz", source);
    if !bare::knows_date() {
        let why = text!("file times start in 1970; give the machine a real-time clock (rtc=on)");
        report(text!("no real-time clock"), b"", why);
    }
    if !bare::has_entropy(&mut [0; 16]) {
        let why = text!("file handles can be guessed, so nothing is exported for writing");
        report(text!("no random numbers"), b"", why);
    }
}

/// Reports a network card or disk controller that is not used, while the machine has no other.
fn report_unused(unused: &Unused) {
    let mut id = Line::default();
    id.digits(unused.vendor.into(), 16, 4).byte(b':');
    id.digits(unused.device.into(), 16, 4);
    let (what, device) = match unused.is_card {
        true => (
            text!("network card that is not used:"),
            text!("no driver for it; use virtio-net-pci"),
        ),
        false => (
            text!("disk controller that is not used:"),
            text!("no driver for it; use virtio-blk-pci"),
        ),
    };
    let why = match unused.lack {
        Lack::Driver => device,
        Lack::Place => text!("another one is; only one is used"),
        Lack::Version1 => text!("it lacks the registers of virtio 1; see disable-modern of QEMU"),
        Lack::MsiX => text!("it lacks MSI-X; see vectors of QEMU"),
        Lack::Features => text!("it refuses the features of the driver, or has short queues"),
    };
    report(what, id.bytes(), why);
}

/// Reports a boot module that is compressed: it is neither an archive nor an image.
fn report_compressed(module: &[u8]) {
    const MAGICS: [(&[u8], &[u8]); 5] = [
        (b"\x1f\x8b", b"gzip"),
        (b"\xfd7zXZ", b"xz"),
        (b"\x28\xb5\x2f\xfd", b"zstd"),
        (b"BZh", b"bzip2"),
        (b"\x02\x21\x4c\x18", b"lz4"),
    ];
    for (magic, name) in MAGICS {
        if module.starts_with(magic) {
            let why = text!("the boot module is not read; unpack it first");
            report(text!("compressed:"), name, why);
        }
    }
}

/// Reports a number with its unit.
fn report_number(what: Text, number: usize, unit: &str, why: Text) {
    let mut line = Line::default();
    line.number(number as u32).text(unit);
    report(what, line.bytes(), why);
}
