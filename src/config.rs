//! Every limit, named and with its unit, asserted against its neighbours.

use crate::time::Duration;
use core::ffi::CStr;

/// True if the executable has NFS. Tests have all parts below.
pub const HAS_NFS: bool = cfg!(any(feature = "nfs", test));
/// True if lines of a log have a time and a level. `sftp-server` alone has the lines of OpenSSH.
pub const HAS_LOG: bool = cfg!(any(feature = "nfs", feature = "mdns", test));
/// True if the executable has `serve`, with its supervisor and the loops that share files.
pub const HAS_SERVE: bool = cfg!(any(feature = "serve", test));
/// True if the executable has NFS 4.1.
pub const HAS_NFS4: bool = cfg!(any(feature = "nfs4", test, fuzzing));
/// True if the executable has HTTP.
pub const HAS_HTTP: bool = cfg!(any(feature = "http", test, fuzzing));
/// True if the executable has SFTP.
pub const HAS_SFTP: bool = cfg!(feature = "sftp-server");
/// True if a role of the executable uses interfaces and multicast groups.
pub const HAS_MULTICAST: bool = cfg!(feature = "multicast");
/// True if the executable has the built-in network stack.
pub const HAS_STACK: bool = cfg!(feature = "smol");
/// True if the executable runs as the first process of a machine.
pub const HAS_INIT: bool = cfg!(feature = "init");
/// True if the executable looks up the host names of exports.
pub const HAS_NAMES: bool = cfg!(any(all(feature = "nfs", feature = "mdns"), test));
/// True if the executable has the scripts of shells.
pub const HAS_COMPLETION: bool = cfg!(feature = "completion");
/// True if the executable serves the files inside ISO images.
pub const HAS_ISO: bool = cfg!(any(feature = "iso", test));
/// True if a role of the executable uses connections.
pub const HAS_STREAMS: bool = cfg!(feature = "streams");

/// Default TCP port of NFS; clients that do not ask the portmapper use this one.
pub const NFS_PORT: u16 = 2049;

/// Longest path of an export (bytes), as MOUNT limits it (MNTPATHLEN).
pub const EXPORT_PATH_BYTES_MAX: usize = 1024;

/// The file with exports, unless the command line names exports or another file.
pub const EXPORTS_FILE: &CStr = c"/etc/exports";
/// Directory of further files with exports, `*.exports`.
pub const EXPORTS_SUBDIRECTORY: &CStr = c"/etc/exports.d";
/// Longest file with exports (bytes).
pub const EXPORTS_FILE_BYTES_MAX: usize = 64 << 10;
/// Most entries of hosts in all files.
pub const CLIENT_COUNT_MAX: usize = 4096;
/// [`CLIENT_COUNT_MAX`] with minimum memory.
pub const CLIENT_COUNT_MIN: usize = 64;
/// Largest sum of the texts (bytes) that are kept from the files: paths and host names.
pub const TEXTS_BYTES_MAX: usize = 128 << 10;
/// [`TEXTS_BYTES_MAX`] with minimum memory.
pub const TEXTS_BYTES_MIN: usize = 4 << 10;
/// Part of the region (bytes) for the exports of files: two readings of them, the exports' places in the tree and on the host, and
/// the addresses of host names.
pub const EXPORTS_BYTES: usize = 2 * (CLIENT_COUNT_MAX * 128 + TEXTS_BYTES_MAX)
    + CLIENT_COUNT_MAX * 192
    + if HAS_NAMES { NAMES_BYTES } else { 0 };
/// Part of the region (bytes) for the addresses of host names and the names of clients.
const NAMES_BYTES: usize = CLIENT_COUNT_MAX * (64 + 16 * NAME_ADDRESS_COUNT_MAX)
    + NAMED_PEER_COUNT_MAX * (128 + 2 * NAMED_PEER_BYTES)
    + HOSTS_FILE_BYTES_MAX
    + NAME_RESULTS_BYTES;

