//! Reasons for failures to open an image.

use super::reasons::{Reason, own_reason};
use crate::text::text;
use crate::vfs::OpenFault;

/// Reason for an export or argument that is a file, but not an ISO image.
pub const NO_IMAGE: Reason = own_reason(
    OpenFault::NO_IMAGE,
    text!("neither a directory nor an ISO 9660 or UDF image"),
);
/// Reason for an image that is shorter than its file system.
pub const CUT_IMAGE: Reason = own_reason(
    OpenFault::CUT_IMAGE,
    text!("the image is cut; copy it again"),
);
/// Reason for an image whose UDF file system has an unknown layout.
pub const OTHER_IMAGE: Reason = own_reason(
    OpenFault::OTHER_IMAGE,
    text!("the files are in UDF of an unknown layout; unpack the image with another program"),
);
