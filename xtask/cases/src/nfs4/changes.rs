//! Changes: SETATTR, CREATE, REMOVE, RENAME, LINK, OPEN with creation, and WRITE.

use super::opens::on_state;
use super::*;

/// The attribute mode.
const MODE: u32 = 33;

/// A mode.
pub fn mode(mode: u32) -> Vec<u32> {
    [&bitmap(&[MODE])[..], &[4, mode]].concat()
}

/// GUARDED4 with these attributes.
pub fn guarded(attributes: &[u32]) -> Vec<u32> {
    [&[1], attributes].concat()
}

/// OPEN that creates a file.
pub fn open_new(owner: &str, access: u32, deny: u32, how: &[u32], name: &str) -> Op {
    let head = with(op::OPEN, &[0, access, deny, 9, 9]);
    let owner = opaque(owner.as_bytes());
    [&head[..], &owner, &[1], how, &[0], &opaque(name.as_bytes())].concat()
}

/// SETATTR.
pub fn set(state: [u32; 4], attributes: &[u32]) -> Op {
    on_state(op::SETATTR, &[], state, attributes)
}

/// WRITE at the start of the file.
pub fn write_by(state: [u32; 4], stable: u32, data: &[u8]) -> Op {
    on_state(
        op::WRITE,
        &[],
        state,
        &[&[0, 0, stable], &opaque(data)[..]].concat(),
    )
}

/// CREATE. `what` is the type, with the target of a link.
pub fn make(what: &[u32], name: &str, attributes: &[u32]) -> Op {
    [&[op::CREATE], what, &opaque(name.as_bytes()), attributes].concat()
}

/// An operation on names: REMOVE, LINK or RENAME.
pub fn on_names(number: u32, names: &[&str]) -> Op {
    let names = names.iter().flat_map(|name| opaque(name.as_bytes()));
    [number].into_iter().chain(names).collect()
}

/// The attribute change before and after, from the words of change_info4.
pub fn changes(words: &[u32]) -> Result<[u64; 2]> {
    let [1, a, b, c, d] = *words else {
        anyhow::bail!("change_info {words:?}");
    };
    Ok([
        u64::from(a) << 32 | u64::from(b),
        u64::from(c) << 32 | u64::from(d),
    ])
}