/// Addresses of a host name in exports, at most; further ones are ignored.
pub const NAME_ADDRESS_COUNT_MAX: usize = 16;
/// Clients whose names are known, because exports have wildcards. One more replaces the one that was used least recently.
pub const NAMED_PEER_COUNT_MAX: usize = 512;
/// [`NAMED_PEER_COUNT_MAX`] with minimum memory.
pub const NAMED_PEER_COUNT_MIN: usize = 16;
/// Names of a client (bytes), each with a NUL; further ones are ignored.
pub const NAMED_PEER_BYTES: usize = 256;
/// The file with the addresses of hosts; its first part if it is longer than [`HOSTS_FILE_BYTES_MAX`].
pub const HOSTS_FILE: &CStr = c"/etc/hosts";
/// The file with the name servers.
pub const RESOLV_CONF_FILE: &CStr = c"/etc/resolv.conf";
/// Part of [`HOSTS_FILE`] that is read (bytes).
pub const HOSTS_FILE_BYTES_MAX: usize = 64 << 10;
/// [`HOSTS_FILE_BYTES_MAX`] with minimum memory.
pub const HOSTS_FILE_BYTES_MIN: usize = 4 << 10;
/// Part of [`RESOLV_CONF_FILE`] that is read (bytes).
pub const RESOLV_CONF_BYTES_MAX: usize = 4 << 10;
/// Sockets for questions, each with a random port.
pub const NAME_SOCKET_COUNT: u16 = 8;
/// Largest answer of a name server (bytes); it is asked to truncate longer ones.
pub const NAME_ANSWER_BYTES_MAX: u16 = 1232;
/// Time after which a name is looked up again.
pub const NAME_REFRESH: Duration = Duration::from_secs(300);
/// Longest pause (seconds) before a name is asked for again that no server answered. The first one is a second, the next ones are
/// twice as long each.
pub const NAME_RETRY_SECS_MAX: u32 = 30;
/// Memory of a loop for the last results of look-ups (bytes), which outlives the loop. A half holds 2,000 addresses, and fits into a
/// pipe.
pub const NAME_RESULTS_BYTES: usize = 128 << 10;
/// [`NAME_RESULTS_BYTES`] with minimum memory.
pub const NAME_RESULTS_BYTES_MIN: usize = 8 << 10;
/// File of these results in the directory of state.
pub const NAMES_FILE: &[u8] = b"names";
/// Start of the name of the file with records of clients of NFS 4.1, before the port, in the directory of state.
pub const CLIENTS_FILE: &[u8] = b"clients.";
/// Shortest time between two writes to the file of names.
pub const NAMES_FILE_PAUSE: Duration = Duration::from_secs(60);
/// Time for which the last result of a look-up is used although no server answers.
pub const NAME_KEEP: Duration = Duration::from_secs(900);
/// Time for which a MNT waits for look-ups, and for which other calls of the client get NFS3ERR_JUKEBOX.
pub const NAME_WAIT: Duration = Duration::from_secs(2);
/// Questions sent at once, so that the queue of a server or of the own socket does not overflow.
pub const NAME_BURST_COUNT: u32 = 64;
/// Time that `-T` waits for the look-ups of host names.
pub const NAME_TEST_WAIT: Duration = Duration::from_ms(2700);
/// Pause after [`NAME_BURST_COUNT`] questions.
pub const NAME_BURST_PAUSE: Duration = Duration::from_ms(5);
/// Time between attempts to open missing exports.
pub const RETRY: Duration = Duration::from_secs(2);
/// Most users whose refusal for want of groups is reported, once for each.
pub const REFUSED_USER_COUNT_MAX: usize = 8;
/// Longest passwd(5) and group(5) for `--manage-gids` (bytes).
pub const ACCOUNTS_FILE_BYTES_MAX: usize = 256 << 10;
/// Most users in them.
pub const GROUP_USER_COUNT_MAX: usize = 4096;
/// Most memberships in them: each user's groups, the primary one included.
pub const GROUP_MEMBER_COUNT_MAX: usize = 16_384;
/// Part of the region (bytes) for `--manage-gids`: two tables, the groups of a caller, the names and the two files.
pub const GROUPS_BYTES: usize = GROUP_MEMBER_COUNT_MAX * (2 * 8 + 4)
    + GROUP_USER_COUNT_MAX * 8
    + 2 * ACCOUNTS_FILE_BYTES_MAX
    + 4096;
/// Longest time for the registration with another program's portmapper at the start.
pub const RPCBIND_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for the end of that registration when the server stops.
pub const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);
/// Entries in the mount list (MOUNT DUMP). A new entry evicts the oldest.
pub const MOUNT_COUNT_MAX: usize = 64;

/// Size (bytes) of the request buffer, of one receive and of a block for a partial request. Header, credential, verifier, handle
/// and two names of a call are far smaller; bulk data follows separately.
pub const REQUEST_BYTES: usize = 8 << 10;
/// Longest partial request (bytes) that a connection stores in its own slot, without a block.
pub const REQUEST_INLINE_BYTES: usize = 64;
/// Fragments allowed in one request, empty ones included. Each [`FRAGMENT_BYTES`] of the request received before allow one more.
pub const FRAGMENT_COUNT: u32 = 16;
/// Smallest average size (bytes) of the fragments of a long request; known clients send fragments of 1,456 bytes.
pub const FRAGMENT_BYTES: u32 = 256;
/// Largest WRITE (bytes).
pub const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Largest request (bytes), with its bulk data.
pub const RECORD_BYTES_MAX: u32 = WRITE_BYTES_MAX + REQUEST_BYTES as u32;

