//! Texts of several parts: words, names of a path, texts that lie one behind the other; and the ends of slices.

/// Where `word` stands among `words`.
pub fn place_in(words: &[u8], word: &[u8]) -> Option<usize> {
    parts(words, b' ').position(|other| other == word)
}

/// The part of this number; empty, if there are fewer.
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

/// What stands between `separator`s: at least one part, perhaps an empty one.
pub const fn parts(text: &[u8], separator: u8) -> Parts<'_> {
    Parts {
        rest: Some(text),
        separator,
    }
}

/// An iterator over parts. That of slices would be compiled once more for every separator.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// What was not looked at yet; `None` behind the last part.
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

/// The ends of a slice, as far as it has them.
///
/// `get(..len).unwrap_or_default()` says the same in twice the instructions: its nothing lies elsewhere, not in the slice.
pub trait Ends {
    /// The first `len` bytes; nothing, if there are not so many.
    fn head(&self, len: usize) -> &Self;
    /// The same, to be changed.
    fn head_mut(&mut self, len: usize) -> &mut Self;
    /// What is behind the first `from` bytes; nothing, if there are not so many.
    fn tail(&self, from: usize) -> &Self;
    /// The same, to be changed.
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
