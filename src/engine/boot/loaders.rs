//! The loaders of each kind of machine, in the exports: a directory of images, and where packages put them.

use super::files::{Path, find_regular};
use crate::engine::Cx;
use crate::mem::{self, Ends as _};
use crate::text::{Text, text};
use crate::vfs::{FsError, FsResult};

/// A kind of machine.
struct Kind {
    /// Its types (IANA, "Processor Architecture Types"). RFC 4578 first had 7 and 9 the other way round.
    types: &'static [u8],
    /// The names of its loaders, as upstream's archive, Debian and Fedora have them.
    names: Text,
}

static KINDS: [Kind; 6] = [
    Kind {
        types: &[0, 20],
        names: text!("undionly.kpxe undionly.kkpxe ipxe.pxe"),
    },
    Kind {
        types: &[7, 9, 16],
        names: text!("shimx64.efi snponly.efi ipxe.efi ipxe-snponly-x86_64.efi ipxe-x86_64.efi"),
    },
    Kind {
        types: &[11, 19],
        names: text!(
            "shimaa64.efi snponly-arm64.efi ipxe-arm64.efi arm64-efi/snponly.efi arm64-efi/ipxe.efi"
        ),
    },
    Kind {
        types: &[6, 15],
        names: text!("snponly-i386.efi ipxe-i386.efi ipxe32.efi"),
    },
    Kind {
        types: &[10, 18],
        names: text!("snponly-arm32.efi ipxe-arm32.efi"),
    },
    Kind {
        types: &[27, 28],
        names: text!("snponly-riscv64.efi ipxe-riscv64.efi"),
    },
];
/// Longest list of names (bytes).
const NAMES_BYTES: usize = 96;

/// Finds the loader for machines of a type. Writes its path, and returns the length of the name at its end.
pub(super) fn find(cx: &mut Cx<'_>, kind: u16, path: &mut Path) -> FsResult<usize> {
    let is_it = |known: &&Kind| known.types.iter().any(|one| u16::from(*one) == kind);
    let kind = KINDS.iter().find(is_it).ok_or(FsError::NoEntry)?;
    let mut buffer = [0; NAMES_BYTES];
    let names = &*kind.names.decode(&mut buffer);
    for number in 0..cx.vfs.exports().len() {
        for name in mem::parts(names, b' ') {
            let mut found = [0; 32];
            mem::copy_into(&mut found, name);
            let found = found.head_mut(name.len());
            match find_regular(cx, number, found) {
                Err(error) if error.stops() => return Err(error),
                Err(_) => {}
                Ok(_) => {
                    path.clear();
                    let top = cx.vfs.path(number).to_bytes();
                    for part in [top, b"/", found] {
                        path.extend_from_slice(part).map_err(|_| FsError::NoEntry)?;
                    }
                    return Ok(found.len());
                }
            }
        }
    }
    Err(FsError::NoEntry)
}
