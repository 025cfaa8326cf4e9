//! A server as a client sees it: one call at a time over TCP, and no longer than patience lasts. RFC 5531.

use crate::sys::files::File;
use crate::sys::{self, Errno, sockets};
use crate::text::{Ends as _, Text, text};
use crate::time::Instant;
use crate::wire::mount::PATH_BYTES_MAX;
use crate::wire::rpc::{Call, Credential, MARK_BYTES, Mark, parse_reply};
use crate::wire::{Reader, Writer};
use core::net::SocketAddrV6;
use rustix::event::{PollFd, PollFlags};

/// Bytes of the longest call, and of any reply but lists.
pub(super) const ROOM_BYTES: usize = PATH_BYTES_MAX as usize + 1024;

/// Both programs are spoken in this version.
const VERSION: u32 = 3;

/// What answers speaks something else, or hangs up.
pub(super) const STRANGE: Text =
    text!("what answers there is no NFS server, or hung up; see -n, -m and -l");

/// A connection to a server.
pub(super) struct Peer {
    socket: File,
    until: Instant,
    xid: u32,
}

impl Peer {
    /// A server at this address, which has to answer everything by `until`.
    pub(super) fn new(at: &SocketAddrV6, until: Instant) -> Result<Self, Text> {
        Ok(Self {
            socket: sockets::connect(*at.ip(), at.port()).map_err(why)?,
            until,
            xid: 0,
        })
    }

    /// Calls a procedure of a program with an argument, if it takes one; the results. Both have to fit in `room`.
    #[inline(never)]
    pub(super) fn ask<'a>(
        &mut self,
        program: u32,
        procedure: u32,
        argument: Option<&[u8]>,
        room: &'a mut [u8],
    ) -> Result<Reader<'a>, Text> {
        self.xid += 1;
        let mut out = Writer::new(room);
        out.u32(0);
        let call = Call {
            xid: self.xid,
            program,
            version: VERSION,
            procedure,
            // As who mounts is, mostly.
            credential: Some(Credential::ROOT),
        };
        call.emit(&mut out);
        if let Some(bytes) = argument {
            out.opaque(bytes);
        }
        let len = out.position() - MARK_BYTES;
        out.patch(0, Mark::whole(len as u32));
        let mut call = out.since(0);
        while !call.is_empty() {
            let sent = self.act(PollFlags::OUT, &mut |socket| {
                sockets::send(socket, call, false)
            })?;
            call = call.tail(sent);
        }
        let mut have = 0;
        loop {
            let mut mark = [0; MARK_BYTES];
            self.fill(&mut mark)?;
            let mark = Mark::parse(&mut Reader::new(&mark)).ok_or(STRANGE)?;
            let len = mark.len as usize;
            let part = room.tail_mut(have).get_mut(..len).ok_or(STRANGE)?;
            self.fill(part)?;
            have += len;
            if mark.last {
                break;
            }
        }
        let mut reply = Reader::new(room.head(have));
        parse_reply(&mut reply, self.xid);
        reply.check().map_err(|_| STRANGE)?;
        Ok(reply)
    }

    /// Receives as many bytes as there is room for.
    #[inline(never)]
    fn fill(&self, mut room: &mut [u8]) -> Result<(), Text> {
        while !room.is_empty() {
            let count = self.act(PollFlags::IN, &mut |socket| sockets::recv(socket, room))?;
            room = room.tail_mut(count);
        }
        Ok(())
    }

    /// Moves bytes as soon as the socket can; how many.
    #[inline(never)]
    fn act(
        &self,
        when: PollFlags,
        act: &mut dyn FnMut(&File) -> Result<usize, Errno>,
    ) -> Result<usize, Text> {
        loop {
            let left = self.until.since(sys::now());
            if left.as_ms() == 0 {
                return Err(text!(
                    "no answer within 3 s; see its disks, its load, and firewalls"
                ));
            }
            let _ = sys::sleep(&mut [PollFd::new(&self.socket, when)], Some(left));
            match act(&self.socket) {
                // Also as long as it is not connected.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(0) => return Err(STRANGE),
                moved => return moved.map_err(why),
            }
        }
    }
}

/// What a connection's error means.
fn why(errno: Errno) -> Text {
    match errno {
        Errno::CONNRESET | Errno::PIPE => STRANGE,
        _ => text!("nobody listens there; start it, or see -n, -m and -l"),
    }
}
