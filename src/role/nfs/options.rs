//! The arguments of `nfs`, read by hand: no crate for it is small enough.

use super::super::Failure;
use crate::config::{EXPORT_COUNT_MAX, EXPORT_PATH_BYTES_MAX, NFS_PORT};
use crate::sys;
use crate::sys::start::Args;
use crate::vfs::host::Form;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::net::IpAddr;

const HELP: &str = "\
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
#[derive(Clone, Copy)]
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

/// Options, or a text that was asked for instead.
pub(in super::super) enum Parsed {
    Options(Options),
    Shown(&'static str),
}

impl Options {
    /// Reads the arguments of `role`.
    pub(in super::super) fn parse(mut args: Args, role: &'static str) -> Result<Parsed, Failure> {
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
        let wrong = |what: &str, value: &[u8]| {
            Failure::usage(role, |line| {
                line.text(what).text(" \"").escaped(value).text("\"");
            })
        };
        while let Some(word) = args.next() {
            // --flag=VALUE is --flag VALUE; -nVALUE is -n VALUE.
            let word = word.to_bytes();
            let (flag, attached) = match word {
                [b'-', b'-', ..] => match word.iter().position(|byte| *byte == b'=') {
                    Some(at) => (word.get(..at).unwrap_or(word), word.get(at + 1..)),
                    None => (word, None),
                },
                [b'-', b'n' | b'm' | b'l', _, ..] => (word.get(..2).unwrap_or(word), word.get(2..)),
                _ => (word, None),
            };
            match flag {
                b"-h" | b"--help" => return Ok(Parsed::Shown(HELP)),
                b"--version" => {
                    return Ok(Parsed::Shown(concat!(
                        "stowaway ",
                        env!("CARGO_PKG_VERSION"),
                        "\n"
                    )));
                }
                b"-p" => {
                    options.portmap = false;
                    continue;
                }
                b"--export" | b"-n" | b"-m" | b"-l" | b"--handles" | b"--key-file" | b"--log" => {}
                _ => return Err(wrong("there is no option", word)),
            }
            let value = match attached {
                Some(value) => Some(value),
                None => args.next().map(CStr::to_bytes),
            };
            let value = value.ok_or_else(|| wrong("a value is missing after", flag))?;
            match flag {
                b"--export" => {
                    let export = parse_export(value, role)?;
                    options
                        .exports
                        .push(export)
                        .map_err(|_| wrong("there are too many exports, at", value))?;
                }
                b"-n" => {
                    options.nfs_port =
                        number(value).ok_or_else(|| wrong("no port number:", value))?
                }
                b"-m" => {
                    options.mount_port =
                        Some(number(value).ok_or_else(|| wrong("no port number:", value))?)
                }
                b"-l" => {
                    let text = core::str::from_utf8(value).ok();
                    let address = text.and_then(|text| text.parse().ok());
                    options.address = Some(
                        address
                            .ok_or_else(|| wrong("no address of this host in numbers:", value))?,
                    );
                }
                b"--handles" => {
                    options.form = match value {
                        b"kernel" => Some(Form::Kernel),
                        b"path" => Some(Form::Trail),
                        _ => return Err(wrong("handles are kernel or path, not", value)),
                    }
                }
                b"--key-file" => options.key_file = Some(terminated(value)),
                _ => options.log = Some(terminated(value)),
            }
        }
        if options.exports.is_empty() {
            return Err(Failure::usage(role, |line| {
                line.text("nothing to serve: name a directory with --export DIR");
            }));
        }
        Ok(Parsed::Options(options))
    }
}

/// `DIR[:OPTION,…]`. What follows the last colon are options, unless a separator is in it.
fn parse_export(value: &[u8], role: &'static str) -> Result<Wanted, Failure> {
    let wrong = |what: &str, value: &[u8]| {
        Failure::usage(role, |line| {
            line.text("--export ")
                .text(what)
                .text(" \"")
                .escaped(value)
                .text("\"");
        })
    };
    let colon = value.iter().rposition(|byte| *byte == b':');
    let (path, options) = match colon.and_then(|at| value.split_at_checked(at)) {
        Some((path, options)) if !options.contains(&b'/') => {
            (path, options.get(1..).unwrap_or_default())
        }
        _ => (value, &b""[..]),
    };
    let mut fsid = None;
    for option in options
        .split(|byte| *byte == b',')
        .filter(|option| !option.is_empty())
    {
        match option {
            b"ro" => {}
            b"rw" => return Err(wrong("cannot be written to yet; leave out", option)),
            _ => match option.strip_prefix(b"fsid=").map(number) {
                Some(Some(number)) => fsid = Some(number),
                Some(None) => return Err(wrong("wants a number in", option)),
                None => return Err(wrong("knows ro and fsid=NUMBER, not", option)),
            },
        }
    }
    let path = absolute(path)
        .ok_or_else(|| wrong("wants a path without .. and below 1024 bytes, not", path))?;
    Ok(Wanted { path, fsid })
}

/// The path as clients will write it: from the top, without "." and doubled or trailing separators.
fn absolute(path: &[u8]) -> Option<&'static CStr> {
    if path.is_empty() {
        return None;
    }
    let mut whole = Vec::with_capacity(EXPORT_PATH_BYTES_MAX);
    if path.first() != Some(&b'/') {
        let mut room = [0; EXPORT_PATH_BYTES_MAX];
        whole.extend_from_slice(sys::files::current_dir(&mut room).ok()?.to_bytes());
    }
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            _ => {
                whole.push(b'/');
                whole.extend_from_slice(name);
            }
        }
    }
    if whole.is_empty() {
        whole.push(b'/');
    }
    (whole.len() < EXPORT_PATH_BYTES_MAX).then(|| terminated(&whole))
}

/// A copy that ends with NUL and lasts as long as the process.
pub(super) fn terminated(bytes: &[u8]) -> &'static CStr {
    let mut copy = Vec::with_capacity(bytes.len() + 1);
    copy.extend_from_slice(bytes);
    copy.push(0);
    CStr::from_bytes_until_nul(Vec::leak(copy)).unwrap_or_default()
}

/// A decimal number.
fn number<T: TryFrom<u32>>(text: &[u8]) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let value = text.iter().try_fold(0u32, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })?;
    T::try_from(value).ok()
}