/// Largest READ (bytes).
pub const READ_BYTES_MAX: u32 = 1 << 20;
/// Largest READ (bytes) that is copied into the reply buffer. For a larger one the engine returns a transfer.
pub const READ_INLINE_BYTES: u32 = 64 << 10;
/// Time for which READs are limited to [`READ_INLINE_BYTES`] after the transfer of a READ failed. A READ that
/// fails is then answered with an error; a failing transfer can only close the connection.
pub const READ_INLINE_TIME: Duration = Duration::from_secs(60);
/// Largest READDIR or READDIRPLUS reply (bytes).
pub const DIRECTORY_BYTES_MAX: u32 = 64 << 10;
/// Largest reply (bytes) without bulk data: header, attributes, handle, a symbolic link's target.
pub const REPLY_HEAD_BYTES: usize = 8 << 10;
/// Size (bytes) of the reply buffer, and of a block for unsent replies.
pub const REPLY_BYTES: usize = REPLY_HEAD_BYTES + READ_INLINE_BYTES as usize;
/// Size (bytes) of the receive buffer of a process that serves a single peer.
pub const TALK_INPUT_BYTES: usize = 128 << 10;
/// Largest reply to a datagram (bytes): fits one packet, limits amplification.
pub const DATAGRAM_BYTES: usize = 1400;
/// Number of sets of the duplicate request cache. Prime, so that a client of which only every second or fourth call is cached still
/// uses all sets.
pub const DRC_SET_COUNT: usize = 127;
/// [`DRC_SET_COUNT`] with minimum memory.
pub const DRC_SET_COUNT_MIN: usize = 7;
/// Replies in one set of the duplicate request cache; also the number of peers that can share a set.
pub const DRC_WAY_COUNT: usize = 8;
/// Longest results (bytes) in the duplicate request cache: CREATE's with a handle of 64 bytes and all attributes.
pub const DRC_REPLY_BYTES: usize = 280;
/// Age (seconds) above which a cached reply is no longer sent, and is evicted first; Linux's nfsd keeps replies as long.
pub const DRC_AGE_SECS: u32 = 120;
/// Size (bytes) of one set: its last stamp, then the replies, each with 68 bytes of key, checksum, owner and stamps.
pub const DRC_SET_BYTES: usize = 4 + DRC_WAY_COUNT * (DRC_REPLY_BYTES + 68);
/// Size of the duplicate request cache (bytes).
pub const DRC_BYTES: usize = DRC_SET_COUNT * DRC_SET_BYTES;
/// Part of the region (bytes) for NFS 4.1: its tables, and the COMPOUNDs that wait.
pub const NFS4_REGION_BYTES: usize = 5 << 20;
/// Clients of NFS 4.1, with two sessions and kept replies for each, and eight slots.
pub const NFS4_CLIENT_COUNT: usize = 1024;
/// [`NFS4_CLIENT_COUNT`] with minimum memory.
pub const NFS4_CLIENT_COUNT_MIN: usize = 8;
/// Sessions of a client, at most.
pub const CLIENT_SESSION_COUNT_MAX: usize = 8;
/// Slots of a session, at most: its calls in flight.
pub const SESSION_SLOT_COUNT_MAX: usize = 128;
/// Longest kept reply to a COMPOUND (bytes).
pub const KEPT_REPLY_BYTES: usize = 1 << 10;
/// Most operations of a COMPOUND.
pub const COMPOUND_OPERATION_COUNT: u32 = 50;
/// Longest reply to a COMPOUND (bytes), with its RPC header: fits the reply buffer, with the record mark.
pub const COMPOUND_REPLY_BYTES: usize = REPLY_BYTES - 4;
/// Longest reply to a COMPOUND (bytes) that ends with the largest READ.
pub const COMPOUND_READ_BYTES: u32 = READ_BYTES_MAX + REPLY_HEAD_BYTES as u32 - 4;
/// Longest start of a reply to a COMPOUND (bytes), with the record mark, that is held while the COMPOUND waits.
pub const COMPOUND_HELD_BYTES: usize = 8 << 10;
/// COMPOUNDs that wait for a disk at the same time.
pub const COMPOUND_COUNT: usize = 64;
/// [`COMPOUND_COUNT`] with minimum memory.
pub const COMPOUND_COUNT_MIN: usize = 8;
/// Time (seconds) without a call after which a client of NFS 4.1 may lose its place.
pub const LEASE_SECS: u32 = 30;
/// Limit of objects whose changed names or attributes await the next sync.
pub const DIRTY_COUNT: usize = 16;
/// Largest unlinked file (512-byte blocks) that is closed on the loop's thread; a worker closes larger ones. Freeing 16 MiB takes
/// less than 4 ms.
pub const FREE_BLOCKS_MAX: u64 = (16 << 20) / 512;
/// Number of files that clients removed most recently and that are recorded, so that they are stale at once.
pub const REMOVED_COUNT: usize = 1024;
/// Number of words for these records and their count.
pub const REMOVED_WORDS: usize = 1 + REMOVED_COUNT;
/// Number of worker threads for calls that may block on the disk.
pub const WORKER_COUNT: usize = 4;
/// Size of a worker's stack (bytes).
pub const WORKER_STACK_BYTES: usize = 8 << 10;
/// Limit of jobs that are queued or running at the workers; further jobs run on the loop's thread.
pub const JOB_COUNT: usize = 64;
/// Children of a supervisor, at most.
pub const CHILD_COUNT_MAX: usize = 16;
/// Limit of jobs whose end is not known to all tasks of a loop yet. A loop that blocks until a job ends lists others meanwhile.
pub const ENDED_COUNT_MAX: usize = 4 * JOB_COUNT;
/// Bytes written to a file since its last sync after which a WRITE goes to a worker: the kernel may throttle the writer.
pub const UNSYNCED_BYTES_MAX: u32 = 16 << 20;
/// Smallest WRITE (bytes) that a worker may store.
pub const WORKER_WRITE_BYTES_MIN: u32 = 64 << 10;
/// Limit of parts of WRITEs that are queued or running at the workers; further parts are written on the loop's thread.
pub const WORKER_WRITE_COUNT: usize = 16;
/// Number of exclusive CREATE verifiers that are kept (RFC 1813 section 3.3.8); a new one replaces the oldest.
pub const CREATE_VERIFIER_COUNT: usize = 32;
/// Size (bytes) of one CREATE verifier with its file's identity and a checksum.
pub const CREATE_VERIFIER_BYTES: usize = 36;
/// Size (bytes) of all CREATE verifiers, plus a word for the position of the last.
pub const CREATED_BYTES: usize = CREATE_VERIFIER_COUNT * CREATE_VERIFIER_BYTES + 4;
/// Size (bytes) of the memory that several loops share and that a restarted loop inherits: its header, CREATE verifiers and the
/// duplicate request cache.
pub const SHARED_BYTES: usize = SHARED_HEADER_BYTES + CREATED_BYTES + DRC_BYTES;
/// [`SHARED_BYTES`] with minimum memory.
pub const SHARED_BYTES_MIN: usize =
    SHARED_HEADER_BYTES + CREATED_BYTES + DRC_SET_COUNT_MIN * DRC_SET_BYTES;
