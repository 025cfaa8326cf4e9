//! `init`: the first process of a machine that Linux runs. It finds what the boot arguments ask for, or all that there is, and serves
//! it until it is asked to stop; then it switches the machine off.

use super::boot_words::{LINE_BYTES, ignore, nothing_to_export, tell, translate};
use super::serve::{self, Served};
use super::{Fatal, USAGE, complain};
use crate::drive::platform::host::init::{self, Found};
use crate::event::Line;
use crate::mem;
use crate::sys::{self, Args, BUILD_ID_BYTES};
use crate::text::text;
use crate::wire::Writer;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

/// This process is that one, or was made by it.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// Serves until the machine is to be switched off, and does that.
pub(super) fn run(args: Args, build_id: &[u8; BUILD_ID_BYTES]) -> Result<(), Fatal> {
    if !init::is_first() {
        let what = text!("init is what Linux starts as the first process of a machine");
        return Err(complain(USAGE, what, b"", super::SEE_HELP));
    }
    IS_RUNNING.store(true, Ordering::Relaxed);
    let card = init::begin();
    let outcome = read(args).and_then(|served| {
        served.card = card;
        let served: &'static Served = served;
        let outcome = served.run_all(build_id);
        init::unmount(&mut served.exports().map(|wanted| wanted.path));
        outcome
    });
    init::power_off();
    outcome
}

/// Reads the boot arguments and finds what they name.
fn read(args: Args) -> Result<&'static mut Served, Fatal> {
    let mut line = Writer::new(mem::array::<LINE_BYTES>());
    // They outlast the machine: there is no place where the secret of kernel handles would.
    line.put(b"serve --handles=path");
    let unknown = &mut |word: &[u8]| {
        if init::is_unknown(word, args.clone()) {
            ignore(word);
        }
    };
    let boot_line = init::command_line(mem::array::<LINE_BYTES>());
    let mut has_exports = translate(boot_line, &mut line, unknown);
    if !has_exports {
        init::disks(&mut |path, found| {
            tell_found(path, found);
            has_exports = true;
            line.put(b" --export=");
            line.put(path.to_bytes());
        });
    }
    if !has_exports {
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
        tell_found(wanted.path, init::bring(wanted.path, wanted.rules.writable));
    }
    #[cfg(feature = "sftp-server")]
    {
        served.sftp_options.jail = Some(init::close_mounts());
    }
    Ok(served)
}

fn tell_found(path: &CStr, found: Found) {
    let what = match found {
        Found::There => return,
        Found::Memory => text!("files in memory"),
        Found::Disk => text!("a disk, with a file system of the kernel's"),
        Found::Image => text!("a disk, with an image of ISO 9660"),
        Found::Share => text!("a share of the hypervisor"),
        Found::Nothing => text!("neither a disk that can be read nor a share"),
    };
    tell(text!("found"), path.to_bytes(), what);
}

/// A line as the console of such a machine has it: behind the seconds since the kernel began. Else `None`.
pub(super) fn stamped(line: &[u8]) -> Option<Line> {
    if !IS_RUNNING.load(Ordering::Relaxed) {
        return None;
    }
    let ms = sys::now().since(Default::default()).as_ms();
    let mut stamped = Line::default();
    stamped.text("[").digits(ms / 1000, 10, 1);
    stamped.text(".").digits(ms % 1000, 10, 3).text("] ");
    stamped.raw(line.strip_suffix(b"\n").unwrap_or(line));
    Some(stamped)
}
