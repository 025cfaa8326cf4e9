//! `cargo xtask size --compare`: builds the same source for x86_64 with other compiler settings and lists the bytes of each result.

use anyhow::Result;

use super::table::{self, Table};
use crate::build::{self, Arch, Role, VARIANTS};
use crate::setup;

/// Builds the shipped file and every variant; takes minutes.
pub(super) fn run() -> Result<Table> {
    let made = build::build_with_steps(Arch::X86_64, &Role::ALL)?;
    let shipped = made.steps.last().map_or(0, |step| step.bytes);
    let mut rows = vec![("as it ships: opt-level \"z\"".to_owned(), shipped)];
    let progress = setup::progress("building stowaway in other ways");
    for (number, variant) in (1..).zip(&VARIANTS) {
        let count = VARIANTS.len();
        progress.println(&format!("{number} of {count}: {}", variant.name));
        progress.set_message(variant.name);
        rows.push((variant.name.to_owned(), variant.bytes()?));
    }
    Ok(table::compared(rows))
}
