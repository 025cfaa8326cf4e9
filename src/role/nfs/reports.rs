//! Lines about a server that has started: its exports and ports, and how clients mount.

use super::file_user::FileUser;
use crate::event::{self, Events, Line};
use crate::net::NetError;
use crate::sys;
use crate::text::{Text, text};
use crate::vfs::{Client, Exports, Form, Rules, Tree};
use crate::wire::exports::Hosts;
use core::net::SocketAddrV6;

/// Reports an export with its mode and kind of handles, unless it is missing.
pub(super) fn report_export(tree: &mut Tree, number: usize, events: &mut Events) {
    let is_read_only = tree.is_read_only(number);
    let Some(export) = tree.exports().get(number) else {
        return;
    };
    let Some(root) = export.root else {
        return;
    };
    let is_writable = export.common_rules().has(Rules::WRITABLE) && !is_read_only;
    let kind = match (is_writable, root.form) {
        (false, Form::Kernel) => text!("read-only, kernel handles"),
        (false, Form::Path) => text!("read-only, path handles"),
        (true, Form::Kernel) => text!("read-write, kernel handles"),
        (true, Form::Path) => text!("read-write, path handles"),
    };
    let path = export.path.to_bytes();
    events.report(event::EXPORTING, path, kind);
    let may_write =
        |client: Client<'_>| client.hosts == Hosts::Everyone && client.rules.has(Rules::WRITABLE);
    if is_writable && export.clients().any(may_write) {
        let advice = text!("limit them, as in --export /srv:rw,192.0.2.0/24");
        events.report(event::WRITABLE_BY_ALL, path, advice);
    }
    if path.len() == 1 {
        events.report(event::UNUSABLE_BY_WINDOWS, b"/", Text::NOTHING);
    }
}

/// Reports each export, and the UID used for file access.
pub(super) fn report_exports(tree: &mut Tree, file_user: FileUser, events: &mut Events) {
    for number in 0..tree.exports().len() {
        report_export(tree, number, events);
    }
    let why = match file_user {
        FileUser::Caller => {
            events.report(event::ACTING_AS_CALLERS, b"", Text::NOTHING);
            return;
        }
        FileUser::Own => Text::NOTHING,
        FileUser::Anonymous(_) => text!("this host has no setfsuid"),
        FileUser::Root => text!("this host has no setfsuid, and all exports say no_root_squash"),
    };
    let mut user = Line::default();
    user.number(sys::user_id());
    events.report(event::ACTING_AS, user.bytes(), why);
}

/// Reports the address of a service.
pub(super) fn report_listening(events: &mut Events, at: &SocketAddrV6, what: Text) {
    let mut line = Line::default();
    line.socket(at).say(what);
    events.report(event::LISTENING, line.bytes(), Text::NOTHING);
}

/// A command that mounts an export: the text before the host, between host and path, and after the path.
type Command = [Text; 3];

const LINUX: Command = [
    text!("mount -t nfs -o nolock,vers=3"),
    text!(":"),
    text!(" /mnt"),
];
static COMMANDS: [Command; 4] = [
    LINUX,
    [
        text!("mount_nfs -o locallocks,resvport,vers=3"),
        text!(":"),
        text!(" /tmp/mnt  # macOS"),
    ],
    [
        text!("mount -o anon,nolock"),
        text!(":"),
        text!(" Z:  # Windows"),
    ],
    [
        text!("esxcli storage nfs add -v stowaway -H"),
        text!(" -s "),
        text!("  # ESXi"),
    ],
];

/// The addresses of NFS and MOUNT, and the first export: what a command to mount it needs.
pub(super) struct Mounting<'a> {
    pub(super) nfs_at: SocketAddrV6,
    pub(super) mount_port: u16,
    pub(super) exports: Exports<'a>,
}

impl Mounting<'_> {
    /// Writes a command. `portmap`: clients find the ports by the portmapper.
    fn command(&self, [before, between, after]: Command, portmap: bool) -> Line {
        let mut line = Line::default();
        line.say(before);
        if !portmap {
            line.say(text!(",proto=tcp,port="))
                .number(self.nfs_at.port().into())
                .say(text!(",mountport="))
                .number(self.mount_port.into());
        }
        line.byte(b' ');
        if self.nfs_at.ip().to_canonical().is_unspecified() {
            let name = &mut [0; 64];
            let len = sys::host_name(name);
            line.raw(name.get(..len).unwrap_or_default());
        } else {
            line.address(*self.nfs_at.ip());
        }
        let path = self
            .exports
            .get(0)
            .map_or(&b"/"[..], |export| export.path.to_bytes());
        line.say(between).escaped(path).say(after);
        line
    }

    /// Prints the commands for Linux, macOS, Windows and ESXi if standard error is a terminal.
    pub(super) fn print(&self, events: &mut Events) {
        if sys::is_terminal() {
            events.report(event::MOUNT_WITH, b"", Text::NOTHING);
            for command in &COMMANDS {
                events.report_line(&mut self.command(*command, true));
            }
        }
    }

    /// Reports that there is no portmapper, and the command that works without.
    pub(super) fn report_no_portmap(&self, error: NetError, events: &mut Events) {
        let what = match error {
            NetError::Denied => event::MAY_NOT_PORTMAP,
            _ => event::NO_PORTMAP,
        };
        events.report(what, self.command(LINUX, false).bytes(), Text::NOTHING);
    }
}
