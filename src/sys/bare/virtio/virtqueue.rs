//! A split virtqueue (virtio 1.2, section 2.7) in the layout that legacy and version 1 transports share. Values that the device
//! writes are not trusted.

use super::super::memory::PAGE;
use alloc::alloc::alloc_zeroed;
use core::alloc::Layout;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};

/// Descriptors of a short virtqueue, as many as QEMU's entropy device has, and of a long one.
pub(super) const SHORT: usize = 8;
pub(super) const LONG: usize = 64;

/// Descriptor flags: the chain continues at `next`; the device writes to the buffer.
const VIRTQ_DESC_F_NEXT: u16 = 1;
const VIRTQ_DESC_F_WRITE: u16 = 2;
/// Flags by which the device suppresses notifications (used ring) and the driver suppresses interrupts (available ring).
const VIRTQ_USED_F_NO_NOTIFY: u16 = 1;
const VIRTQ_AVAIL_F_NO_INTERRUPT: u16 = 1;

#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// The available ring: chains that the driver offers.
#[repr(C)]
struct Available {
    flags: u16,
    index: u16,
    places: [u16; LONG],
}

/// The used ring: chains that the device has completed. Legacy devices want it on a page of its own.
#[repr(C, align(4096))]
struct UsedElement {
    flags: u16,
    index: u16,
    places: [(u32, u32); LONG],
}

/// The memory shared by driver and device. The available ring follows the last descriptor: in a short virtqueue it is where a long
/// one has further descriptors.
#[repr(C)]
struct Shared {
    descriptors: [Descriptor; LONG],
    available: Available,
    used: UsedElement,
}

const _: () = assert!(size_of::<Shared>() == 2 * PAGE);

/// A buffer that the device reads from or writes to.
#[derive(Clone, Copy)]
pub(super) enum Element {
    Read(*const u8, usize),
    Write(*mut u8, usize),
}

impl Element {
    pub(super) const fn read(bytes: &[u8]) -> Self {
        Self::Read(bytes.as_ptr(), bytes.len())
    }

    pub(super) const fn write(bytes: &mut [u8]) -> Self {
        Self::Write(bytes.as_mut_ptr(), bytes.len())
    }
}

pub(super) struct Virtqueue {
    pub(super) number: u16,
    /// Address to which the transport writes notifications.
    pub(super) notify_at: usize,
    shared: NonNull<Shared>,
    /// Descriptors: [`SHORT`] or [`LONG`].
    pub(super) len: usize,
    /// Counters (modulo 65,536) of chains offered to the device and reclaimed from it.
    offered: u16,
    taken: u16,
    /// Bit mask of the first descriptors of all chains that the device owns, and of those that a short virtqueue does not have.
    pub(super) in_use: u64,
}

impl Virtqueue {
    /// Allocates the empty virtqueue `number`. `None` if memory is exhausted.
    pub(super) fn new(number: u16, len: usize) -> Option<Self> {
        // SAFETY: the layout's size is not zero.
        let shared = unsafe { alloc_zeroed(Layout::new::<Shared>()) };
        Some(Self {
            number,
            notify_at: 0,
            shared: NonNull::new(shared.cast())?,
            len,
            offered: 0,
            taken: 0,
            in_use: u64::MAX.unbounded_shl(len as u32),
        })
    }

    /// Addresses of the descriptor table, the available ring and the used ring.
    pub(super) fn addresses(&self) -> [usize; 3] {
        let at = self.shared.as_ptr().addr();
        [at, self.available().addr(), at + offset_of!(Shared, used)]
    }

    /// The available ring.
    const fn available(&self) -> *mut Available {
        let descriptors = self.shared.as_ptr().cast::<Descriptor>();
        descriptors.wrapping_add(self.len).cast()
    }

    /// Returns true if the device owns all descriptors.
    pub(super) const fn is_full(&self) -> bool {
        self.in_use == u64::MAX
    }

