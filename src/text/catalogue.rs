//! Every text there is, by what has to be in the file for it to be read.
//!
//! Texts that are of one kind stand together: what was met before takes least room.

/// Whether the file has them, and the texts.
const GROUPS: [(bool, &[&str]); 21] = [
    (true, &[""]),
    (cfg!(feature = "sftp-server"), SFTP),
    (true, ALWAYS),
    (cfg!(any(feature = "nfs", feature = "sftp-server")), CLIENTS),
    (cfg!(feature = "sftp-server"), SFTP_SERVER),
    (cfg!(feature = "nfs"), NFS),
    (cfg!(feature = "serve"), SERVE),
    (cfg!(feature = "iso"), ISO),
    (cfg!(feature = "ls"), LS),
    (cfg!(all(feature = "iso", feature = "nfs")), ISO_NFS),
    (cfg!(any(feature = "ls", feature = "ipxe")), ISO_READ),
    (cfg!(feature = "ipxe"), BOOT),
    (cfg!(feature = "mdns"), MDNS),
    (cfg!(feature = "browse"), BROWSE),
    (cfg!(feature = "publish"), PUBLISH),
    (
        cfg!(all(feature = "publish", not(feature = "nfs"))),
        &["name an address in numbers, such as 192.0.2.1 or 2001:db8::1"],
    ),
    (cfg!(feature = "resolve"), RESOLVE),
    (
        cfg!(all(
            any(feature = "browse", feature = "resolve"),
            not(feature = "mdns")
        )),
        LINKS,
    ),
    (cfg!(feature = "check"), CHECK),
    (cfg!(all(feature = "check", not(feature = "nfs"))), PLACES),
    (cfg!(all(feature = "mdns", not(feature = "nfs"))), STOPPING),
];

/// What requests of SFTP come to, sent with every reply that is nothing but a status. To find a text, those before it are
/// passed: these are the first.
const SFTP: &[&str] = &[
    "Success",
    "End of file",
    "No such file",
    "Permission denied",
    "Failure",
    "Bad message",
    "",
    "",
    "Operation unsupported",
    "Failure: the disk failed",
    "Failure: it exists",
    "Failure: another file system",
    "Failure: it is a directory",
    "Failure: too large",
    "Failure: the disk is full",
    "Failure: the quota is used up",
    "Failure: it is not empty",
    "Failure: read-only file system",
];

const ALWAYS: &[&str] = &[
    // What the file is.
    "stowaway: ",
    "stowaway ROLE ..., or a link to it that is named as the ROLE:\n\n",
    "\nstowaway ROLE --help has its options.\n",
    concat!("stowaway ", env!("CARGO_PKG_VERSION"), "\n"),
    // Arguments.
    "see stowaway --help",
    "there is no role",
    "there is no option",
    "name a directory",
    // Failures.
    "standard output cannot be written",
    "cannot listen on",
    "it does not exist; check the path",
    "a part of its path is not a directory",
    "it is a directory",
    "this user may not; start as another user or change its mode",
    "the disk is full; make room there",
    "the file system there is read-only; choose another place",
    "it is a symbolic link, or there are too many in its path",
    "a name in it is too long",
    "no descriptor is left; raise the limit (ulimit -n)",
    "the disk failed; see the kernel's log",
    "the host refuses; see that it is an ordinary local file or directory",
];

/// Events of those who have clients.
const CLIENTS: &[&str] = &[
    "listening on",
    " (and ",
    " like it before)",
    "a request does not fit",
];

