//! The arguments of `nfs`: exports, addresses, ports and handles.

use super::super::args::{address, port};
use super::super::flags::{Flags, flags};
use super::super::{Fatal, network, refuse};
use super::exports;
use crate::config::{EXPORT_PATH_BYTES_MAX, EXPORTS_FILE, NFS_PORT};
use crate::drive::platform::host::files;
#[cfg(feature = "serve")]
use crate::drive::platform::host::loops::SharedState;
use crate::drive::platform::network::Network;
use crate::mem::Slots;
use crate::mem::{index_of, parts};
use crate::sys::Args;
use crate::vfs::Client;
use crate::vfs::host::Form;
use crate::wire::exports::Flaw;
#[cfg(feature = "serve")]
use core::cell::Cell;
use core::ffi::CStr;
use core::net::{Ipv6Addr, SocketAddrV6};

flags! {
    pub(in super::super) enum Flag {
        bare {
            NoPortmap "p",
            Test "T",
        }
        valued {
            Port "n" => "name a port below 65536",
            MountPort "m" => "name a port below 65536",
            Address "l" => "name a numeric address, such as 192.0.2.1 or 2001:db8::1",
            Handles "--handles" => "name kernel or path",
            KeyFile "--key-file" => "name a file",
            Log "--log" => "name a file",
            File "e" => "name a file with exports, as exports(5) describes it",
            Export "--export" => "name a directory; an export is DIR[:OPTION,...] without .. and below 1024 bytes; see --help",
            #[cfg(feature = "ipxe")]
            Isos "--isos" => "name a directory; an export is DIR[:OPTION,...] without .. and below 1024 bytes; see --help",
        }
    }
}

/// The table of these flags and those of the network stack.
pub(in super::super) const FLAGS: Flags = network::with(Flag::table(super::HELP));

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
    pub(super) boots: bool,
}

pub(super) type Exports = Slots<ExportArgument>;

/// The parsed arguments.
#[repr(C)] // Largest field last: the others have short offsets.
pub(in super::super) struct Options {
    /// Address and port of NFS; an IPv4 address is IPv4-mapped.
    pub(in super::super) address: SocketAddrV6,
    pub(super) mount_port: Option<u16>,
    pub(super) portmap: bool,
    pub(super) form: Option<Form>,
    pub(super) key_file: Option<&'static CStr>,
    pub(super) log: Option<&'static CStr>,
    /// The file with exports (`-e`).
    pub(super) file: Option<&'static CStr>,
    /// True if the exports are only checked (`-T`).
    pub(super) tests: bool,
    /// Under `serve`, memory that outlives the server and is shared by all NFS processes. `None`: not under `serve`, or mmap
    /// failed.
    #[cfg(feature = "serve")]
    pub(in super::super) shared: Cell<Option<SharedState>>,
    pub(in super::super) exports: Exports,
}

impl Default for Options {
    #[inline(never)]
    fn default() -> Self {
        Self {
            exports: Exports::default(),
            #[cfg(feature = "serve")]
            shared: Cell::default(),
            address: SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, NFS_PORT, 0, 0),
            mount_port: None,
            portmap: true,
            form: None,
            key_file: None,
            log: None,
            file: None,
            tests: false,
        }
    }
}

impl Options {
    /// Parses the arguments and returns the network that they select.
    ///
    /// # Errors
    /// The exit status: wrong arguments (reported), or help was printed.
    pub(in super::super) fn read(&mut self, args: Args) -> Result<Network, Fatal> {
        let network = network::read(&FLAGS, args, &mut |given| {
            self.set(Flag::of(given.number)?, given.value)
        })?;
        self.check()?;
        Ok(network)
    }

    /// Reports a usage error if no export is named.
    pub(in super::super) fn check(&self) -> Result<(), Fatal> {
        let has_file = self
            .exports_file()
            .is_some_and(|path| self.file.is_some() || files::exists(path));
        if self.exports.is_empty() && !has_file {
            return Err(refuse(b"--export", b"", Flag::Export.wanted()));
        }
        Ok(())
    }

