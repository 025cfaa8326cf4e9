//! avahi's `*.service` files: the subset of XML that they use. avahi.service(5), XML 1.0.
//!
//! Comments, processing instructions and the document type's name are skipped. The declared encoding ISO-8859-1 is converted.
//! Entities other than XML's five and numeric character references are errors; nothing is loaded from elsewhere. Elements must be
//! nested as in avahi's DTD, three levels deep.

use super::{Coding, Flaw, NAME, Reader, TXT};
use crate::mem::parts::{index_of, parts};
use crate::wire::label::{cut, number, put_byte, put_letter, strip_prefix, until};

/// The element names. An element's index here is its number, and that of its [`Part`](super::Part) if it has one.
const ELEMENTS: &[u8] =
    b"name type subtype host-name txt-record domain-name port service service-group";
const SERVICE: usize = 7;
const GROUP: usize = 8;
/// The number for "in no element".
pub(super) const OUTSIDE: usize = 9;

/// The strings that begin markup, in the order in which they are tried: "<!--" before its prefix "<".
const MARKS: &[u8] = b"<!-- <? <![CDATA[ <!DOCTYPE </ < &";
const COMMENT: usize = 0;
const INSTRUCTION: usize = 1;
const DATA: usize = 2;
const TYPE: usize = 3;
const END: usize = 4;
const BEGIN: usize = 5;

/// Returns the element that must directly contain this one.
const fn parent(element: usize) -> usize {
    match element {
        NAME | SERVICE => GROUP,
        GROUP => OUTSIDE,
        _ => SERVICE,
    }
}

