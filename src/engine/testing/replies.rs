//! Parses replies with another implementation, and strictly: each must have exactly the layout of its RFC, to the last byte.

use super::calls::CallId;
use crate::wire::rpc::Reject;
use anyhow::{Result, bail, ensure};
use cases::replies::{Outcome, body, outcome};

pub use cases::replies::{Attributes, Before, Body, DirEntry, records};

/// Parses the reply to the call `asked`.
pub fn parse(record: &[u8], asked: CallId) -> Result<Result<Body, Reject>> {
    let (xid, outcome) = outcome(record)?;
    ensure!(xid == asked.xid, "the xid of another call");
    Ok(Err(match outcome {
        Outcome::Success(results) => return Ok(Ok(body(asked.procedure, results)?)),
        Outcome::ProgramUnavailable => Reject::Program,
        Outcome::ProgramMismatch { low, high } => Reject::Version(low as u8, high as u8),
        Outcome::ProcedureUnavailable => Reject::Procedure,
        Outcome::GarbageArguments => Reject::Arguments,
        Outcome::SystemError => Reject::System,
        Outcome::RpcMismatch { low: 2, high: 2 } => Reject::RpcVersion,
        Outcome::AuthError(1) => Reject::BadCredential,
        Outcome::AuthError(2) => Reject::UnknownFlavor,
        Outcome::AuthError(3) => Reject::BadVerifier,
        other => bail!("{other:?}"),
    }))
}