    /// Adds an export of the command line. A malformed word of the list ends the process.
    fn export(&mut self, text: &'static [u8], boots: bool) -> Option<()> {
        match exports::argument(text, boots, &mut self.exports) {
            Err((Flaw::Path, _)) => None,
            Err(flaw) => crate::sys::exit(exports::refuse_word(flaw) as i32),
            Ok(()) => Some(()),
        }
    }

    /// The path of the file with exports: that of `-e`, or /etc/exports if the command line names no export.
    pub(super) fn exports_file(&self) -> Option<&'static CStr> {
        let default = self.exports.is_empty().then_some(EXPORTS_FILE);
        self.file.or(default)
    }

    /// Calls `access` with the shared state, if any, and returns the result.
    #[cfg(feature = "serve")]
    pub(in super::super) fn with_shared<T>(
        &self,
        access: impl FnOnce(&mut SharedState) -> T,
    ) -> Option<T> {
        let mut shared = self.shared.take();
        let result = shared.as_mut().map(access);
        self.shared.set(shared);
        result
    }

    /// Sets the option of a flag. Returns `None` if the value is wrong.
    #[inline(never)]
    pub(in super::super) fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::NoPortmap => self.portmap = false,
            Flag::Test => self.tests = true,
            _ if text.is_empty() => return None,
            Flag::Port => self.address.set_port(port(text)?),
            Flag::MountPort => self.mount_port = Some(port(text)?),
            Flag::Address => self.address.set_ip(address(text)?),
            Flag::Handles => {
                self.form = Some(match index_of(b"path kernel", text)? {
                    0 => Form::Path,
                    _ => Form::Kernel,
                })
            }
            Flag::KeyFile => self.key_file = Some(value),
            Flag::Log => self.log = Some(value),
            Flag::Export => self.export(text, false)?,
            #[cfg(feature = "ipxe")]
            Flag::Isos => self.export(text, true)?,
            Flag::File => self.file = Some(value),
        }
        Some(())
    }
}

/// A path, and a NUL at its end.
pub(super) type PathText = heapless::Vec<u8, EXPORT_PATH_BYTES_MAX>;

/// Makes a path absolute and removes ".", doubled and trailing "/". Returns it with a NUL at its end. `None`: empty, too long, or with
/// a ".." in it.
pub(super) fn absolute(path: &[u8]) -> Option<PathText> {
    let mut text = PathText::new();
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
    use crate::vfs::Rules;
    use crate::wire::exports::Who;

    fn parsed(text: &str) -> Result<ExportArgument, Flaw> {
        let text = Box::leak(text.to_owned().into_boxed_str()).as_bytes();
        let mut all = Exports::default();
        exports::argument(text, false, &mut all).map_err(|(flaw, _)| flaw)?;
        Ok(all.pop().unwrap())
    }

    /// Returns the rules of an export for all hosts.
    fn rules(export: &ExportArgument) -> Rules {
        let [
            Client {
                who: Who::Everyone,
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
            exports::argument(text.as_bytes(), false, &mut all).unwrap();
        }
        let export = all.pop().unwrap();
        assert!(all.is_empty());
        let shown = export.clients.iter().map(|client| {
            let mut line = crate::event::Line::default();
            crate::engine::mount::write_hosts(&client.who, &mut line);
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
    #[cfg(feature = "ipxe")]
    fn isos_flag_makes_a_bootable_export() {
        let mut options = Options::default();
        options.set(Flag::Isos, c"/srv:fsid=7").unwrap();
        options.set(Flag::Export, c"/srv/x").unwrap();
        let all = options.exports.iter();
        let parsed: Vec<_> = all
            .map(|wanted| (wanted.boots, rules(wanted).isos, rules(wanted).fsid))
            .collect();
        assert_eq!(parsed, [(true, true, Some(7)), (false, false, None)]);
        assert!(options.set(Flag::Isos, c"").is_none());
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
