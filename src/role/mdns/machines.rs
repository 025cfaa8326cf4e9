//! Virtual machines as services: where each lives, so that who looks for one finds its host.

use super::plain;
use super::source::Memory;
use super::vms;
use crate::sys::Errno;
use crate::text::Ends as _;
use crate::wire::Writer;
use crate::wire::announce::{STRING_BYTES_MAX, Service};
use crate::wire::uuid::Uuid;
use crate::wire::vmx;
use core::ffi::CStr;

/// Announces the machines in a directory.
#[inline(never)]
pub(super) fn add_all(
    path: &CStr,
    memory: &mut Memory,
    add: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Errno> {
    vms::list(path, &mut |seen| {
        let mut room = [0; vmx::ROOM_BYTES];
        // One that cannot be read is perhaps just being written.
        let Ok(machine) = seen.read(memory, &mut room) else {
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
        add(&Service {
            name: machine.name,
            ..plain(b"_vm._tcp", 0, room.head(len))
        });
    })
    .map(drop)
}
