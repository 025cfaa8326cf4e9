//! The call that a program answers, the writer for its reply, and the reasons why it is not answered.

use super::connections::Connection;
use crate::engine::service::Promise;
use crate::stats::Outcome;
use crate::vfs::{Patience, Until};
use crate::wire::rpc::{Call, NotACall, Reject};
use crate::wire::{Malformed, Reader, Writer};
use core::net::IpAddr;

/// A call, its arguments and its reply.
pub(in super::super) struct Request<'a, 'o> {
    pub(in super::super) reply: &'a mut Writer<'o>,
    /// The arguments, after the call's header, or their first part. A call with data leaves the data unread and goes on
    /// ([`Reply::Later`]): it reads the data from the stream, and then the arguments after it.
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

/// The result of a call that was carried out, or begun.
#[derive(Debug)]
pub(in super::super) struct Answer {
    pub(in super::super) reply: Reply,
    /// The kind of change that must be durable before the reply is sent.
    pub(in super::super) promise: Promise,
    /// In a COMPOUND of NFS 4, the first operation with a promise, below 2^24.
    pub(in super::super) promised: u32,
    pub(in super::super) outcome: Outcome,
}

/// The part of a reply that is written.
#[derive(Debug)]
pub(in super::super) enum Reply {
    /// All of it.
    Whole,
    /// Its head. This number of bytes, and their padding, follow in the call's phase.
    Head(u32),
    /// Nothing: the call goes on in its phase.
    Later,
}

impl Answer {
    /// A whole reply without a promise.
    pub(in super::super) const fn of(outcome: Outcome) -> Self {
        Self {
            reply: Reply::Whole,
            promise: Promise::Nothing,
            promised: 0,
            outcome,
        }
    }

    /// A whole reply that reports success, without a promise.
    pub(in super::super) const DONE: Self = Self::of(Outcome::Done);
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
