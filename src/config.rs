//! Every limit, named and with its unit, asserted against its neighbours.

use crate::time::Duration;
use core::ffi::CStr;

/// The port NFS is found at when the portmapper is not asked.
pub const NFS_PORT: u16 = 2049;

/// Bytes of an export's path: what MOUNT can carry.
pub const EXPORT_PATH_BYTES_MAX: usize = 1024;
/// Lines of the list of mounts. The oldest gives way.
pub const MOUNT_COUNT_MAX: usize = 64;

/// Bytes of a request before its bulk data: header, credential, verifier, handle and two names stay far below.
/// It is also what is received at once and the size of a block for a request that has not all arrived.
pub const REQUEST_BYTES: usize = 8 << 10;
/// Bytes of a request that a connection keeps without a block.
pub const REQUEST_INLINE_BYTES: usize = 64;
/// Fragments of one request, empty ones counted: so many, and another for each [`FRAGMENT_BYTES`] of it that arrived before.
pub const FRAGMENT_COUNT: u32 = 16;
/// Bytes of a fragment, on the average of many: clients are known that send 1,456.
pub const FRAGMENT_BYTES: u32 = 256;
/// Bytes that one WRITE may carry.
pub const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Bytes of one whole request.
pub const RECORD_BYTES_MAX: u32 = WRITE_BYTES_MAX + REQUEST_BYTES as u32;

/// Bytes that one READ may ask for.
pub const READ_BYTES_MAX: u32 = 1 << 20;
/// Bytes of a READ that goes through the reply buffer; a larger one is an order to the driver.
pub const READ_INLINE_BYTES: u32 = 64 << 10;
/// After bytes of a larger one could not be read, all READs are that short for so long, and those that fail are answered.
pub const READ_INLINE_TIME: Duration = Duration::from_secs(60);
/// Bytes of one page of a directory.
pub const DIRECTORY_BYTES_MAX: u32 = 64 << 10;
/// Bytes of a reply beside its bulk data: header, attributes, handle, a symbolic link's target.
pub const REPLY_HEAD_BYTES: usize = 8 << 10;
/// Bytes of the reply buffer, and of a block for replies that a socket did not take.
pub const REPLY_BYTES: usize = REPLY_HEAD_BYTES + READ_INLINE_BYTES as usize;
/// Bytes that are received at once where there is one peer only.
pub const TALK_INPUT_BYTES: usize = 128 << 10;
/// Bytes of an answer to a datagram: no fragments, no amplification.
pub const DATAGRAM_BYTES: usize = 1400;
/// Sets of the duplicate request cache. A prime: a client of which only every second or fourth call is kept uses all sets, too.
pub const DRC_SET_COUNT: usize = 127;
/// Sets of the duplicate request cache in the least memory.
pub const DRC_SET_COUNT_MIN: usize = 7;
/// Replies in one set of the duplicate request cache: up to this number of peers have a share of the set.
pub const DRC_WAY_COUNT: usize = 8;
/// Bytes of the longest reply in the duplicate request cache: CREATE's with a handle of 64 bytes and all attributes.
pub const DRC_REPLY_BYTES: usize = 304;
/// Time after which a reply no longer counts for its peer's share (seconds): as long as Linux' own server keeps replies.
pub const DRC_SHARE_SECS: u32 = 120;
/// Size of a set of the duplicate request cache (bytes): its last stamp, and each reply with 48 bytes of key, checksum and numbers.
pub const DRC_SET_BYTES: usize = 4 + DRC_WAY_COUNT * (DRC_REPLY_BYTES + 48);
/// Size of the duplicate request cache (bytes).
pub const DRC_BYTES: usize = DRC_SET_COUNT * DRC_SET_BYTES;
/// Files and directories whose names or attributes wait together to be made durable.
pub const DIRTY_COUNT: usize = 16;
/// Blocks of 512 bytes of a file that is removed that are freed where everybody waits for it: 16 MiB take less than 4 ms.
pub const FREE_BLOCKS_MAX: u64 = (16 << 20) / 512;
/// Worker threads, which wait for the disk.
pub const WORKER_COUNT: usize = 4;
/// Size of a worker's stack (bytes).
pub const WORKER_STACK_BYTES: usize = 8 << 10;
/// Jobs that workers have or wait for; more are carried out in place.
pub const JOB_COUNT: usize = 64;
/// Bytes written to a file since its last sync beyond which the host may make a writer wait for the disk.
pub const UNSYNCED_BYTES_MAX: u32 = 16 << 20;
/// Smallest WRITE (bytes) that a worker may store.
pub const WORKER_WRITE_BYTES_MIN: u32 = 64 << 10;
/// Parts of WRITEs that workers have at once; more are stored in place.
pub const WORKER_WRITE_COUNT: usize = 16;
/// Files whose exclusive CREATE's verifier is kept.
pub const CREATE_VERIFIER_COUNT: usize = 32;
/// Bytes of one, with what tells its file.
pub const CREATE_VERIFIER_BYTES: usize = 32;
/// Bytes of all of them, and of the place of the last.
pub const CREATED_BYTES: usize = CREATE_VERIFIER_COUNT * CREATE_VERIFIER_BYTES + 1;
/// Bytes that a server leaves to the next, and has in common with others of the same files.
pub const KEPT_BYTES: usize = CREATED_BYTES + DRC_BYTES;
/// Size of [`KEPT_BYTES`] in the least memory.
pub const KEPT_BYTES_MIN: usize = CREATED_BYTES + DRC_SET_COUNT_MIN * DRC_SET_BYTES;
/// Files and directories that a session may have open, if descriptors suffice.
pub const HANDLE_COUNT_MAX: usize = 2048;
/// Descriptors for everything else in a session: the standard streams, the log, the jail, what a request needs. The few that need
/// more, for long ways through links, fail while all handles are open.
pub const HANDLE_DESCRIPTOR_RESERVE: usize = 20;
/// Bytes of passwd(5), of group(5) and of a time zone's file that are looked at.
pub const ACCOUNT_BYTES_MAX: usize = 64 << 10;
/// Bytes of a symbolic link's target on Linux.
pub const LINK_BYTES_MAX: usize = 4096;
/// Bytes of a path on Linux.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of a WRITE that are received, and stored, at once: at most so many, up to the end of one of the file's pages.
pub const STORE_BYTES: usize = 64 << 10;
/// Capacity (bytes) of an SFTP session's standard output once a batch did not fit the pipe: eight READs, and few enough for the
/// limit of a user's pipes (fs.pipe-user-pages-soft).
pub const REPLY_PIPE_BYTES: usize = 256 << 10;
/// Bytes of a page of a file.
pub const PAGE_BYTES: usize = 4 << 10;
/// Bytes of a WRITE from which on they go through a pipe, where the host moves them by itself.
pub const SPLICE_BYTES_MIN: u32 = 64 << 10;
/// Bytes that one turn moves for one connection before the others have theirs.
pub const ORDER_TURN_BYTES: u32 = 2 << 20;

