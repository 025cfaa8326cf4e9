//! Virtual machines as services: where each lives, so that who looks for one finds its host.
//!
//! The directory is looked at every ten seconds; a file is read when it is new or was written to.

use super::source::Memory;
use super::vms::{self, Id, MACHINE_COUNT_MAX, Seen, Stamp};
use super::{add, failed, plain};
use crate::engine::mdns::{NameId, Responder};
use crate::sys::heap::Slots;
use crate::text::{Ends as _, text};
use crate::time::{Duration, Instant};
use crate::wire::Writer;
use crate::wire::announce::{STRING_BYTES_MAX, Service};
use crate::wire::uuid::Uuid;
use crate::wire::vmx;
use core::ffi::CStr;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// A machine that is announced.
struct Known {
    id: Id,
    stamp: Stamp,
    name: NameId,
    /// It was there when the directory was looked at last.
    is_there: bool,
}

/// The machines in a directory.
pub(super) struct Machines {
    path: &'static CStr,
    known: Slots<Known>,
    memory: &'static mut Memory,
    /// That the directory cannot be read was told.
    is_told: bool,
}

impl Machines {
    /// None yet.
    pub(super) fn new(path: &'static CStr, memory: &'static mut Memory) -> Self {
        Self {
            path,
            known: Slots::new(MACHINE_COUNT_MAX),
            memory,
            is_told: false,
        }
    }

    /// Announces those that are new or changed.
    fn take(&mut self, seen: &Seen<'_>, now: Instant, responder: &mut Responder) {
        let mut known = self.known.iter_mut();
        let known = known.find(|known| known.id == seen.id);
        if let Some(known) = known {
            known.is_there = true;
            if known.stamp == seen.stamp {
                return;
            }
            responder.remove_service(now, known.name);
            known.is_there = false;
        }
        let mut room = [0; vmx::ROOM_BYTES];
        // One that cannot be read is perhaps just being written.
        let Ok(machine) = seen.read(self.memory, &mut room) else {
            return;
        };
        let (mut room, mut uuid) = ([0; 600], [0; Uuid::TEXT_BYTES]);
        let mut txt = Writer::new(&mut room);
        let mut uuid_text: &[u8] = b"";
        if let Some(known) = machine.uuid {
            known.emit(&mut Writer::new(&mut uuid));
            uuid_text = &uuid;
        }
        for (key, value) in [
            (&b"path="[..], seen.path),
            (b"uuid=", uuid_text),
            (b"guest=", machine.guest),
        ] {
            let len = key.len() + value.len();
            if !value.is_empty() && len <= STRING_BYTES_MAX {
                txt.put(&[len as u8]);
                txt.put(key);
                txt.put(value);
            }
        }
        let len = txt.position();
        let service = Service {
            name: machine.name,
            ..plain(b"_vm._tcp", 0, room.head(len))
        };
        let Some(name) = add(responder, now, b"", &service) else {
            return;
        };
        let announced = Known {
            id: seen.id,
            stamp: seen.stamp,
            name,
            is_there: true,
        };
        let mut places = self.known.iter_mut();
        match places.find(|known| known.id == seen.id) {
            Some(place) => *place = announced,
            None => _ = self.known.push(announced),
        }
    }
}

impl Machines {
    /// Looks at the directory, and tells the responder; when to look again.
    pub(super) fn look(&mut self, now: Instant, responder: &mut Responder) -> Instant {
        let path = self.path;
        self.known
            .iter_mut()
            .for_each(|known| known.is_there = false);
        let all = vms::list(path, &mut |seen| self.take(seen, now, responder));
        if let Err(errno) = all
            && !self.is_told
        {
            failed(text!("cannot read the directory"), path.to_bytes(), errno);
        }
        self.is_told = all.is_err();
        // Those that were not there are gone, unless not all could be looked at.
        let mut at = 0;
        while all == Ok(true)
            && let Some(known) = self.known.get(at)
        {
            if known.is_there {
                at += 1;
                continue;
            }
            responder.remove_service(now, known.name);
            // The last one takes its place.
            if let Some(last) = self.known.pop()
                && let Some(place) = self.known.get_mut(at)
            {
                *place = last;
            }
        }
        now.after(LOOK)
    }
}
