//! ONC RPC over byte streams and datagrams: records and the calls in them. RFC 5531.
//!
//! The programs themselves are in [`super::programs`].

mod call;
mod record;

pub(super) use call::{Patience, Request, Stop};
pub(super) use record::{RecordCursor, patch_mark};