/// Size (bytes) of the header of that memory: the number of its layout, and a checksum.
pub const SHARED_HEADER_BYTES: usize = 8;
/// Limit of loops that serve the same files.
pub const LOOP_COUNT_MAX: u32 = 4;
/// Limit of open handles of an SFTP session; smaller if there are too few descriptors.
pub const HANDLE_COUNT_MAX: usize = 2048;
/// Number of descriptors of an SFTP session that handles cannot use: standard streams, log, jail, temporary ones of a request. A
/// request that needs more (a long chain of symbolic links) fails while all handles are open. A session has at least as many handles, if
/// RLIMIT_NOFILE allows these and the standard streams.
pub const HANDLE_DESCRIPTOR_RESERVE: usize = 20;
/// Limit of bytes read from each of passwd(5), group(5) and a time zone file.
pub const ACCOUNT_BYTES_MAX: usize = 512 << 10;
/// [`ACCOUNT_BYTES_MAX`] with minimum memory.
pub const ACCOUNT_BYTES_MIN: usize = 64 << 10;
/// Longest target of a symbolic link on Linux (bytes).
pub const LINK_BYTES_MAX: usize = 4096;
/// Longest path on Linux (bytes).
pub const PATH_BYTES_MAX: usize = 4096;
/// Part of a WRITE (bytes) that is received and written at a time; each part but the last ends at a page boundary of the file.
pub const STORE_BYTES: usize = 64 << 10;
/// Capacity (bytes) of the pipe at an SFTP session's standard output, once a batch exceeded the default capacity. Holds eight
/// READs, and is within the limit for a user's pipes (fs.pipe-user-pages-soft).
pub const REPLY_PIPE_BYTES: usize = 256 << 10;
/// Limit of replies (bytes) that wait in a session's own process until its client reads, so that the client may first send tens of
/// thousands of small requests. Untouched memory is not used.
pub const REPLY_QUEUE_BYTES: usize = 1 << 20;
/// Time without space in standard output after which replies wait there: a client that reads at all makes space sooner.
pub const REPLY_QUEUE_DELAY: Duration = Duration::from_ms(20);
/// Page size of a file (bytes).
pub const PAGE_BYTES: usize = 4 << 10;
/// Smallest WRITE (bytes) that is spliced through a pipe, if the network supports splice(2).
pub const SPLICE_BYTES_MIN: u32 = 64 << 10;
/// Limit of bytes that a connection may move in one turn before other connections are served.
pub const TRANSFER_TURN_BYTES: u32 = 2 << 20;

/// ISO images open at the same time. One more closes the oldest image that is not pinned.
pub const IMAGE_COUNT_MAX: usize = 16;
/// Limit of directory records and continuation areas that a request reads in an ISO image: enough for a directory of 100,000 names.
pub const IMAGE_LOOK_COUNT_MAX: i32 = 128 << 10;
/// Limit of objects that are compared of an image with Rock Ridge and UDF, once. Beyond it, Rock Ridge is used in an image below
/// 4 GiB, else UDF.
pub const BRIDGE_OBJECT_COUNT_MAX: u32 = 10_000;
/// Limit of the directories among them that wait to be listed.
pub const BRIDGE_DIRECTORY_COUNT: usize = 512;
/// Hashes of names that are kept of the directory that is listed in an ISO image (4 bytes each). In larger directories, entries with
/// equal names that are far apart are not numbered.
pub const IMAGE_NAME_COUNT: usize = 2048;
/// Limit of file entries in a chain of a UDF image, of which each replaces the one before: that of Linux.
pub const UDF_ICB_COUNT_MAX: u32 = 1024;

