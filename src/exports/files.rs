//! Exports: from the arguments, and from files as exports(5) has them. Read at the start, and again at SIGHUP.

use crate::console::{DONE, FAILED, complain, print};
use crate::event::Fatal;

use super::REASONS;
use super::Wanted;
use super::argument::{absolute, advice, refuse_names, report_doubt};
use super::file_user::FileUser;
use super::names;
use crate::config::{
    CLIENT_COUNT_MAX, CLIENT_COUNT_MIN, EXPORT_PATH_BYTES_MAX, EXPORTS_FILE_BYTES_MAX,
    EXPORTS_SUBDIRECTORY, TEXTS_BYTES_MAX, TEXTS_BYTES_MIN,
};
use crate::console::reasons;
use crate::engine::mount::write_hosts;
use crate::event::Line;
use crate::mem::{self, Ends as _, scaled};
use crate::os::files::{self, Directory};
use crate::sys::{self, Errno};
use crate::text::{Text, text};
use crate::vfs::{Client, Room, Rules, Tree};
use crate::wire::exports::{self, Entry, Flaw, Hosts, Ignored, Misplaced};
use core::ops::ControlFlow;

/// Number of the errno whose reason describes a file that is too long.
const TOO_LONG: u8 = Errno::FBIG.raw_os_error() as u8;

/// The files. Reads them with one buffer, and collects their options without effect.
pub(super) struct Files {
    /// Most host names.
    pub name_count_max: usize,
    /// The user of file accesses. A reload must not add exports that need another user.
    pub file_user: FileUser,
    /// The groups of users, with `--manage-gids`.
    pub groups: Option<&'static mut super::groups::Groups>,
    buffer: Option<&'static mut [u8]>,
    ignored: Ignored,
}

/// Receives the entries of all files, with the file's path. Returns false for an entry whose path and hosts an earlier one has.
type Each<'a> = &'a mut dyn FnMut(&[u8], &Entry<'_>) -> Result<bool, Flaw>;

/// Reports an export, or the place of an entry, whose path and hosts were named before.
fn report_duplicate(about: &[u8]) {
    let why = text!("the path is exported to these hosts already, by the rules of the first entry");
    complain(DONE, text!("duplicate export"), about, why);
}

/// A place in a file: path, line and column.
fn place(path: &[u8], (line, column): (u32, u32)) -> Line {
    let mut about = Line::default();
    about.raw(path).byte(b':').number(line);
    about.byte(b':').number(column);
    about
}

/// The hosts at the place of a fault.
fn word_at<'t>(text: &'t [u8], fault: &Misplaced) -> &'t [u8] {
    let line = mem::nth(text, b'\n', (fault.line as usize).saturating_sub(1));
    let word = line.tail((fault.column as usize).saturating_sub(1));
    let end = word
        .iter()
        .position(|byte| mem::has_any(b" \t\r\\(\"", &[*byte]));
    word.head(end.unwrap_or(word.len()))
}

impl Files {
    /// Reads all files and passes each entry to `each`.
    ///
    /// # Errors
    /// Exit status 1: a file cannot be read or is malformed; that is reported.
    fn read(&mut self, wanted: &Wanted, each: Each<'_>) -> Result<(), Fatal> {
        let Some(path) = wanted.files_path() else {
            return Ok(());
        };
        self.read_file(path.to_bytes(), each)?;
        if wanted.file.is_some() {
            return Ok(());
        }
        let mut outcome = Ok(());
        let dir = Directory::open(EXPORTS_SUBDIRECTORY);
        let listed = dir.and_then(|dir| {
            dir.list(&mut |name| {
                let name = name.to_bytes();
                if name.ends_with(b".exports") && name.first() != Some(&b'.') {
                    let mut path = Line::default();
                    path.raw(EXPORTS_SUBDIRECTORY.to_bytes())
                        .byte(b'/')
                        .raw(name);
                    outcome = self.read_file(path.bytes(), each);
                }
                match outcome {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })
        });
        match listed {
            // A host without the directory has no further files.
            Ok(_) | Err(Errno::NOENT) => {}
            // As with exportfs(8), the server starts with the other exports.
            Err(errno) => {
                let path = EXPORTS_SUBDIRECTORY.to_bytes();
                reasons::failed(text!("cannot read"), path, errno, &REASONS);
            }
        }
        outcome
    }

    fn read_file(&mut self, path: &[u8], each: Each<'_>) -> Result<(), Fatal> {
        let buffer = &mut **self
            .buffer
            .get_or_insert_with(|| mem::bytes(EXPORTS_FILE_BYTES_MAX + 1));
        let len = match Directory::current()
            .read(path, buffer)
            .map(|text| text.len())
        {
            Ok(len) if len <= EXPORTS_FILE_BYTES_MAX => len,
            other => {
                let number = other.map_or_else(|errno| errno.raw_os_error() as u8, |_| TOO_LONG);
                let what = text!("cannot read");
                return Err(reasons::failed_with(what, path, number, &REASONS));
            }
        };
        let mut each = |entry: &Entry<'_>| {
            if !each(path, entry)? {
                report_duplicate(place(path, entry.at).bytes());
            }
            Ok(())
        };
        let text = buffer.head_mut(len);
        exports::parse(text, &mut self.ignored, &mut each).map_err(|fault| {
            let mut about = place(path, (fault.line, fault.column));
            if fault.flaw == Flaw::Unnamed {
                about.byte(b' ').raw(word_at(text, &fault));
            }
            let what = match fault.flaw {
                Flaw::Many
                | Flaw::Security
                | Flaw::Mountpoint
                | Flaw::Unkept
                | Flaw::Unnamed
                | Flaw::User => text!("cannot export"),
                _ => text!("malformed exports"),
            };
            complain(FAILED, what, about.bytes(), advice(fault.flaw))
        })
    }
}