impl<'f> Reader<'f, '_, '_, '_> {
    /// Parses a whole file.
    pub(super) fn read_group(&mut self) -> Result<(), Flaw> {
        loop {
            match parts(MARKS, b' ').position(|mark| self.passes(mark)) {
                Some(COMMENT) => _ = self.until(b"-->")?,
                Some(INSTRUCTION) => {
                    let text = self.until(b"?>")?;
                    self.is_latin |= parts(text, b'-').any(|part| part == b"8859");
                }
                Some(DATA) => {
                    for byte in self.until(b"]]>")? {
                        self.put(*byte)?;
                    }
                }
                Some(TYPE) => self.pass_type()?,
                Some(END) => {
                    let element = self.word()?;
                    self.blanks();
                    if element != self.element {
                        return Err(Flaw::Form);
                    }
                    self.expect(b">")?;
                    self.parse_end_tag()?;
                }
                Some(BEGIN) => {
                    if self.parse_start_tag()? {
                        self.parse_end_tag()?;
                    }
                }
                Some(_) => self.put_entity()?,
                None => {
                    let [byte, tail @ ..] = self.rest else {
                        return if self.ended { Ok(()) } else { Err(Flaw::Form) };
                    };
                    self.put(*byte)?;
                    self.rest = tail;
                }
            }
        }
    }

    /// Parses an entity or character reference and appends its character.
    fn put_entity(&mut self) -> Result<(), Flaw> {
        let start = self.rest;
        let name = self.until(b";")?;
        match letter(name) {
            Some(letter) if self.element < SERVICE => put_letter(&mut self.text, letter),
            _ => {
                self.rest = start;
                return Err(Flaw::Entity);
            }
        }
        Ok(())
    }

    /// Parses a start tag. Returns true if it is an empty-element tag, which ends with "/>".
    fn parse_start_tag(&mut self) -> Result<bool, Flaw> {
        let element = self.word()?;
        if parent(element) != self.element || self.ended {
            return Err(Flaw::Form);
        }
        self.element = element;
        self.choice = 0;
        self.text.truncate(0);
        if element == SERVICE {
            self.draft.clear_service();
            self.draft.put_interface(self.interface)?;
        }
        loop {
            self.blanks();
            let ends = self.passes(b"/");
            if self.passes(b">") {
                return Ok(ends);
            }
            if ends {
                return Err(Flaw::Form);
            }
            let attribute: &[u8] = match element {
                NAME => b"replace-wildcards no yes",
                // The index of "ipv4" and "ipv6" is their bit in `Draft::families`.
                SERVICE => b"protocol any ipv4 ipv6",
                TXT => b"value-format text binary-hex binary-base64",
                _ => b" ",
            };
            let (name, values) = cut(attribute, b' ');
            // An attribute of ours: avahi announces all services on the same interfaces.
            let is_interface = matches!(element, SERVICE | GROUP) && self.passes(b"interface");
            if !is_interface && (name.is_empty() || !self.passes(name)) {
                return Err(Flaw::Unknown);
            }
            self.blanks();
            self.expect(b"=")?;
            self.blanks();
            let quote: &[u8] = if self.passes(b"\"") {
                b"\""
            } else {
                self.expect(b"'")?;
                b"'"
            };
            let value = self.until(quote)?;
            if is_interface {
                self.draft.put_interface(value)?;
                if element == GROUP {
                    self.interface = value;
                }
                continue;
            }
            self.choice = index_of(values, value).ok_or(Flaw::Unknown)?;
            if element == SERVICE && self.choice != 0 {
                self.draft.families = self.choice as u8;
            }
        }
    }

    /// Ends an element and stores its text in the draft.
    fn parse_end_tag(&mut self) -> Result<(), Flaw> {
        let element = self.element;
        self.element = parent(element);
        match (element, self.choice) {
            (GROUP, _) => {
                // A group without services needs no name.
                if self.draft.has_kind() {
                    self.draft.check_name()?;
                }
                self.ended = true;
            }
            (SERVICE, _) => self.draft.pass(self.each)?,
            (TXT, 1) => self.store_part(TXT, 0, Coding::Hex)?,
            (TXT, 2) => self.store_part(TXT, 0, Coding::Base64)?,
            (_, 1) => self.store_part(element, b'h', Coding::Text)?,
            _ => self.store_part(element, 0, Coding::Text)?,
        }
        Ok(())
    }

    /// Appends a byte of text. Between elements only whitespace is allowed.
    fn put(&mut self, byte: u8) -> Result<(), Flaw> {
        match byte {
            // Lines end with a line feed; carriage returns are dropped.
            b'\r' => {}
            0x80.. if self.element < SERVICE && self.is_latin => {
                put_letter(&mut self.text, byte.into());
            }
            b'\n' | b'\t' | b' '.. if self.element < SERVICE => put_byte(&mut self.text, byte),
            b'\n' | b'\t' | b' ' => {}
            _ => return Err(Flaw::Form),
        }
        Ok(())
    }

    /// Skips the document type declaration: a name and an external identifier.
    fn pass_type(&mut self) -> Result<(), Flaw> {
        if self.element != OUTSIDE || self.ended {
            return Err(Flaw::Form);
        }
        while let [byte, tail @ ..] = self.rest {
            self.rest = tail;
            match byte {
                b'>' => return Ok(()),
                b'[' => return Err(Flaw::Declarations),
                b'"' | b'\'' => _ = self.until(core::slice::from_ref(byte))?,
                _ => {}
            }
        }
        Err(Flaw::Form)
    }

    /// Returns true and skips `text` if it comes next.
    pub(super) fn passes(&mut self, text: &[u8]) -> bool {
        match strip_prefix(self.rest, text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips `text`, which must come next.
    fn expect(&mut self, text: &[u8]) -> Result<(), Flaw> {
        if self.passes(text) {
            Ok(())
        } else {
            Err(Flaw::Form)
        }
    }

    /// Returns the text before `end`, and skips both.
    fn until(&mut self, end: &[u8]) -> Result<&'f [u8], Flaw> {
        let start = self.rest;
        until(&mut self.rest, end).ok_or_else(|| {
            // Report the error at the line where the unterminated construct begins.
            self.rest = start;
            Flaw::Form
        })
    }

    /// Parses an element's name. Returns its number.
    fn word(&mut self) -> Result<usize, Flaw> {
        let is_end = |byte: &u8| !matches!(byte, b'a'..=b'z' | b'-');
        let len = self.rest.iter().position(is_end).unwrap_or(0);
        let (word, tail) = self.rest.split_at_checked(len).unwrap_or_default();
        let element = index_of(ELEMENTS, word).ok_or(Flaw::Unknown)?;
        self.rest = tail;
        Ok(element)
    }
}

/// The character of an entity or reference: `amp`, `#228` or `#xe4`.
pub fn letter(name: &[u8]) -> Option<char> {
    if let Some(place) = index_of(b"lt gt amp quot apos", name) {
        return b"<>&\"'".get(place).copied().map(char::from);
    }
    let number = match name {
        [b'#', b'x', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    };
    // XML allows three control characters: tab, line feed, carriage return.
    let number = number.filter(|number| *number >= 0x20 || matches!(number, 9 | 10 | 13));
    char::from_u32(number?)
}
