//! A transfer by TFTP: its window, its blocks, and the time after which they are sent again.

use super::machines::Machines;
use super::menu::Menu;
use crate::config::{
    BOOT_FILE_BYTES, TFTP_OPEN_TIMEOUT, TFTP_RESEND_MS, TFTP_TIMEOUT, TFTP_WINDOW_BYTES_MAX,
    TFTP_WINDOW_COUNT_MAX,
};
use crate::engine::Cx;
use crate::engine::service::Local;
use crate::mem::{Ends as _, copy_into};
use crate::time::{Duration, Instant};
use crate::vfs::{FsError, JobId, Patience, Pin, Stop, Until};
use crate::wire::tftp::{BLOCK_BYTES, HEAD_BYTES, Options, Request, data_head, write_oack};
use core::net::SocketAddr;

/// The resources of a call.
pub(super) struct Scene<'a, 'b> {
    pub(super) cx: &'a mut Cx<'b>,
    pub(super) menu: &'a mut Menu,
    pub(super) machines: &'a Machines,
}

/// The content that is sent.
pub(super) enum Content {
    /// A file, and its length (bytes).
    File(Pin, u64),
    Menu,
}

/// The place in a file whose line ends are converted (netascii).
#[derive(Clone, Copy, Default)]
struct TextPlace {
    /// Offset of the next byte of the file.
    offset: u64,
    /// The second byte of a line end.
    pending: Option<u8>,
}

/// A transfer. Blocks are counted from 0.
pub(super) struct Transfer {
    pub(super) peer: SocketAddr,
    pub(super) from: Local,
    pub(super) content: Content,
    /// A hash of the request.
    pub(super) digest: u64,
    /// The path of the file; empty if it is long.
    pub(super) path: heapless::Vec<u8, BOOT_FILE_BYTES>,
    pub(super) began_at: Instant,
    /// Time at which the next packet is sent.
    pub(super) due_at: Instant,
    /// The read for which the next block waits.
    pub(super) waits_for: Option<JobId>,
    /// True once an ACK has arrived.
    pub(super) is_acked: bool,
    /// The accepted options, until the client has acknowledged them.
    opening: Option<Options>,
    /// True once a packet was sent.
    has_opened: bool,
    size: u64,
    /// Number of acknowledged blocks, of the next block, and of all blocks that were ever sent.
    base: u64,
    next: u64,
    sent: u64,
    /// Number of blocks of the file.
    count: u64,
    block_bytes: u16,
    window_count: u16,
    /// In mode netascii, the place of the block `base`, and of the one after it.
    text: Option<[TextPlace; 2]>,
    heard_at: Instant,
    sent_at: Instant,
    /// True if a block of the window was sent again: its round trip is not measured.
    is_resent: bool,
    /// Time (ms) after which a packet is sent again, and the smoothed round trip and its variation (RFC 6298), times 8 and 4.
    resend_ms: u32,
    smooth_ms: Option<(u32, u32)>,
    /// The time that the client asked for.
    timeout: Option<Duration>,
}

