//! Values of the specifiers (`%m`, `%v`, …) in the service name of a systemd unit. systemd.dnssd(5), os-release(5).

use crate::os::files::Directory;
use crate::wire::Writer;
use crate::wire::label::{cut, put_byte, strip_prefix};

/// For each specifier letter, the file whose first line is its value, or the key of its line in os-release(5).
const TABLE: &[u8] =
    b"b/proc/sys/kernel/random/boot_id m/etc/machine-id v/proc/sys/kernel/osrelease \
    AIMAGE_VERSION= BBUILD_ID= MIMAGE_ID= oID= wVERSION_ID= WVARIANT_ID=";
/// Longest part of a file that is read (bytes).
const FILE_BYTES_MAX: usize = 4096;

/// The processor's name in systemd.
const ARCHITECTURE: &[u8] = if cfg!(target_arch = "x86_64") {
    b"x86-64"
} else if cfg!(target_arch = "x86") {
    b"x86"
} else if cfg!(target_arch = "aarch64") {
    b"arm64"
} else {
    b"arm"
};

/// Writes the value of the specifier `%` + `letter`: empty if os-release has no such field. `None`: an unknown specifier, or this
/// host lacks the file.
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
        // Removes quotes around a field, and the hyphens of the kernel's boot ID, which systemd writes without them.
        if !matches!((letter, byte), (_, b'"' | b'\'') | (b'b', b'-')) {
            put_byte(out, *byte);
        }
    }
    Some(())
}

/// Splits `text` at `separator`, and returns the remainder of the first part that starts with `start`.
fn find<'a>(text: &'a [u8], separator: u8, start: &[u8]) -> Option<&'a [u8]> {
    let mut remaining = text;
    while !remaining.is_empty() {
        let (part, more) = cut(remaining, separator);
        let found = strip_prefix(part, start);
        if found.is_some() {
            return found;
        }
        remaining = more;
    }
    None
}
