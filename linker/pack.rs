//! Packs texts by a static dictionary, so that `src/text` can read any one of them by itself.
//!
//! A symbol is a letter or a pair of symbols. Again and again, the pair that saves most becomes a symbol (Re-Pair: Larsson and
//! Moffat, 1999). What is left of the texts then is written in a canonical Huffman code.

use core::cmp::Reverse;
use core::fmt::Write as _;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use crate::texts::{Row, Texts};

/// Ends a text, and is in no pair.
const END: u16 = 0;
/// Symbols from here on are pairs.
const FIRST_PAIR: u16 = 128;
/// It is known where every so manieth text begins. Those between are passed by.
const PLACE_EVERY: usize = 16;
/// Bits that a pair must save: its own two symbols, and its place in the code.
const PAIR_GAIN_MIN: f64 = 20.0;

/// The tables that `src/text` includes.
pub(crate) fn pack(texts: &Texts) -> String {
    let texts_in_file = placed(&texts.rows);
    let mut coded: Vec<Vec<u16>> = texts_in_file.iter().map(|text| symbols(text)).collect();
    let pairs = pair_up(&mut coded);
    let code = Code::of(&coded, &pairs);

    let mut bits = Bits::default();
    let pair_bits = usize::BITS - (code.letters.len() + pairs.len()).leading_zeros();
    for pair in &code.pairs {
        let (first, second) = pairs[usize::from(pair - FIRST_PAIR)];
        for symbol in [first, second] {
            bits.put(code.number(symbol), pair_bits);
        }
    }
    let mut places = Vec::new();
    for text in &coded {
        places.push(bits.len.to_string());
        for symbol in text {
            let (code, len) = code.codes[symbol];
            bits.put(code, len);
        }
    }

    let mut out = String::new();
    let mut table = |name: &str, kind: &str, rows: &[String]| {
        writeln!(
            out,
            "pub(super) const {name}: [{kind}; {}] = [{}];",
            rows.len(),
            rows.join(", ")
        )
        .unwrap();
    };
    let shown = |bytes: &[u8]| -> Vec<String> { bytes.iter().map(u8::to_string).collect() };
    table(
        "LETTERS",
        "u8",
        &shown(
            &code
                .letters
                .iter()
                .map(|letter| *letter as u8)
                .collect::<Vec<_>>(),
        ),
    );
    table(
        "COUNTS",
        "[u16; 2]",
        &code
            .counts
            .iter()
            .map(|counts| format!("{counts:?}"))
            .collect::<Vec<_>>(),
    );
    table("BITS", "u8", &shown(&bits.padded()));
    let places: Vec<String> = places.into_iter().step_by(PLACE_EVERY).collect();
    table("PLACES", "u32", &places);
    let all: Vec<String> = texts_in_file
        .iter()
        .map(|text| format!("{text:?}"))
        .collect();
    table("TEXTS", "&str", &all);
    let absent: Vec<String> = texts
        .absent
        .iter()
        .map(|text| format!("{text:?}"))
        .collect();
    table("ABSENT", "&str", &absent);
    writeln!(out, "pub(super) const PLACE_EVERY: usize = {PLACE_EVERY};").unwrap();
    writeln!(out, "pub(super) const PAIR_BITS: u32 = {pair_bits};").unwrap();
    writeln!(out, "pub(super) const END: usize = {};", code.number(END)).unwrap();
    out
}

/// The texts one behind the other: each row as a whole, and no text twice that is not in two rows.
fn placed(rows: &[Row]) -> Vec<&str> {
    let mut rows: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| row.iter().map(String::as_str).collect())
        .collect();
    // The empty text stays at the beginning.
    rows[1..].sort_by_key(|row| Reverse(row.len()));
    let mut texts: Vec<&str> = Vec::new();
    for row in rows {
        if !texts.windows(row.len()).any(|there| there == row) {
            texts.extend(row);
        }
    }
    texts
}

fn symbols(text: &str) -> Vec<u16> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii() && u16::from(byte) != END);
    assert!(is_plain, "{text:?} is not ASCII");
    text.bytes().map(u16::from).chain([END]).collect()
}

/// Makes pairs symbols while that saves anything; what the pairs are, from `FIRST_PAIR` on.
fn pair_up(texts: &mut [Vec<u16>]) -> Vec<(u16, u16)> {
    let mut pairs = Vec::new();
    let mut counts = Counts {
        pairs: HashMap::new(),
        single: vec![0; usize::from(FIRST_PAIR)],
        total: 0,
    };
    texts.iter().for_each(|text| counts.add(text, 1));
    loop {
        let best = counts.best();
        let Some((_, pair)) = best.filter(|(gain, _)| *gain >= PAIR_GAIN_MIN) else {
            return pairs;
        };
        let symbol = FIRST_PAIR + pairs.len() as u16;
        pairs.push(pair);
        counts.single.push(0);
        let has_pair = |text: &&mut Vec<u16>| text.windows(2).any(|it| (it[0], it[1]) == pair);
        for text in texts.iter_mut().filter(has_pair) {
            counts.add(text, -1);
            replace(text, pair, symbol);
            counts.add(text, 1);
        }
    }
}

