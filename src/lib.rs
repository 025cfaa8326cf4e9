//! stowaway: one static, libc-free file that serves files from hosts where nothing else runs.
//!
//! # The map
//!
//! ```text
//!            role      what the file does, by its first argument: one folder per role, which makes tasks from arguments
//!              │
//!            drive     the loop: waits once, lends network, files and buffers to each task; connections, orders; the supervisor
//!       ┌──────┼──────┐
//!      net   engine  vfs    network stacks · protocols without sockets · trees of files
//!       │    │    │   │
//!       │  wire ──┼───┘     bytes ↔ values
//!      sys ───────┘         what it runs on: Linux, or a machine without a kernel
//!       │
//!      mem                  the memory that is given at start
//! ```
//!
//! An arrow down is an import; `cargo xtask tidy` holds the table of them and refuses circles. `config` (every limit), `time`, `log`
//! (traces), `event` (messages for people) and `text` (their texts) are used by all above `sys`.
//!
//! ## A request's way
//!
//! `drive::Loop` waits for sockets and lends a `World` to each task whose socket can go on. Of an NFS server, `drive::streams`
//! receives into the loop's buffer and hands the bytes to `engine::rpc`, which takes records off them; `engine::programs` parses
//! each call and hands it to `nfs`, `mount` or `portmap`, which ask the tree of `vfs` and write their replies one behind the other
//! into the loop's other buffer. Bytes that are many or wait for a disk are an *order*, which `drive::orders` carries out: of a READ
//! above 64 KiB the engine writes the head of the reply, and sendfile sends the rest (`Send`); the data of a WRITE goes from the
//! socket to the file (`Store`); a cold READ of up to 64 KiB is answered when its bytes are in memory (`Read`).
//!
//! All that may wait for a disk is a *job* (`vfs::jobs`): a sync, a read, a write. The backend carries it out at once or gives it to a
//! worker thread, and reports its end; meanwhile the loop serves other clients. `drive::group_commit` knows which replies and orders
//! wait for which job. A reply that promises a durable change waits in a block for its sync; if that fails, `engine::nfs::promises`
//! makes an error of the reply.
//!
//! An SFTP READ is copied into the reply when it is answered, whatever its length: an SFTP session has an output of 256 KiB.
//! The session goes through the same engine interface, `engine::Stream`: as sshd starts it, over standard input and output in a
//! process of its own (`drive::platform::host::stdio`), or in a loop over sockets (`drive::sftp`). Multicast DNS is a task too:
//! `drive::endpoint` opens sockets as interfaces come and go, for `engine::mdns`' responder or its browser. `serve` lists which
//! tasks share a loop: a process each, or with `--one-process` one loop for all.
//!
//! ## Where to find it
//!
//! | what | where |
//! |---|---|
//! | records of RPC, their fragments | `engine/rpc/record.rs` |
//! | the duplicate request cache | `engine/drc.rs` |
//! | weak cache consistency (WCC): attributes before and after | `WccData` in `engine/nfs/change.rs`, for WRITE `WccAttr` in `engine/nfs/write.rs` |
//! | the tree: what is exported, by which rules, which backend an object is of | `vfs/exports.rs`, `vfs/node.rs` |
//! | the tree as NFS uses it, as SFTP does | `vfs/by_handle.rs`, `vfs/by_path.rs` |
//! | file handles: kernel handles, path handles | `vfs/handle.rs`; `vfs/host/key.rs` has the secret of their MAC |
//! | what is durable when | `vfs/host/durable.rs` |
//! | jobs: their trait, the worker threads, the connections that wait | `vfs/jobs.rs`, `sys/linux/workers.rs`, `drive/group_commit.rs` |
//! | the jobs of the host's files: sync, read, write, free removed files | `vfs/host/storage.rs`, `durable.rs`, `writes.rs`, `removed.rs` there |
//! | files in memory: where they and their names lie, what they may take | `vfs/ram/store.rs`, `vfs/ram/map.rs` |
//! | which user a request acts as | `vfs/host/acting.rs`, `sys/linux/fsuid.rs` |
//! | requests of SFTP, which write and which do not | the table in `engine/sftp/requests.rs` |
//! | the walk that keeps a jail | `vfs/walk.rs`, by the kernel's help `vfs/user/jail.rs` |
//! | ISO images: the format, the tree, images that are entered on the way | `wire/iso9660`, `vfs/iso/mod.rs`, `vfs/iso/images.rs` |
//! | a name's life in multicast DNS | `engine/mdns/{claim,probe,conflict,announce,answer,goodbye}.rs` |
//! | a browser's cache and its questions | `engine/mdns/browser/{cache,questions}.rs` |
//! | a new backend | a folder of `vfs` that implements its traits and passes `vfs/conformance`, a number in `vfs/node.rs`; `Tree::add` registers it (`role/nfs/mod.rs`, `task`) |
//! | a new role | a folder of `role`, and a line of `roles!` in `role/mod.rs` |
//! | a network stack of our own (`--net`): over links, by smoltcp | `net/link`, `net/smol`; `drive/platform/network.rs` has either this or the host's |
//! | a machine without an operating system: its entry, devices, boot arguments, files | `sys/arch/pvh.rs`, `sys/bare`, `role/boot.rs`, `role/nfs/machine.rs`; `drive/platform` makes no system call there |
//! | a machine with Linux: its first process, what that asks of the kernel | `role/init.rs`, `drive/platform/host/init.rs`, `sys/linux/init.rs` |
//! | fallbacks for missing system calls | `sys/linux/fs`, `sys/linux/sockets.rs` |
//!
//! # Invariants
//!
//! - `wire` has no state. An engine has no sockets, no clock and makes no system call: time, files and events are lent for each call.
//!   Only `drive` sees network, engine and files together. Unsafe code stands in `sys`, in `mem` and in the entry point alone.
//! - All memory is planned at start, from one region. A connection is a slot of at most 192 bytes; a request that has not all
//!   arrived waits in a block of 8 KiB, a reply that was not taken or waits for the disk in one of 72 KiB (SFTP: 256 KiB), and of both there are few. When they
//!   run out, the connection that stalled longest is closed.
//! - What multicast DNS keeps of others is bounded by tables; what one host asks or says never makes another wait.
//! - A handle lasts: it is a kernel handle (the kernel's own, with a MAC) where the server may use those, else a path handle
//!   that is found again beneath the export. No table grows with the handles given out. Those of files in memory last as long as
//!   these: until the process ends.
//! - Files are reached from descriptors, one name at a time, never by stored paths: nothing that is swapped meanwhile leads out
//!   of the export. Neither attributes nor names are remembered from one request to the next.
//! - Malformed input on a stream closes it; a request that cannot be carried out gets its protocol's own error. After a
//!   promise that cannot be kept (a file that shrinks under a READ) the connection is closed.
//! - A READ over SFTP, and one of up to 64 KiB over NFS, is a copy: later changes of the file do not change the reply. A larger NFS
//!   READ uses sendfile, as the kernel's server does: bytes that are cut off before the client has received them arrive as zeros.
//! - Names and attributes are on disk before their change is answered, unless the export is `async`, and so is data for which the
//!   client asks that. Data that may be lost is known to its writers by the write verifier, which changes with every start and with
//!   every failure of the disk.
//! - A jail is kept by looking paths up beneath the descriptor of its directory. Landlock and seccomp stand behind that,
//!   raised when an SFTP session's first reply was sent and before anything that follows is looked at.
//! - A request that is not idempotent and comes again is answered from the duplicate request cache, which is bounded. Under `serve`
//!   it outlives the server, in memory that the supervisor shares with each.
//! - Started by root, files are used as the user that each call names, as far as the export's rules allow; else every client
//!   is the user who started the server. Rights are checked when a file is pinned, not when a descriptor is used again.
//!
//! # Glossary
//!
//! All other words are those of the RFCs, POSIX, Linux' man pages and DNS-SD.
//!
//! - **role**: what the file does, by its first argument or the name it is started by.
//! - **task**: what a loop runs beside others: a server, a responder, a browser.
//! - **world**: what a loop lends a task for one call: time, network, files, events, buffers.
//! - **turn**: one pass of a loop; one call of a task.
//! - **order**: bytes of a file that an engine asks the driver to send, store or read into memory.
//! - **job**: work that may wait for a disk, carried out by a worker thread while the loop goes on.
//! - **event**: a message for people, one escaped line; **trace**: one for developers, by defmt.
//! - **text**: a message's constant part, packed in the file.
//! - **tree**, **backend**: all files that a loop serves; one kind of them, behind the traits of `vfs`.
//! - **node**, **pin**: an object of a backend for one request; the same, held open for longer.
//! - **path handle**: an NFS file handle that the server finds again by names and inode numbers.
//! - **jail**: a directory whose outside an SFTP session cannot name.
//! - **endpoint**: what speaks multicast DNS on the links of a host: a responder or a browser.
//! - **link**: an interface as multicast DNS uses it, with its addresses.
//! - **slot**, **block**: a place in a table that is made at start; a piece of memory that many share in turn.
//!
//! # Size
//!
//! The file is paid for by the byte, so some code has a form for its size. `core::fmt` is not linked: lines are written by
//! `event::Line`, and a panic tells addresses, which the debug file knows. `#[inline(never)]` stands where a function has several
//! callers and the compiler would copy it into each: it inlines by the cost of one call, not of the file. `#[repr(C)]` stands on
//! structs whose first fields are used most: an offset below 128 takes one byte of an instruction, a larger one four. Slices are
//! cut by `mem::Ends`, which has no path that panics. Traits are used as `dyn` where a generic would be compiled twice. Each
//! compiler flag stands with its percentage in `xtask/src/build/toolchain.rs`; `cargo xtask size --attributes` builds without the
//! attributes of each module and tells which of them pay.

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
