//! Packs the texts with a static dictionary, so that `src/text` can unpack each text separately.
//!
//! A symbol is a letter or a pair of symbols. Re-Pair (Larsson and Moffat, 1999): repeatedly, the pair that saves the most bits is
//! replaced by a new symbol. The resulting symbols are written in a canonical Huffman code.

use core::cmp::Reverse;
use core::fmt::Write as _;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use crate::texts::{Row, Texts};

/// Symbol at the end of each text. Never part of a pair.
const END: u16 = 0;
/// First symbol that stands for a pair; lower ones are ASCII letters.
const FIRST_PAIR: u16 = 128;
/// Only the offset of every 16th text is stored. The reader decodes and skips the texts in between.
const PLACE_EVERY: usize = 16;
/// Least gain (bits) for which a pair becomes a symbol. It equals the cost of the symbol in the tables: two symbols, and an entry
/// in the code.
const PAIR_GAIN_MIN: f64 = 20.0;

/// The tables that `src/text` includes.
pub(crate) fn pack(texts: &Texts) -> String {
    let ordered = in_file_order(&texts.rows);
    let mut coded: Vec<Vec<u16>> = ordered.iter().map(|text| symbols(text)).collect();
    let pairs = pair_up(&mut coded);
    let code = Code::new(&coded, &pairs);

    let mut bits = Bits::default();
    let pair_bits = usize::BITS - (code.letters.len() + pairs.len()).leading_zeros();
    for pair in &code.pairs {
        let (first, second) = pairs[usize::from(pair - FIRST_PAIR)];
        for symbol in [first, second] {
            bits.put(code.number(symbol), pair_bits);
        }
    }
    let mut offsets = Vec::new();
    for text in &coded {
        offsets.push(bits.len.to_string());
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
    let offsets: Vec<String> = offsets.into_iter().step_by(PLACE_EVERY).collect();
    table("PLACES", "u32", &offsets);
    let padded = bits.padded();
    writeln!(
        out,
        "pub(super) static BITS: [u8; {}] = {padded:?};",
        padded.len()
    )
    .unwrap();
    let absent: Vec<&str> = texts.absent.iter().map(String::as_str).collect();
    let mut sorted: Vec<(&str, usize)> = ordered.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    // Two bytes only where one has no room, as in an executable with NFS.
    let number = match ordered.len() {
        ..=256 => "u8",
        _ => "u16",
    };
    writeln!(out, "pub(super) type Number = {number};").unwrap();
    // References, because the compiler copies a constant array for each index operation.
    writeln!(out, "pub(super) const TEXTS: &[&str] = &{ordered:?};").unwrap();
    writeln!(out, "pub(super) const ABSENT: &[&str] = &{absent:?};").unwrap();
    writeln!(
        out,
        "pub(super) const SORTED: &[(&str, usize)] = &{sorted:?};"
    )
    .unwrap();
    writeln!(out, "pub(super) const PLACE_EVERY: usize = {PLACE_EVERY};").unwrap();
    writeln!(out, "pub(super) const PAIR_BITS: u32 = {pair_bits};").unwrap();
    writeln!(out, "pub(super) const END: usize = {};", code.number(END)).unwrap();
    out
}

/// The texts in the order of the packed table. The texts of a row stay adjacent; a row that occurs within another one is not stored
/// again.
fn in_file_order(rows: &[Row]) -> Vec<&str> {
    let mut rows: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| row.iter().map(String::as_str).collect())
        .collect();
    // The empty text stays first. Long rows before short ones, so that a short row can be found within a long one.
    rows[1..].sort_by_key(|row| Reverse(row.len()));
    let mut texts: Vec<&str> = Vec::new();
    for row in rows {
        if !texts.windows(row.len()).any(|stored| stored == row) {
            texts.extend(row);
        }
    }
    texts
}