/// Images that are open at once. A node has four bits for which of them it is in.
pub const IMAGE_COUNT_MAX: usize = 16;
/// Times that one question may look at an image, at a sector each: enough for a directory of 100,000 names.
pub const IMAGE_LOOK_COUNT_MAX: i32 = 128 << 10;

const _: () = assert!(DIRECTORY_BYTES_MAX <= READ_INLINE_BYTES);
const _: () = assert!(READ_INLINE_BYTES <= READ_BYTES_MAX);
const _: () = assert!(STORE_BYTES <= REPLY_BYTES && STORE_BYTES.is_multiple_of(PAGE_BYTES));
const _: () = assert!(LINK_BYTES_MAX < REPLY_HEAD_BYTES);
const _: () = assert!(REQUEST_INLINE_BYTES < REQUEST_BYTES);

/// Bytes of one packet of SFTP, its length not counted: OpenSSH's limit, as are those that follow from it.
pub const PACKET_BYTES_MAX: u32 = 256 << 10;
/// Bytes that one packet reads or writes.
pub const PACKET_DATA_BYTES_MAX: u32 = PACKET_BYTES_MAX - 1024;
/// Bytes of a packet that is not a WRITE: two paths stay far below. It lies in the receive buffer as a whole.
pub const PACKET_WHOLE_BYTES_MAX: u32 = 40 << 10;
/// Bytes of a reply other than to READ and READDIR: a symbolic link's target, twice.
pub const PACKET_REPLY_BYTES: usize = 12 << 10;
/// Size (bytes) of an SFTP session's reply buffer: the longest reply to READ, with its head.
pub const SFTP_REPLY_BYTES: usize = PACKET_BYTES_MAX as usize;
/// Size (bytes) from which on a batch of SFTP replies is sent. A larger batch falls out of the processor's cache between pread and write.
pub const SFTP_BATCH_BYTES: usize = 64 << 10;
/// Bytes of one page of a directory in SFTP: clients are known that take no more than 34,000.
pub const NAMES_BYTES_MAX: usize = 32_000;
/// Copies and checks of one SFTP session that wait for their end; the first goes on by a reply's bytes before other requests
/// are looked for. Further ones wait in the stream.
pub const JOB_COUNT_MAX: usize = 8;
/// SFTP sessions in one loop.
pub const SFTP_CONNECTION_COUNT_MAX: usize = 8;
/// Bytes of the hashes that one check answers.
pub const HASHES_BYTES: usize = 32 << 10;