    /// Offers a chain of buffers in the descriptors from `place` on. Returns false if they do not fit.
    ///
    /// # Safety
    /// The buffers are not touched until the chain was reclaimed or the device was reset.
    pub(super) unsafe fn add(&mut self, place: usize, parts: &[Element]) -> bool {
        if parts.is_empty() || place + parts.len() > self.len {
            return false;
        }
        let shared = self.shared.as_ptr();
        for (at, part) in (place..).zip(parts) {
            let (address, len, mut flags) = match *part {
                Element::Read(bytes, len) => (bytes.addr(), len, 0),
                Element::Write(bytes, len) => (bytes.addr(), len, VIRTQ_DESC_F_WRITE),
            };
            if at + 1 < place + parts.len() {
                flags |= VIRTQ_DESC_F_NEXT;
            }
            let descriptor = Descriptor {
                address: address as u64,
                len: len as u32,
                flags,
                next: at as u16 + 1,
            };
            // SAFETY: the index was checked above; the device does not read a descriptor that was not offered.
            unsafe {
                (&raw mut (*shared).descriptors)
                    .cast::<Descriptor>()
                    .add(at)
                    .write_volatile(descriptor);
            }
        }
        let next = usize::from(self.offered) & (self.len - 1);
        let available = self.available();
        self.offered = self.offered.wrapping_add(1);
        self.in_use |= 1 << place;
        // SAFETY: `next` is below the ring's size. The fence makes the entry visible to the device before the new index.
        unsafe {
            (&raw mut (*available).places)
                .cast::<u16>()
                .add(next)
                .write_volatile(place as u16);
            fence(Ordering::SeqCst);
            (&raw mut (*available).index).write_volatile(self.offered);
            fence(Ordering::SeqCst);
        }
        true
    }

    /// Returns true unless the device suppresses notifications.
    pub(super) fn wants_notification(&self) -> bool {
        // SAFETY: the shared memory is never freed. The read is volatile, because the device may change the flags.
        unsafe {
            (&raw const (*self.shared.as_ptr()).used.flags).read_volatile() & VIRTQ_USED_F_NO_NOTIFY
                == 0
        }
    }

    /// Enables or suppresses interrupts for used buffers.
    pub(super) fn set_interrupts(&mut self, wanted: bool) {
        let flags = if wanted {
            0
        } else {
            VIRTQ_AVAIL_F_NO_INTERRUPT
        };
        // SAFETY: the shared memory is never freed, and the device only reads this field.
        unsafe { (&raw mut (*self.available()).flags).write_volatile(flags) };
        fence(Ordering::SeqCst);
    }

    /// Returns true if the device has completed a chain that was not reclaimed yet.
    pub(super) fn has_used(&self) -> bool {
        // SAFETY: the shared memory is never freed. The read is volatile, because the device may change the index.
        let index = unsafe { (&raw const (*self.shared.as_ptr()).used.index).read_volatile() };
        fence(Ordering::SeqCst);
        index != self.taken
    }

