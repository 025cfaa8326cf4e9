//! Programs that are written byte by byte, in pieces.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// Merges the pieces into one file. Fails if two pieces have different bytes at one offset, or if a byte belongs to no piece.
pub fn assemble(pieces: &str) -> Result<Vec<u8>> {
    let mut claims: BTreeMap<usize, (u8, &str)> = BTreeMap::new();
    for line in pieces.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split(" | ");
        let mut next = || {
            columns
                .next()
                .with_context(|| format!("{line}: too few columns"))
        };
        let (offset, bytes, what) = (usize::from_str_radix(next()?, 16)?, next()?, next()?.trim());
        for (offset, byte) in (offset..).zip(bytes.split_whitespace()) {
            let byte = u8::from_str_radix(byte, 16)?;
            match claims.insert(offset, (byte, what)) {
                Some((other, before)) if other != byte => bail!(
                    "offset {offset:#04x}: {before} requires {other:#04x}, {what} requires {byte:#04x}"
                ),
                _ => {}
            }
        }
    }
    let unclaimed = (0..)
        .zip(claims.keys())
        .find(|(offset, claimed)| offset != *claimed);
    if let Some((offset, _)) = unclaimed {
        bail!("offset {offset:#04x}: the byte belongs to no piece");
    }
    Ok(claims.into_values().map(|(byte, _)| byte).collect())
}
