//! stowaway: one static, libc-free file that serves files from hosts where nothing else runs.
//!
//! # Bird's eye
//!
//! ```text
//!            role      what the file does, by its first word: nfs, serve
//!              │
//!            drive     the loop: connections, buffers, orders; the supervisor
//!          ┌───┼────┐
//!        net engine vfs    sockets · protocols · trees
//!          │   │    │
//!          │  wire  │      bytes ↔ values
//!          └── sys ─┘      the kernel; the only unsafe code
//! ```
//!
//! A request's way: `drive` finds a socket ready and receives at most 8 KiB into a buffer of the loop. `engine::rpc` takes
//! records off it and hands each call to `nfs`, `mount` or `portmap`, which ask `vfs` and write their replies, one behind
//! the other, into the loop's other buffer; `drive` sends them at once. A READ of more than 64 KiB is an *order*: the engine
//! writes the head of the reply, and the driver moves the file's bytes to the socket as the socket takes them.
//!
//! # Invariants
//!
//! - `tidy` holds the imports to this drawing: `wire` knows nothing, an engine knows no socket, no clock and no system call,
//!   only `sys` has unsafe code, only `drive` sees net, engine and files together. `config`, `time`, `log` and `event` are
//!   the words that rooms have in common.
//! - All memory is planned at start, from one arena. A connection is a slot of at most 192 bytes; a request that has not all
//!   arrived waits in a block of 8 KiB, a reply that was not taken in one of 72 KiB, and of both there are few. When they
//!   run out, who has stalled for longest gives way.
//! - A handle is what lasts: of *kernel* form (the kernel's own, with a MAC) where the server may use those, else a *trail*
//!   that is found again beneath the export. No table grows with the handles given out.
//! - Work is done from descriptors, one name at a time, never from stored paths: nothing that is swapped meanwhile leads out
//!   of the export. Neither attributes nor names are remembered from one request to the next.
//! - Malformed input on a stream closes it; a request that cannot be carried out gets its protocol's own error. After a
//!   promise that cannot be kept (a file that shrinks under a READ) the connection is closed: never padding, never stale
//!   bytes.
//! - Every client acts as the user who started the server, and nothing is writable yet.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod config;
pub mod drive;
pub mod engine;
pub mod event;
pub mod log;
pub mod net;
pub mod role;
pub mod sys;
pub mod time;
pub mod vfs;
pub mod wire;