const _: () = assert!(2 * LINK_BYTES_MAX + 64 < PACKET_REPLY_BYTES);
const _: () = assert!(READ_INLINE_BYTES as usize + 64 <= REPLY_BYTES);
const _: () = assert!(NAMES_BYTES_MAX + 4096 <= REPLY_BYTES && HASHES_BYTES + 64 <= REPLY_BYTES);
const _: () = assert!(PACKET_DATA_BYTES_MAX as usize + 64 <= SFTP_REPLY_BYTES);
const _: () = assert!(SFTP_BATCH_BYTES < REPLY_BYTES && REPLY_BYTES <= SFTP_REPLY_BYTES);

/// Bytes of a loop's receive buffer: the longest packet of SFTP, or message of multicast DNS.
pub const RX_BYTES: usize = if cfg!(feature = "streams") {
    48 << 10
} else {
    9000
};
/// Bytes of its transmit buffer.
pub const TX_BYTES: usize = if cfg!(feature = "sftp-server") {
    SFTP_REPLY_BYTES
} else if cfg!(feature = "streams") {
    REPLY_BYTES
} else {
    1500
};
/// Size (bytes) of the transmit buffer in the least memory. An SFTP READ is answered by fewer bytes then.
pub const TX_BYTES_MIN: usize = if cfg!(feature = "streams") {
    REPLY_BYTES
} else {
    1500
};

const _: () =
    assert!(PACKET_WHOLE_BYTES_MAX as usize + 4 <= RX_BYTES || !cfg!(feature = "streams"));

/// Connections, if descriptors suffice.
pub const CONNECTION_COUNT_MAX: usize = 12_288;
/// The same in the least memory.
pub const CONNECTION_COUNT_MIN: usize = 4;
/// Connections that have a process each.
pub const PROCESS_COUNT_MAX: usize = 64;
/// Blocks for requests that have not all arrived.
pub const REQUEST_BLOCK_COUNT: usize = 128;
/// Blocks for replies that were not taken.
pub const REPLY_BLOCK_COUNT: usize = 32;
/// Descriptors of files and directories that are kept open, if the limit allows.
pub const NODE_COUNT_MAX: usize = 1024;
/// The fewest descriptors of files and directories to work with.
pub const NODE_COUNT_MIN: usize = 16;
/// Descriptors for everything else but exports: listeners, standard streams, the directories down to a lost file, a file and a pipe
/// for each WRITE of a worker, a pipe for each READ of one.
pub const DESCRIPTOR_RESERVE: usize =
    32 + SEARCH_DEPTH_MAX + 3 * WORKER_WRITE_COUNT + 2 * WORKER_COUNT;

/// Bytes of all memory that is not the stack or a constant. Untouched pages cost nothing.
pub const REGION_BYTES: usize = 8 << 20;
/// Bytes of it that do not depend on how long the tables are: what is left is shared out to them in proportion.
pub const REGION_FIXED_BYTES: usize = 512 << 10;
/// Bytes of a connection's state.
pub const CONNECTION_BYTES_MAX: usize = 192;

const _: () = assert!(
    CONNECTION_COUNT_MAX * CONNECTION_BYTES_MAX
        + REQUEST_BLOCK_COUNT * REQUEST_BYTES
        + (REPLY_BLOCK_COUNT + 1) * REPLY_BYTES
        + NODE_COUNT_MAX * 256
        + KEPT_BYTES
        < REGION_BYTES - REGION_FIXED_BYTES
);

/// Directory levels on the way to a file that is looked for by its inode number.
pub const SEARCH_DEPTH_MAX: usize = 64;
/// Directory entries looked at for one request before the client is told to try again later.
pub const SEARCH_ENTRY_COUNT: usize = 20_000;
/// Bytes of directory entries fetched at once. What does not fit in a page is fetched again: a small buffer wastes less.
pub const DIRECTORY_BUFFER_BYTES: usize = 4 << 10;

