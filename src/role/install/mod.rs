//! `install` and `uninstall`: a shell script copies the executable to a directory of this host, and makes the host start it.
//!
//! The script is install.sh. Its arguments are made here: the options, and the files of each kind of host.

use super::flags::{Flags, flags};
use super::{Fatal, Role, refuse_value};
use crate::config::{INSTALL_DIR_BYTES_MAX, INSTALL_SCRIPT_BYTES_MAX};
use crate::console::reasons::{Reason, failed, reason};
use crate::mem::{self, index_of};
use crate::os::exec::{SHELL, SHELL_WORD_COUNT_MAX, become_shell, program_name};
use crate::sys::{Args, Errno};
use crate::text::{Text, text};
use core::ffi::CStr;

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  install, uninstall DIR\tmakes this host start the server, or no longer\n");
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// The message for a wrong directory, or none.
const WANTED: Text = text!("directory: one absolute path, at most 128 letters, digits and +-._/");

flags! {
    pub(super) enum Flag of Install {
        For { long: text!("--for"), takes: Value(text!("kind of host: one of busybox, esxi, openrc, systemd, sysvinit")) },
        DryRun { long: text!("--dry-run") },
        Force { long: text!("--force") },
        Links { long: text!("--links") },
        Dir { takes: Operand(WANTED) },
    }
}

pub(super) const FLAGS: Flags = Flags::of(Flag::ROWS, HELP);
// The message of the directory names this limit.
const _: () = assert!(INSTALL_DIR_BYTES_MAX == 128);

/// The kinds of hosts, as `--for` has them.
const KINDS: &[u8] = b"busybox esxi openrc systemd sysvinit";
/// The words by which a later version knows a file that `install` made, such as the executable.
const MARK: &CStr = c"Made by stowaway install";
/// The script.
const SCRIPT: Text = text!(include_str!("install.sh"));
/// The files that the script makes, in its order. `@` is the directory of the executable, `%` that of the exports.
const FILES: [Text; 6] = [
    text!(include_str!("exports")),
    text!(include_str!("S80stowaway.sh")),
    text!(include_str!("openrc.sh")),
    text!(include_str!("stowaway.service")),
    text!(include_str!("firewall.xml")),
    text!(include_str!("local.sh")),
];

/// Runs the script for `action`, with the options of `args`.
pub(super) fn run(args: Args, action: &'static CStr) -> Result<(), Fatal> {
    let (mut dir, mut kind) = (None, c"");
    let (mut dry, mut force, mut links) = (c"", c"", c"");
    FLAGS.read(args, &mut |given| {
        match Flag::of(given.flag)? {
            Flag::DryRun => dry = c"1",
            Flag::Force => force = c"1",
            Flag::Links => links = c"1",
            Flag::For => {
                index_of(KINDS, given.value.to_bytes())?;
                kind = given.value;
            }
            Flag::Dir if dir.is_some() || !is_directory(given.value.to_bytes()) => return None,
            Flag::Dir => dir = Some(given.value),
        }
        Some(())
    })?;
    let dir = dir.ok_or_else(|| refuse_value(b"", b"", WANTED))?;
    let names = mem::bytes(Role::JOINED.len() + 1);
    mem::copy_into(names, Role::JOINED);
    let names = mem::c_str(names);
    let mut words = heapless::Vec::<_, SHELL_WORD_COUNT_MAX>::new();
    words.extend([c"-c", decoded(SCRIPT), program_name()]);
    words.extend([action, dir, kind, dry, force, links, names, MARK]);
    words.extend(FILES.map(decoded));
    let errno = become_shell(&words);
    const NO_SHELL: Reason = reason(Errno::NOENT, text!("does not exist; install needs a shell"));
    Err(failed(
        text!("cannot run"),
        SHELL.to_bytes(),
        errno,
        &[NO_SHELL],
    ))
}

/// Accepts a directory that scripts and units can have without quotes.
fn is_directory(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._/".contains(byte);
    text.len() <= INSTALL_DIR_BYTES_MAX && text.starts_with(b"/") && text.iter().all(is_plain)
}

fn decoded(text: Text) -> &'static CStr {
    let place = mem::bytes(INSTALL_SCRIPT_BYTES_MAX);
    text.decode(place);
    mem::c_str(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_has_no_signs_of_the_shell() {
        for (text, expect) in [
            (&b"/opt/x"[..], true),
            (b"/vmfs/volumes/5f-1/a_b+c.d/", true),
            (b"/", true),
            (b"", false),
            (b"opt", false),
            (b"/a b", false),
            (b"/a\"", false),
            (b"/$a", false),
            (b"/a\n", false),
            (b"/%", false),
            (&[b'/'; 129], false),
        ] {
            assert_eq!(is_directory(text), expect);
        }
    }

    #[test]
    fn scripts_fit_and_have_the_mark() {
        let mark = MARK.to_str().unwrap();
        let marked = FILES.map(|text| text.known().contains(mark));
        assert_eq!(marked, [false, true, true, true, true, false]);
        for text in [&[SCRIPT], &FILES[..]].concat() {
            assert_eq!(decoded(text).to_str(), Ok(text.known()));
        }
    }
}