const _: () = assert!(DIRECTORY_BYTES_MAX <= READ_INLINE_BYTES);
const _: () = assert!(READ_INLINE_BYTES <= READ_BYTES_MAX);
const _: () = assert!(STORE_BYTES <= REPLY_BYTES && STORE_BYTES.is_multiple_of(PAGE_BYTES));
const _: () = assert!(LINK_BYTES_MAX < REPLY_HEAD_BYTES);
const _: () = assert!(REQUEST_INLINE_BYTES < REQUEST_BYTES);

/// Limit of HTTP connections of a loop.
pub const HTTP_CONNECTION_COUNT_MAX: usize = 2048;
/// [`HTTP_CONNECTION_COUNT_MAX`] with minimum memory.
pub const HTTP_CONNECTION_COUNT_MIN: usize = 4;
/// HTTP connections of our own stack beside NFS: what NFS and SFTP leave of its slots, less some for handshakes.
pub const HTTP_STACK_COUNT_MAX: usize = 96;
/// Largest body of an HTTP request (bytes) that is skipped, so that the connection stays open.
pub const HTTP_BODY_BYTES_MAX: u64 = 64 << 10;
/// Longest host name (bytes) on Linux (HOST_NAME_MAX).
pub const HOST_NAME_BYTES: usize = 64;
/// Most names of an HTTP listing that is sorted; the indexes of its entries have 16 bits.
pub const HTTP_NAME_COUNT: usize = 2000;
/// Most bytes of these names together.
pub const HTTP_NAMES_BYTES: usize = 128 << 10;
const _: () = assert!(HTTP_NAME_COUNT < 1 << u16::BITS);
/// Largest SFTP packet (bytes) without its length field: OpenSSH's limit.
pub const PACKET_BYTES_MAX: u32 = 256 << 10;
/// Largest SFTP READ or WRITE (bytes), as in OpenSSH.
pub const PACKET_DATA_BYTES_MAX: u32 = PACKET_BYTES_MAX - 1024;
/// Largest SFTP packet (bytes) other than WRITE: far more than two paths need. The receive buffer holds it whole.
pub const PACKET_WHOLE_BYTES_MAX: u32 = 40 << 10;
/// Largest SFTP reply (bytes) other than to READ and READDIR: a symbolic link's target, twice.
pub const PACKET_REPLY_BYTES: usize = 12 << 10;
/// Size (bytes) of an SFTP session's reply buffer: the longest reply to READ, with its head.
pub const SFTP_REPLY_BYTES: usize = PACKET_BYTES_MAX as usize;
/// Size (bytes) at which a batch of SFTP replies is sent. A larger batch is evicted from the processor's cache between pread and
/// write.
pub const SFTP_BATCH_BYTES: usize = 64 << 10;
/// Largest SFTP READDIR reply (bytes): some clients accept at most 34,000.
pub const NAMES_BYTES_MAX: usize = 32_000;
/// Limit of copy-data and check-file requests queued in one SFTP session. The first one advances by one reply's worth of bytes
/// before the next request is parsed; if the queue is full, further requests stay in the stream.
pub const JOB_COUNT_MAX: usize = 8;
/// Limit of SFTP sessions per loop.
pub const SFTP_CONNECTION_COUNT_MAX: usize = 8;
/// Largest total of hashes (bytes) in the reply to one check.
pub const HASHES_BYTES: usize = 32 << 10;

const _: () = assert!(2 * LINK_BYTES_MAX + 64 < PACKET_REPLY_BYTES);
const _: () = assert!(READ_INLINE_BYTES as usize + 64 <= REPLY_BYTES);
const _: () = assert!(NAMES_BYTES_MAX + 4096 <= REPLY_BYTES && HASHES_BYTES + 64 <= REPLY_BYTES);
const _: () = assert!(PACKET_DATA_BYTES_MAX as usize + 64 <= SFTP_REPLY_BYTES);
const _: () = assert!(SFTP_BATCH_BYTES < REPLY_BYTES && REPLY_BYTES <= SFTP_REPLY_BYTES);

/// Size (bytes) of a loop's receive buffer: the longest SFTP packet other than WRITE, or a multicast DNS message.
pub const RX_BYTES: usize = if HAS_STREAMS { 48 << 10 } else { 9000 };
/// Size (bytes) of a loop's transmit buffer.
pub const TX_BYTES: usize = if HAS_SFTP {
    SFTP_REPLY_BYTES
} else if HAS_STREAMS {
    REPLY_BYTES
} else {
    1500
};
/// [`TX_BYTES`] with minimum memory. An SFTP READ then returns fewer bytes than requested.
pub const TX_BYTES_MIN: usize = if HAS_STREAMS { REPLY_BYTES } else { 1500 };

const _: () = assert!(PACKET_WHOLE_BYTES_MAX as usize + 4 <= RX_BYTES || !HAS_STREAMS);

