//! What each choice of how stowaway is built is worth, in bytes of x86_64: the same source, built in other ways.

use anyhow::Result;

use super::table::{self, Table};
use crate::build::{self, Arch, Role, VARIANTS};
use crate::setup;

/// Builds them all, which takes minutes.
pub(super) fn run() -> Result<Table> {
    let made = build::make(Arch::X86_64, &Role::ALL)?;
    let shipped = made.steps.last().map_or(0, |step| step.bytes);
    let mut rows = vec![("as it ships: opt-level \"z\"".to_owned(), shipped)];
    let waiting = setup::progress("building stowaway in other ways");
    for (number, variant) in (1..).zip(&VARIANTS) {
        let count = VARIANTS.len();
        waiting.println(&format!("{number} of {count}: {}", variant.name));
        waiting.say(variant.name);
        rows.push((variant.name.to_owned(), variant.bytes()?));
    }
    Ok(table::compared(rows))
}
