//! Exports: from the arguments, and from files as exports(5) has them. Read at the start, and again at SIGHUP.

use super::super::{Fatal, complain, print, reasons, refuse};
use super::options::{ExportArgument, Exports, Options, absolute};
use super::{REASONS, failed};
use crate::config::{
    CLIENT_COUNT_MAX, EXPORTS_FILE_BYTES_MAX, EXPORTS_SUBDIRECTORY, TEXTS_BYTES_MAX,
};
use crate::drive::platform::host::files::Directory;
use crate::engine::mount::write_hosts;
use crate::event::Line;
use crate::mem::{self, Ends as _, Slots, Texts, parts};
use crate::sys::Errno;
use crate::text::{Text, text};
use crate::vfs::{Client, FsError, Rules, Tree};
use crate::wire::exports::{self, Entry, Flaw, Ignored, Who, position};
use core::ffi::CStr;
use core::ops::ControlFlow;

/// Returns what is wrong, and what to do.
pub(super) const fn advice(flaw: Flaw) -> Text {
    match flaw {
        Flaw::Path => text!("name an absolute path without .. and below 1024 bytes"),
        Flaw::Same => text!("this fsid belongs to another export; choose another number"),
        Flaw::Quote => text!("a quoted part does not end; add a \""),
        Flaw::List => text!("the options do not end; write HOST(OPTION,OPTION) without blanks"),
        Flaw::Long => text!("longer than 1024 bytes"),
        Flaw::Many => text!("too many hosts, or too long names; at most 4096 and 128 KiB"),
        Flaw::Option => text!(
            "unknown option; there are ro, rw, root_squash, no_root_squash, all_squash, \
             anonuid=, anongid=, sync, async, secure, insecure, fsid=, isos, mountpoint"
        ),
        Flaw::Value => {
            text!("only fsid=, anonuid= and anongid= have a value, a number below 4294967295")
        }
        Flaw::Unkept => {
            text!("not supported: only AUTH_SYS, and no referrals or replicas; remove it")
        }
        Flaw::Netgroup => text!("netgroups are not supported; name hosts, networks or *.DOMAIN"),
        Flaw::Network => text!("no such network; write 192.0.2.0/24, or 2001:db8::/32"),
        Flaw::Host => text!("not a host name"),
    }
}

/// Parses `DIR[:WORD,...]` of an argument and appends the export, or adds hosts to that of the same path. A word with one of `.:/*@`
/// names hosts, any other word is an option for all of them. `\:` is a colon in the path.
///
/// # Errors
/// The malformed word.
pub(super) fn argument(
    text: &'static [u8],
    boots: bool,
    all: &mut Exports,
) -> Result<(), (Flaw, &'static [u8])> {
    let mut path = heapless::Vec::<u8, { crate::config::EXPORT_PATH_BYTES_MAX }>::new();
    let mut rest = text;
    let words = loop {
        let (byte, after) = match rest {
            [] => break &b""[..],
            [b':', words @ ..] => break words,
            [b'\\', b':', after @ ..] => (b':', after),
            [byte, after @ ..] => (*byte, after),
        };
        path.push(byte).map_err(|_| (Flaw::Path, text))?;
        rest = after;
    };
    let path = absolute(&path).ok_or((Flaw::Path, text))?;
    let path = mem::c_str(mem::copy(&path));
    let mut rules = Rules {
        isos: boots,
        ..Rules::DEFAULT
    };
    let names_hosts = |word: &&[u8]| {
        let is_sign = |byte: &u8| matches!(byte, b'.' | b':' | b'/' | b'*' | b'@');
        !word.contains(&b'=') && word.iter().any(is_sign)
    };
    for word in parts(words, b',') {
        if !word.is_empty() && !names_hosts(&word) {
            // Which options have no effect is reported for files only.
            let set = exports::set_option(&mut rules, word, &mut Ignored::default());
            set.map_err(|flaw| (flaw, word))?;
        }
    }
    let known = all.iter().position(|export| export.path == path);
    let at = known.unwrap_or(all.len());
    if known.is_none() {
        all.push_more(ExportArgument {
            path,
            clients: Slots::default(),
            boots,
        });
    }
    let Some(export) = all.get_mut(at) else {
        return Ok(());
    };
    let count = export.clients.len();
    for word in parts(words, b',').filter(names_hosts) {
        let who = exports::who(word).map_err(|flaw| (flaw, word))?;
        export.clients.push_more(Client { who, rules });
    }
    if export.clients.len() == count {
        export.clients.push_more(Client::everyone(rules));
    }
    Ok(())
}

/// Reports a malformed word of `--export`. Returns exit status 2.
pub(super) fn refuse_word((flaw, word): (Flaw, &[u8])) -> Fatal {
    refuse(b"--export", word, advice(flaw))
}

/// The files, their buffer, and the texts that they contained.
pub(super) struct Files {
    buffer: Option<&'static mut [u8]>,
    texts: Texts,
    ignored: Ignored,
}