impl Files {
    /// Makes memory in the tree for the exports of the arguments, and for the most that files may name: a reload allocates nothing.
    pub(super) fn new(wanted: &Wanted, tree: &mut Tree) -> Self {
        let mut room = Room::default();
        if wanted.files_path().is_some() {
            room.entries = scaled(CLIENT_COUNT_MIN, CLIENT_COUNT_MAX);
            room.paths = room.entries;
            room.names = room.entries;
            room.bytes = scaled(TEXTS_BYTES_MIN, TEXTS_BYTES_MAX);
        }
        for export in wanted.list.iter() {
            room.paths += 1;
            room.bytes += export.path.count_bytes() + 1;
            for client in export.clients() {
                room.entries += 1;
                if let Hosts::Named(name) = client.hosts {
                    room.names += 1;
                    room.bytes += name.len() + 1;
                }
            }
        }
        tree.reserve(&room);
        Self {
            name_count_max: room.names,
            file_user: FileUser::Caller,
            groups: None,
            buffer: None,
            ignored: Ignored::default(),
        }
    }

    /// Replaces the hosts of all exports in the tree by those of the arguments and files. `ended` gets the number and path of each
    /// export that has no hosts any more, and true if it was open. On an error, the tree is unchanged.
    ///
    /// # Errors
    /// Exit status 1: a file cannot be read or is malformed; that is reported.
    pub(super) fn load(
        &mut self,
        wanted: &Wanted,
        tree: &mut Tree,
        ended: &mut dyn FnMut(usize, &[u8], bool),
    ) -> Result<(), Fatal> {
        for export in wanted.list.iter() {
            for client in export.clients() {
                // There is memory for all exports of the arguments.
                match tree.add_client(export.path.to_bytes(), &client) {
                    // A machine without an operating system refuses it.
                    Some(false) if sys::is_bare() => (),
                    Some(false) => report_duplicate(export.path.to_bytes()),
                    _ => report_doubt(&client.hosts, export.path.to_bytes()),
                }
            }
        }
        let file_user = self.file_user;
        let read = self.read(wanted, &mut |file, entry| {
            if !file_user.serves(&entry.rules) {
                return Err(Flaw::User);
            }
            let buffer = &mut [0; EXPORT_PATH_BYTES_MAX];
            let path = absolute(entry.path, buffer).ok_or(Flaw::Path)?;
            let (hosts, rules) = (refuse_names(entry.hosts)?, entry.rules);
            let client = Client { hosts, rules };
            let added = tree.add_client(path.head(path.len() - 1), &client);
            if let (Hosts::Named(_), Some(true)) = (hosts, added) {
                tree.locate_name(file, entry.at);
                report_doubt(&hosts, place(file, entry.at).bytes());
            }
            added.ok_or(Flaw::Many)
        });
        match read {
            Ok(()) => tree.replace_clients(ended),
            Err(_) => tree.drop_clients(),
        }
        self.report_ignored(tree);
        read
    }

    /// Reports the options without effect.
    fn report_ignored(&mut self, tree: &Tree) {
        let ignored = core::mem::take(&mut self.ignored);
        let nested = text!("export each file system that is mounted below another export");
        for (is_nested, advice) in [(false, Text::NOTHING), (true, nested)] {
            let mut line = Line::default();
            for name in ignored.names() {
                if matches!(name, b"nohide" | b"crossmnt") == is_nested {
                    line.byte(b',').raw(name);
                }
            }
            if let [_, names @ ..] = line.bytes() {
                complain(DONE, text!("options without effect"), names, advice);
            }
        }
        let mut clients = tree.exports().iter().flat_map(|export| export.clients());
        if clients.any(|client| client.rules.fsid == Some(0)) {
            let advice = text!("version 4 has no other root; clients mount the export's path");
            complain(DONE, text!("option without effect"), b"fsid=0", advice);
        }
    }
}

/// Prints the exports of the arguments and files as exportfs(8) -v does: path, hosts, options. Reports paths that do not exist.
///
/// # Errors
/// Exit status 0 after the last one; 1: a path does not exist, or a file cannot be read or is malformed; that is reported.
pub fn show(wanted: &Wanted, tree: &mut Tree) -> Result<(), Fatal> {
    Files::new(wanted, tree).load(wanted, tree, &mut |_, _, _| ())?;
    let mut status = DONE;
    for export in tree.exports().iter() {
        if let Err(errno) = files::find(export.path) {
            let path = export.path.to_bytes();
            status = reasons::failed(text!("cannot export"), path, errno, &REASONS);
        }
        for Client { hosts, rules } in export.clients() {
            let mut line = Line::default();
            line.raw(export.path.to_bytes()).byte(b'\t');
            write_hosts(&hosts, &mut line);
            write_rules(&rules, &mut line);
            print(line.end_line());
        }
    }
    names::test(tree);
    Err(status)
}

fn write_rules(rules: &Rules, line: &mut Line) {
    let mut before = b'(';
    for word in rules.words() {
        line.byte(before).raw(word);
        before = b',';
    }
    let (uid, gid) = rules.anonymous;
    if rules.anonymous != Rules::DEFAULT.anonymous {
        line.text(",anonuid=").number(uid);
        line.text(",anongid=").number(gid);
    }
    if let Some(fsid) = rules.fsid {
        line.text(",fsid=").number(fsid);
    }
    line.byte(b')');
}
