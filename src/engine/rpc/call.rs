//! The call that a program answers, and the writer for its reply.

use crate::wire::rpc::Call;
use crate::wire::{Reader, Writer};
use core::net::IpAddr;

/// A call, its arguments and its reply.
#[repr(C)]
pub(in super::super) struct Request<'a, 'o> {
    pub(in super::super) reply: &'a mut Writer<'o>,
    /// The arguments, after the call's header. The data of a WRITE stays unread.
    pub(in super::super) args: Reader<'a>,
    pub(in super::super) call: Call<'a>,
    /// Length of the arguments that have not arrived yet (bytes); `None` if further fragments follow.
    pub(in super::super) follows: Option<u32>,
    /// The address of this host at which a datagram arrived. `None`: unknown, or the call came by a stream.
    pub(in super::super) reached: Option<IpAddr>,
}
