//! The call that a program answers, the writer for its reply, and the reasons why it is not answered.

use super::connections::Connection;
use crate::vfs::{JobId, Patience, Pin, Until};
use crate::wire::rpc::{Call, NotACall, Reject};
use crate::wire::{Malformed, Reader, Writer};
use core::net::IpAddr;

/// A call, its arguments and its reply.
pub(in super::super) struct Request<'a, 'o> {
    pub(in super::super) reply: &'a mut Writer<'o>,
    /// The arguments, after the call's header. The data of a WRITE stays unread.
    pub(in super::super) args: Reader<'a>,
    pub(in super::super) call: Call<'a>,
    /// Length of the arguments that have not arrived yet (bytes); `None` if further fragments follow.
    pub(in super::super) follows: Option<u32>,
    /// The address of this host at which a datagram arrived. `None`: unknown, or the call came by a stream.
    pub(in super::super) reached: Option<IpAddr>,
    /// The connection by which the call came.
    pub(in super::super) connection: Connection,
    pub(in super::super) patience: Patience,
}

/// The reason why a call is not answered now. Nothing of it was done, and its reply is empty.
pub(in super::super) enum Unanswered {
    /// The message is neither a call nor a reply.
    Malformed,
    /// The message must not be answered: a reply, or a CALLIT of the portmapper that failed.
    Silence,
    /// The call is rejected.
    Reject(Reject),
    /// This event must come first.
    Again(Until),
    /// This job must end first, which reads the data of a READ. The file stays open until then.
    Fetch(JobId, Pin),
}

impl From<NotACall> for Unanswered {
    fn from(why: NotACall) -> Self {
        match why {
            NotACall::Malformed => Self::Malformed,
            NotACall::Reply => Self::Silence,
            NotACall::Refused(why) => Self::Reject(why),
        }
    }
}

impl From<Reject> for Unanswered {
    fn from(why: Reject) -> Self {
        Self::Reject(why)
    }
}

impl From<Malformed> for Unanswered {
    fn from(_: Malformed) -> Self {
        Self::Reject(Reject::Arguments)
    }
}
