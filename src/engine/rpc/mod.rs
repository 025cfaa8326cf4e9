//! ONC RPC: records on byte streams, the calls in them, and the replies that outlive a connection or a server. RFC 5531.
//!
//! The programs themselves are in [`super::programs`], which imports this module, NFS, MOUNT and the portmapper.

mod call;
pub mod connections;
pub(super) mod drc;
pub mod lock;
mod record;
pub(super) mod regions;

pub(super) use call::{Answer, Reply, Request, Unanswered};
pub(super) use record::{RecordCursor, patch_mark};
