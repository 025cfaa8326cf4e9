//! The forms of the figures, and the escapes of their texts.

use crate::event::Line;
use crate::mem::letters;

/// A form of the figures, and the byte by which `stowaway status` asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Form {
    /// Lines of at most 80 columns, unless a path is longer.
    Plain = b'p',
    /// An array of objects for each table. Numbers have the unit in their name.
    Json = b'j',
    /// Headings and tables.
    Html = b'h',
    /// Prometheus' text (exposition format 0.0.4).
    Prometheus = b'm',
}

/// Longest start of a row (bytes) after which a text goes on.
const TEXT_END: usize = 440;

/// Writes a text, whose bytes are escaped.
pub(super) fn put_text<'a>(form: Form, text: &[u8], line: &'a mut Line) -> &'a mut Line {
    let is_quoted = matches!(form, Form::Json | Form::Prometheus);
    for (letter, is_printable) in letters(text) {
        match (form, letter) {
            _ if line.bytes().len() > TEXT_END => break,
            (Form::Html, [byte @ (b'&' | b'<' | b'>')]) => {
                line.text("&#").number((*byte).into()).byte(b';')
            }
            (_, b"\"" | b"\\") if is_quoted => line.byte(b'\\').raw(letter),
            _ if is_printable => line.raw(letter),
            _ if is_quoted => line.byte(b'\\').code(letter),
            _ => line.code(letter),
        };
    }
    line
}
