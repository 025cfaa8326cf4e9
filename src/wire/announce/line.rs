//! Services on the command line: `NAME,TYPE,PORT[,interface=NAME][,key=value...]`. A backslash escapes a comma or a backslash.

use super::{Draft, Flaw, Part, STRING_BYTES_MAX, Service, put_name};
use crate::wire::Writer;
use crate::wire::label::{put_byte, strip_prefix};

/// Parses a service and passes it to `each`.
pub fn parse(
    text: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Flaw> {
    draft.forget();
    let mut rest = Some(text);
    let mut parts = [Part::Name, Part::Kind, Part::Port].into_iter();
    loop {
        let part = parts.next();
        if rest.is_none() && part.is_none() {
            return draft.hand_out(each);
        }
        let part = part.unwrap_or(Part::Txt);
        // One byte more than any field may have, so that a longer one is detected.
        let mut buffer = [0; STRING_BYTES_MAX + 1];
        let mut field = Writer::new(&mut buffer);
        next_field(&mut rest, &mut field)?;
        if part == Part::Name {
            put_name(draft, field.since(0), 0)?;
        } else if part == Part::Txt
            && let Some(name) = strip_prefix(field.since(0), b"interface=")
        {
            draft.put_interface(name)?;
        } else {
            draft.put(part, field.since(0))?;
        }
    }
}

/// Appends the text up to the next comma, and skips the comma. A missing field is empty. What exceeds the buffer is dropped.
pub fn next_field(rest: &mut Option<&[u8]>, out: &mut Writer<'_>) -> Result<(), Flaw> {
    let mut left = rest.take().unwrap_or_default();
    while let [byte, tail @ ..] = left {
        let mut byte = *byte;
        left = tail;
        match (byte, tail) {
            (b',', _) => {
                *rest = Some(left);
                break;
            }
            (b'\\', [next @ (b',' | b'\\'), tail @ ..]) => {
                byte = *next;
                left = tail;
            }
            (b'\\', _) => return Err(Flaw::Escape),
            _ => {}
        }
        if !out.space().is_empty() {
            put_byte(out, byte);
        }
    }
    Ok(())
}
