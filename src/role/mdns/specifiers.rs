//! What the specifiers in the name of a unit of systemd's stand for on this host. systemd.dnssd(5), os-release(5).

use crate::drive::platform::host::files::Directory;
use crate::wire::Writer;
use crate::wire::label::{behind, cut, put_byte};

/// Behind each letter the file whose first line it stands for, or what begins the line of os-release(5).
const TABLE: &[u8] =
    b"b/proc/sys/kernel/random/boot_id m/etc/machine-id v/proc/sys/kernel/osrelease \
    AIMAGE_VERSION= BBUILD_ID= MIMAGE_ID= oID= wVERSION_ID= WVARIANT_ID=";
/// Bytes of a file that are looked at.
const FILE_BYTES_MAX: usize = 4096;

/// What systemd calls the processor.
const ARCHITECTURE: &[u8] = if cfg!(target_arch = "x86_64") {
    b"x86-64"
} else if cfg!(target_arch = "x86") {
    b"x86"
} else if cfg!(target_arch = "aarch64") {
    b"arm64"
} else {
    b"arm"
};

/// Writes what `%` and this letter stand for: nothing, if os-release has no such field. `None`: there is no such specifier, or
/// no such file on this host.
pub(super) fn write(letter: u8, out: &mut Writer<'_>) -> Option<()> {
    let mut buffer = [0; FILE_BYTES_MAX];
    let mut value = ARCHITECTURE;
    if letter != b'a' {
        let row = find(TABLE, b' ', &[letter])?;
        let (path, start) = match row {
            [b'/', path @ ..] => (path, &b""[..]),
            field => (&b"etc/os-release"[..], field),
        };
        let file = Directory::open(c"/").ok()?.read(path, &mut buffer).ok()?;
        value = find(file, b'\n', start).unwrap_or_default();
    }
    for byte in value {
        // The kernel writes the boot ID as a UUID, systemd does not; a field may be in quotes.
        if !matches!((letter, byte), (_, b'"' | b'\'') | (b'b', b'-')) {
            put_byte(out, *byte);
        }
    }
    Some(())
}

/// What stands behind `start` in the first part of a text that begins with it.
#[inline(never)]
fn find<'a>(text: &'a [u8], separator: u8, start: &[u8]) -> Option<&'a [u8]> {
    let mut rest = text;
    while !rest.is_empty() {
        let (part, more) = cut(rest, separator);
        let found = behind(part, start);
        if found.is_some() {
            return found;
        }
        rest = more;
    }
    None
}
