//! What reads a file, of whichever form: where it is, what it has read in one place, and what becomes of that.

use super::{Coding, Draft, Flaw, PARTS, Part, Service, TEXT_BYTES_MAX, Wrong, avahi, put_name};
use crate::wire::Writer;

/// A file that is being read.
pub(super) struct Reader<'f, 'r, 'd, 'e> {
    /// What was not read yet.
    pub(super) rest: &'f [u8],
    /// What stands in one place of it.
    pub(super) text: Writer<'r>,
    pub(super) draft: &'e mut Draft<'d>,
    pub(super) each: &'e mut dyn FnMut(&Service<'_>),
    /// Where avahi's are: in the innermost element that was begun and not ended.
    pub(super) element: usize,
    /// Which of its values the attribute of that has.
    pub(super) choice: usize,
    /// The outermost was ended.
    pub(super) ended: bool,
}

/// Hands out the services of a file of avahi's, all of which have its name.
pub fn parse_avahi(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Wrong> {
    parse(file, draft, each, false)
}

/// Hands out the service of a unit of systemd's.
pub fn parse_unit(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Wrong> {
    parse(file, draft, each, true)
}

#[inline(never)]
fn parse(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
    is_unit: bool,
) -> Result<(), Wrong> {
    let mut buffer = [0; TEXT_BYTES_MAX];
    draft.forget();
    let mut reader = Reader {
        rest: file,
        text: Writer::new(&mut buffer),
        draft,
        each,
        element: avahi::OUTSIDE,
        choice: 0,
        ended: false,
    };
    let done = if is_unit {
        reader.read_unit()
    } else {
        reader.read_group()
    };
    done.map_err(|flaw| Wrong::at(file, reader.rest, flaw))
}

impl Reader<'_, '_, '_, '_> {
    /// Takes what the text is: the part at this place. In a name, `%` and `host` stand for the host's.
    #[inline(never)]
    pub(super) fn take(&mut self, place: usize, host: u8, coding: Coding) -> Result<(), Flaw> {
        if self.text.written().is_none() {
            return Err(Flaw::Long);
        }
        let text = self.text.since(0);
        if coding != Coding::Text {
            return self.draft.put_coded(text, coding);
        }
        match PARTS.get(place) {
            Some(Part::Name) => put_name(self.draft, text.trim_ascii(), host),
            Some(Part::Txt) => self.draft.put(Part::Txt, text),
            Some(part) => self.draft.put(*part, text.trim_ascii()),
            None => Err(Flaw::Form),
        }
    }

    /// Passes blanks and ends of lines.
    #[inline(never)]
    pub(super) fn blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }
}
