//! Tests of the browser without sockets and clock: messages in, messages and events out.

mod asking;
pub(crate) mod bench;
mod caching;
mod crowd;
mod hostile;
mod merging;
mod ourselves;
mod overload;
mod resolving;
mod services;
