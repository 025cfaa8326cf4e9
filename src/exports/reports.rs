//! Lines about a server that has started: its exports and ports.

use super::file_user::FileUser;
use super::protocol::ClientKind;
use crate::event::{Events, Level, Line};
use crate::mem::{Ends as _, nth, parts};
use crate::os::files::Directory;
use crate::sys;
use crate::text::{Text, text};
use crate::vfs::{Client, Form, Rules, Tree};
use crate::wire::exports::Hosts;
use crate::wire::label::number;
use core::ffi::CStr;

/// Length of the part of the list of mounts that is read at a time (bytes).
const MOUNTS_BYTES: usize = 4 << 10;

/// Reports an export with its mode and kind of handles, unless it is missing.
pub(super) fn report_export(
    tree: &mut Tree,
    protocol: ClientKind,
    number: usize,
    events: &mut Events,
) {
    let is_read_only = tree.is_read_only(number);
    let Some(export) = tree.exports().get(number) else {
        return;
    };
    let Some(root) = export.root else {
        return;
    };
    if !protocol.is_nfs() {
        let path = export.path.to_bytes();
        return events.report(text!("exporting"), path, text!("read-only"));
    }
    let is_writable = export.common_rules().has(Rules::WRITABLE) && !is_read_only;
    let kind = match (is_writable, root.form) {
        (false, Form::Kernel) => text!("read-only, kernel handles"),
        (false, Form::Path) => text!("read-only, path handles"),
        (true, Form::Kernel) => text!("read-write, kernel handles"),
        (true, Form::Path) => text!("read-write, path handles"),
    };
    let path = export.path.to_bytes();
    if is_read_only && export.common_rules().has(Rules::WRITABLE) {
        let why = text!(
            "read-only: rw was asked, but the file system is read-only here (systemd: ReadWritePaths="
        );
        let mut line = Line::default();
        line.marks.level = Level::Warn;
        line.prefix().say(text!("exporting")).details(path, why);
        events.report_line(line.escaped(path).byte(b')'));
    } else {
        events.report(text!("exporting"), path, kind);
    }
    let may_write =
        |client: Client<'_>| client.hosts == Hosts::Everyone && client.rules.has(Rules::WRITABLE);
    if is_writable && export.clients().any(may_write) {
        let advice = text!("limit them, as in --export /srv:rw,192.0.2.0/24");
        events.report(text!("all hosts may write to").warn(), path, advice);
    }
    if path.len() == 1 {
        events.report(
            text!("Windows clients cannot use an export of this name; export a directory below"),
            b"/",
            Text::NOTHING,
        );
    }
}

/// Reports that `file` names no export.
pub(super) fn report_nothing(tree: &Tree, file: Option<&CStr>, events: &mut Events) {
    if !tree.exports().iter().any(|export| export.is_exported()) {
        let file = file.unwrap_or_default().to_bytes();
        let advice = text!("write an export there, and send SIGHUP");
        events.report(text!("nothing is exported yet in").warn(), file, advice);
    }
}

/// Reports the file systems that are mounted below an export and not exported themselves: clients find an empty directory there.
fn report_mounts_below(tree: &Tree, events: &mut Events) {
    if crate::sys::is_bare() {
        return;
    }
    let (root, mut offset) = (Directory::current(), 0);
    loop {
        let buffer = &mut [0; MOUNTS_BYTES];
        let Ok(text) = root.read_at(b"/proc/self/mountinfo", offset, buffer) else {
            return;
        };
        // The last line may be cut. A line that fills the buffer is passed over.
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let len = whole.map_or(text.len(), |end| end + 1);
        if len == 0 {
            return;
        }
        for line in parts(text.head(len), b'\n') {
            // Fields: mount ID, parent ID, major:minor, root, mount point.
            let mut at = Line::default();
            put_decoded(&mut at, nth(line, b' ', 4));
            let at = at.bytes();
            if is_mounted_below(tree, at) {
                let mut line = Line::default();
                line.marks.level = Level::Warn;
                line.prefix().escaped(at);
                line.say(text!(" is another file system: not entered; export it too"));
                events.report_line(&mut line);
            }
        }
        // A read that does not fill the buffer has reached the end.
        if text.len() < MOUNTS_BYTES {
            return;
        }
        offset += len as u64;
    }
}

/// Appends a path of the list of mounts, in which a backslash and three octal digits stand for a blank and the like.
fn put_decoded(line: &mut Line, path: &[u8]) {
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        let digits = after.head(3);
        let code = number(digits, 8).filter(|_| *byte == b'\\' && digits.len() == 3);
        (rest, _) = match code {
            Some(code) => (after.tail(3), line.byte(code as u8)),
            None => (after, line.byte(*byte)),
        };
    }
}

/// Returns true if `at` is below an export, and not exported itself.
fn is_mounted_below(tree: &Tree, at: &[u8]) -> bool {
    let is_below = |path: &[u8]| {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let rest = at.strip_prefix(path).unwrap_or_default();
        rest.len() > 1 && rest.starts_with(b"/")
    };
    // Below the root directory, those of the kernel are left out.
    let kernel: [&[u8]; 4] = [b"/proc", b"/sys", b"/dev", b"/run"];
    let is_kernel = kernel.iter().any(|path| at == *path || is_below(path));
    let holds = |path: &[u8]| is_below(path) && !(is_kernel && path == b"/");
    let exported = || tree.exports().iter().filter(|export| export.is_exported());
    exported().any(|export| holds(export.path.to_bytes()))
        && !exported().any(|export| export.path.to_bytes() == at)
}

/// Reports each export, and the UID used for file access.
pub(super) fn report_exports(
    tree: &mut Tree,
    protocol: ClientKind,
    file_user: FileUser,
    events: &mut Events,
) {
    for number in 0..tree.exports().len() {
        report_export(tree, protocol, number, events);
    }
    report_mounts_below(tree, events);
    let why = match file_user {
        FileUser::Caller => {
            let who = match protocol.is_nfs() {
                true => text!("clients access files with the UID that they send"),
                false => text!("clients access files as the anonymous user of each export"),
            };
            return events.report(who, b"", Text::NOTHING);
        }
        FileUser::Own => Text::NOTHING,
        FileUser::Anonymous(_) => text!("this host has no setfsuid"),
        FileUser::Root => text!("this host has no setfsuid, and all exports say no_root_squash"),
    };
    let mut user = Line::default();
    user.number(sys::user_id());
    events.report(
        text!("every client accesses files as user"),
        user.bytes(),
        why,
    );
}