/// Limit of connections; smaller if there are too few descriptors.
pub const CONNECTION_COUNT_MAX: usize = 12_288;
/// [`CONNECTION_COUNT_MAX`] with minimum memory.
pub const CONNECTION_COUNT_MIN: usize = 4;
/// Limit of connections that are served at the same time with one process each.
pub const PROCESS_COUNT_MAX: usize = 64;
/// Time (seconds) without a reply, or INIT, from which a session may be closed if all [`PROCESS_COUNT_MAX`] are in use.
pub const SILENCE_SECS: u32 = 10;
/// Number of blocks for partial requests.
pub const REQUEST_BLOCK_COUNT: usize = 128;
/// Number of blocks for unsent replies.
pub const REPLY_BLOCK_COUNT: usize = 32;
/// Limit of cached descriptors of files and directories; smaller if there are too few descriptors.
pub const NODE_COUNT_MAX: usize = 1024;
/// Smallest number of cached descriptors that the server starts with.
pub const NODE_COUNT_MIN: usize = 16;
/// Descriptors reserved for other uses than exports: listeners, standard streams, one per directory level of a search by inode
/// number, a file and a pipe for each WRITE at a worker, a pipe for each READ at a worker.
pub const DESCRIPTOR_RESERVE: usize =
    32 + SEARCH_DEPTH_MAX + 3 * WORKER_WRITE_COUNT + 2 * WORKER_COUNT;

/// Size (bytes) of the region for all memory except the stack and constants. Untouched pages use no memory.
pub const REGION_BYTES: usize = (8 << 20) + if HAS_NFS4 { NFS4_REGION_BYTES } else { 0 };
/// Part of the region (bytes) for objects of fixed size; the tables share the rest in proportion to their sizes.
pub const REGION_FIXED_BYTES: usize = 512 << 10;
/// Largest size (bytes) of a connection's slot.
pub const CONNECTION_BYTES_MAX: usize = 192;

const _: () = assert!(
    CONNECTION_COUNT_MAX * CONNECTION_BYTES_MAX
        + REQUEST_BLOCK_COUNT * REQUEST_BYTES
        + (REPLY_BLOCK_COUNT + 1) * REPLY_BYTES
        + NODE_COUNT_MAX * 256
        + SHARED_BYTES
        + CONNECTION_COUNT_MAX * size_of::<u32>()
        < REGION_BYTES - REGION_FIXED_BYTES
);

/// Limit of directory levels that a search for a file by its inode number descends.
pub const SEARCH_DEPTH_MAX: usize = 64;
/// Limit of directory entries that a search reads per request; if the file is not among them, the client gets NFS3ERR_JUKEBOX.
pub const SEARCH_ENTRY_COUNT: usize = 20_000;
/// Number of entries that an entry counts for whose attributes the search reads, because that takes about ten times as long.
pub const SEARCH_STAT_COST: usize = 10;
/// Buffer size (bytes) for getdents64(2). Entries that do not fit the reply are read again later, so a small buffer wastes less.
pub const DIRECTORY_BUFFER_BYTES: usize = 4 << 10;

/// A partial request without a byte for this time closes its connection, unless its service limits the time of requests.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time from the first byte of an HTTP request to its last one.
pub const HTTP_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// An HTTP connection without a byte of a next request for this time is closed.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for which the input of a connection is dropped after its last reply.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Most input (bytes) that is dropped then. Clients that read no reply before they have sent their request need it.
pub const DRAIN_BYTES_MAX: u32 = 256 << 20;
/// An unsent reply without progress for this time closes its connection.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// If all slots are used, a connection that was never answered and is silent for this time is closed for a new one.
pub const SILENT_TIMEOUT: Duration = Duration::from_secs(1);
/// If all slots are used, a connection that was answered before and is silent for this time is closed for a new one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// If all slots of HTTP are used by busy connections, newcomers wait for this time. Then a connection of the peer with the most is
/// closed for another peer's.
pub const FULL_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before the next accept(2) after EMFILE or with all slots in use.
pub const ACCEPT_PAUSE: Duration = Duration::from_ms(500);
/// Time without requests after which cached descriptors are closed, so that unlinked files free their blocks.
pub const NODE_IDLE: Duration = Duration::from_secs(1);

/// Timeout of `check` for all replies together: shorter than the usual timeout of its caller.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of NFS in `check all`. The answers of the other protocols are read afterwards.
pub const CHECK_NFS_TIMEOUT: Duration = Duration::from_ms(2900);
/// Time for which `check` waits until an SFTP server accepts INIT, before it checks NFS.
pub const CHECK_CONNECT_WAIT: Duration = Duration::from_ms(200);
/// Time without an answer after which `check` tests if a program uses the port of multicast DNS.
pub const CHECK_FREE_PORT_WAIT: Duration = Duration::from_ms(100);
/// Interval at which `check` repeats a question of multicast DNS: a responder that starts answers after a second.
pub const CHECK_ASK_INTERVAL: Duration = Duration::from_ms(500);
/// Time for which `check` waits for the name of a host whose services it knows. Probing takes a second.
pub const CHECK_NAME_WAIT: Duration = Duration::from_ms(1500);
/// Time for which `check` waits for the multicast DNS responder of another host.
pub const CHECK_FOREIGN_TIMEOUT: Duration = Duration::SECOND;
/// Port at which `check` looks for an SFTP server.
pub const CHECK_SFTP_PORT: u16 = 2222;
/// Longest JSON output of `check` (bytes): a path and a host name with every byte escaped, a socket file, and the keys.
pub const CHECK_JSON_BYTES: usize = 16 << 10;
const _: () = assert!((EXPORT_PATH_BYTES_MAX + 256 + 107) * 5 + 1024 < CHECK_JSON_BYTES);

