//! avahi's files, `*.service`: as much of XML as they have. avahi.service(5), XML 1.0.
//!
//! Comments, processing instructions and the name of a document type are passed. Nothing is ever looked up or replaced but XML's
//! own five entities and letters by number. Elements lie in each other as they do there and nowhere else, three deep.

use super::{Coding, Flaw, NAME, Reader, TXT};
use crate::mem::parts::{Ends as _, parts, place_in};
use crate::wire::label::{behind, cut, number, put_byte, put_letter};

/// The elements. The place among them is an element's number, and that of its part.
const ELEMENTS: &[u8] =
    b"name type subtype host-name txt-record domain-name port service service-group";
const SERVICE: usize = 7;
const GROUP: usize = 8;
/// In no element.
pub(super) const OUTSIDE: usize = 9;

/// What begins what is not letters; of those that begin alike, the longer first.
const MARKS: &[u8] = b"<!-- <? <![CDATA[ <!DOCTYPE </ < &";
const COMMENT: usize = 0;
const INSTRUCTION: usize = 1;
const DATA: usize = 2;
const TYPE: usize = 3;
const END: usize = 4;
const BEGIN: usize = 5;

/// The element in which this one lies.
const fn parent(element: usize) -> usize {
    match element {
        NAME | SERVICE => GROUP,
        GROUP => OUTSIDE,
        _ => SERVICE,
    }
}

impl<'f> Reader<'f, '_, '_, '_> {
    /// Reads all of a file.
    pub(super) fn read_group(&mut self) -> Result<(), Flaw> {
        self.passes(b"\xef\xbb\xbf");
        loop {
            match parts(MARKS, b' ').position(|mark| self.passes(mark)) {
                Some(COMMENT) => _ = self.until(b"-->")?,
                Some(INSTRUCTION) => _ = self.until(b"?>")?,
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
                    self.end()?;
                }
                Some(BEGIN) => {
                    if self.begin()? {
                        self.end()?;
                    }
                }
                Some(_) => self.put_entity()?,
                None => {
                    let [byte, behind @ ..] = self.rest else {
                        return if self.ended { Ok(()) } else { Err(Flaw::Form) };
                    };
                    self.put(*byte)?;
                    self.rest = behind;
                }
            }
        }
    }

    /// Takes the letter that an entity stands for.
    fn put_entity(&mut self) -> Result<(), Flaw> {
        let start = self.rest;
        let name = self.until(b";")?;
        let letter = match place_in(b"lt gt amp quot apos", name) {
            Some(place) => b"<>&\"'".get(place).copied().map(char::from),
            None => letter(name),
        };
        match letter {
            Some(letter) if self.element < SERVICE => put_letter(&mut self.text, letter),
            _ => {
                self.rest = start;
                return Err(Flaw::Entity);
            }
        }
        Ok(())
    }

    /// A tag that begins an element; whether it ends it, too.
    fn begin(&mut self) -> Result<bool, Flaw> {
        let element = self.word()?;
        if parent(element) != self.element || self.ended {
            return Err(Flaw::Form);
        }
        self.element = element;
        self.choice = 0;
        self.text.truncate(0);
        if element == SERVICE {
            self.draft.begin();
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
                // The place of each is what `Draft::families` has.
                SERVICE => b"protocol any ipv4 ipv6",
                TXT => b"value-format text binary-hex binary-base64",
                _ => b" ",
            };
            let (name, values) = cut(attribute, b' ');
            if name.is_empty() || !self.passes(name) {
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
            self.choice = place_in(values, value).ok_or(Flaw::Unknown)?;
            if element == SERVICE && self.choice != 0 {
                self.draft.families = self.choice as u8;
            }
        }
    }

    /// Takes what is in an element that ends.
    fn end(&mut self) -> Result<(), Flaw> {
        let element = self.element;
        self.element = parent(element);
        match (element, self.choice) {
            (GROUP, _) => self.ended = true,
            (SERVICE, _) => self.draft.hand_out(self.each)?,
            (TXT, 1) => self.take(TXT, 0, Coding::Hex)?,
            (TXT, 2) => self.take(TXT, 0, Coding::Base64)?,
            (_, 1) => self.take(element, b'h', Coding::Text)?,
            _ => self.take(element, 0, Coding::Text)?,
        }
        Ok(())
    }

    /// Takes a letter's byte as it stands there. Between elements there is none but blanks.
    #[inline(never)]
    fn put(&mut self, byte: u8) -> Result<(), Flaw> {
        match byte {
            // Ends of lines are line feeds.
            b'\r' => {}
            b'\n' | b'\t' | b' '.. if self.element < SERVICE => put_byte(&mut self.text, byte),
            b'\n' | b'\t' | b' ' => {}
            _ => return Err(Flaw::Form),
        }
        Ok(())
    }

    /// The document type declaration: a name, and an external identifier.
    fn pass_type(&mut self) -> Result<(), Flaw> {
        if self.element != OUTSIDE || self.ended {
            return Err(Flaw::Form);
        }
        while let [byte, behind @ ..] = self.rest {
            self.rest = behind;
            match byte {
                b'>' => return Ok(()),
                b'[' => return Err(Flaw::Declarations),
                b'"' | b'\'' => _ = self.until(core::slice::from_ref(byte))?,
                _ => {}
            }
        }
        Err(Flaw::Form)
    }

    /// Whether `text` comes next, which is then passed.
    #[inline(never)]
    fn passes(&mut self, text: &[u8]) -> bool {
        match behind(self.rest, text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Passes `text`, which has to come next.
    #[inline(never)]
    fn expect(&mut self, text: &[u8]) -> Result<(), Flaw> {
        if self.passes(text) {
            Ok(())
        } else {
            Err(Flaw::Form)
        }
    }

    /// What stands before `end`, which is passed, too.
    #[inline(never)]
    fn until(&mut self, end: &[u8]) -> Result<&'f [u8], Flaw> {
        let start = self.rest;
        while !self.rest.is_empty() {
            let len = start.len() - self.rest.len();
            if self.passes(end) {
                return Ok(start.head(len));
            }
            self.rest = self.rest.tail(1);
        }
        // It begins here, in this line.
        self.rest = start;
        Err(Flaw::Form)
    }

    /// An element's number.
    #[inline(never)]
    fn word(&mut self) -> Result<usize, Flaw> {
        let is_end = |byte: &u8| !matches!(byte, b'a'..=b'z' | b'-');
        let len = self.rest.iter().position(is_end).unwrap_or(0);
        let (word, behind) = self.rest.split_at_checked(len).unwrap_or_default();
        let element = place_in(ELEMENTS, word).ok_or(Flaw::Unknown)?;
        self.rest = behind;
        Ok(element)
    }
}

/// A letter by its number: `#228` or `#xe4`.
fn letter(name: &[u8]) -> Option<char> {
    let number = match name {
        [b'#', b'x', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    };
    // Of control characters, XML has three.
    let number = number.filter(|number| *number >= 0x20 || matches!(number, 9 | 10 | 13));
    char::from_u32(number?)
}
