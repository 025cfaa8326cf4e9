//! Lines about a server that has started: its exports and ports.

use super::file_user::FileUser;
use crate::event::{self, Events, Line};
use crate::sys;
use crate::text::{Text, text};
use crate::vfs::{Client, Form, Rules, Tree};
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
