//! `check`: whether what is to be served is served, asked as a client would. For containers without a shell. RFC 1813, RFC 5531.
//!
//! An open port is not enough: every export is mounted and its top looked at, so that a disk that hangs or is gone is found.

use super::args::{address, port};
use super::flags::{Flags, flags};
use super::{Console, FAILED, Fatal, USAGE, answer_help, complain, print};
use crate::config::{CHECK_JSON_BYTES, CHECK_TIMEOUT, NFS_PORT, REPLY_BYTES};
use crate::drive::platform::host::client::{self, Client};
use crate::event::{self, Line};
use crate::mem;
use crate::mem::{Ends as _, place_in};
use crate::sys;
use crate::sys::Args;
use crate::text::{Text, text};
use crate::time::Instant;
use crate::wire::nfs3::{self, Procedure};
use crate::wire::rpc::{Mark, emit_call, parse_reply};
use crate::wire::{Reader, Writer, mount};
use core::ffi::CStr;
use core::net::{Ipv4Addr, SocketAddrV6};

/// What `stowaway --help` says of it.
pub(super) const SUMMARY: Text = text!("  check nfs|all\t\twhether it serves: exit 0 or 1\n");
flags! {
    enum Flag {
        bare {
            Json "--json",
        }
        valued {
            Port "n" => "name a port below 65536",
            MountPort "m" => "name a port below 65536",
            Address "l" => "name an address in numbers, such as 192.0.2.1 or 2001:db8::1",
        }
    }
}

const FLAGS: Flags = Flag::table(HELP);
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// Bytes of the longest call, and of any reply but lists.
const BUFFER_BYTES: usize = 2 << 10;
const _: () = assert!(mount::PATH_BYTES_MAX as usize + 256 < BUFFER_BYTES);

/// A look at a server.
#[repr(C)] // What is used most lies first, where short instructions reach it.
struct Check {
    /// When the time is over.
    until: Instant,
    /// The export that is looked at, if it is one.
    about: &'static [u8],
    xid: u32,
    /// Where it asks; an address of version 4 is mapped into version 6.
    at: SocketAddrV6,
    mount_port: Option<u16>,
    is_json: bool,
    /// What it means if it fails now.
    why: Text,
}

/// Checks what the arguments name.
pub(super) fn run(mut args: Args) -> Result<(), Fatal> {
    let word = args.next().unwrap_or_default().to_bytes();
    answer_help(word, HELP)?;
    // NFS is all that can be checked.
    if place_in(b"nfs all", word).is_none() {
        let what = text!("cannot check");
        return Err(complain(USAGE, what, word, text!("name nfs or all")));
    }
    let here = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let mut check = Check {
        until: sys::now().after(CHECK_TIMEOUT),
        about: b"",
        xid: 0,
        at: SocketAddrV6::new(here, NFS_PORT, 0, 0),
        mount_port: None,
        is_json: false,
        why: Text::NOTHING,
    };
    FLAGS.read(args, &mut |given| {
        check.set(Flag::of(given.number)?, given.value)
    })?;
    let count = check.nfs();
    check.tell(count);
    count.map(|_| ()).ok_or(FAILED)
}

impl Check {
    /// Takes the value of a flag; `None`: it is not what the flag takes.
    fn set(&mut self, flag: Flag, value: &'static CStr) -> Option<()> {
        let text = value.to_bytes();
        match flag {
            Flag::Json => self.is_json = true,
            // What listens everywhere listens there, too.
            Flag::Address => self.at.set_ip(match u128::from(address(text)?) {
                0 => 1.into(),
                0xffff_0000_0000 => 0xffff_7f00_0001.into(),
                ip => ip.into(),
            }),
            Flag::Port => self.at.set_port(port(text)?),
            Flag::MountPort => self.mount_port = Some(port(text)?),
        }
        Some(())
    }

    /// Says how many exports are served, or else what fails, and why.
    fn tell(&self, count: Option<u32>) {
        let (mut line, mut about) = (Line::default(), self.about);
        if let Some(count) = count {
            if self.is_json {
                line.say(text!("{\"nfs\":{\"ok\":true,\"exports\":"));
                line.number(count).say(text!("}}"));
            } else {
                line.say(text!("nfs: ")).socket(&self.at);
                line.say(text!(" serves, exports: ")).number(count);
            }
            return print(line.end());
        }
        if about.is_empty() {
            about = line.socket(&self.at).bytes();
        }
        if !self.is_json {
            return event::tell(&mut Console, text!("nfs fails at"), about, self.why);
        }
        let mut json = Writer::new(mem::bytes(CHECK_JSON_BYTES));
        json.put(b"{\"nfs\":{\"ok\":false,\"about\":");
        quote(&mut json, about);
        json.put(b",\"why\":");
        quote(&mut json, self.why.decode(&mut [0; 128]));
        json.put(b"}}\n");
        print(json.since(0));
    }

