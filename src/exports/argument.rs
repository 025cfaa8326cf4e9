//! The arguments of `--export` and `--isos`: directories, and the hosts that may mount them.

use crate::console::{DONE, complain, refuse};
use crate::event::Fatal;

use crate::config::{EXPORT_PATH_BYTES_MAX, HAS_NAMES};
use crate::event::Line;
use crate::mem::{self, Ends as _, has_any, parts};
use crate::text::{text, texts};
use crate::vfs::{Client, Rules};
use crate::wire::Writer;
use crate::wire::exports::{self, Doubt, Flaw, Hosts, Ignored};
use crate::wire::label::put_byte;
use core::ffi::CStr;

// The messages of `--export` and `--isos` name this limit.
const _: () = assert!(EXPORT_PATH_BYTES_MAX == 1024);

/// An export of the command line (`--export` or `--isos`).
#[derive(Debug)]
pub struct ExportArgument {
    /// Absolute path, as clients name it in MNT.
    pub path: &'static CStr,
    /// The rules of all hosts that it names.
    pub rules: Rules,
    /// The words after the path, which are well-formed; `*` if none of them names hosts.
    words: &'static [u8],
}

texts! {
    /// Returns the cause of a fault, and the correction.
    pub(super) fn advice(Flaw) {
        Path => "not an absolute path without .. and below 1024 bytes",
        Mark => "a byte order mark (BOM) begins the file; save it as UTF-8 without BOM",
        Second => "a second path; write each path on a line of its own",
        Foreign => "syntax of BSD or Solaris; write PATH HOST(OPTION,OPTION) as on Linux",
        Quote => "a quoted part does not end; add a \"",
        List => "the options do not end; write HOST(OPTION,OPTION) without blanks",
        Many => "too many hosts, or too long names; at most 4096 and 128 KiB",
        Option => "unknown option; see exports(5) and --help",
        Value => "only fsid=, anonuid= and anongid= have a value, a number below 4294967295",
        Security => "not supported: only AUTH_SYS, without Kerberos and TLS; remove it",
        Mountpoint => "only mountpoint without a path is supported; remove the path",
        Unkept => "this option is not supported; remove it",
        Network => "no such network; write 192.0.2.0/24, or 2001:db8::/32",
        Host => "not a host name",
        Unnamed => "no host names are looked up here; write addresses or networks",
        User => "this host has no setfsuid, and the server has one user; start it again for another",
    }
}

texts! {
    /// Returns the reason of a doubt.
    fn doubts(Doubt) {
        Everyone => "the name of one host; for every host write *",
        Wildcards => "wildcards match hosts that have a name; for every host write *",
        Prefix => "a host name, although it looks like addresses; for a network write 192.0.2.0/24",
        Netgroup => "netgroups are not supported, so no host matches; name its hosts or networks",
    }
}

/// Passes hosts on.
///
/// # Errors
/// `Unnamed`: a host name, where none is looked up. A netgroup is looked up nowhere.
pub(super) fn refuse_names(hosts: Hosts<'_>) -> Result<Hosts<'_>, Flaw> {
    match hosts {
        Hosts::Named([b'@', ..]) => Ok(hosts),
        Hosts::Named(_) if !HAS_NAMES || crate::sys::is_bare() => Err(Flaw::Unnamed),
        hosts => Ok(hosts),
    }
}

/// Reports hosts that are perhaps not those that the author means. `about` is their place, or the export.
pub(super) fn report_doubt(hosts: &Hosts<'_>, about: &[u8]) {
    if let (Some(doubt), Hosts::Named(name)) = (Doubt::about(hosts), *hosts) {
        let mut line = Line::default();
        line.raw(about).byte(b' ').raw(name);
        complain(DONE, text!("check the hosts"), line.bytes(), doubts(doubt));
    }
}

/// Returns true if a word of an argument names hosts: it has one of `.:/*@`. Any other word is an option.
fn names_hosts(word: &[u8]) -> bool {
    has_any(word, b".:/*@") && !has_any(word, b"=")
}

impl ExportArgument {
    /// Parses `DIR[:WORD,...]`. `\:` is a colon in the path.
    ///
    /// # Errors
    /// The malformed word.
    pub fn parse(text: &'static [u8]) -> Result<Self, (Flaw, &'static [u8])> {
        let buffer = &mut [0; EXPORT_PATH_BYTES_MAX];
        let mut path = Writer::new(buffer);
        let mut rest = text;
        let mut words = loop {
            let (byte, after) = match rest {
                [] => break &b""[..],
                [b':', words @ ..] => break words,
                [b'\\', b':', after @ ..] => (b':', after),
                [byte, after @ ..] => (*byte, after),
            };
            put_byte(&mut path, byte);
            rest = after;
        };
        let buffer = &mut [0; EXPORT_PATH_BYTES_MAX];
        let path = absolute(path.since(0), buffer).ok_or((Flaw::Path, text))?;
        let mut rules = Rules::DEFAULT;
        let mut is_for_all = true;
        for word in parts(words, b',').filter(|word| !word.is_empty()) {
            let parsed = match names_hosts(word) {
                true => {
                    is_for_all = false;
                    let hosts = exports::hosts(word);
                    hosts.and_then(refuse_names).map(drop)
                }
                // Which options have no effect is reported for files only.
                false => exports::set_option(&mut rules, word, &mut Ignored::default()),
            };
            parsed.map_err(|flaw| (flaw, word))?;
        }
        if is_for_all {
            words = b"*";
        }
        Ok(Self {
            path: mem::c_str(mem::copy(path)),
            rules,
            words,
        })
    }

    /// The hosts that may mount the export: every host if none is named.
    pub fn clients(&self) -> impl Iterator<Item = Client<'static>> + use<> {
        let rules = self.rules;
        let words = parts(self.words, b',').filter(|word| names_hosts(word));
        words.filter_map(move |word| {
            let hosts = exports::hosts(word).ok()?;
            Some(Client { hosts, rules })
        })
    }
}