impl Transfer {
    /// A transfer of `content` with those options of the request that the server accepts. Packets have at most `packet_bytes`.
    pub(super) fn new(
        (from, peer): (Local, SocketAddr),
        content: Content,
        menu: &Menu,
        request: &Request<'_>,
        packet_bytes: usize,
        now: Instant,
    ) -> Self {
        let size = match &content {
            Content::File(_, size) => *size,
            Content::Menu => menu.len(from.address) as u64,
        };
        let packet_max = packet_bytes.saturating_sub(HEAD_BYTES) as u16;
        let asked = request.options;
        let block_bytes = asked.block_bytes.map(|bytes| bytes.min(packet_max));
        let bytes = block_bytes.unwrap_or(BLOCK_BYTES);
        let window_max = (TFTP_WINDOW_BYTES_MAX / u32::from(bytes)).max(1) as u16;
        let accepted = Options {
            block_bytes,
            timeout_secs: asked.timeout_secs,
            // In netascii the length is another one, and a window would need the place of each block.
            size: asked.size.filter(|_| !request.is_text).map(|_| size),
            window_count: (asked.window_count.filter(|_| !request.is_text))
                .map(|count| count.min(TFTP_WINDOW_COUNT_MAX).min(window_max)),
        };
        let [_, _, first_ms] = TFTP_RESEND_MS;
        let timeout = accepted
            .timeout_secs
            .map(|secs| Duration::from_secs(secs.into()));
        Self {
            peer,
            from,
            content,
            digest: 0,
            path: heapless::Vec::new(),
            began_at: now,
            due_at: now,
            waits_for: None,
            is_acked: false,
            has_opened: false,
            opening: (accepted != Options::default()).then_some(accepted),
            size,
            base: 0,
            next: 0,
            sent: 0,
            count: match request.is_text {
                true => u64::MAX,
                false => size / u64::from(bytes) + 1,
            },
            block_bytes: bytes,
            window_count: accepted.window_count.unwrap_or(1),
            text: request.is_text.then_some([TextPlace::default(); 2]),
            heard_at: now,
            sent_at: now,
            is_resent: false,
            resend_ms: timeout.map_or(first_ms, |timeout| timeout.as_ms() as u32),
            smooth_ms: None,
            timeout,
        }
    }

    pub(super) const fn reads_menu(&self) -> bool {
        matches!(self.content, Content::Menu)
    }

    /// Returns true if the client has all blocks.
    pub(super) const fn is_done(&self) -> bool {
        self.base == self.count
    }