fn symbols(text: &str) -> Vec<u16> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii() && u16::from(byte) != END);
    assert!(
        is_plain,
        "text {text:?} contains NUL or a character that is not ASCII"
    );
    text.bytes().map(u16::from).chain([END]).collect()
}

/// Replaces pairs by symbols while that saves at least `PAIR_GAIN_MIN`. Returns the pairs, in the order of their symbols.
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
        let has_pair =
            |text: &&mut Vec<u16>| text.windows(2).any(|window| (window[0], window[1]) == pair);
        for text in texts.iter_mut().filter(has_pair) {
            counts.add(text, -1);
            replace(text, pair, symbol);
            counts.add(text, 1);
        }
    }
}

/// Number of occurrences of symbols and pairs in all texts.
struct Counts {
    pairs: HashMap<(u16, u16), i32>,
    /// Number of occurrences of each symbol.
    single: Vec<i32>,
    /// Sum of `single`.
    total: i32,
}

impl Counts {
    /// Adds `times` (-1 or 1) times the occurrences in `text`.
    fn add(&mut self, text: &[u16], times: i32) {
        let mut before = None;
        for window in text.windows(2) {
            let pair = (window[0], window[1]);
            self.single[usize::from(pair.0)] += times;
            self.total += times;
            // Pairs must not overlap: three equal symbols contain one pair. END ends a text and is in no pair.
            if pair.1 == END || before == Some(pair) {
                before = None;
                continue;
            }
            before = Some(pair);
            *self.pairs.entry(pair).or_default() += times;
        }
    }

    /// Returns the number of bits saved and the pair that saves the most. `None`: no pair occurs twice.
    fn best(&self) -> Option<(f64, (u16, u16))> {
        let bits = |count: i32| f64::from(self.total).log2() - f64::from(count).log2();
        let single: Vec<f64> = self.single.iter().map(|count| bits(*count)).collect();
        let gain = |pair: (u16, u16), count: i32| {
            let apart = single[usize::from(pair.0)] + single[usize::from(pair.1)];
            f64::from(count) * (apart - bits(count))
        };
        // A pair that occurs once saves nothing.
        let often = self.pairs.iter().filter(|(_, count)| **count > 1);
        let gains = often.map(|(pair, count)| (gain(*pair, *count), *pair));
        gains.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
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

/// A canonical Huffman code. Among the codes of one length, letters come before pairs.
struct Code {
    /// Letters, sorted by code length. Letters that occur only within pairs have no code and come last.
    letters: Vec<u16>,
    /// Pairs, sorted in the same way.
    pairs: Vec<u16>,
    /// Number of letters and of pairs for each code length from 1 on.
    counts: Vec<[usize; 2]>,
    /// The code of each symbol: bits and length.
    codes: HashMap<u16, (usize, u32)>,
}

impl Code {
    fn new(texts: &[Vec<u16>], all_pairs: &[(u16, u16)]) -> Self {
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

    /// Index of a symbol in the list of letters followed by pairs.
    fn number(&self, symbol: u16) -> usize {
        let mut all = self.letters.iter().chain(&self.pairs);
        all.position(|listed| *listed == symbol).unwrap()
    }
}

/// Length in bits of each symbol's code (Huffman, 1952).
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
        match (trees.pop(), trees.pop()) {
            (Some(Reverse((count, mut tree))), Some(Reverse((second_count, second)))) => {
                tree.extend(second);
                tree.iter_mut().for_each(|(_, length)| *length += 1);
                trees.push(Reverse((count + second_count, tree)));
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

/// A bit string; bit 0 is the highest bit of byte 0.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    fn put(&mut self, bits: usize, count: u32) {
        for bit in (0..count).rev() {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().unwrap();
            *last |= ((bits >> bit & 1) as u8) << (7 - self.len % 8);
            self.len += 1;
        }
    }

    /// Adds three bytes, because `src/text` reads four bytes at a time.
    fn padded(&self) -> Vec<u8> {
        [&self.bytes[..], &[0; 3]].concat()
    }
}