    /// Reclaims the next completed chain; returns its first descriptor and the number of bytes that the device claims to have
    /// written. Entries for chains that were never offered are skipped.
    pub(super) fn take_used(&mut self) -> Option<(usize, usize)> {
        // Bounds the loop if a device claims more completions than the ring can hold.
        for _ in 0..self.len {
            if !self.has_used() {
                return None;
            }
            let next = usize::from(self.taken) & (self.len - 1);
            self.taken = self.taken.wrapping_add(1);
            // SAFETY: `next` is below the ring's size, so the entry is within shared memory.
            let (place, len) = unsafe {
                let places = &raw const (*self.shared.as_ptr()).used.places;
                places.cast::<(u32, u32)>().add(next).read_volatile()
            };
            defmt::debug!(
                "virtio ring {=usize}: chain {=u32}, {=u32} bytes",
                self.shared.addr().get(),
                place,
                len
            );
            let place = place as usize;
            if place < self.len && self.in_use >> place & 1 != 0 {
                self.in_use &= !(1 << place);
                return Some((place, len as usize));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports chains as used, as the device would.
    fn use_up(queue: &mut Virtqueue, completed: &[(u32, u32)]) {
        let shared = queue.shared.as_ptr();
        for element in completed {
            // SAFETY: the test plays driver and device in one thread, so nothing else accesses the memory.
            unsafe {
                let used = &mut (*shared).used;
                used.places[usize::from(used.index) % SHORT] = *element;
                used.index = used.index.wrapping_add(1);
            }
        }
    }

    fn add(queue: &mut Virtqueue, place: usize) -> bool {
        static BYTES: [u8; 4] = [0; 4];
        // SAFETY: the device only reads the bytes, which are never freed or changed.
        unsafe { queue.add(place, &[Element::read(&BYTES), Element::read(&BYTES)]) }
    }

    #[test]
    fn used_buffers_return_in_any_order() {
        let mut queue = Virtqueue::new(0, SHORT).unwrap();
        assert!(add(&mut queue, 0) && add(&mut queue, 2) && !add(&mut queue, SHORT - 1));
        assert_eq!(queue.take_used(), None);
        use_up(&mut queue, &[(2, 7), (0, 9)]);
        assert!(queue.has_used());
        assert_eq!(
            [queue.take_used(), queue.take_used(), queue.take_used()],
            [Some((2, 7)), Some((0, 9)), None]
        );
        // Offers and completes more chains than the ring has entries.
        for round in 0..3 * SHORT as u32 {
            assert!(add(&mut queue, 4));
            use_up(&mut queue, &[(4, round)]);
            assert_eq!(queue.take_used(), Some((4, round as usize)));
        }
    }

    #[test]
    fn chained_descriptors_match_the_virtio_layout() {
        let mut queue = Virtqueue::new(0, SHORT).unwrap();
        let (mut to, from) = ([0_u8; 3], [0_u8; 2]);
        let parts = [Element::read(&from), Element::write(&mut to)];
        // SAFETY: the buffers outlive the queue, and no device accesses them.
        assert!(unsafe { queue.add(5, &parts) });
        // SAFETY: only this thread accesses the memory.
        let (shared, ring) = unsafe { (queue.shared.as_ref(), &*queue.available()) };
        let told = [5, 6].map(|at: usize| {
            let Descriptor {
                len, flags, next, ..
            } = shared.descriptors[at];
            (len, flags, next)
        });
        assert_eq!(
            told,
            [(2, VIRTQ_DESC_F_NEXT, 6), (3, VIRTQ_DESC_F_WRITE, 7)]
        );
        assert_eq!(shared.descriptors[6].address, to.as_ptr().addr() as u64);
        assert_eq!((ring.index, ring.places[0]), (1, 5));
        let [descriptors, available, used] = queue.addresses();
        assert_eq!(
            [available - descriptors, used - descriptors],
            [16 * SHORT, PAGE]
        );
    }

    #[test]
    fn invalid_used_ring_entries_are_ignored() {
        let mut queue = Virtqueue::new(0, SHORT).unwrap();
        assert!(add(&mut queue, 1));
        // The device reports indexes out of range, the index of a chain that was not offered, and one index twice.
        use_up(
            &mut queue,
            &[(8, 1), (u32::MAX, 1), (0, 1), (1, u32::MAX), (1, 1)],
        );
        assert_eq!(queue.take_used(), Some((1, u32::MAX as usize)));
        assert_eq!(queue.take_used(), None);
        assert_eq!(queue.in_use, Virtqueue::new(0, SHORT).unwrap().in_use);
        // The device claims more completions than chains were ever offered.
        // SAFETY: only this thread accesses the memory.
        unsafe { (*queue.shared.as_ptr()).used.index = 0x8000 };
        assert_eq!(queue.take_used(), None);
    }
}
