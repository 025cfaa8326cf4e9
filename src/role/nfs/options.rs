//! The arguments of `nfs`, read by hand: no crate for it is small enough.

use super::super::{Status, USAGE, complain};
use crate::config::{EXPORT_COUNT_MAX, EXPORT_PATH_BYTES_MAX, NFS_PORT};
use crate::sys;
use crate::sys::start::Args;
use crate::vfs::host::Form;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::net::{IpAddr, Ipv6Addr};

pub(in super::super) const HELP: &str = "\
stowaway nfs --export DIR[:OPTION,…] …   serves directories over NFS version 3

  --export DIR       offers DIR, read-only; may be given several times
                     options: ro, fsid=NUMBER (a name for the export that lasts
                     when its file system moves)
  -n PORT            NFS on this port (2049; 0: any that is free)
  -m PORT            MOUNT on this port (the NFS port)
  -l ADDRESS         listens on this address only
  -p                 no portmapper on port 111
  --handles KIND     kernel: handles that survive every rename (needs root);
                     path: handles that need no rights. Default: what works
  --key-file FILE    the secret of kernel handles; made if it is missing
                     (/var/lib/stowaway/handle.key)
  --log FILE         traces for developers; - is standard output

stowaway serve takes the same options, runs the server in a process of its own
and starts it again when it ends.
Mount with:  mount -t nfs -o ro,nolock HOST:DIR /mnt
";

/// What `--export` asks for.
pub(super) struct Wanted {
    /// As clients will write it.
    pub(super) path: &'static CStr,
    pub(super) fsid: Option<u32>,
}

/// What the arguments ask for.
pub(in super::super) struct Options {
    pub(super) exports: heapless::Vec<Wanted, EXPORT_COUNT_MAX>,
    pub(super) nfs_port: u16,
    pub(super) mount_port: Option<u16>,
    pub(super) address: Option<IpAddr>,
    pub(super) portmap: bool,
    pub(super) form: Option<Form>,
    pub(super) key_file: Option<&'static CStr>,
    pub(super) log: Option<&'static CStr>,
}

/// "WHAT VALUE: see the help".
fn wrong(what: &str, value: &[u8]) -> Status {
    complain(
        USAGE,
        &[what.as_bytes(), b" ", value, b": see stowaway nfs --help"],
    )
}

impl Options {
    /// Reads the arguments; `None`: the help was asked for.
    pub(in super::super) fn parse(mut args: Args) -> Result<Option<Self>, Status> {
        let mut options = Self {
            exports: heapless::Vec::new(),
            nfs_port: NFS_PORT,
            mount_port: None,
            address: None,
            portmap: true,
            form: None,
            key_file: None,
            log: None,
        };
        while let Some(word) = args.next() {
            let word = word.to_bytes();
            // --flag=VALUE is --flag VALUE.
            let mut halves = word.splitn(2, |byte| *byte == b'=');
            let flag = halves.next().unwrap_or_default();
            match flag {
                b"-h" | b"--help" => return Ok(None),
                b"-p" => {
                    options.portmap = false;
                    continue;
                }
                b"--export" | b"-n" | b"-m" | b"-l" | b"--handles" | b"--key-file" | b"--log" => {}
                _ => return Err(wrong("there is no option", word)),
            }
            let value = halves.next().or_else(|| args.next().map(CStr::to_bytes));
            options.set(
                flag,
                value.ok_or_else(|| wrong("a value is missing after", flag))?,
            )?;
        }
        if options.exports.is_empty() {
            return Err(wrong(
                "nothing to serve; name a directory with",
                b"--export DIR",
            ));
        }
        Ok(Some(options))
    }

    fn set(&mut self, flag: &[u8], value: &'static [u8]) -> Result<(), Status> {
        let port = |value| number(value).and_then(|port| u16::try_from(port).ok());
        let port = |value| port(value).ok_or_else(|| wrong("there is no port", value));
        match flag {
            b"--export" => {
                let full = self.exports.push(parse_export(value)?);
                return full.map_err(|_| wrong("there are too many exports at", value));
            }
            b"-n" => self.nfs_port = port(value)?,
            b"-m" => self.mount_port = Some(port(value)?),
            b"-l" => {
                self.address =
                    Some(address(value).ok_or_else(|| wrong("there is no address", value))?)
            }
            b"--handles" => {
                self.form = match value {
                    b"kernel" => Some(Form::Kernel),
                    b"path" => Some(Form::Trail),
                    _ => return Err(wrong("handles are kernel or path, not", value)),
                }
            }
            b"--key-file" => self.key_file = Some(terminated(value)),
            _ => self.log = Some(terminated(value)),
        }
        Ok(())
    }
}

