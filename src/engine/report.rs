//! Messages to the administrator about one client.

use super::Cx;
use crate::event::{self, Event, Line};
use crate::text::{Text, text};
use crate::vfs::FsError;

impl Cx<'_> {
    /// Reports an event of this client, with its subject and the reason.
    pub(super) fn report(&mut self, event: impl Into<Event>, about: &[u8], why: Text) {
        self.events
            .report_for_peer(self.now, self.peer.address, event, about, why);
    }

    /// Reports that a client's request met an error of a disk, or the end of an image that is cut.
    #[cold]
    pub(super) fn report_failure(&mut self, error: FsError) {
        let mut line = Line::default();
        let mut event = event::DISK_FAILED;
        if error == FsError::Cut {
            event = event::IMAGE_CUT;
            let [bytes, whole] = self.vfs.image_sizes().unwrap_or_default();
            if whole > bytes {
                line.say_number(text!("("), bytes);
                line.say_number(text!(" of "), whole).say(text!(" bytes)"));
            }
        }
        self.report(event, line.bytes(), Text::NOTHING);
    }
}
