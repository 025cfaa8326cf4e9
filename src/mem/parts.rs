//! Splitting of bytes: words, path components, NUL-separated texts; and the head and tail of slices.

/// Returns the index of `word` in the space-separated list `words`.
pub fn index_of(words: &[u8], word: &[u8]) -> Option<usize> {
    parts(words, b' ').position(|other| other == word)
}

/// Returns true if one of the bytes of `text` is one of `signs`.
pub fn has_any(text: &[u8], signs: &[u8]) -> bool {
    let is_sign = |byte: &u8| signs.iter().any(|sign| sign == byte);
    text.iter().any(is_sign)
}

/// Returns part `number` (from 0), or an empty slice if there are fewer parts.
pub fn nth(text: &[u8], separator: u8, number: usize) -> &[u8] {
    let mut parts = parts(text, separator);
    let mut left = number;
    loop {
        let part = parts.next().unwrap_or_default();
        if left == 0 {
            return part;
        }
        left -= 1;
    }
}

/// Splits `text` at every `separator`: at least one part, which may be empty.
pub const fn parts(text: &[u8], separator: u8) -> Parts<'_> {
    Parts {
        rest: Some(text),
        separator,
    }
}

/// Iterator of [`parts()`]. The iterator of `slice::split` would be compiled once per separator closure.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The unread rest; `None` after the last part.
    pub rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut behind = rest;
        while let [byte, after @ ..] = behind {
            if *byte == self.separator {
                self.rest = Some(after);
                return rest.get(..rest.len() - behind.len());
            }
            behind = after;
        }
        Some(rest)
    }
}

/// Head and tail of a slice, without panics.
///
/// `get(..len).unwrap_or_default()` compiles to twice the instructions, because its empty slice has another address.
pub trait Ends {
    /// The first `len` bytes; empty if the slice is shorter.
    fn head(&self, len: usize) -> &Self;
    /// Mutable [`Ends::head`].
    fn head_mut(&mut self, len: usize) -> &mut Self;
    /// The bytes after the first `from`; empty if the slice is shorter.
    fn tail(&self, from: usize) -> &Self;
    /// Mutable [`Ends::tail`].
    fn tail_mut(&mut self, from: usize) -> &mut Self;
}

impl Ends for [u8] {
    #[inline(always)]
    fn head(&self, len: usize) -> &Self {
        let len = if len > self.len() { 0 } else { len };
        self.get(..len).unwrap_or_default()
    }

    #[inline(always)]
    fn head_mut(&mut self, len: usize) -> &mut Self {
        let len = if len > self.len() { 0 } else { len };
        self.get_mut(..len).unwrap_or_default()
    }

    #[inline(always)]
    fn tail(&self, from: usize) -> &Self {
        self.get(from.min(self.len())..).unwrap_or_default()
    }

    #[inline(always)]
    fn tail_mut(&mut self, from: usize) -> &mut Self {
        let from = from.min(self.len());
        self.get_mut(from..).unwrap_or_default()
    }
}
