//! One call on its way through a program.

use crate::wire::rpc::Call;
use crate::wire::{Reader, Writer};

/// A call, and where its reply goes.
#[repr(C)]
pub(in super::super) struct Request<'a, 'o> {
    pub(in super::super) reply: &'a mut Writer<'o>,
    /// What follows the call's header. The data of a WRITE stays unread.
    pub(in super::super) args: Reader<'a>,
    pub(in super::super) call: Call<'a>,
    /// Bytes of the arguments that have not arrived yet; `None` if further fragments follow.
    pub(in super::super) follows: Option<u32>,
}
