//! avahi's files, `*.service`: as much of XML as they have. avahi.service(5), XML 1.0.
//!
//! Comments, processing instructions and the name of a document type are passed. Nothing is ever looked up or replaced but XML's
//! own five entities and letters by number. Elements lie in each other as they do there and nowhere else, three deep.

use super::{Coding, Draft, Flaw, Part, Protocol, Service, TEXT_BYTES_MAX, Wrong};
use super::{number, place_in, put_name};
use crate::wire::Writer;
use crate::wire::label::{behind, put_byte, put_letter};

/// The elements. The place among them is an element's number.
const ELEMENTS: &[u8] =
    b"name type subtype domain-name host-name port txt-record service service-group";
const NAME: usize = 0;
const TXT: usize = 6;
const SERVICE: usize = 7;
const GROUP: usize = 8;
/// In no element.
const OUTSIDE: usize = 9;

/// What is in the elements that have text in them, by their numbers.
const PARTS: [Part; SERVICE] = [
    Part::Name,
    Part::Kind,
    Part::Subtype,
    Part::Domain,
    Part::Host,
    Part::Port,
    Part::Txt,
];

/// The element in which this one lies.
const fn parent(element: usize) -> usize {
    match element {
        NAME | SERVICE => GROUP,
        GROUP => OUTSIDE,
        _ => SERVICE,
    }
}

/// Hands out the services of a file, all of which have its name.
pub fn parse(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), Wrong> {
    let mut room = [0; TEXT_BYTES_MAX];
    let mut reader = Reader {
        rest: behind(file, b"\xef\xbb\xbf").unwrap_or(file),
        element: OUTSIDE,
        ended: false,
        choice: 0,
        text: Writer::new(&mut room),
    };
    draft.forget();
    loop {
        match reader.step(draft, each) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(flaw) => return Err(Wrong::at(file, reader.rest, flaw)),
        }
    }
}

struct Reader<'f, 'r> {
    /// What was not read yet.
    rest: &'f [u8],
    /// The innermost that was begun and not ended.
    element: usize,
    /// The outermost was ended.
    ended: bool,
    /// Which of its values the attribute of the innermost has.
    choice: usize,
    /// What is in the innermost.
    text: Writer<'r>,
}

impl<'f> Reader<'f, '_> {
    /// Reads a tag or the like, or a letter. False: that was all.
    fn step(
        &mut self,
        draft: &mut Draft<'_>,
        each: &mut dyn FnMut(&Service<'_>),
    ) -> Result<bool, Flaw> {
        if self.passes(b"<!--") {
            self.until(b"-->").ok_or(Flaw::Form)?;
        } else if self.passes(b"<?") {
            self.until(b"?>").ok_or(Flaw::Form)?;
        } else if self.passes(b"<![CDATA[") {
            let text = self.until(b"]]>").ok_or(Flaw::Form)?;
            for byte in text {
                self.put(*byte)?;
            }
        } else if self.element == OUTSIDE && !self.ended && self.passes(b"<!DOCTYPE") {
            self.pass_type()?;
        } else if self.passes(b"</") {
            let element = self.word()?;
            self.blanks();
            if element != self.element || !self.passes(b">") {
                return Err(Flaw::Form);
            }
            self.end(draft, each)?;
        } else if self.passes(b"<") {
            self.begin(draft, each)?;
        } else if self.passes(b"&") {
            let start = self.rest;
            let name = self.until(b";").ok_or(Flaw::Form)?;
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
        } else if let [byte, behind @ ..] = self.rest {
            self.put(*byte)?;
            self.rest = behind;
        } else if self.ended {
            return Ok(false);
        } else {
            return Err(Flaw::Form);
        }
        Ok(true)
    }

    /// A tag that begins an element, and perhaps ends it, too.
    fn begin(
        &mut self,
        draft: &mut Draft<'_>,
        each: &mut dyn FnMut(&Service<'_>),
    ) -> Result<(), Flaw> {
        let element = self.word()?;
        if parent(element) != self.element || self.ended {
            return Err(Flaw::Form);
        }
        self.element = element;
        self.choice = 0;
        self.text.truncate(0);
        loop {
            self.blanks();
            let ends = self.passes(b"/");
            if self.passes(b">") {
                if element == SERVICE {
                    draft.begin();
                    draft.protocol = match self.choice {
                        0 => Protocol::Any,
                        1 => Protocol::V4,
                        _ => Protocol::V6,
                    };
                }
                return if ends { self.end(draft, each) } else { Ok(()) };
            }
            if ends {
                return Err(Flaw::Form);
            }
            let (name, values) = match element {
                NAME => (&b"replace-wildcards"[..], &b"no yes"[..]),
                SERVICE => (&b"protocol"[..], &b"any ipv4 ipv6"[..]),
                TXT => (&b"value-format"[..], &b"text binary-hex binary-base64"[..]),
                _ => return Err(Flaw::Unknown),
            };
            if !self.passes(name) {
                return Err(Flaw::Unknown);
            }
            self.blanks();
            if !self.passes(b"=") {
                return Err(Flaw::Form);
            }
            self.blanks();
            let Some((quote @ [b'"' | b'\''], behind)) = self.rest.split_at_checked(1) else {
                return Err(Flaw::Form);
            };
            self.rest = behind;
            let value = self.until(quote).ok_or(Flaw::Form)?;
            self.choice = place_in(values, value).ok_or(Flaw::Unknown)?;
        }
    }

    /// Takes what is in an element that ends.
    fn end(
        &mut self,
        draft: &mut Draft<'_>,
        each: &mut dyn FnMut(&Service<'_>),
    ) -> Result<(), Flaw> {
        let element = self.element;
        self.element = parent(element);
        if self.text.written().is_none() {
            return Err(Flaw::Long);
        }
        let text = self.text.since(0);
        match element {
            GROUP => {
                self.ended = true;
                Ok(())
            }
            SERVICE => {
                each(&draft.service()?);
                Ok(())
            }
            NAME => put_name(draft, text.trim_ascii(), (self.choice > 0).then_some(b'h')),
            TXT => {
                let coding = match self.choice {
                    0 => Coding::Text,
                    1 => Coding::Hex,
                    _ => Coding::Base64,
                };
                draft.put_coded(text, coding)
            }
            _ => match PARTS.get(element) {
                Some(part) => draft.put(*part, text.trim_ascii()),
                None => Err(Flaw::Form),
            },
        }
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

    /// The document's type: its name, and where somebody else would find it.
    fn pass_type(&mut self) -> Result<(), Flaw> {
        while let [byte, behind @ ..] = self.rest {
            self.rest = behind;
            match byte {
                b'>' => return Ok(()),
                b'[' => return Err(Flaw::Declarations),
                b'"' | b'\'' => {
                    let quote = core::slice::from_ref(byte);
                    self.until(quote).ok_or(Flaw::Form)?;
                }
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

    /// What stands before `end`, which is passed, too.
    #[inline(never)]
    fn until(&mut self, end: &[u8]) -> Option<&'f [u8]> {
        let start = self.rest;
        while !self.rest.is_empty() {
            let len = start.len().wrapping_sub(self.rest.len());
            if self.passes(end) {
                return start.get(..len);
            }
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        // It begins here, in this line.
        self.rest = start;
        None
    }

    #[inline(never)]
    fn blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// An element's number.
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