/// Reports a malformed word of `--export`. Returns exit status 2.
pub(super) fn refuse_word((flaw, word): (Flaw, &[u8])) -> Fatal {
    refuse(b"--export", word, advice(flaw))
}

/// Makes a path absolute and removes ".", doubled and trailing "/". Returns it with a NUL at its end. `None`: empty, too long, or with
/// a ".." or a NUL in it.
pub(super) fn absolute<'b>(
    path: &[u8],
    buffer: &'b mut [u8; EXPORT_PATH_BYTES_MAX],
) -> Option<&'b [u8]> {
    let mut len = 0;
    if path.first()? != &b'/' {
        len = crate::sys::current_dir(buffer)?;
    }
    let mut text = Writer::new(buffer);
    // The root "/" adds nothing, because a "/" precedes each name below.
    if len > 1 {
        text.put_ahead(len);
    }
    for name in parts(path, b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            // A NUL would end the path.
            _ if has_any(name, &[0]) => return None,
            _ => {
                put_byte(&mut text, b'/');
                text.put(name);
            }
        }
    }
    if text.position() == 0 {
        put_byte(&mut text, b'/');
    }
    put_byte(&mut text, 0);
    let len = text.written()?;
    Some(buffer.head(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    fn parsed(text: &str) -> Result<ExportArgument, Flaw> {
        let text = Box::leak(text.to_owned().into_boxed_str()).as_bytes();
        ExportArgument::parse(text).map_err(|(flaw, _)| flaw)
    }

    fn clients(export: &ExportArgument) -> Vec<Client<'static>> {
        export.clients().collect()
    }

    /// Returns the rules of an export for all hosts.
    fn rules(export: &ExportArgument) -> Rules {
        assert_eq!(clients(export), [Client::everyone(export.rules)]);
        export.rules
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
            ("/srv:sync=1", Flaw::Value),
            ("/srv:rw=1", Flaw::Foreign),
            ("/srv:anonuid=4294967295", Flaw::Value),
            ("/srv:anonuid=abc", Flaw::Value),
            ("/srv:anongid", Flaw::Value),
            ("/srv:fsid=", Flaw::Value),
            ("/srv:fsid=x", Flaw::Value),
            ("/srv:bogus", Flaw::Option),
            ("/srv:sec=krb5", Flaw::Security),
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
        let exports = [
            "/srv:rw,192.0.2.0/24,2001:db8::1,fsid=3",
            "/srv:*.example.org,no_root_squash",
        ];
        let clients = exports.map(|text| clients(&parsed(text).unwrap()));
        let shown = clients.iter().flatten().map(|client| {
            let mut line = crate::event::Line::default();
            crate::engine::mount::write_hosts(&client.hosts, &mut line);
            let hosts = String::from_utf8(line.bytes().to_vec()).unwrap();
            let has = |option| client.rules.has(option);
            (hosts, has(Rules::WRITABLE), has(Rules::SQUASHES_ROOT))
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
            set: Rules::WRITABLE | Rules::ASYNC | Rules::ISOS | Rules::SQUASHES_ALL,
            anonymous: (1000, 100),
        };
        let text = "/srv:rw,async,no_root_squash,all_squash,anonuid=1000,anongid=100,fsid=7,isos";
        assert_eq!(rules(text), expect);
    }
}
