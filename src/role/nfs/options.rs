//! The arguments of `nfs`: exports, addresses, ports and handles.

use super::super::args::{address, digits, port};
use super::super::flags::{Flags, flags};
use super::super::{Fatal, network, refuse};
use crate::config::{EXPORT_PATH_BYTES_MAX, NFS_PORT};
#[cfg(feature = "serve")]
use crate::drive::platform::host::loops::SharedState;
use crate::drive::platform::network::Network;
use crate::mem::Slots;
use crate::mem::{c_str, copy, index_of, parts};
use crate::sys::Args;
use crate::vfs::Rules;
use crate::vfs::host::Form;
#[cfg(feature = "serve")]
use core::cell::Cell;
use core::ffi::CStr;
use core::net::{Ipv6Addr, SocketAddrV6};

flags! {
    pub(in super::super) enum Flag {
        bare {
            NoPortmap "p",
        }
        valued {
            Port "n" => "name a port below 65536",
            MountPort "m" => "name a port below 65536",
            Address "l" => "name a numeric address, such as 192.0.2.1 or 2001:db8::1",
            Handles "--handles" => "name kernel or path",
            KeyFile "--key-file" => "name a file",
            Log "--log" => "name a file",
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct ExportArgument {
    /// Absolute path, as clients name it in MNT.
    pub(in super::super) path: &'static CStr,
    pub(in super::super) rules: Rules,
    /// True for `--isos`: prints an iPXE script for the images in the directory.
    #[cfg_attr(not(feature = "ipxe"), allow(dead_code))]
    pub(super) boots: bool,
}

type Exports = Slots<ExportArgument>;

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
        if self.exports.is_empty() {
            return Err(refuse(b"--export", b"", Flag::Export.wanted()));
        }
        Ok(())
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
            Flag::Export => export(text, false, &mut self.exports)?,
            #[cfg(feature = "ipxe")]
            Flag::Isos => export(text, true, &mut self.exports)?,
        }
        Some(())
    }
}

/// Options of an export, named as in exports(5). The first three have a number as value; `isos` is our own.
const EXPORT_OPTIONS: &[u8] = b"fsid anonuid anongid ro rw root_squash no_root_squash all_squash \
    no_all_squash async sync isos  no_subtree_check insecure";

/// Parses `DIR[:OPTION,...]` and appends the export. The text after the last colon is the list of options, unless it has a "/".
fn export(text: &[u8], boots: bool, exports: &mut Exports) -> Option<()> {
    let (mut path, mut options) = (text, &b""[..]);
    if let Some(index) = text.iter().rposition(|byte| matches!(byte, b':' | b'/'))
        && let (before, [b':', after @ ..]) = text.split_at_checked(index)?
    {
        (path, options) = (before, after);
    }
    let mut rules = Rules {
        isos: boots,
        ..Rules::default()
    };
    for option in parts(options, b',') {
        let mut sides = parts(option, b'=');
        let word = sides.next()?;
        let number = sides.rest.and_then(|value| digits(value, 10));
        match index_of(EXPORT_OPTIONS, word)? {
            0 => rules.fsid = Some(number?),
            1 => rules.anonymous.0 = number.filter(|number| *number != u32::MAX)?,
            2 => rules.anonymous.1 = number.filter(|number| *number != u32::MAX)?,
            _ if sides.rest.is_some() => return None,
            index @ 3..=4 => rules.writable = index == 4,
            index @ 5..=6 => rules.squashes_root = index == 5,
            index @ 7..=8 => rules.squashes_all = index == 7,
            index @ 9..=10 => rules.is_async = index == 9,
            11 => rules.isos = true,
            // Ignores an empty word, and the options no_subtree_check and insecure, which are always on.
            _ => {}
        }
    }
    let path = absolute(path)?;
    exports.push_more(ExportArgument { path, rules, boots });
    Some(())
}

/// Makes a path absolute and removes ".", doubled and trailing "/". `None`: empty, too long, or with a ".." in it.
fn absolute(path: &[u8]) -> Option<&'static CStr> {
    fn push(buffer: &mut [u8], len: &mut usize, byte: u8) -> Option<()> {
        *buffer.get_mut(*len)? = byte;
        *len += 1;
        Some(())
    }
    let buffer = &mut [0; EXPORT_PATH_BYTES_MAX];
    let mut len = 0;
    if path.first()? != &b'/' {
        len = crate::sys::current_dir(buffer)?;
        if len == 1 {
            len = 0; // The root "/" adds nothing, because a "/" precedes each name below.
        }
    }
    for name in parts(path, b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            _ => {
                push(buffer, &mut len, b'/')?;
                for byte in name {
                    push(buffer, &mut len, *byte)?;
                }
            }
        }
    }
    if len == 0 {
        push(buffer, &mut len, b'/')?;
    }
    push(buffer, &mut len, 0)?;
    Some(c_str(copy(buffer.get(..len)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(text: &[u8]) -> Option<ExportArgument> {
        let mut exports = Exports::default();
        super::export(text, false, &mut exports)?;
        exports.pop()
    }

    #[test]
    fn export_options_follow_the_last_colon() {
        let check = |text: &str, path: &str, fsid| {
            let wanted = export(text.as_bytes()).unwrap();
            assert_eq!(
                (wanted.path.to_str().unwrap(), wanted.rules.fsid),
                (path, fsid),
                "{text}"
            );
        };
        check("/srv", "/srv", None);
        check("//srv/./x/", "/srv/x", None);
        check("/srv:ro,fsid=7", "/srv", Some(7));
        check("/srv:a/b", "/srv:a/b", None);
        check("/", "/", None);
        for text in [
            "",
            "/a/../b",
            "/srv:rw=1",
            "/srv:anonuid=4294967295",
            "/srv:anongid",
            "/srv:fsid=",
            "/srv:fsid=x",
            "/srv:what",
        ] {
            assert_eq!(export(text.as_bytes()), None, "{text}");
        }
        assert_eq!(export(&[b'/'; 2000]).map(|wanted| wanted.path), Some(c"/"));
        assert!(export(format!("/{}", "x".repeat(1022)).as_bytes()).is_some());
        assert_eq!(export(format!("/{}", "x".repeat(1023)).as_bytes()), None);
    }

    #[test]
    #[cfg(feature = "ipxe")]
    fn isos_flag_makes_a_bootable_export() {
        let mut options = Options::default();
        options.set(Flag::Isos, c"/srv:fsid=7").unwrap();
        options.set(Flag::Export, c"/srv/x").unwrap();
        let all = options.exports.iter();
        let parsed: Vec<_> = all
            .map(|wanted| (wanted.boots, wanted.rules.isos, wanted.rules.fsid))
            .collect();
        assert_eq!(parsed, [(true, true, Some(7)), (false, false, None)]);
        assert!(options.set(Flag::Isos, c"").is_none());
    }

    #[test]
    fn export_options_match_exports_5() {
        let rules = |text: &str| export(text.as_bytes()).unwrap().rules;
        assert_eq!(rules("/srv"), Rules::default());
        assert_eq!(
            rules("/srv:ro,root_squash,no_all_squash,sync"),
            Rules::default()
        );
        let expect = Rules {
            fsid: Some(7),
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