/// Longest directory (bytes) of `install`.
pub const INSTALL_DIR_BYTES_MAX: usize = 128;
/// Space for the script of `install`, and for each file that it makes (bytes).
pub const INSTALL_SCRIPT_BYTES_MAX: usize = 10 << 10;

/// Limit of announced names, a shared label counted once: enough for more than a thousand virtual machines, and for the reverse
/// mappings of [`LINK_COUNT_MAX`] interfaces with one IPv4 and two IPv6 addresses each.
pub const ANNOUNCED_NAME_COUNT: usize = 1536 + 40 * LINK_COUNT_MAX;
/// [`ANNOUNCED_NAME_COUNT`] with minimum memory: enough for a host with a few services, as are the minima below.
pub const ANNOUNCED_NAME_COUNT_MIN: usize = 128;
/// Limit of announced records; a service has five, an address of an interface three. On more than [`ANNOUNCED_LINK_COUNT`]
/// interfaces the limit is lower: 1,536 on 64.
pub const ANNOUNCED_RECORD_COUNT: usize = 6144;
/// [`ANNOUNCED_RECORD_COUNT`] with minimum memory.
pub const ANNOUNCED_RECORD_COUNT_MIN: usize = 256;
/// Number of interfaces for which there is space to keep the states of [`ANNOUNCED_RECORD_COUNT`] records.
pub const ANNOUNCED_LINK_COUNT: usize = 16;
const _: () = assert!(
    ANNOUNCED_RECORD_COUNT * ANNOUNCED_LINK_COUNT == 1536 * LINK_COUNT_MAX
        && ANNOUNCED_LINK_COUNT >= LINK_COUNT_MIN
);
/// Space (bytes) for the announced services' data other than names.
pub const ANNOUNCED_TEXT_BYTES: usize = 256 << 10;
/// [`ANNOUNCED_TEXT_BYTES`] with minimum memory.
pub const ANNOUNCED_TEXT_BYTES_MIN: usize = 8 << 10;

/// Interfaces that multicast DNS uses at the same time, at most; one bit of a [`crate::engine::mdns::LinkSet`] each.
pub const LINK_COUNT_MAX: usize = 64;
/// [`LINK_COUNT_MAX`] with minimum memory.
pub const LINK_COUNT_MIN: usize = 8;
/// Interfaces with addresses that are listed, at most.
pub const INTERFACE_COUNT_MAX: usize = 256;
/// [`INTERFACE_COUNT_MAX`] with minimum memory.
pub const INTERFACE_COUNT_MIN: usize = 16;

/// Limit of events of one kind that are reported per peer and minute; further ones are only counted.
pub const EVENT_COUNT_PER_MINUTE: u32 = 10;

/// Transfers by TFTP, at most.
pub const TFTP_COUNT_MAX: usize = 1000;
/// [`TFTP_COUNT_MAX`] with minimum memory.
pub const TFTP_COUNT_MIN: usize = 32;
/// Transfers to one client, at most.
pub const TFTP_CLIENT_COUNT_MAX: usize = 32;
/// Sockets with ports for transfers; [`TFTP_COUNT_MAX`] transfers share them.
pub const TFTP_PORT_COUNT: u16 = 64;
/// [`TFTP_PORT_COUNT`] with minimum memory.
pub const TFTP_PORT_COUNT_MIN: u16 = 8;
/// Most blocks of a window, and most bytes of it.
pub const TFTP_WINDOW_COUNT_MAX: u16 = 64;
/// See [`TFTP_WINDOW_COUNT_MAX`].
pub const TFTP_WINDOW_BYTES_MAX: u32 = 128 << 10;
/// Shortest and longest time (ms) after which a packet is sent again; the first value before the round trip was measured.
pub const TFTP_RESEND_MS: [u32; 3] = [100, 4000, 1000];
/// Time after which a transfer ends whose client has sent no ACK yet.
pub const TFTP_OPEN_TIMEOUT: Duration = Duration::from_secs(8);
/// Time after which a transfer ends whose client sends nothing more.
pub const TFTP_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which the same request from the same port is the same transfer: a packet that the network has duplicated, or that the
/// client has sent again.
pub const TFTP_REPEAT: Duration = Duration::from_secs(3);

