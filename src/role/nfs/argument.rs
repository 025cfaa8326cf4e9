//! The arguments of `--export` and `--isos`: directories, and the hosts that may mount them.

use super::super::{Fatal, refuse};
use crate::config::EXPORT_PATH_BYTES_MAX;
use crate::mem::{self, Slots, parts};
use crate::text::{Text, text};
use crate::vfs::{Client, Rules};
use crate::wire::exports::{self, Flaw, Ignored};
use core::ffi::CStr;

// The messages of `--export` and `--isos` name this limit.
const _: () = assert!(EXPORT_PATH_BYTES_MAX == 1024);

/// An export of the command line (`--export` or `--isos`).
#[derive(Debug)]
pub(in super::super) struct ExportArgument {
    /// Absolute path, as clients name it in MNT.
    pub(in super::super) path: &'static CStr,
    /// The hosts that may mount it.
    pub(in super::super) clients: Slots<Client>,
    /// True for `--isos`: prints an iPXE script for the images in the directory.
    #[cfg_attr(not(feature = "ipxe"), expect(dead_code))]
    pub(super) boots: bool,
}

/// The exports of the command line.
pub(super) type Exports = Slots<ExportArgument>;

/// Returns the cause of a fault, and the correction.
pub(super) const fn advice(flaw: Flaw) -> Text {
    match flaw {
        Flaw::Path => text!("name an absolute path without .. and below 1024 bytes"),
        Flaw::Same => text!("this fsid belongs to another export; choose another number"),
        Flaw::Quote => text!("a quoted part does not end; add a \""),
        Flaw::List => text!("the options do not end; write HOST(OPTION,OPTION) without blanks"),
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
pub(super) fn parse(
    text: &'static [u8],
    boots: bool,
    all: &mut Exports,
) -> Result<(), (Flaw, &'static [u8])> {
    let mut path = heapless::Vec::<u8, EXPORT_PATH_BYTES_MAX>::new();
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
        let hosts = exports::hosts(word).map_err(|flaw| (flaw, word))?;
        export.clients.push_more(Client { hosts, rules });
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

/// A path, and a NUL at its end.
pub(super) type PathText = heapless::Vec<u8, EXPORT_PATH_BYTES_MAX>;

/// Makes a path absolute and removes ".", doubled and trailing "/". Returns it with a NUL at its end. `None`: empty, too long, or with
/// a ".." or a NUL in it.
pub(super) fn absolute(path: &[u8]) -> Option<PathText> {
    let mut text = PathText::new();
    if path.contains(&0) {
        return None;
    }
    if path.first()? != &b'/' {
        let buffer = &mut [0; EXPORT_PATH_BYTES_MAX];
        let len = crate::sys::current_dir(buffer)?;
        // The root "/" adds nothing, because a "/" precedes each name below.
        if len > 1 {
            text.extend_from_slice(buffer.get(..len)?).ok()?;
        }
    }
    for name in parts(path, b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            _ => {
                text.push(b'/').ok()?;
                text.extend_from_slice(name).ok()?;
            }
        }
    }
    if text.is_empty() {
        text.push(b'/').ok()?;
    }
    text.push(0).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::exports::Hosts;

    fn parsed(text: &str) -> Result<ExportArgument, Flaw> {
        let text = Box::leak(text.to_owned().into_boxed_str()).as_bytes();
        let mut all = Exports::default();
        parse(text, false, &mut all).map_err(|(flaw, _)| flaw)?;
        Ok(all.pop().unwrap())
    }

    /// Returns the rules of an export for all hosts.
    fn rules(export: &ExportArgument) -> Rules {
        let [
            Client {
                hosts: Hosts::Everyone,
                rules,
            },
        ] = *export.clients
        else {
            panic!("not for every host");
        };
        rules
    }

    #[test]
    fn export_options_follow_the_last_colon() {
        let check = |text: &str, path: &str, fsid| {
            let wanted = parsed(text).unwrap();
            assert_eq!(
                (wanted.path.to_str().unwrap(), rules(&wanted).fsid),
                (path, fsid),
                "{text}"
            );
        };
        check("/srv", "/srv", None);
        check("//srv/./x/", "/srv/x", None);
        check("/srv:ro,fsid=7", "/srv", Some(7));
        check("/srv\\:a/b:fsid=8", "/srv:a/b", Some(8));
        check("/", "/", None);
        for (text, flaw) in [
            ("", Flaw::Path),
            ("/a/../b", Flaw::Path),
            ("/srv:rw=1", Flaw::Value),
            ("/srv:anonuid=4294967295", Flaw::Value),
            ("/srv:anonuid=abc", Flaw::Value),
            ("/srv:anongid", Flaw::Value),
            ("/srv:fsid=", Flaw::Value),
            ("/srv:fsid=x", Flaw::Value),
            ("/srv:bogus", Flaw::Option),
            ("/srv:sec=krb5", Flaw::Unkept),
            ("/srv:@group", Flaw::Netgroup),
            ("/srv:a/b", Flaw::Network),
            ("/srv:192.0.2.0/33", Flaw::Network),
        ] {
            assert_eq!(parsed(text).unwrap_err(), flaw, "{text}");
        }
        assert_eq!(parsed(&"/".repeat(1000)).unwrap().path, c"/");
        assert!(parsed(&format!("/{}", "x".repeat(1022))).is_ok());
        assert!(parsed(&format!("/{}", "x".repeat(1023))).is_err());
    }

    #[test]
    fn words_with_signs_are_hosts() {
        let mut all = Exports::default();
        for text in [
            "/srv:rw,192.0.2.0/24,2001:db8::1,fsid=3",
            "/srv:*.example.org,no_root_squash",
        ] {
            parse(text.as_bytes(), false, &mut all).unwrap();
        }
        let export = all.pop().unwrap();
        assert!(all.is_empty());
        let shown = export.clients.iter().map(|client| {
            let mut line = crate::event::Line::default();
            crate::engine::mount::write_hosts(&client.hosts, &mut line);
            let hosts = String::from_utf8(line.bytes().to_vec()).unwrap();
            (hosts, client.rules.writable, client.rules.squashes_root)
        });
        let expect = [
            ("192.0.2.0/24", true, true),
            ("2001:db8::1", true, true),
            ("*.example.org", false, false),
        ];
        let expect = expect.map(|(hosts, rw, squash)| (hosts.to_owned(), rw, squash));
        assert_eq!(shown.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn export_options_match_exports_5() {
        let rules = |text: &str| rules(&parsed(text).unwrap());
        assert_eq!(rules("/srv"), Rules::default());
        assert_eq!(
            rules("/srv:ro,root_squash,no_all_squash,sync"),
            Rules::default()
        );
        let expect = Rules {
            fsid: Some(7),
            is_secure: false,
            needs_mount: false,
            writable: true,
            is_async: true,
            isos: true,
            squashes_root: false,
            squashes_all: true,
            anonymous: (1000, 100),
        };
        let text = "/srv:rw,async,no_root_squash,all_squash,anonuid=1000,anongid=100,fsid=7,isos";
        assert_eq!(rules(text), expect);
    }
}