    /// Has NFS answer, then mounts each export and looks at what was mounted.
    #[inline(never)]
    fn nfs(&mut self) -> Option<u32> {
        const NULL: u32 = Procedure::Null as u32;
        const GET_ATTR: u32 = Procedure::GetAttr as u32;
        let (buffer, mount_buffer) = (mem::bytes(BUFFER_BYTES), mem::bytes(BUFFER_BYTES));
        let port = self.at.port();
        let mut files = self.connect()?;
        let nothing = self.ask(&mut files, nfs3::PROGRAM, NULL, b"", buffer);
        ended(nothing)?;
        self.at.set_port(self.mount_port.unwrap_or(port));
        let mut mounts = self.connect()?;
        let procedure = mount::procedure::EXPORT;
        let list_buffer = mem::bytes(REPLY_BYTES);
        let mut list = self.ask(&mut mounts, mount::PROGRAM, procedure, b"", list_buffer);
        let mut count = 0;
        while list.flag() {
            let path = list.opaque(mount::PATH_BYTES_MAX);
            while list.flag() {
                list.opaque(mount::GROUP_BYTES_MAX);
            }
            list.check().ok()?;
            self.about = path;
            let procedure = mount::procedure::MNT;
            let mut mounted = self.ask(&mut mounts, mount::PROGRAM, procedure, path, mount_buffer);
            self.is_done(&mut mounted)?;
            let handle = mounted.opaque(nfs3::HANDLE_BYTES_MAX);
            let flavor_count = mounted.u32() as usize;
            mounted.take(flavor_count.saturating_mul(4));
            ended(mounted)?;
            let mut top = self.ask(&mut files, nfs3::PROGRAM, GET_ATTR, handle, buffer);
            self.is_done(&mut top)?;
            // A file, as an image is one, or a directory.
            if !matches!(top.u32(), 1 | 2) {
                return None;
            }
            top.take(nfs3::ATTRIBUTES_BYTES - 4);
            ended(top)?;
            self.about = b"";
            count += 1;
        }
        ended(list)?;
        self.at.set_port(port);
        Some(count)
    }

    /// Connects to where it asks.
    #[inline(never)]
    fn connect(&mut self) -> Option<Client> {
        self.why = text!("nobody listens there; start it, or see -n, -m and -l");
        Client::connect(&self.at, self.until)
    }

    /// Takes the status before results; `None`: it could not be done.
    fn is_done(&mut self, results: &mut Reader<'_>) -> Option<()> {
        if results.u32() == 0 {
            return Some(());
        }
        self.why =
            text!("the server cannot get there: it is gone, or its disk failed; see what it says");
        None
    }

    /// Calls a procedure of a program, with an argument if it takes one; the results, malformed also if there are none. Both
    /// have to fit in `buffer`.
    #[inline(never)]
    fn ask<'a>(
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
        call.patch(0, Mark::whole(len as u32 - 4));
        let len = self.exchange(client, len, buffer).unwrap_or(0);
        let mut reply = Reader::new(buffer.head(len));
        parse_reply(&mut reply, self.xid);
        reply
    }

    /// Sends the first `len` bytes of `buffer` and receives the record that comes then; its length.
    fn exchange(&mut self, client: &mut Client, len: usize, buffer: &mut [u8]) -> Option<usize> {
        // Nothing is on its way: a call is taken whole.
        self.went_on(client.send(buffer.head(len)))?;
        self.why = text!("what answers there is no NFS server, or hung up; see -n, -m and -l");
        let mut have = 0;
        loop {
            let mut mark = [0; 4];
            self.went_on(client.recv_exact(&mut mark))?;
            let mark = Mark::parse(&mut Reader::new(&mark))?;
            let len = mark.len as usize;
            let rest = buffer.get_mut(have..)?.get_mut(..len)?;
            self.went_on(client.recv_exact(rest))?;
            have += len;
            if mark.last {
                return Some(have);
            }
        }
    }

    /// Notes when the time is over.
    fn went_on(&mut self, done: Result<(), client::Ended>) -> Option<()> {
        if done == Err(client::Ended::TimedOut) {
            self.why = text!("no answer within 3 s; see its disks, its load, and firewalls");
        }
        done.ok()
    }
}

/// Whether all that was read was there, and nothing follows.
#[inline(never)]
fn ended(results: Reader<'_>) -> Option<()> {
    (results.check().is_ok() && results.rest().is_empty()).then_some(())
}

/// Puts a text into JSON: what a line would show as `\NNN` is shown so there, too.
#[inline(never)]
fn quote(json: &mut Writer<'_>, text: &[u8]) {
    json.put(b"\"");
    for byte in text {
        for letter in Line::default().escaped(&[*byte]).bytes() {
            if matches!(letter, b'"' | b'\\') {
                json.put(b"\\");
            }
            json.put(&[*letter]);
        }
    }
    json.put(b"\"");
}
