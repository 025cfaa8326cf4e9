//! The start of a machine without an operating system: boot arguments, which become those of `serve`; and what a person reads on
//! its console meanwhile.

use super::args::digits;
use super::boot_words::{self, LINE_BYTES, ignore, nothing_to_export, tell, translate};
use super::nfs::machine::{self, RAM};
use super::{FAILED, Fatal, complain, serve};
use crate::config::MACHINE_BYTES_MIN;
use crate::drive::platform::machine as drive;
use crate::event::Line;
use crate::mem::{self, give, parts};
use crate::sys::{self, Args, BUILD_ID_BYTES, bare};
use crate::text::{Text, text};
use crate::wire::Writer;

/// The argument that tells of a device, `SIZE@ADDRESS:PIN`, as hypervisors add it.
const DEVICE: &[u8] = b"virtio_mmio.device=";

/// Runs what the boot arguments ask for; the status that the machine ends with.
pub fn boot(build_id: &[u8; BUILD_ID_BYTES]) -> i32 {
    Fatal::status(start(build_id))
}

fn start(build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    let values = |name| boot_words::values(bare::command_line(), name);
    let more = machine::more_bytes();
    if bare::memory_bytes() < MACHINE_BYTES_MIN + more {
        let why =
            text!("give the machine 4 MiB at least, 2 more for SFTP, and what its module takes");
        return Err(complain(FAILED, text!("too little memory"), b"", why));
    }
    if bare::command_line().len() == bare::LINE_BYTES_MAX {
        let why = text!("2,048 bytes are kept; name fewer exports and services");
        return Err(complain(FAILED, text!("too long a command line"), b"", why));
    }
    let has_ram = values(b"export=").any(|value| value.starts_with(RAM));
    let more = more + if has_ram { machine::ram_bytes() } else { 0 };
    let [wanted, fixed] = [machine::MEMORY_BYTES, machine::fixed_bytes()];
    give(sys::region(0), wanted + more, fixed + more);
    drive::find_devices(&mut values(DEVICE).filter_map(device), machine::is_small());
    tell_machine();
    let mut line = Writer::new(mem::array::<LINE_BYTES>());
    line.put(b"serve");
    let mut exports = translate(bare::command_line(), &mut line, &mut |word| {
        if !word.starts_with(DEVICE) {
            ignore(word);
        }
    });
    let has_exports = exports;
    for (path, bytes) in drive::found() {
        let mut about = Line::default();
        about.text(path).text(", ");
        about.number((bytes >> 20) as u32).text(" MiB");
        tell(text!("found"), about.bytes(), Text::NOTHING);
        if !has_exports {
            line.put(b" --export=");
            line.put(path.as_bytes());
            exports = true;
        }
    }
    if !exports {
        let why = text!("add a disk or a module (-initrd), or the boot argument export=/ram:rw");
        return Err(nothing_to_export(why));
    }
    let mut args = Args::split(line.since(0));
    args.next();
    serve::run(args, build_id)
}

/// The address and the pin of `SIZE@ADDRESS:PIN`.
fn device(value: &[u8]) -> Option<(usize, u32)> {
    let (address, pin) = (parts(value, b'@').nth(1)?, parts(value, b':').nth(1)?);
    let address = parts(address, b':').next()?.strip_prefix(b"0x")?;
    Some((digits(address, 16)? as usize, digits(pin, 10)?))
}

/// Says what was found.
fn tell_machine() {
    let mut line = Line::default();
    line.number((bare::memory_bytes() >> 20) as u32)
        .text(" MiB");
    tell(
        text!("runs without an operating system, in"),
        line.bytes(),
        Text::NOTHING,
    );
    let (mhz, source) = bare::describe_clock();
    let mut line = Line::default();
    line.number(mhz).text(" MHz");
    let source = match source {
        bare::Source::Hypervisor => text!("as the hypervisor says"),
        bare::Source::Processor => text!("as the processor says"),
        bare::Source::Apic => text!("measured by the timer of its APIC"),
    };
    tell(text!("clock: time-stamp counter of"), line.bytes(), source);
    if !bare::knows_date() {
        let why =
            text!("files get times from 1970 on; give the machine a real-time clock (rtc=on)");
        tell(text!("no clock that knows the date"), b"", why);
    }
    if !bare::has_entropy(&mut [0; 16]) {
        let why = text!("handles can be guessed, and nothing is exported to be written to");
        tell(text!("no random numbers"), b"", why);
    }
}
