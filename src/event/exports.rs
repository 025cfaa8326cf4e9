//! Messages of the servers of exports (NFS, HTTP) about a client.

use crate::text::{Text, text};

/// A client mounted a path.
pub const MOUNTED: Text = text!("mounted");
/// MNT was refused.
pub const MAY_NOT_MOUNT: Text = text!("may not mount");
/// A client looked up a mount point inside an export; file systems mounted there are not exported.
pub const OTHER_FILE_SYSTEM: Text =
    text!("reached another file system below the export; export it too");
/// A client's request failed with EIO.
pub const DISK_FAILED: Text = text!("got a disk error; see the host's log");
/// A client's WRITE or CREATE failed with ENOSPC.
pub const DISK_FULL: Text = text!("got no space left on the disk; free some");
/// A client read a file that zisofs has compressed; once for each image.
pub const COMPRESSED: Text = text!(
    "read a file in an ISO image that is compressed (zisofs) and is sent so; unpack the image"
);
