//! The state of a parser, for both file formats: its position, the current text, the draft.

use super::{
    Coding, Draft, FileError, Flaw, PARTS, Part, Service, TEXT_BYTES_MAX, avahi, put_name,
};
use crate::wire::Writer;

/// A file during parsing.
pub(super) struct Reader<'f, 'r, 'd, 'e> {
    /// The unparsed rest.
    pub(super) rest: &'f [u8],
    /// The text of the current value.
    pub(super) text: Writer<'r>,
    pub(super) draft: &'e mut Draft<'d>,
    pub(super) each: &'e mut dyn FnMut(&Service<'_>),
    /// For avahi's files: the innermost open element.
    pub(super) element: usize,
    /// For avahi's files: index of the value of that element's attribute, in the attribute's list of values. 0 is the default.
    pub(super) choice: usize,
    /// For avahi's files: the interface of the group's services; empty: all.
    pub(super) interface: &'f [u8],
    /// For avahi's files: true if the encoding is ISO-8859-1 instead of UTF-8.
    pub(super) is_latin: bool,
    /// True once the outermost element has ended.
    pub(super) ended: bool,
}

/// Parses one of avahi's files and passes each service to `each`. The services share a name, which may come after them: the file is
/// parsed a first time for the name and the errors.
pub fn parse_avahi(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), FileError> {
    draft.forget();
    parse(file, draft, &mut |_| {}, false)?;
    parse(file, draft, each, false)
}

/// Parses one of systemd's units, or one of its drop-ins, into `draft`. Call [`Draft::forget`] before, and [`Draft::hand_out`] after
/// the last file.
///
/// # Errors
/// With [`Flaw::Unknown`], the line of the first unknown key; the rest of the file was parsed, and is valid.
pub fn parse_unit(file: &[u8], draft: &mut Draft<'_>) -> Result<(), FileError> {
    parse(file, draft, &mut |_| {}, true)
}

fn parse(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
    is_unit: bool,
) -> Result<(), FileError> {
    let mut buffer = [0; TEXT_BYTES_MAX];
    let mut reader = Reader {
        rest: file,
        text: Writer::new(&mut buffer),
        draft,
        each,
        element: avahi::OUTSIDE,
        choice: 0,
        interface: b"",
        is_latin: false,
        ended: false,
    };
    // A byte order mark, as avahi and systemd allow.
    reader.passes(b"\xef\xbb\xbf");
    let done = if is_unit {
        reader.read_unit()
    } else {
        reader.read_group()
    };
    done.map_err(|flaw| FileError::at(file, reader.rest, flaw))
}

impl Reader<'_, '_, '_, '_> {
    /// Stores the current text as the part with index `place`. In a name, `%` followed by the byte `host` is the host's name.
    pub(super) fn store_part(
        &mut self,
        place: usize,
        host: u8,
        coding: Coding,
    ) -> Result<(), Flaw> {
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

    /// Skips whitespace.
    #[inline(never)] // −35 bytes: five callers.
    pub(super) fn blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }
}