/// `DIR[:OPTION,…]`. What follows the last colon are options, unless a separator is in it.
fn parse_export(value: &[u8]) -> Result<Wanted, Status> {
    let (mut path, mut options) = (value, &b""[..]);
    if let Some(at) = value.iter().rposition(|byte| *byte == b':') {
        let (before, after) = value.split_at(at);
        if !after.contains(&b'/') {
            (path, options) = (before, after);
        }
    }
    let mut fsid = None;
    for option in options.split(|byte| matches!(byte, b':' | b',')) {
        match option {
            b"" | b"ro" => {}
            b"rw" => return Err(wrong("exports cannot be written to yet; leave out", option)),
            _ => {
                fsid = option.strip_prefix(b"fsid=").and_then(number);
                if fsid.is_none() {
                    return Err(wrong("export options are ro and fsid=NUMBER, not", option));
                }
            }
        }
    }
    match absolute(path) {
        Some(path) => Ok(Wanted { path, fsid }),
        None => Err(wrong(
            "an export is a path without .. below 1024 bytes, not",
            path,
        )),
    }
}

/// The path as clients will write it: from the top, without "." and doubled or trailing separators.
fn absolute(path: &[u8]) -> Option<&'static CStr> {
    let mut whole = heapless::Vec::<u8, EXPORT_PATH_BYTES_MAX>::new();
    if path.first()? != &b'/' {
        let mut room = [0; EXPORT_PATH_BYTES_MAX];
        whole
            .extend_from_slice(sys::files::current_dir(&mut room).ok()?.to_bytes())
            .ok()?;
    }
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            _ => {
                whole.push(b'/').ok()?;
                whole.extend_from_slice(name).ok()?;
            }
        }
    }
    if whole.is_empty() {
        whole.push(b'/').ok()?;
    }
    (!whole.is_full()).then(|| terminated(&whole))
}

/// A copy that ends with NUL and lasts as long as the process.
pub(super) fn terminated(bytes: &[u8]) -> &'static CStr {
    let mut copy = Vec::with_capacity(bytes.len() + 1);
    copy.extend_from_slice(bytes);
    copy.push(0);
    CStr::from_bytes_until_nul(Vec::leak(copy)).unwrap_or_default()
}

/// A decimal number.
fn number(text: &[u8]) -> Option<u32> {
    digits(text, 10)
}

fn digits(text: &[u8], base: u32) -> Option<u32> {
    text.first()?;
    text.iter().try_fold(0u32, |value, byte| {
        let digit = match byte | 0x20 {
            letter @ b'a'..=b'f' => letter - b'a' + 10,
            _ => byte.wrapping_sub(b'0'),
        };
        let digit = Some(u32::from(digit)).filter(|digit| *digit < base)?;
        value.checked_mul(base)?.checked_add(digit)
    })
}

/// An address in numbers: `192.0.2.1`, `2001:db8::1`.
fn address(text: &[u8]) -> Option<IpAddr> {
    if !text.contains(&b':') {
        let mut octets = [0; 4];
        let mut parts = text.split(|byte| *byte == b'.');
        for octet in &mut octets {
            *octet = u8::try_from(number(parts.next()?)?).ok()?;
        }
        return parts.next().is_none().then(|| IpAddr::from(octets));
    }
    // What stands before "::" counts from the left, what stands after it from the right.
    let mut groups = [0u16; 8];
    let gap = text.windows(2).position(|pair| pair == b"::");
    let (left, right) = match gap {
        Some(at) => (text.get(..at)?, text.get(at + 2..)?),
        None => (text, &b""[..]),
    };
    let mut count = 0;
    for (half, from_left) in [(left, true), (right, false)] {
        let parts = half
            .split(|byte| *byte == b':')
            .filter(|_| !half.is_empty());
        let start = if from_left {
            0
        } else {
            8usize.checked_sub(parts.clone().count())?
        };
        for (at, part) in parts.enumerate() {
            *groups.get_mut(start + at)? = u16::try_from(digits(part, 16)?).ok()?;
            count += 1;
        }
    }
    let whole = if gap.is_some() { count < 8 } else { count == 8 };
    whole.then(|| Ipv6Addr::from(groups).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_the_standard_library_takes_for_them() {
        for text in [
            "192.0.2.255",
            "::",
            "::1",
            "fe80::1:0:0:2",
            "2001:db8:0:1:2:3:4:5",
            "a::",
            "1:2:3:4:5:6:7::",
        ] {
            assert_eq!(address(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1..2.3",
            ":",
            ":::",
            "1::2::3",
            "1:2:3:4:5:6:7:8:9",
            "g::",
            "1:2",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn exports_are_paths_with_options_after_the_last_colon() {
        let check = |text: &str, path: &str, fsid| {
            let wanted = parse_export(text.as_bytes()).ok().unwrap();
            assert_eq!(
                (wanted.path.to_str().unwrap(), wanted.fsid),
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
            "/srv:rw",
            "/srv:fsid=",
            "/srv:fsid=x",
            "/srv:what",
        ] {
            assert_eq!(parse_export(text.as_bytes()).err(), Some(USAGE), "{text}");
        }
        assert_eq!(
            parse_export(&[b'/'; 2000]).map(|wanted| wanted.path),
            Ok(c"/")
        );
        assert!(parse_export(format!("/{}", "x".repeat(1023)).as_bytes()).is_err());
    }

    #[test]
    fn numbers_are_whole_and_bounded() {
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        for text in ["", "4294967296", "-1", "1x", " 1", "a"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }
}
