//! Makes the table of media types for `src/wire/http/kind.rs`: the suffixes of kinds.txt with their types, without "application/".

use std::collections::{BTreeMap, BTreeSet};

/// Returns the table as source. `list` is kinds.txt.
pub(crate) fn table(list: &str) -> String {
    let kinds = kinds(list);
    let all: BTreeSet<&str> = kinds.values().map(String::as_str).collect();
    let all: Vec<&str> = all.into_iter().collect();
    let mut places = vec![0];
    places.extend(all.iter().scan(0, |end, kind| {
        *end += kind.len();
        Some(*end)
    }));
    let indices = kinds.values().map(|kind| all.binary_search(&kind.as_str()));
    let indices: Vec<usize> = indices.flatten().collect();
    let (short, long): (Vec<u64>, Vec<u64>) =
        kinds.keys().partition(|key| **key <= u32::MAX.into());
    format!(
        "pub(super) const SHORT: [u32; {}] = {short:?};\n\
         pub(super) const LONG: [u64; {}] = {long:?};\n\
         pub(super) const KINDS: [u8; {}] = {indices:?};\n\
         pub(super) const PLACES: [u16; {}] = {places:?};\n\
         pub(super) const TYPES: &str = {:?};\n",
        short.len(),
        long.len(),
        indices.len(),
        places.len(),
        all.concat(),
    )
}

/// The types by suffix: a suffix is a number with a byte for each letter, so that short suffixes come first.
fn kinds(list: &str) -> BTreeMap<u64, String> {
    let mut kinds = BTreeMap::new();
    for line in list.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let (ours, suffixes) = match line.split_once(':') {
            Some((ours, suffixes)) => (Some(ours), suffixes),
            None => (None, line),
        };
        for suffix in suffixes.split_whitespace() {
            let known = mime_guess::from_ext(suffix).iter_raw().next();
            let refuse = |why: &str| -> ! { panic!("linker/kinds.txt: {suffix}: {why}") };
            if ours.is_some() && ours == known {
                refuse("mime_guess has this type, so leave it out");
            }
            let Some(kind) = ours.or(known) else {
                refuse("mime_guess has no type, so name one");
            };
            if suffix.len() > size_of::<u64>() {
                refuse("longer than eight letters");
            }
            let charset = match kind.starts_with("text/") {
                true => "; charset=utf-8",
                false => "",
            };
            let kind = kind.strip_prefix("application/").unwrap_or(kind);
            let key = suffix
                .bytes()
                .fold(0, |key, byte| key << 8 | u64::from(byte));
            if kinds.insert(key, format!("{kind}{charset}")).is_some() {
                refuse("listed twice");
            }
        }
    }
    kinds
}
