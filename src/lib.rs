//! stowaway: a static binary without libc that serves files over NFS, HTTP and SFTP and announces them by multicast DNS, also on
//! hosts where nothing else runs.
//!
//! # The map
//!
//! ```text
//!            role      the program's roles, selected by the first argument: one folder each; parses arguments, makes tasks
//!              │
//!      ┌───────┴──────┐
//!   exports         services    a server's exports: read, opened, reported · services of DNS-SD: announced, browsed
//!      └───────┬──────┘
//!              │
//!            drive     the loop: waits once, passes network, files and buffers to each task; connections, transfers; the supervisor
//!       ┌──────┼──────┐
//!      net   engine  vfs    network stacks · protocols without sockets · trees of files
//!       │    │    │   │
//!      os    │    │   │     services of a Linux host to the roles: its files, logs, programs, child processes, clients
//!       │  wire ──┼───┘     bytes ↔ values
//!      sys ───────┘         the platform: Linux, or a machine without an operating system
//!       │
//!      mem                  memory, allocated once at the start
//! ```
//!
//! An arrow down is an import. `cargo xtask tidy` has the table of allowed imports and refuses cycles. `config` (all limits),
//! `time`, `log` (traces), `event` (messages for people), `stats` (figures) and `text` (constant parts of messages) are used by all
//! layers above `sys`;
//! `console` writes messages outside a loop.
//!
//! ## A request's way
//!
//! `drive::Loop` waits for sockets and passes a `World` to each task whose socket is ready. To `drive::service` every protocol is a
//! `Service` (`engine::service`), and its task is `Serving`, to which the role adds sockets and reports. It receives into the loop's
//! buffer, passes the bytes, and does next what the returned `Progress` says. NFS is `engine::sessions`: `engine::rpc` splits the
//! bytes into records, and `engine::programs` parses each call and passes it to the row of its table: `nfs`, `mount` or `portmap`,
//! which use the tree of `vfs` and write their replies one after another
//! into the loop's second buffer. Large data is moved by a *transfer* (`Next::Move`), which `drive::service::transfer` carries out:
//! for a READ above 64 KiB the engine writes the head of the reply, and sendfile sends the data (`ToPeer`); the data of a WRITE goes
//! from the socket to the file (`ToFile`). A request that must wait for a disk, such as an uncached READ, has done nothing; its bytes
//! are passed again once the job has ended (`Next::Until`). A request of several operations goes on at the one that stopped: its
//! unfinished reply is held in a block, and never sent before it is whole.
//!
//! Work that may block on a disk is a *job* (`vfs::jobs`): a sync, a read, a write. The backend carries out a job at once or
//! queues it for a worker thread, and reports its completion; meanwhile the loop serves other clients. `drive::service::waits`
//! knows which replies, transfers and requests wait for which job. A reply that promises a durable change waits in
//! a block for its sync, beside a note (`engine::programs::promises`), which turns it into an error if the sync fails.
//!
//! HTTP (`engine::http`) has the shortest way: `place` walks the path below an export as its anonymous user, `answer` writes the head,
//! and a transfer sends the file.
//!
//! An SFTP READ of any length is copied into the reply when it is answered; an SFTP session has an output buffer of 256 KiB.
//! `engine::sftp::Sessions` is served in two places: over standard input and output in its own process, as
//! started by sshd (`drive::platform::host::stdio`), or over sockets in a loop (`drive::service`). Multicast DNS is a task, too:
//! `drive::endpoint` opens sockets as interfaces appear and disappear, for the responder or the browser of `engine::mdns`. `serve`
//! decides which tasks share a loop: each has its own process, or with `--one-process` all share one loop.
//!
//! ## Where to find it
//!
//! | what | where |
//! |---|---|
//! | RPC records and their fragments | `engine/rpc/record.rs` |
//! | the duplicate request cache | `engine/rpc/drc.rs`; `engine/rpc/connections.rs` has the open connections |
//! | NFS 4.1: a COMPOUND and its context, its operations as rows, attributes as rows | `engine/nfs4/{compound,operations,attributes}.rs` |
//! | NFS 4.1: clients, sessions, slots and kept replies, in words that servers share | `engine/nfs4/{clients,sessions,room,tables}.rs` |
//! | NFS 4.1: opens and locks as rows, grace and the records of clients | `engine/nfs4/{opens,ranges,locks,grace,records}.rs` |
//! | the memory that outlives a server: its layout, its locks | `engine/rpc/{regions,lock}.rs`, `sys/linux/shared.rs`; `drive/platform/host/loops.rs` maps it |
//! | weak cache consistency (WCC): attributes before and after | `WccData` in `engine/nfs/change.rs`, for WRITE `WccAttr` in `engine/nfs/write.rs` |
//! | the tree: the exports, their rules, the backend of an object | `vfs/tree`, `vfs/node.rs` |
//! | the tree as used by NFS, by SFTP | `vfs/tree/handles.rs`, `vfs/tree/paths.rs` |
//! | file handles: kernel handles, path handles | `vfs/handle.rs`; `vfs/host/key.rs` has the secret of their MAC |
//! | when a change is durable | `vfs/host/durable.rs` |
//! | files without a name: those that stay usable, those that clients removed | `vfs/host/removed.rs` |
//! | jobs: their trait, the worker threads, the waiting connections | `vfs/jobs.rs`, `sys/linux/workers.rs`, `drive/service/waits.rs` |
//! | jobs on the host's files: sync, read, write, free removed files | `vfs/host/storage.rs`, `durable.rs`, `writes.rs`, `removed.rs` there |
//! | files in memory: storage of files and names, limits | `vfs/ram/store.rs`, `vfs/ram/map.rs` |
//! | the user as whom a request accesses files | `vfs/host/acting.rs`, `sys/linux/fsuid.rs` |
//! | HTTP: requests, the object at a path, ranges, listings | `wire/http`, `engine/http/{place,conditions,parts,listing}.rs`; media types in `linker/kinds.txt`; cases in `xtask/cases/src/http` |
//! | network boot: the offer, transfers, the menu, images and their arguments | `engine/boot/{dhcp,tftp,transfer,menu,scan,layouts}.rs`; `role/boot` |
//! | SFTP requests, and which of them write | the table in `engine/sftp/requests.rs` |
//! | the path walk that keeps a session in its jail | `vfs/walk.rs`, with the kernel's help `vfs/user/jail.rs` |
//! | ISO images: the format, the tree, images entered by a path | `wire/iso9660`, `vfs/iso`, `vfs/images.rs` |
//! | UDF images: the format, the volume, the tree | `wire/udf`, `vfs/udf/open.rs`, `vfs/udf/mod.rs`; `vfs/bridge.rs` chooses between it and ISO 9660 |
//! | the life of a name in multicast DNS | `engine/mdns/{claim,probe,conflict,announce,answer,goodbye}.rs` |
//! | host names in exports: look-ups, the sockets, the comparison | `engine/names`, `vfs/names.rs`; `exports/names.rs` opens the sockets and reads the files |
//! | why an export is read-only, missing or refused; its users, groups and mount commands | `exports/{upkeep,reports,file_user,groups,mounting}.rs`; the rules are `vfs::Rules` |
//! | the host's own addresses in mount commands and URLs | `exports/addresses.rs`, `role/http/urls.rs` |
//! | the rpcbind that owns port 111 | `role/nfs/rpcbind.rs` |
//! | the figures: counters, clients, durations; rows, pages, Prometheus' text | `stats`, `stats/forms`; `drive/platform/host/status.rs` has the socket of `stowaway status` |
//! | a browser's cache and questions | `engine/mdns/browser/{cache,questions}.rs` |
//! | a new backend | a folder of `vfs` that implements its traits and passes `vfs/conformance`, a number in `vfs/node.rs`; `Tree::add` registers it (`exports/upkeep.rs`) |
//! | a role, a flag, an error, a fallback, a backend, a bench: every file to touch | `image/doc/contributing.md` |
//! | completions of shells: the scripts, the words that they ask for | `role/completion`, `role/flags.rs` |
//! | a new role | a folder of `role`, and a line of `roles!` in `role/mod.rs` |
//! | the built-in network stack (`--net`): links, smoltcp | `net/link`, `net/smol`; `drive/platform/network.rs` selects it or the host's stack |
//! | a machine without an operating system: entry, devices, boot arguments, files | `sys/arch/pvh.rs`, `sys/bare`, `role/machine.rs`, `role/nfs/machine.rs`; `drive/platform` makes no system call there |
//! | a machine with a Linux kernel: process 1, its system calls | `role/init.rs`, `os/init.rs`, `sys/linux/init.rs` |
//! | files, logs, programs and processes of a host, as a role uses them | `os` |
//! | what `install` makes on each kind of host | `role/install/install.sh`, the files beside it |
//! | virtual machines and the hardware ID, as announced | `os/machines`, `os/hardware`; `services/announce` and `role/mdns` announce them |
//! | fallbacks for missing system calls | `sys/linux/fs`, `sys/linux/sockets.rs` |
//!
//! # Invariants
//!
//! - `wire` has no state. An engine has no sockets and no clock and makes no system call: the caller passes time, files and events.
//!   Only `drive` sees network, engine and files together. Unsafe code is found only in `sys`, `mem` and the entry point.
//! - All memory is allocated at the start, from one region. A connection is a slot of at most 192 bytes. An incomplete request
//!   waits in a block of 8 KiB; a reply that the client has not accepted, or that waits for the disk, in a block of 72 KiB
//!   (SFTP: 256 KiB). There are few blocks. When they run out, further requests wait in the socket, and connections that have
//!   been stalled for a second are closed, the longest stalled first.
//! - Tables bound what multicast DNS stores of other hosts. A question or answer of one host never delays another host.
//! - A handle stays valid. It is a kernel handle (the kernel's own, with a MAC) if the server may use those, else a path handle,
//!   by which the object is found again below the export. No table grows with the number of handles given out. Handles of files in
//!   memory are valid as long as the files: until the process ends.
//! - Files are opened relative to descriptors, one name at a time, never by stored paths: an object that is replaced meanwhile
//!   cannot redirect a request to a file outside the export. Neither attributes nor names are cached from one request to the next.
//! - Malformed input on a stream closes the connection. A request that cannot be carried out gets its protocol's error. If a
//!   promise cannot be kept (a file that shrinks during a READ), the connection is closed.
//! - A READ over SFTP, and one of up to 64 KiB over NFS, is a copy: later changes of the file do not change the reply. A larger NFS
//!   READ uses sendfile, like the kernel's server: if the file is truncated before the client has received the data, zeros arrive.
//! - A change of names or attributes is on disk before its reply is sent, unless the export is `async`; so is data if the client
//!   asks for that. The write verifier tells clients when unsynced data may be lost: it changes at every start and after every disk
//!   failure.
//! - A session stays in its jail because paths are resolved relative to the descriptor of the jail's directory. Landlock and
//!   seccomp are a second barrier; they are enabled before a server reads the first byte of a client.
//! - A retransmitted request that is not idempotent is answered from the duplicate request cache, which is bounded. Under `serve`
//!   the cache outlives the server, in memory shared with the supervisor. A request of another user, from another port while the
//!   first connection is open, after the client has received the reply and ended its connection, or after two minutes, is a new
//!   request. The export's rules are asked before the cache.
//! - A server started by root accesses files as the user named by each call, as far as the export's rules allow; otherwise every
//!   client acts as the user of the server's process. If the host cannot switch users, root's process becomes the anonymous user
//!   before it opens an export. Permissions are checked when a file is pinned, not when its descriptor is reused.
//!
//! # Glossary
//!
//! All other words are those of the RFCs, POSIX, the Linux man pages and DNS-SD.
//!
//! - **role**: a function of the program, selected by its first argument or by the name it is started by.
//! - **task**: a server, a responder or a browser; several can run in one loop.
//! - **world**: what a loop passes to a task for one call: time, network, files, events, buffers. In tests, **bench**: all that
//!   an engine needs around it.
//! - **turn**: one pass of a loop, and the part that a task or connection has in it.
//! - **service**: a protocol as the driver sees it; **transfer**: bytes that the driver moves between a file and a peer for it.
//! - **to stop**: a call or a request does nothing before an event (`vfs::Until`), and is then repeated from there.
//! - **job**: work that may block on a disk, carried out by a worker thread while the loop continues; **completion**: its result.
//! - **access**: reading or writing, as a request asks for; **file rights**: what the sandbox leaves to a process.
//! - **event**: a message for people, one escaped line; **trace**: a message for developers, by defmt.
//! - **figure**: a number that a server counts, for people; **sheet**: the words in which one process counts.
//! - **text**: the constant part of a message, compressed in the binary.
//! - **tree**, **backend**: all files that a loop serves; one kind of files, implemented behind the trait `Vfs`.
//! - **node**, **pin**: an object of a backend during one request; an object held open for longer.
//! - **path handle**: an NFS file handle that the server resolves by names and inode numbers.
//! - **jail**: a directory to which an SFTP session is confined.
//! - **endpoint**: a multicast DNS responder or browser on the links of a host.
//! - **link**: an interface as used by multicast DNS, with its addresses.
//! - **slot**, **block**: an entry of a table allocated at the start; a buffer that connections share, one at a time.
//!
//! # Size
//!
//! Every byte of the binary counts, so some code is written for size. `core::fmt` is not linked: `event::Line` formats lines, and a
//! panic prints addresses, which the debug file resolves. `#[inline(never)]` is set where the compiler would inline a function at
//! the cost of at least 16 bytes: its heuristics consider one call, not the whole binary; the line says what the
//! attribute saved when it was measured. `#[repr(C)]` keeps the most-used fields of a struct first: an offset below 128 takes one byte
//! of an instruction, a larger one four. `mem::Ends` cuts slices without a panic path. Traits are used as `dyn` where a generic
//! would be compiled twice. `xtask/src/build/toolchain.rs` has the reason of each compiler flag, `image/doc/size.md` the lessons.

#![cfg_attr(not(any(test, fuzzing)), no_std)]
// A feature gates modules only. What else a set of roles does not need, the linker drops; the compiler warns of what all roles together
// do not need.
#![cfg_attr(not(all_roles), allow(dead_code, unused_imports, unused_macros))]

extern crate alloc;

pub mod config;
pub mod console;
pub mod drive;
pub mod engine;
pub mod event;
#[cfg(feature = "nfs")]
pub mod exports;
pub mod log;
pub mod mem;
pub mod net;
pub mod os;
pub mod role;
#[cfg(feature = "multicast")]
pub mod services;
pub mod stats;
pub mod sys;
pub mod text;
pub mod time;
pub mod vfs;
pub mod wire;
