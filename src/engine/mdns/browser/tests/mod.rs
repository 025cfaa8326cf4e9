//! The browser in a world without sockets and clocks: messages in, messages and events out.

mod asking;
mod caching;
mod crowd;
mod hostile;
mod ourselves;
mod resolving;
mod services;
pub(crate) mod world;