    /// Returns true if the client does not answer.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        let limit = match self.is_acked {
            true => TFTP_TIMEOUT,
            false => TFTP_OPEN_TIMEOUT,
        };
        let limit = self.timeout.map_or(limit, |timeout| {
            limit.max(Duration::from_long_ms(3 * timeout.as_ms()))
        });
        now.since(self.heard_at) >= limit
    }

    /// Number of the block after the window.
    fn end(&self) -> u64 {
        self.count.min(self.base + u64::from(self.window_count))
    }

    /// Takes an ACK. Returns true if the next block is to be sent, or the transfer is done.
    pub(super) fn acknowledge(&mut self, block: u16, now: Instant) -> bool {
        let count = u64::from(block.wrapping_sub(self.base as u16));
        if self.opening.is_some() {
            if block != 0 {
                return false;
            }
            self.opening = None;
        } else if count == 0 || count > self.sent - self.base {
            // A repeated ACK, or one of a block that was not sent.
            return false;
        }
        self.base += count;
        if let Some([place, next]) = &mut self.text
            && count > 0
        {
            *place = *next;
        }
        if self.base >= self.next {
            self.measure(now);
        }
        // An ACK within the window: the client has lost what followed.
        self.next = self.base;
        (self.is_acked, self.is_resent) = (true, false);
        (self.heard_at, self.due_at) = (now, now);
        self.waits_for = None;
        true
    }

    /// Measures the round trip. RFC 6298 section 2.
    fn measure(&mut self, now: Instant) {
        if self.timeout.is_some() || self.is_resent {
            return;
        }
        let took = now.since(self.sent_at).as_ms() as u32;
        let (smooth, varies) = match self.smooth_ms {
            None => (8 * took, 2 * took),
            Some((smooth, varies)) => {
                let error = took.abs_diff(smooth / 8);
                (smooth - smooth / 8 + took, varies - varies / 4 + error)
            }
        };
        self.smooth_ms = Some((smooth, varies));
        let [least, most, _] = TFTP_RESEND_MS;
        self.resend_ms = (smooth / 8 + varies).clamp(least, most);
    }

    /// Writes the packet that is due: the options, the next block, or after a timeout the first one of the window. Returns its length
    /// (bytes).
    pub(super) fn write_next(
        &mut self,
        scene: &mut Scene<'_, '_>,
        out: &mut [u8],
    ) -> Result<usize, Stop> {
        let now = scene.cx.now;
        let is_late = match self.opening {
            Some(_) => self.has_opened,
            None => self.next >= self.end(),
        };
        self.has_opened = true;
        if is_late {
            self.is_resent = true;
            self.next = self.base;
            if self.timeout.is_none() {
                let [_, most, _] = TFTP_RESEND_MS;
                self.resend_ms = (2 * self.resend_ms).min(most);
            }
        }
        let len = match &self.opening {
            Some(accepted) => write_oack(out, accepted),
            None => match self.write_block(scene, out) {
                Err(Stop::Again(until)) => {
                    self.due_at = match until {
                        Until::Job(id) => {
                            self.waits_for = Some(id);
                            Instant::NEVER
                        }
                        _ => now.after(Duration::from_ms(1)),
                    };
                    return Err(Stop::Again(until));
                }
                len => len?,
            },
        };
        self.sent_at = now;
        let has_more = self.opening.is_none() && self.next < self.end();
        self.due_at = match has_more {
            true => now,
            false => now.after(Duration::from_ms(self.resend_ms)),
        };
        Ok(len)
    }

    /// Writes the block `next`, and advances that.
    fn write_block(&mut self, scene: &mut Scene<'_, '_>, out: &mut [u8]) -> Result<usize, Stop> {
        let block_bytes = usize::from(self.block_bytes);
        copy_into(out, &data_head((self.next + 1) as u16));
        let space = out.tail_mut(HEAD_BYTES).head_mut(block_bytes);
        let len = if self.text.is_some() {
            self.write_text(scene, space)?
        } else {
            let offset = self.next * u64::from(self.block_bytes);
            let len = (self.size - offset).min(block_bytes as u64) as usize;
            let space = space.head_mut(len);
            if self.read(scene.cx, scene.menu, offset, space)? < len {
                // The file has become shorter.
                return Err(FsError::Stale.into());
            }
            len
        };
        self.next += 1;
        self.sent = self.sent.max(self.next);
        if len < block_bytes {
            self.count = self.next;
        }
        Ok(HEAD_BYTES + len)
    }

    /// Reads a part of the content. Fewer bytes than asked for: the end.
    fn read(
        &self,
        cx: &mut Cx<'_>,
        menu: &Menu,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Stop> {
        match &self.content {
            Content::File(pin, _) => {
                let len = cx.vfs.read_with(pin, offset, out, Patience::Now)?;
                Ok(len as usize)
            }
            Content::Menu => Ok(menu.read(self.from.address, offset as usize, out)),
        }
    }

    /// Writes a block in netascii: each line end becomes CR LF, and each CR is followed by a NUL. RFC 764.
    fn write_text(&mut self, scene: &mut Scene<'_, '_>, out: &mut [u8]) -> Result<usize, Stop> {
        let [mut place, _] = self.text.unwrap_or_default();
        let (mut chunk, mut at, mut count, mut len) = ([0; 256], 0, 0, 0);
        while let Some(space) = out.get_mut(len) {
            *space = match place.pending.take() {
                Some(byte) => byte,
                None => {
                    if at == count {
                        count = self.read(scene.cx, scene.menu, place.offset, &mut chunk)?;
                        at = 0;
                    }
                    let Some(byte) = chunk.head(count).get(at) else {
                        break;
                    };
                    (at, place.offset) = (at + 1, place.offset + 1);
                    place.pending = match byte {
                        b'\n' => Some(b'\n'),
                        b'\r' => Some(0),
                        _ => None,
                    };
                    if place.pending.is_some() {
                        b'\r'
                    } else {
                        *byte
                    }
                }
            };
            len += 1;
        }
        if let Some([_, next]) = &mut self.text {
            *next = place;
        }
        Ok(len)
    }
}
