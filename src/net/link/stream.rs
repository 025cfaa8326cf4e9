//! Frames over a socket file, each behind its length in four bytes, as QEMU's `-netdev stream` and passt speak them. It takes no
//! privilege.

use super::{FRAME_BYTES_MAX, Frame, HEAD_BYTES, Limits, Link, sleep};
use crate::mem::{self, Ends as _, shift};
use crate::net::{NetError, NetResult, Signals};
use crate::sys::linux::fd::AsRawFd as _;
use crate::sys::linux::fs::File;
use crate::sys::linux::{link, sockets};
use crate::time::{Duration, Instant};
use core::ffi::CStr;
use core::num::NonZeroU16;
use core::ops::Range;

/// Bytes of a length.
const LENGTH_BYTES: usize = 4;
/// After it ended it is connected again, so often.
const RETRY: Duration = Duration::SECOND;
/// Bytes of the longest packet: both peers take that of an Ethernet.
const MTU: usize = 1500;

/// Frames over a socket file.
#[derive(Debug)]
pub struct Stream {
    path: &'static CStr,
    socket: Option<File>,
    /// When to connect again.
    retry_at: Instant,
    signals: Option<File>,
    /// What came and was not handed out.
    received: &'static mut [u8],
    /// Which of these bytes it is.
    waiting: Range<usize>,
    /// The rest of a frame that was sent in part.
    unsent: &'static mut [u8],
    unsent_len: usize,
}

impl Stream {
    /// Connects to the process that listens at `path`.
    ///
    /// # Errors
    /// `Gone`: nothing listens there. `Denied`.
    pub fn open(path: &'static CStr, signals: Option<File>) -> NetResult<Self> {
        Ok(Self {
            path,
            socket: Some(link::connect_stream(path)?),
            retry_at: Instant::default(),
            signals,
            received: mem::bytes(FRAME_BYTES_MAX),
            waiting: 0..0,
            unsent: mem::bytes(FRAME_BYTES_MAX),
            unsent_len: 0,
        })
    }

    /// Where the first frame lies that has all come.
    ///
    /// # Errors
    /// `Gone`: its length is none of a frame.
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

    fn end(&mut self) -> NetError {
        self.socket = None;
        (self.waiting, self.unsent_len) = (0..0, 0);
        NetError::Gone
    }

    /// Sends what is left of a frame.
    fn flush(&mut self) -> NetResult<()> {
        while self.unsent_len > 0 {
            let socket = self.socket.as_ref().ok_or(NetError::Gone)?;
            let unsent = self.unsent.head(self.unsent_len);
            let sent = sockets::send(socket.as_raw_fd(), unsent, false)?;
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
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> NetResult<Frame> {
        loop {
            let Ok(first) = self.first() else {
                return Err(self.end());
            };
            if let Some(first) = first {
                let frame = self.received.get(first.clone()).unwrap_or_default();
                let len = frame.len().min(buffer.len());
                buffer.head_mut(len).copy_from_slice(frame.head(len));
                self.waiting.start = first.end;
                return Ok(Frame {
                    bytes: 0..len,
                    is_verified: false,
                });
            }
            let Some(socket) = &self.socket else {
                return Err(NetError::WouldBlock);
            };
            let waiting = self.received.head_mut(self.waiting.end);
            self.waiting = 0..shift(waiting, self.waiting.start);
            let space = self.received.tail_mut(self.waiting.end);
            match sockets::recv(socket.as_raw_fd(), space).map_err(NetError::from) {
                Ok(count) if count > 0 => self.waiting.end += count,
                Err(NetError::WouldBlock) => return Err(NetError::WouldBlock),
                Ok(_) | Err(_) => return Err(self.end()),
            }
        }
    }

    fn send(&mut self, buffer: &mut [u8], _: Option<NonZeroU16>) -> NetResult<()> {
        const _: () = assert!(LENGTH_BYTES < HEAD_BYTES);
        self.flush()?;
        let socket = self.socket.as_ref().ok_or(NetError::Gone)?;
        let len = (buffer.len() - HEAD_BYTES.min(buffer.len())) as u32;
        let bytes = buffer.tail_mut(HEAD_BYTES - LENGTH_BYTES);
        bytes
            .head_mut(LENGTH_BYTES)
            .copy_from_slice(&len.to_be_bytes());
        let sent = sockets::send(socket.as_raw_fd(), bytes, false)?;
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
        if self.socket.is_none() && now >= self.retry_at {
            self.retry_at = now.after(RETRY);
            self.socket = link::connect_stream(self.path).ok();
        }
        let until = match self.socket {
            Some(_) => until,
            None => until.min(self.retry_at),
        };
        let sends = sends || self.unsent_len > 0;
        let times = (now, until);
        let now = sleep(
            self.socket.as_ref(),
            self.signals.as_ref(),
            times,
            sends,
            signals,
        );
        if self.unsent_len > 0
            && self
                .flush()
                .is_err_and(|error| error != NetError::WouldBlock)
        {
            self.end();
        }
        now
    }
}