const SFTP_SERVER: &[&str] = &[
    // Role.
    "  sftp-server\t\tSFTP for sshd and dropbear; flags as OpenSSH's\n",
    include_str!("../role/sftp_server/help.txt"),
    // Arguments.
    // Names, those of facilities at their numbers.
    "- USER - DAEMON AUTH - - - - - AUTHPRIV - - - - - LOCAL0 LOCAL1 LOCAL2 LOCAL3 LOCAL4 LOCAL5 LOCAL6 LOCAL7",
    "QUIET FATAL ERROR INFO VERBOSE DEBUG DEBUG1 DEBUG2 DEBUG3",
    // In the order of the flags.
    "name a directory",
    "name DAEMON, USER, AUTH, AUTHPRIV or LOCAL0 to LOCAL7",
    "name QUIET, FATAL, ERROR, INFO, VERBOSE, DEBUG, DEBUG1, DEBUG2 or DEBUG3",
    "name requests with commas between them; see -Q requests",
    "name requests with commas between them; see -Q requests",
    "name requests",
    "name the bits in octal, such as 022",
    "name a directory",
    "name an absolute path",
    "name ADDRESS:PORT, such as 127.0.0.1:2222, or the absolute path of a socket file (107 bytes at most)",
    "name what is shown there: --jail DIR",
    // Failures.
    "cannot make a jail of",
    "cannot begin at",
    "it is not there, or this user may not go there",
    "somebody listens there already; choose another place",
    "this host has no such address",
    "it shows the kernel's own state, not files",
    // Who can connect.
    "SFTP without SSH has no passwords: whoever reaches it has the files; \
     listen on 127.0.0.1 or at a socket file, or add --i-trust-this-network",
    "only this user and root can connect",
    "every user of this host can connect, without a password; a socket file is for one user",
    "everybody who reaches it can connect, without a password",
    "the session cannot go on",
    // Ends of sessions.
    "a file became shorter or failed while it was read",
    "its packet is empty, or longer than any request",
    "its packet has no number to answer to",
    "it did not begin with INIT",
    "a file became shorter while it was read",
];

const NFS: &[&str] = &[
    // Role.
    "  nfs --export DIR ...\tserves directories over NFS version 3; also as unfsd\n",
    include_str!("../role/nfs/help.txt"),
    "\nmount with:  mount -t nfs -o nolock HOST:DIR /mnt\n",
    // Arguments.
    "name a port below 65536",
    "name a port below 65536",
    "name an address in numbers, such as 192.0.2.1 or 2001:db8::1",
    "name kernel or path",
    "name a file",
    "name a file",
    "name a directory; an export is DIR[:OPTION,...] without .. and below 1024 bytes, 32 at most; see --help",
    "name a directory; an export is DIR[:OPTION,...] without .. and below 1024 bytes, 32 at most; see --help",
    // Failures.
    "cannot write traces to",
    "cannot serve anybody",
    "cannot export",
    "cannot use the key file",
    "no kernel handles, so moved files may be lost; choose a --key-file other than",
    "no MOUNT over UDP, only over TCP",
    "no portmap service on port 111; mount with the options",
    "vers=3,proto=tcp,port=",
    ",mountport=",
    "it is not 16 bytes long; remove it, and a new one is made",
    "others may read it; chmod 600 it",
    "it shows the kernel's own state, not files; export an ordinary directory",
    "it is exported already; name it once, or tell the two apart with fsid=",
    "its file system or this user has no kernel handles; leave out --handles",
    "the port is in use; see -n, -m and -p",
    "ports below 1024 are for root only; see -n, -m and -p",
    "this host has no such address; see -l",
    // Events of the server.
    "exporting",
    "read-only, kernel handles",
    "read-only, path handles",
    "read-write, kernel handles",
    "read-write, path handles",
    "Windows clients cannot use an export of this name; export a directory below",
    "every client acts as user",
    "clients act as the users they say they are",
    " for NFS",
    " for MOUNT",
    " for NFS and MOUNT",
    " for portmap",
    "stopping",
    "no descriptor is left for another client; raise the limit (ulimit -n)",
    // Events of clients.
    "mounted",
    "may not mount",
    "it is not exported",
    "MOUNT version 1 has no room for its handle; use version 3",
    "there is no such directory in the export",
    "it is not a directory",
    "it is not a path",
    "another file system is mounted there; export it by itself",
    "the server itself may not go there",
    "the disk failed",
    "it cannot be opened now",
    "came upon another file system beneath the export; export it by itself",
    "met a failure of the disk; see the kernel's log",
    "met a full disk; make room there",
    "was disconnected",
    "its record is longer, or in more fragments, than any request",
    "what it sent is no RPC call",
    "a WRITE has less data than it says",
    "a file became shorter while it was read",
    // Ends of connections that the driver makes.
    "a file became shorter while it was read",
    "a request does not fit",
    "the disk failed under what it changed; see the kernel's log",
    "too many requests wait for their end",
    "too many replies wait to be taken",
    "a request did not end",
    "it took no reply for a minute",
];

const SERVE: &[&str] = &[
    "  serve --export DIR ...\tthe same, started again when it ends\n",
    "starting again in a while: the role",
    " ended with status ",
    " was killed",
];

const LS: &[&str] = &[
    "  ls, cat\t\tlists and reads files inside an ISO image\n",
    include_str!("../role/ls_cat/help.txt"),
    "name what is inside an ISO image, such as debian.iso/pool",
];

