//! `check`: tests an NFS server as a client does and exits with 0 or 1; meant for containers without a shell. RFC 1813, RFC 5531.
//!
//! Mounts every export and reads the attributes of its root: an open port alone would not reveal a disk that hangs or is gone.

use super::args::{address, port};
use super::flags::{Flags, flags};
use super::{Console, FAILED, Fatal, USAGE, answer_help, complain, print, quote};
use crate::config::{CHECK_JSON_BYTES, CHECK_TIMEOUT, NFS_PORT, REPLY_BYTES};
use crate::drive::platform::host::client::{self, Client};
use crate::event::{self, Line};
use crate::mem;
use crate::mem::{Ends as _, index_of};
use crate::sys;
use crate::sys::Args;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::nfs3::{self, Procedure};
use crate::wire::rpc::{RecordMark, emit_call, parse_reply};
use crate::wire::{Reader, Writer, mount};
use core::ffi::CStr;
use core::net::{Ipv4Addr, SocketAddrV6};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  check nfs|all\t\texits with 0 if the server works, else 1\n");
flags! {
    enum Flag {
        bare {
            Json "--json",
        }
        valued {
            Port "n" => "port: a number below 65536",
            MountPort "m" => "port: a number below 65536",
            Address "l" => "address: numeric, such as 192.0.2.1 or 2001:db8::1",
        }
    }
}

const FLAGS: Flags = Flag::table(HELP);
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// Buffer size (bytes) for a call and for a reply; the reply of EXPORT has a larger buffer.
const BUFFER_BYTES: usize = 2 << 10;
const _: () = assert!(mount::PATH_BYTES_MAX as usize + 256 < BUFFER_BYTES);

/// A check of a server.
#[repr(C)] // Most-used fields first, where short instructions reach them.
struct Check {
    /// Deadline of the whole check.
    until: Instant,
    /// Path of the export being checked; empty: the check concerns the server as a whole.
    about: &'static [u8],
    xid: u32,
    /// Address and port of the next connection; IPv4 is IPv4-mapped.
    address: SocketAddrV6,
    mount_port: Option<u16>,
    is_json: bool,
    /// Reason that is reported if the current step fails.
    why: Text,
}

/// Checks the server that the arguments name.
pub(super) fn run(mut args: Args) -> Result<(), Fatal> {
    let word = args.next().unwrap_or_default().to_bytes();
    answer_help(word, HELP)?;
    // `all` equals `nfs`: no other protocol is checked.
    if index_of(b"nfs all", word).is_none() {
        let what = text!("cannot check");
        return Err(complain(
            USAGE,
            what,
            word,
            text!("only nfs and all can be checked"),
        ));
    }
    let here = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let mut check = Check {
        until: sys::now().after(CHECK_TIMEOUT),
        about: b"",
        xid: 0,
        address: SocketAddrV6::new(here, NFS_PORT, 0, 0),
        mount_port: None,
        is_json: false,
        why: Text::NOTHING,
    };
    FLAGS.read(args, &mut |given| {
        check.set(Flag::of(given.number)?, given.value)
    })?;
    let count = check.count_exports();
    check.report(count);
    count.map(|_| ()).ok_or(FAILED)
}

impl Check {
    /// Sets the option of a flag. Returns `None` if the value is wrong.
    fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::Json => self.is_json = true,
            // A server at the wildcard address also listens on loopback.
            Flag::Address => self.address.set_ip(match u128::from(address(text)?) {
                0 => 1.into(),
                0xffff_0000_0000 => 0xffff_7f00_0001.into(),
                ip => ip.into(),
            }),
            Flag::Port => self.address.set_port(port(text)?),
            Flag::MountPort => self.mount_port = Some(port(text)?),
        }
        Some(())
    }

    /// Prints the number of working exports, or reports which export or server fails and why.
    fn report(&self, count: Option<u32>) {
        let (mut line, mut about) = (Line::default(), self.about);
        if let Some(count) = count {
            if self.is_json {
                line.say(text!("{\"nfs\":{\"ok\":true,\"exports\":"));
                line.number(count).say(text!("}}"));
            } else {
                line.say(text!("nfs: ")).socket(&self.address);
                line.say(text!(" serves, exports: ")).number(count);
            }
            return print(line.end_line());
        }
        if about.is_empty() {
            about = line.socket(&self.address).bytes();
        }
        if !self.is_json {
            return event::report(&mut Console, text!("nfs fails at"), about, self.why);
        }
        let mut json = Writer::new(mem::bytes(CHECK_JSON_BYTES));
        json.put(b"{\"nfs\":{\"ok\":false,\"about\":");
        quote(&mut json, about);
        json.put(b",\"why\":");
        quote(&mut json, self.why.decode(&mut [0; 128]));
        json.put(b"}}\n");
        print(json.since(0));
    }

    /// Calls NULL of NFS, lists the exports, mounts each and reads the attributes of its root. Returns the number of exports.
    /// `None`: a step failed, and `self.why` has the reason.
    #[inline(never)]
    fn count_exports(&mut self) -> Option<u32> {
        const NULL: u32 = Procedure::Null as u32;
        const GET_ATTR: u32 = Procedure::GetAttr as u32;
        let (buffer, mount_buffer) = (mem::bytes(BUFFER_BYTES), mem::bytes(BUFFER_BYTES));
        let port = self.address.port();
        let mut files = self.connect()?;
        let nothing = self.call(&mut files, nfs3::PROGRAM, NULL, b"", buffer);
        check_end(nothing)?;
        self.address.set_port(self.mount_port.unwrap_or(port));
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
    #[inline(never)]
    fn connect(&mut self) -> Option<Client> {
        self.why = text!("cannot connect; start the server, or see -n, -m and -l");
        let connected = Client::connect(&self.address, self.until);
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
    #[inline(never)]
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
        emit_call(&mut call, self.xid, program, procedure);
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
    fn note<T>(&mut self, done: Result<T, client::CallError>) -> Option<T> {
        match done {
            Err(client::CallError::TimedOut) => {
                self.why =
                    text!("no answer within 3 s; check the server's disks, load and firewall");
            }
            Err(client::CallError::Unreachable) => {
                self.why = text!("network unreachable: no route to the address; see -l");
            }
            _ => {}
        }
        done.ok()
    }
}

/// Returns `Some` if all results were well-formed and no byte is left.
#[inline(never)]
fn check_end(results: Reader<'_>) -> Option<()> {
    (results.check().is_ok() && results.rest().is_empty()).then_some(())
}