/// Machines that boot and are remembered, at most.
pub const BOOT_MACHINE_COUNT_MAX: usize = 1024;
/// [`BOOT_MACHINE_COUNT_MAX`] with minimum memory.
pub const BOOT_MACHINE_COUNT_MIN: usize = 64;
/// Longest path of a machine's last file that is remembered (bytes).
pub const BOOT_FILE_BYTES: usize = 120;
/// Time after which the silence of a machine that has got its loader is reported.
pub const BOOT_SILENCE: Duration = Duration::from_secs(30);
/// Interfaces at which machines that boot are answered, at most.
pub const BOOT_LINK_COUNT_MAX: usize = 16;
/// Size of the menu of images (bytes); further images are left out.
pub const MENU_BYTES_MAX: usize = 96 << 10;
/// [`MENU_BYTES_MAX`] with minimum memory.
pub const MENU_BYTES_MIN: usize = 24 << 10;
/// Longest line of the file that assigns images to machines (bytes).
pub const ASSIGN_LINE_BYTES: usize = 1024;
/// Longest such file (bytes); the rest is not read.
pub const ASSIGN_BYTES_MAX: u64 = 2 << 20;
/// Start of a configuration file of an image's boot loader that is read (bytes).
pub const CONFIG_BYTES_MAX: usize = 32 << 10;
/// [`CONFIG_BYTES_MAX`] with minimum memory.
pub const CONFIG_BYTES_MIN: usize = 8 << 10;
/// Entries and included files of all these files of an image, at most.
pub const BOOT_ENTRY_COUNT_MAX: u32 = 64;
/// Words of a release for its kernel (bytes), of the 2,048 of a command line of x86; further words are left out.
pub const BOOT_WORDS_BYTES_MAX: usize = 1024;
/// Time after which the menu is made again when it is asked for.
pub const MENU_AGE: Duration = Duration::from_secs(2);

/// Default of `--key-file`: the secret of kernel handles.
pub const KEY_FILE: &CStr = c"/var/lib/stowaway/handle.key";
/// Directory of [`KEY_FILE`], created if missing, and of other state.
pub const KEY_DIRECTORY: &CStr = c"/var/lib/stowaway";

/// Connections of our own network stack, including those in handshake or closing. Meant for a dozen clients, since each packet is
/// compared with every connection; large enough to answer a burst of a thousand connections.
pub const STACK_CONNECTION_COUNT_MAX: usize = 1280;

/// [`STACK_CONNECTION_COUNT_MAX`] with minimum memory.
pub const STACK_CONNECTION_COUNT_MIN: usize = 8;

/// NFS connections of our own stack. The remaining slots are for handshakes, unaccepted and closing connections, SFTP and HTTP.
pub const STACK_NFS_COUNT_MAX: usize = 1024;
const _: () = assert!(
    STACK_NFS_COUNT_MAX + SFTP_CONNECTION_COUNT_MAX + HTTP_STACK_COUNT_MAX + 128
        < STACK_CONNECTION_COUNT_MAX
);

/// Sizes of the TCP buffers of our own stack. A connection gets those of the first entry whose count exceeds that of the open
/// connections. A buffer limits the rate to its size per round trip: 512 KiB to 13 MB/s at 40 ms.
pub const STACK_RINGS: [Rings; 3] = [
    Rings {
        count: 4,
        rx: 512 << 10,
        tx: 512 << 10,
    },
    Rings {
        count: 16,
        rx: 128 << 10,
        tx: 256 << 10,
    },
    Rings {
        count: STACK_CONNECTION_COUNT_MAX,
        rx: 16 << 10,
        tx: REPLY_BYTES,
    },
];
// With few blocks for unsent replies, a call is answered when the send buffer takes the whole reply.
const _: () = assert!(STACK_RINGS[2].tx >= REPLY_BYTES && REPLY_BYTES.is_multiple_of(PAGE_BYTES));

/// Sizes of the TCP buffers of a connection of our own stack.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// Number of open connections from which on the sizes are smaller.
    pub count: usize,
    /// Size of the receive buffer (bytes).
    pub rx: usize,
    /// Size of the send buffer (bytes).
    pub tx: usize,
}

/// Heap size (bytes) for the TCP buffers of our own stack. Pages without buffers are never touched.
pub const STACK_HEAP_BYTES: usize = {
    let [first, next, rest] = STACK_RINGS;
    first.count * (first.rx + first.tx)
        + next.count * (next.rx + next.tx)
        + rest.count * (rest.rx + rest.tx)
        + (4 << 20)
};

/// [`STACK_HEAP_BYTES`] with minimum memory: enough for a few connections.
pub const STACK_HEAP_BYTES_MIN: usize = 368 << 10;

/// Smallest free memory (bytes) with which a machine without an operating system starts; the program leaves more of 6 MiB.
pub const MACHINE_BYTES_MIN: usize = 1_248 << 10;
/// Size (bytes) of the cache for the disks of a machine without an operating system, with the wanted memory.
pub const CACHE_BYTES: usize = 1 << 20;
/// Least value of [`CACHE_BYTES`].
pub const CACHE_BYTES_MIN: usize = 128 << 10;
/// Below this free memory (bytes) the network card uses frames of normal size and all tables have their minimum sizes.
pub const MACHINE_SMALL_BYTES: usize = 8 << 20;

/// Size (bytes) of our own stack's fixed tables, and of the frame buffers of the stack and its link.
pub const STACK_FIXED_BYTES: usize = 1_280 << 10;
