//! `check nfs`: mounts every export and reads the attributes of its root: an open port alone would not reveal a disk that hangs or
//! is gone. RFC 1813, RFC 5531.

use super::note;
use crate::config::REPLY_BYTES;
use crate::mem;
use crate::mem::Ends as _;
use crate::os::client::{CallError, Client};
use crate::sys::address::ServerAddress;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::nfs3::{self, Procedure};
use crate::wire::rpc::{CHECK_MACHINE, RecordMark, emit_call, parse_reply};
use crate::wire::{Reader, Writer, mount};
use core::net::SocketAddrV6;

/// Buffer size (bytes) for a call and for a reply; the reply of EXPORT has a larger buffer.
const BUFFER_BYTES: usize = 2 << 10;
const _: () = assert!(mount::PATH_BYTES_MAX as usize + 256 < BUFFER_BYTES);

/// A check of an NFS server.
#[repr(C)] // Most-used fields first, where short instructions reach them.
pub struct Nfs {
    /// Deadline of the whole check.
    pub until: Instant,
    /// Path of the export being checked; empty: the check concerns the server as a whole.
    pub about: &'static [u8],
    xid: u32,
    /// Address and port of the next connection; IPv4 is IPv4-mapped.
    pub address: SocketAddrV6,
    mount_port: u16,
    /// Reason that is reported if the current step fails.
    pub why: Text,
}

impl Nfs {
    /// A check that ends at `until`.
    pub const fn new(until: Instant, address: SocketAddrV6, mount_port: u16) -> Self {
        Self {
            until,
            about: b"",
            xid: 0,
            address,
            mount_port,
            why: Text::NOTHING,
        }
    }

    /// Calls NULL of NFS, lists the exports, mounts each and reads the attributes of its root. Returns the number of exports.
    /// `None`: a step failed, and `self.why` has the reason.
    #[inline(never)] // −48 bytes: one caller, whose frame stays small.
    pub fn count_exports(&mut self) -> Option<u32> {
        const NULL: u32 = Procedure::Null as u32;
        const GET_ATTR: u32 = Procedure::GetAttr as u32;
        let (buffer, mount_buffer) = (mem::bytes(BUFFER_BYTES), mem::bytes(BUFFER_BYTES));
        let port = self.address.port();
        let mut files = self.connect()?;
        let nothing = self.call(&mut files, nfs3::PROGRAM, NULL, b"", buffer);
        check_end(nothing)?;
        self.address.set_port(self.mount_port);
        let mut mounts = self.connect()?;
        let procedure = mount::procedure::EXPORT;
        let list_buffer = mem::bytes(REPLY_BYTES);
        let mut list = self.call(&mut mounts, mount::PROGRAM, procedure, b"", list_buffer);
        let mut count = 0;
        while list.flag() {
            let path = list.opaque(mount::PATH_BYTES_MAX);
            while list.flag() {
                list.opaque(mount::GROUP_BYTES_MAX);
            }
            list.check().ok()?;
            self.about = path;
            let procedure = mount::procedure::MNT;
            let mut mounted = self.call(&mut mounts, mount::PROGRAM, procedure, path, mount_buffer);
            self.check_status(&mut mounted)?;
            let handle = mounted.opaque(nfs3::HANDLE_BYTES_MAX);
            let flavor_count = mounted.u32() as usize;
            mounted.take(flavor_count.saturating_mul(4));
            check_end(mounted)?;
            let mut attr = self.call(&mut files, nfs3::PROGRAM, GET_ATTR, handle, buffer);
            self.check_status(&mut attr)?;
            // The type is NF3REG (an exported image file) or NF3DIR.
            if !matches!(attr.u32(), 1 | 2) {
                return None;
            }
            attr.take(nfs3::ATTRIBUTES_BYTES - 4);
            check_end(attr)?;
            self.about = b"";
            count += 1;
        }
        check_end(list)?;
        self.address.set_port(port);
        Some(count)
    }

    /// Connects to `self.address`.
    fn connect(&mut self) -> Option<Client> {
        self.why = text!("cannot connect; start the server, or see -n, -m and -l");
        let connected = Client::connect(&ServerAddress::Host(self.address), self.until);
        self.note(connected)
    }

    /// Reads the status in front of the results. `None`: the server returned an error.
    fn check_status(&mut self, results: &mut Reader<'_>) -> Option<()> {
        const ACCESS: u32 = mount::Status::Access as u32;
        self.why = match results.u32() {
            0 => return Some(()),
            ACCESS => text!(
                "the server refuses this host or its port; see the export's hosts, and secure"
            ),
            _ => text!(
                "the server cannot access the export: gone, or a disk error; see the server's log"
            ),
        };
        None
    }

    /// Calls an RPC procedure; an empty `argument` is left out. Returns the results, or a malformed reader if no valid reply came.
    /// The call and the reply must each fit in `buffer`.
    fn call<'a>(
        &mut self,
        client: &mut Client,
        program: u32,
        procedure: u32,
        argument: &[u8],
        buffer: &'a mut [u8],
    ) -> Reader<'a> {
        self.xid += 1;
        let mut call = Writer::new(buffer);
        emit_call(&mut call, self.xid, program, procedure, CHECK_MACHINE);
        if !argument.is_empty() {
            call.opaque(argument);
        }
        let len = call.position();
        call.patch(0, RecordMark::whole(len as u32 - 4));
        let len = self.exchange(client, len, buffer).unwrap_or(0);
        let mut reply = Reader::new(buffer.head(len));
        parse_reply(&mut reply, self.xid);
        reply
    }

    /// Sends the first `len` bytes of `buffer`, then receives one record into `buffer` and returns its length.
    fn exchange(&mut self, client: &mut Client, len: usize, buffer: &mut [u8]) -> Option<usize> {
        // No other call is outstanding, so the send buffer has room for the whole call.
        self.note(client.send(buffer.head(len)))?;
        self.why = text!("no NFS server, or the connection was closed; see -n, -m and -l");
        let mut received = 0;
        loop {
            let mut mark = [0; 4];
            self.note(client.recv_exact(&mut mark))?;
            let mark = RecordMark::parse(&mut Reader::new(&mark))?;
            let len = mark.len as usize;
            let fragment = buffer.get_mut(received..)?.get_mut(..len)?;
            self.note(client.recv_exact(fragment))?;
            received += len;
            if mark.last {
                return Some(received);
            }
        }
    }

    /// Sets the reason if a call on a connection hit the deadline or there is no route.
    fn note<T>(&mut self, done: Result<T, CallError>) -> Option<T> {
        note(done, &mut self.why)
    }
}

/// Returns `Some` if all results were well-formed and no byte is left.
fn check_end(results: Reader<'_>) -> Option<()> {
    (results.check().is_ok() && results.rest().is_empty()).then_some(())
}
