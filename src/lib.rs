//! stowaway: one static, libc-free file that serves files from hosts where nothing else runs.
//!
//! # Bird's eye
//!
//! ```text
//!            role      what the file does, by its first word: nfs, serve, sftp-server, ls, cat, check, mdns, browse,
//!              │         resolve, publish
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
//! the other, into the loop's other buffer; `drive` sends them at once. What is large or slow is an *order*: of a READ beyond
//! 64 KiB the engine writes the head of the reply, and the driver moves the file's bytes to the socket as the socket takes
//! them (`Send`); of a WRITE what has not arrived yet goes from the socket to the file (`Store`); what must be on disk before
//! it is answered, goes there (`Sync`).
//!
//! An SFTP session is a process of its own with one peer: `drive::stdio` reads, hands what came to `engine::sftp`, writes what
//! it answers, and waits nowhere else. NFS names objects by handles that last, SFTP by paths: `vfs::host` has the former,
//! `vfs::user` the latter, and both ask the kernel through `vfs::kernel`. What is inside an image of a disk, `vfs::iso` reads
//! from its bytes, wherever they lie; `vfs::kernel::inside` keeps the few images open that are in use, and both backends leave
//! it the answers about nodes that lie in one. Nobody else knows that there are images, but for who enters one
//! ([`vfs::Vfs::enter_image`]): MNT, and paths that go on behind a file's name.
//!
//! Multicast DNS has a loop of its own, `drive::mdns`: each interface is a *link*, with a socket for each family's group and one
//! for each address, so that nobody has to say where a datagram came in. `engine::mdns` claims names, announces and answers
//! (`Responder`), and asks and remembers (`Browser`); what is announced, `role::mdns` reads from arguments, files and firmware, and
//! `role::serve` from what is exported.
//!
//! # Invariants
//!
//! - `tidy` holds the imports to this drawing: `wire` knows nothing, an engine knows no socket, no clock and no system call,
//!   only `sys` has unsafe code, only `drive` sees net, engine and files together. `config`, `time`, `log`, `text`
//!   and `event` are the words that rooms have in common.
//! - All memory is planned at start, from one arena. A connection is a slot of at most 192 bytes; a request that has not all
//!   arrived waits in a block of 8 KiB, a reply that was not taken in one of 72 KiB, and of both there are few. When they
//!   run out, who has stalled for longest gives way.
//! - What multicast DNS keeps of others is bounded by tables that are cut at start; what one asks, or says, never makes another wait.
//! - A handle is what lasts: of *kernel* form (the kernel's own, with a MAC) where the server may use those, else a *path handle*
//!   that is found again beneath the export. No table grows with the handles given out.
//! - Work is done from descriptors, one name at a time, never from stored paths: nothing that is swapped meanwhile leads out
//!   of the export. Neither attributes nor names are remembered from one request to the next.
//! - Malformed input on a stream closes it; a request that cannot be carried out gets its protocol's own error. After a
//!   promise that cannot be kept (a file that shrinks under a READ) the connection is closed: never padding, never stale
//!   bytes.
//! - Names and attributes are on disk before their change is answered, unless the export is `async`, and so is data whose caller
//!   asks for it. Data that may be lost is known to its writers by the verifier, which changes with every start and with every
//!   failure of the disk.
//! - A jail is kept by looking paths up beneath the descriptor of its directory. Landlock and seccomp only stand behind that,
//!   raised when an SFTP session's greeting has left and before anything that follows is looked at.
//! - What must not be done twice is answered from a bounded cache when it is asked for again.
//! - Started by root, files are touched as each caller says it is, as far as the export's rules believe it; else every client
//!   is the user who started the server. Rights are looked at when a file is pinned, not when a descriptor is used again.

#![cfg_attr(not(any(test, fuzzing)), no_std)]

extern crate alloc;

pub mod config;
pub mod drive;
pub mod engine;
pub mod event;
pub mod log;
pub mod mem;
pub mod net;
pub mod role;
pub mod sys;
pub mod text;
pub mod time;
pub mod vfs;
pub mod wire;