const ISO: &[&str] = &[
    "it is no directory, and no ISO 9660 image",
    "its files are in UDF; unpack it with another program",
];

const ISO_NFS: &[&str] = &[include_str!("../role/nfs/isos.txt")];

const ISO_READ: &[&str] = &[
    "cannot read",
    "the image is damaged or incomplete; compare its checksum",
];

const BOOT: &[&str] = &[
    include_str!("../role/nfs/ipxe.txt"),
    // Layouts.
    "/casper/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05 boot=casper netboot=nfs nfsroot=${next-server}:\x01 ip=dhcp\ninitrd nfs://${next-server}\x01\x03\x05\n",
    "/live/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05 boot=live netboot=nfs nfsroot=${next-server}:\x01\ninitrd nfs://${next-server}\x01\x03\x05\n",
    "/images/pxeboot/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05 inst.repo=nfs:${next-server}:\x01\ninitrd nfs://${next-server}\x01\x03\x05\n",
    "/install.amd/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05\ninitrd nfs://${next-server}\x01\x03\x05\n",
    "/install.386/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05\ninitrd nfs://${next-server}\x01\x03\x05\n",
    "/install.a64/\x02# \x06\nkernel nfs://${next-server}\x01\x03\x04 initrd=\x05\ninitrd nfs://${next-server}\x01\x03\x05\n",
    "/\x02# \x06: left out: an unknown layout, or a path that iPXE may split\n",
];

const MDNS: &[&str] = &[
    // Role.
    "  mdns ...\t\tannounces this host and its services on its networks\n",
    include_str!("../role/mdns/help.txt"),
    // Arguments.
    "name a host: 1 to 63 bytes without dots",
    "name a service: NAME,TYPE,PORT[,KEY=VALUE ...], 32 at most",
    "name a directory",
    "name a directory",
    "name a machine: VENDOR,PRODUCT[,SERIAL[,UUID]]",
    "name an interface, such as eth0; 8 at most",
    // Failures.
    "cannot read the directory",
    "there is no room for the service",
    "there are too many addresses on",
    "cannot take part in multicast DNS on",
    "waiting for one that is up and has an address",
    "another program has port 5353 for itself",
    "there are too many interfaces",
    "the host refuses multicast there",
    // Events.
    "announced",
    "is now called",
    "cannot announce",
    "another host has the name",
    // Files of services.
    "left out",
    "it is no ordinary file",
    "it is longer than 64 KiB",
    // What is wrong with them, in the order of `Flaw`.
    "a name has 1 to 63 bytes of UTF-8 and no control characters",
    "a type is _x._tcp or _x._udp; x has letters, digits and hyphens",
    "a subtype has 1 to 63 bytes and no dots; behind it there may be ._sub. and the type",
    "a host's name has parts of 1 to 63 bytes, with dots between them",
    "there is no other domain than local",
    "a number is 0 to 65535",
    "a TXT string has at most 255 bytes",
    "a TXT string begins with a key in ASCII",
    "all TXT strings together have at most 1300 bytes",
    "what is there is not base64, or not hexadecimal",
    "what is there is too long",
    "there is no such element, attribute, value or key",
    "it breaks off, or is not of the form of such a file",
    "there is no such entity; write lt, gt, amp, quot, apos or a number",
    "a document type cannot have declarations of its own",
    "behind % there can be H and %",
    "a backslash cannot have this behind it",
];

const BROWSE: &[&str] = &[
    // Role.
    "  browse TYPE | -a\tprints the services that others announce\n",
    include_str!("../role/browse/help.txt"),
    // Arguments.
    "there is no other domain than local",
    "there is no other domain than local",
    "name an interface, such as eth0; 8 at most",
    "name a program by its path",
    "name a file",
    "name one type, such as _ssh._tcp or _printer._sub._http._tcp",
    "name a type, or -a",
    "there is no such program, or it may not be run; name its path",
    // What goes wrong later.
    "cannot be run: the program",
    "has failed: the program",
    "the host has no process left",
    "cannot remember in",
    "it is no ordinary file, or its path is too long",
    // In the environment.
    "add",
    "change",
    "remove",
    // In JSON.
    "type",
    "added",
    "removed",
    "resolved",
    "changed",
];