/// A request that has begun to arrive and makes no progress for so long closes its connection.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A reply that is not taken for so long closes its connection.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for either when another connection needs its block.
pub const PRESSED_TIMEOUT: Duration = Duration::from_secs(1);
/// A silent connection is given up for a new one after so long, when there is no slot for both.
pub const SILENT_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for a connection that has been answered before.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long no connection is accepted after there was no descriptor for one.
pub const ACCEPT_PAUSE: Duration = Duration::from_ms(500);
/// Descriptors of files are let go when nothing was asked for so long, so that deleted files free their space.
pub const NODE_IDLE: Duration = Duration::from_secs(1);

/// How long a check waits for all answers together: less than its caller does.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of what a check says in JSON: a path of which each byte is escaped, and some words.
pub const CHECK_JSON_BYTES: usize = 8 << 10;
const _: () = assert!(EXPORT_PATH_BYTES_MAX * 5 + 1024 < CHECK_JSON_BYTES);

/// Names that are announced, each label that they have in common counted once: of a thousand virtual machines and more.
pub const ANNOUNCED_NAME_COUNT: usize = 1536;
/// The same in the least memory: of a host with a few services, as what follows.
pub const ANNOUNCED_NAME_COUNT_MIN: usize = 128;
/// Records that are announced: five for a service.
pub const ANNOUNCED_RECORD_COUNT: usize = 6144;
/// The same in the least memory.
pub const ANNOUNCED_RECORD_COUNT_MIN: usize = 256;
/// Bytes of all that is announced of services beside their names.
pub const ANNOUNCED_TEXT_BYTES: usize = 256 << 10;
/// The same in the least memory.
pub const ANNOUNCED_TEXT_BYTES_MIN: usize = 8 << 10;

/// Events of one kind from one peer in a minute; the rest is counted, not told.
pub const EVENT_COUNT_PER_MINUTE: u32 = 10;

/// Where the key of the handles lies unless `--key-file` says otherwise.
pub const KEY_FILE: &CStr = c"/var/lib/stowaway/handle.key";
/// The directory that is made for it.
pub const KEY_DIRECTORY: &CStr = c"/var/lib/stowaway";

/// Connections of our own network stack, with those that are being made and those that are closing: a dozen clients are meant, and
/// each packet is compared with all of them; but a thousand that come at once are answered.
#[cfg(feature = "smol")]
pub const STACK_CONNECTION_COUNT_MAX: usize = 1280;

/// The same in the least memory.
#[cfg(feature = "smol")]
pub const STACK_CONNECTION_COUNT_MIN: usize = 8;

/// Those of them that NFS has at most: the others are being made, wait to be accepted, are closing, or are of SFTP.
#[cfg(feature = "smol")]
pub const STACK_NFS_COUNT_MAX: usize = 1024;
#[cfg(feature = "smol")]
const _: () =
    assert!(STACK_NFS_COUNT_MAX + SFTP_CONNECTION_COUNT_MAX + 128 < STACK_CONNECTION_COUNT_MAX);

/// Bytes that a connection of it receives before they are taken, and sends before they are acknowledged: while many are open, and
/// while few are.
#[cfg(feature = "smol")]
pub const STACK_RING_BYTES: [(usize, usize); 2] = [(16 << 10, 64 << 10), (128 << 10, 256 << 10)];

/// Connections that are few.
#[cfg(feature = "smol")]
pub const STACK_FEW_COUNT: usize = 16;

/// Bytes of the heap that its rings lie in; what is not used is not touched.
#[cfg(feature = "smol")]
pub const STACK_HEAP_BYTES: usize = {
    let [(rx, tx), (rx_few, tx_few)] = STACK_RING_BYTES;
    STACK_CONNECTION_COUNT_MAX * (rx + tx) + STACK_FEW_COUNT * (rx_few + tx_few) + (4 << 20)
};

/// The same in the least memory: of a few connections.
#[cfg(feature = "smol")]
pub const STACK_HEAP_BYTES_MIN: usize = 448 << 10;

/// Bytes of memory of a machine without an operating system without which it does not begin: what is left of 4 MiB.
pub const MACHINE_BYTES_MIN: usize = 1_280 << 10;
/// With less than this, its frames are ordinary ones, and its tables as small as they may be.
pub const MACHINE_SMALL_BYTES: usize = 8 << 20;

/// Bytes of its other tables, and of the frames that it and its link are at.
#[cfg(feature = "smol")]
pub const STACK_FIXED_BYTES: usize = 1_280 << 10;
