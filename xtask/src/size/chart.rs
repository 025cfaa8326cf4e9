//! Bars: the file's bytes by room and crate, the largest on top.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Sizes, by_size};
use crate::build::Arch;

const WIDTH: u32 = 800;
const ROW: i32 = 26;
/// Where the bars begin and the longest ends.
const BARS: (i32, i32) = (220, 720);
const TOP: i32 = 60;

/// Writes an SVG.
pub(super) fn draw(path: &Path, arch: Arch, sizes: &Sizes) -> Result<()> {
    draw_bars(path, arch, sizes).map_err(|why| anyhow!("{why}"))
}

fn draw_bars(path: &Path, arch: Arch, sizes: &Sizes) -> Result<(), Box<dyn std::error::Error>> {
    // Our own crate is shown by rooms.
    let others = sizes.crates.iter().filter(|(name, _)| *name != "stowaway");
    let parts: BTreeMap<String, u64> = sizes
        .rooms
        .iter()
        .chain(others)
        .map(|(name, size)| (name.clone(), *size))
        .collect();
    let rows = by_size(&parts);
    let largest = rows.first().map_or(1, |(_, size)| *size).max(1);
    let height = TOP + ROW * i32::try_from(rows.len())? + ROW;
    let area = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let plain = TextStyle::from(("sans-serif", 14).into_font()).color(&BLACK);
    let title = format!("stowaway for {}: {} bytes", arch.name(), sizes.file);
    area.draw(&Text::new(title, (20, 20), ("sans-serif", 20)))?;
    let mut y = TOP;
    for (name, size) in rows {
        let end = BARS.0 + i32::try_from(u64::try_from(BARS.1 - BARS.0)? * size / largest)?;
        // Blue is ours, grey is what we use.
        let color = if sizes.rooms.contains_key(name) {
            RGBColor(44, 110, 180)
        } else {
            RGBColor(150, 150, 150)
        };
        let middle = y + ROW / 2;
        let right = plain.pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(name.clone(), (BARS.0 - 10, middle), right))?;
        area.draw(&Rectangle::new(
            [(BARS.0, y + 4), (end, y + ROW - 4)],
            color.filled(),
        ))?;
        let left = plain.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(size.to_string(), (end + 8, middle), left))?;
        y += ROW;
    }
    area.present()?;
    Ok(())
}
