//! Messages of the servers of exports (NFS, HTTP) about a client.

use super::Event;
use crate::text::{Text, text};

/// A client mounted a path.
pub const MOUNTED: Text = text!("mounted");
/// MNT was refused.
pub const MAY_NOT_MOUNT: Event = text!("may not mount").warn();
/// A client looked up a mount point inside an export; file systems mounted there are not exported.
pub const OTHER_FILE_SYSTEM: Event =
    text!("reached another file system below the export; export it too").warn();
/// A client's request failed with EIO.
pub const DISK_FAILED: Event = text!("got a disk error; see the host's log").error();
/// A client's request met the end of an image that is shorter than its file system.
pub const IMAGE_CUT: Event = text!("needs what is missing of an ISO image; copy it again").error();
/// A client's WRITE or CREATE failed with ENOSPC.
pub const DISK_FULL: Event = text!("got no space left on the disk; free some").error();
/// A record of a client of NFS 4.1, or an address of a host name, could not be written.
pub const NOT_KEPT: Event =
    text!("cannot write to the directory of state: check its disk; after a restart, clients may lose their opens")
        .warn();
/// A client read a file that zisofs has compressed; once for each image.
pub const COMPRESSED: Text = text!(
    "read a file in an ISO image that is compressed (zisofs) and is sent so; unpack the image"
);
