//! Frames over a Unix socket, each after its length in four bytes (big-endian): the protocol of QEMU's `-netdev stream` and passt.
//! Needs no privilege.

use super::{Descriptor, FRAME_BYTES_MAX, Frame, Frames, HEAD_BYTES, Limits, Link};
use crate::mem::{self, Ends as _, shift};
use crate::net::{NetError, NetResult, Signals};
use crate::sys::Errno;
use crate::sys::linux::fs::File;
use crate::sys::linux::{link, sockets};
use crate::time::Instant;
use core::ffi::CStr;
use core::num::NonZeroU16;
use core::ops::Range;

/// Size of the length field, in bytes.
const LENGTH_BYTES: usize = 4;
/// MTU of Ethernet (bytes), which QEMU and passt both accept.
const MTU: usize = 1500;

/// A link over a Unix socket.
#[derive(Debug)]
pub struct Stream {
    socket: Descriptor,
    /// Receive buffer.
    received: &'static mut [u8],
    /// Range of `received` that was not returned yet.
    waiting: Range<usize>,
    /// Rest of a frame that was sent in part.
    unsent: &'static mut [u8],
    unsent_len: usize,
}

impl Stream {
    /// Connects to the process that listens at `path`.
    ///
    /// # Errors
    /// `NOENT`, `CONNREFUSED`: no process listens there. `ACCESS`.
    pub fn open(path: &'static CStr, signals: Option<File>) -> Result<Self, Errno> {
        let socket = link::connect_stream(path)?;
        Ok(Self {
            socket: Descriptor::new(socket, path, link::connect_stream, signals),
            received: mem::bytes(FRAME_BYTES_MAX),
            waiting: 0..0,
            unsent: mem::bytes(FRAME_BYTES_MAX),
            unsent_len: 0,
        })
    }

    /// Range of the first complete frame.
    ///
    /// # Errors
    /// `Gone`: the length is larger than any frame.
    fn first(&self) -> NetResult<Option<Range<usize>>> {
        let waiting = self.received.get(self.waiting.clone());
        let Some((length, rest)) = waiting.and_then(|bytes| bytes.split_first_chunk()) else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*length) as usize;
        let start = self.waiting.start + LENGTH_BYTES;
        if len > FRAME_BYTES_MAX - HEAD_BYTES {
            return Err(NetError::Gone);
        }
        Ok((rest.len() >= len).then_some(start..start + len))
    }

    /// Closes the connection and drops partial frames.
    fn close(&mut self) -> NetError {
        self.socket.close();
        (self.waiting, self.unsent_len) = (0..0, 0);
        NetError::WouldBlock
    }

    /// Sends the rest of a frame.
    fn flush(&mut self) -> NetResult<()> {
        while self.unsent_len > 0 {
            let unsent = self.unsent.head(self.unsent_len);
            let sent = sockets::send(self.socket.number()?, unsent, false)?;
            self.unsent_len = shift(self.unsent.head_mut(self.unsent_len), sent);
        }
        Ok(())
    }
}

impl Link for Stream {
    fn limits(&self) -> Limits {
        Limits {
            mtu: MTU,
            has_offloads: false,
            frame_bytes: FRAME_BYTES_MAX,
        }
    }

    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()> {
        loop {
            let Ok(first) = self.first() else {
                return Err(self.close());
            };
            if let Some(first) = first {
                let frame = self.received.get(first.clone()).unwrap_or_default();
                let len = frame.len().min(buffer.len());
                buffer.head_mut(len).copy_from_slice(frame.head(len));
                self.waiting.start = first.end;
                let _ = frames.push(Frame {
                    bytes: 0..len,
                    is_verified: false,
                });
                return Ok(());
            }
            let waiting = self.received.head_mut(self.waiting.end);
            self.waiting = 0..shift(waiting, self.waiting.start);
            let space = self.received.tail_mut(self.waiting.end);
            match self.socket.recv(&mut |socket| sockets::recv(socket, space)) {
                Ok(count @ 1..) => self.waiting.end += count,
                Ok(_) => return Err(self.close()),
                Err(error) => {
                    if self.socket.number().is_err() {
                        self.close();
                    }
                    return Err(error);
                }
            }
        }
    }

    fn send(&mut self, buffer: &mut [u8], _: Option<NonZeroU16>) -> NetResult<()> {
        const _: () = assert!(LENGTH_BYTES < HEAD_BYTES);
        self.flush()?;
        let socket = self.socket.number()?;
        let len = (buffer.len() - HEAD_BYTES.min(buffer.len())) as u32;
        let bytes = buffer.tail_mut(HEAD_BYTES - LENGTH_BYTES);
        bytes
            .head_mut(LENGTH_BYTES)
            .copy_from_slice(&len.to_be_bytes());
        let sent = sockets::send(socket, bytes, false)?;
        let rest = bytes.tail_mut(sent);
        self.unsent.head_mut(rest.len()).copy_from_slice(rest);
        self.unsent_len = rest.len();
        Ok(())
    }

    fn wait(
        &mut self,
        now: Instant,
        until: Instant,
        sends: bool,
        signals: &mut Signals,
    ) -> Instant {
        let sends = sends || self.unsent_len > 0;
        let now = self.socket.wait(now, until, sends, signals);
        if self.unsent_len > 0
            && self
                .flush()
                .is_err_and(|error| error != NetError::WouldBlock)
        {
            self.close();
        }
        now
    }
}