/// How often symbols and pairs stand in all texts.
struct Counts {
    pairs: HashMap<(u16, u16), i32>,
    /// By symbol.
    single: Vec<i32>,
    /// Of all symbols.
    total: i32,
}

impl Counts {
    /// Counts a text so many times more.
    fn add(&mut self, text: &[u16], times: i32) {
        let mut before = None;
        for window in text.windows(2) {
            let pair = (window[0], window[1]);
            self.single[usize::from(pair.0)] += times;
            self.total += times;
            // Of three equal symbols, two are a pair.
            if pair.1 == END || before == Some(pair) {
                before = None;
                continue;
            }
            before = Some(pair);
            *self.pairs.entry(pair).or_default() += times;
        }
    }

    /// The pair that saves most, and how many bits.
    fn best(&self) -> Option<(f64, (u16, u16))> {
        let bits = |count: i32| f64::from(self.total).log2() - f64::from(count).log2();
        let single: Vec<f64> = self.single.iter().map(|count| bits(*count)).collect();
        let gain = |pair: (u16, u16), count: i32| {
            let apart = single[usize::from(pair.0)] + single[usize::from(pair.1)];
            f64::from(count) * (apart - bits(count))
        };
        // What stands once saves nothing.
        let often = self.pairs.iter().filter(|(_, count)| **count > 1);
        let gains = often.map(|(pair, count)| (gain(*pair, *count), *pair));
        gains.max_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))
    }
}

fn replace(text: &mut Vec<u16>, pair: (u16, u16), symbol: u16) {
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        if text[from] == pair.0 && text.get(from + 1) == Some(&pair.1) {
            text[to] = symbol;
            from += 2;
        } else {
            text[to] = text[from];
            from += 1;
        }
        to += 1;
    }
    text.truncate(to);
}

/// A canonical code: of each length, the letters come first, then the pairs.
struct Code {
    /// Letters by the length of their code; those without one are last.
    letters: Vec<u16>,
    /// The same of pairs.
    pairs: Vec<u16>,
    /// Of each length from 1 on, how many letters and how many pairs have it.
    counts: Vec<[usize; 2]>,
    /// The bits of a symbol's code, and how many.
    codes: HashMap<u16, (usize, u32)>,
}

impl Code {
    fn of(texts: &[Vec<u16>], all_pairs: &[(u16, u16)]) -> Self {
        let lengths = lengths(texts);
        let mut symbols: Vec<u16> = (FIRST_PAIR..FIRST_PAIR + all_pairs.len() as u16).collect();
        symbols.extend(
            all_pairs
                .iter()
                .flat_map(|(first, second)| [*first, *second]),
        );
        symbols.extend(lengths.keys());
        symbols.sort_by_key(|symbol| (lengths.get(symbol).copied().unwrap_or(u32::MAX), *symbol));
        symbols.dedup();
        let mut counts = vec![[0; 2]; lengths.values().max().copied().unwrap_or(0) as usize];
        let (mut codes, mut next, mut last) = (HashMap::new(), 0, 0);
        for symbol in &symbols {
            if let Some(length) = lengths.get(symbol) {
                next <<= length - last;
                codes.insert(*symbol, (next, *length));
                counts[*length as usize - 1][usize::from(*symbol >= FIRST_PAIR)] += 1;
                (next, last) = (next + 1, *length);
            }
        }
        let (letters, pairs) = symbols.into_iter().partition(|symbol| *symbol < FIRST_PAIR);
        Self {
            letters,
            pairs,
            counts,
            codes,
        }
    }

    /// The place of a symbol: letters first, then pairs.
    fn number(&self, symbol: u16) -> usize {
        let mut all = self.letters.iter().chain(&self.pairs);
        all.position(|other| *other == symbol).unwrap()
    }
}

/// How many bits the code of each symbol has (Huffman, 1952).
fn lengths(texts: &[Vec<u16>]) -> BTreeMap<u16, u32> {
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    texts
        .iter()
        .flatten()
        .for_each(|symbol| *counts.entry(*symbol).or_default() += 1);
    let leaves = counts
        .into_iter()
        .map(|(symbol, count)| Reverse((count, vec![(symbol, 0)])));
    let mut trees: BinaryHeap<_> = leaves.collect();
    loop {
        let (one, other) = (trees.pop(), trees.pop());
        match (one, other) {
            (Some(Reverse((count, mut tree))), Some(Reverse((more, other)))) => {
                tree.extend(other);
                tree.iter_mut().for_each(|(_, length)| *length += 1);
                trees.push(Reverse((count + more, tree)));
            }
            (last, _) => {
                return last
                    .into_iter()
                    .flat_map(|Reverse((_, tree))| tree)
                    .collect();
            }
        }
    }
}

/// Bits, the first one in the highest bit of the first byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    fn put(&mut self, bits: usize, count: u32) {
        for place in (0..count).rev() {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().unwrap();
            *last |= ((bits >> place & 1) as u8) << (7 - self.len % 8);
            self.len += 1;
        }
    }

    /// They are read four bytes at once.
    fn padded(&self) -> Vec<u8> {
        [&self.bytes[..], &[0; 3]].concat()
    }
}