const PUBLISH: &[&str] = &[
    // Role.
    "  publish -s|-a ...\tannounces one service, or one name of an address\n",
    include_str!("../role/publish/help.txt"),
    // Arguments.
    "name a host, such as other.local",
    "name a subtype, such as _x._sub._http._tcp; 8 at most",
    "there is no other domain than local",
    "name an interface, such as eth0; 8 at most",
    "name, type, port and 61 strings at most",
    "name one that ends with .local",
    "name a service: NAME TYPE PORT",
];

const RESOLVE: &[&str] = &[
    // Role.
    "  resolve -n|-a ...\tprints addresses of hosts, and names of addresses\n",
    include_str!("../role/resolve/help.txt"),
    // Arguments.
    "name an interface, such as eth0; 8 at most",
    "name hosts, such as box.local; 16 at most",
    "name addresses, such as 192.0.2.1 or fe80::1; 16 at most",
    "say with -n that these are names, or with -a that they are addresses",
    // What came of it.
    "nothing was found of",
    "it may be off, or not on these networks",
    "its host says so",
];

/// What is said of links where `mdns` does not say it.
const LINKS: &[&str] = &[
    "there are too many addresses on",
    "cannot take part in multicast DNS on",
    "waiting for one that is up and has an address",
    "another program has port 5353 for itself",
    "the host refuses multicast there",
];

const CHECK: &[&str] = &[
    // Role.
    "  check nfs|all\t\twhether it serves: exit 0 or 1\n",
    include_str!("../role/check/help.txt"),
    // Arguments.
    "cannot check",
    "name nfs or all",
    // What came of it.
    "nfs fails at",
    "nobody listens there; start it, or see -n, -m and -l",
    "what answers there is no NFS server, or hung up; see -n, -m and -l",
    "no answer within 3 s; see its disks, its load, and firewalls",
    "the server cannot get there: it is gone, or its disk failed; see what it says",
    ": ",
    " serves, exports: ",
    ":{\"ok\":true,\"exports\":",
    ":{\"ok\":false,\"about\":",
    ",\"why\":",
];

/// Of the arguments of `nfs`, where there are no others of it.
const PLACES: &[&str] = &[
    "name a port below 65536",
    "name a port below 65536",
    "name an address in numbers, such as 192.0.2.1 or 2001:db8::1",
];

/// What a role with a loop says that is not that of `nfs`.
const STOPPING: &[&str] = &["stopping"];

/// Where these texts stand, one behind the other, among those that the file has. Of what it does not have nothing is ever told:
/// the place of the empty text.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
pub(super) const fn find(texts: &[&str]) -> Option<usize> {
    let (mut group, mut before) = (0, 0);
    let mut absent = None;
    while group < GROUPS.len() {
        let (included, all) = GROUPS[group];
        let mut at = 0;
        while at + texts.len() <= all.len() {
            let mut same = 0;
            while same < texts.len() && equal(all[at + same], texts[same]) {
                same += 1;
            }
            if same == texts.len() {
                if included {
                    return Some(before + at);
                }
                absent = Some(0);
            }
            at += 1;
        }
        if included {
            before += all.len();
        }
        group += 1;
    }
    absent
}

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn equal(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Texts that are sent with replies: they are unpacked before the others.
pub(super) const FIRST_COUNT: usize = 1 + if cfg!(feature = "sftp-server") {
    SFTP.len()
} else {
    0
};

/// Letters of the first texts that the file has, the NUL behind each included.
pub(super) const fn letter_count(text_count: usize) -> usize {
    write(text_count, &mut [])
}

/// The letters of all of them.
pub(super) const fn letters<const COUNT: usize>() -> [u8; COUNT] {
    let mut letters = [0; COUNT];
    write(usize::MAX, &mut letters);
    letters
}

/// Writes those for which there is room; how many there are.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn write(text_count: usize, letters: &mut [u8]) -> usize {
    let (mut group, mut before, mut len) = (0, 0, 0);
    while group < GROUPS.len() {
        let (included, all) = GROUPS[group];
        let mut text = 0;
        while included && text < all.len() && before < text_count {
            let bytes = all[text].as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                assert!(bytes[at].is_ascii() && bytes[at] != 0);
                if len < letters.len() {
                    letters[len] = bytes[at];
                }
                at += 1;
                len += 1;
            }
            len += 1;
            text += 1;
            before += 1;
        }
        group += 1;
    }
    len
}

/// All texts that the file has.
#[cfg(any(test, fuzzing))]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let included = GROUPS.iter().filter(|(included, _)| *included);
    included.flat_map(|(_, all)| *all).copied()
}