/// Receives the entries of all files.
type Each<'a> = &'a mut dyn FnMut(&Entry<'_>) -> Result<(), Flaw>;

impl Files {
    pub(super) fn new() -> Self {
        Self {
            buffer: None,
            texts: Texts::new(TEXTS_BYTES_MAX),
            ignored: Ignored::default(),
        }
    }

    /// Reads all files and passes each entry to `each`.
    ///
    /// # Errors
    /// Exit status 1: a file cannot be read or is malformed; that is reported.
    fn read(&mut self, options: &Options, each: Each<'_>) -> Result<(), Fatal> {
        let Some(path) = options.exports_file() else {
            return Ok(());
        };
        let root = Directory::open(c"/");
        self.read_file(root.as_ref().map_err(|error| *error), path.to_bytes(), each)?;
        if options.file.is_some() {
            return Ok(());
        }
        // A host without the directory has no further files.
        let Ok(dir) = Directory::open(EXPORTS_SUBDIRECTORY) else {
            return Ok(());
        };
        let mut outcome = Ok(());
        let _ = dir.list(&mut |name| {
            let name = name.to_bytes();
            if name.ends_with(b".exports") && name.first() != Some(&b'.') {
                outcome = self.read_file(Ok(&dir), name, each);
            }
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        outcome
    }

    fn read_file(
        &mut self,
        dir: Result<&Directory, FsError>,
        name: &[u8],
        each: Each<'_>,
    ) -> Result<(), Fatal> {
        let buffer = self
            .buffer
            .get_or_insert_with(|| mem::bytes(EXPORTS_FILE_BYTES_MAX + 1));
        let read = dir.and_then(|dir| dir.read(name, buffer));
        let text = match read {
            Ok(text) if text.len() <= EXPORTS_FILE_BYTES_MAX => text,
            Ok(_) => return Err(failed(text!("cannot read"), name, Errno::FBIG)),
            Err(error) => {
                let what = text!("cannot read");
                return Err(reasons::failed_with(what, name, error.number(), &REASONS));
            }
        };
        match exports::parse(text, each) {
            Ok(ignored) => self.ignored.add(ignored),
            Err((offset, flaw)) => {
                let (line, column) = position(text, offset);
                let mut about = Line::default();
                about.raw(name).byte(b':').number(line);
                about.byte(b':').number(column);
                let what = text!("malformed exports");
                return Err(complain(
                    super::super::FAILED,
                    what,
                    about.bytes(),
                    advice(flaw),
                ));
            }
        }
        Ok(())
    }

    /// Replaces the hosts of all exports in the tree by those of the arguments and files. On an error, the tree is unchanged.
    ///
    /// # Errors
    /// Exit status 1: a file cannot be read or is malformed; that is reported.
    pub(super) fn load(&mut self, options: &Options, tree: &mut Tree) -> Result<(), Fatal> {
        let mut left = CLIENT_COUNT_MAX;
        let mut texts = core::mem::replace(&mut self.texts, Texts::new(0));
        let checked = self.read(options, &mut |entry| {
            left = left.checked_sub(1).ok_or(Flaw::Many)?;
            kept(&mut texts, entry).map(drop)
        });
        if checked.is_ok() {
            tree.forget_clients();
            for export in options.exports.iter() {
                for client in export.clients.iter() {
                    tree.add_client(export.path, *client);
                }
            }
            let _ = self.read(options, &mut |entry| {
                let (path, client) = kept(&mut texts, entry)?;
                tree.add_client(path, client);
                Ok(())
            });
            self.report_ignored();
        }
        self.texts = texts;
        checked
    }

    /// Reports the options without effect.
    fn report_ignored(&mut self) {
        let mut line = Line::default();
        for name in core::mem::take(&mut self.ignored).names() {
            if !line.bytes().is_empty() {
                line.byte(b',');
            }
            line.raw(name);
        }
        if !line.bytes().is_empty() {
            complain(
                super::super::DONE,
                text!("options without effect"),
                line.bytes(),
                Text::NOTHING,
            );
        }
    }
}

/// Prints the exports of the arguments and files as exportfs(8) -v does: path, hosts, options.
///
/// # Errors
/// Exit status 0 after the last one; 1: a file cannot be read or is malformed; that is reported.
pub(super) fn show(options: &Options) -> Result<(), Fatal> {
    let mut tree = Tree::default();
    Files::new().load(options, &mut tree)?;
    for export in tree.exports() {
        for Client { who, rules } in export.clients.iter() {
            let mut line = Line::default();
            line.raw(export.path.to_bytes()).text("\t");
            write_hosts(who, &mut line);
            write_rules(rules, &mut line);
            print(line.end_line());
        }
    }
    Err(super::super::DONE)
}

fn write_rules(rules: &Rules, line: &mut Line) {
    line.text("(");
    for (is_set, name, other) in [
        (rules.is_async, "async", "sync"),
        (rules.writable, "rw", "ro"),
        (rules.is_secure, "secure", "insecure"),
        (rules.squashes_root, "root_squash", "no_root_squash"),
        (rules.squashes_all, "all_squash", "no_all_squash"),
        (rules.isos, "isos", ""),
        (rules.needs_mount, "mountpoint", ""),
    ] {
        let name = if is_set { name } else { other };
        if !name.is_empty() {
            if !line.bytes().ends_with(b"(") {
                line.text(",");
            }
            line.text(name);
        }
    }
    let (uid, gid) = rules.anonymous;
    if rules.anonymous != Rules::DEFAULT.anonymous {
        line.text(",anonuid=").number(uid);
        line.text(",anongid=").number(gid);
    }
    if let Some(fsid) = rules.fsid {
        line.text(",fsid=").number(fsid);
    }
    line.text(")");
}

/// Copies the texts of an entry.
fn kept(texts: &mut Texts, entry: &Entry<'_>) -> Result<(&'static CStr, Client), Flaw> {
    let path = absolute(entry.path).ok_or(Flaw::Path)?;
    let path = texts.keep(path.head(path.len() - 1)).ok_or(Flaw::Many)?;
    let who = match entry.who {
        Who::Named(name) => Who::Named(texts.keep(name).ok_or(Flaw::Many)?.to_bytes()),
        Who::Network { address, bits } => Who::Network { address, bits },
        Who::Everyone => Who::Everyone,
    };
    let rules = entry.rules;
    Ok((path, Client { who, rules }))
}
