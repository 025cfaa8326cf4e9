//! The entropy source (virtio 1.2, section 5.4).

use super::super::clock;
use super::Device;
use super::virtqueue::{Element, SHORT, Virtqueue};
use crate::mem::leak;

/// An entropy source.
pub(super) struct Source {
    device: Device,
    queue: Virtqueue,
    /// Buffer that the device writes to. Not on the stack, because a device may write after the wait has ended.
    bytes: &'static mut [u8; 16],
}

impl Source {
    pub(super) fn begin(mut device: Device) -> Option<Self> {
        device.begin(0)?;
        let queue = device.queue(0, SHORT)?;
        device.finish();
        Some(Self {
            device,
            queue,
            bytes: leak([0; 16]),
        })
    }

    /// Fills `out`. Returns false if the device does not answer within a second, or answers with zeros.
    pub(super) fn fill(&mut self, out: &mut [u8; 16]) -> bool {
        /// Longest wait, in milliseconds.
        const PATIENCE_MS: u64 = 1000;
        while self.queue.take_used().is_some() {}
        if self.queue.in_use & 1 != 0 {
            // The device has not answered an earlier call.
            return false;
        }
        self.bytes.fill(0);
        // SAFETY: the buffer is not touched until the device has returned it.
        unsafe { self.queue.add(0, &[Element::write(self.bytes)]) };
        self.device.notify(&self.queue);
        let until = clock::elapsed_ms() + PATIENCE_MS;
        while self.queue.take_used().is_none() {
            if clock::elapsed_ms() > until {
                return false;
            }
            core::hint::spin_loop();
        }
        self.device.acknowledge();
        *out = *self.bytes;
        *out != [0; 16]
    }
}
