//! Bars: the file beside others that were found here, the steps to it, and its bytes by room and crate.
//!
//! Each group has a scale of its own; the numbers stand behind the bars.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::peers::Peer;
use super::table::grouped;
use super::{Measured, by_size};
use crate::build::Arch;

const WIDTH: u32 = 900;
const ROW: i32 = 24;
/// Where the bars begin and the longest ends.
const BARS: (i32, i32) = (290, 800);
/// Above the first group, and above each one's bars.
const TOP: i32 = 10;
const TITLE: i32 = 44;

/// Ours.
const BLUE: RGBColor = RGBColor(44, 110, 180);
/// What we use, and others.
const GREY: RGBColor = RGBColor(150, 150, 150);

struct Group {
    title: String,
    rows: Vec<(String, u64, RGBColor)>,
}

/// Writes an SVG.
pub(super) fn draw(path: &Path, arch: Arch, measured: &Measured, peers: &[Peer]) -> Result<()> {
    let groups = [
        programs(measured, peers),
        steps(arch, measured),
        parts(measured),
    ];
    draw_groups(path, &groups).map_err(|why| anyhow!("{why}"))
}

fn programs(measured: &Measured, peers: &[Peer]) -> Group {
    let others = peers
        .iter()
        .map(|peer| (peer.name.to_owned(), peer.all, GREY));
    let ours = measured.columns.iter().map(|column| {
        let name = format!("stowaway: {}", column.name);
        (name, column.bytes(), BLUE)
    });
    let mut rows: Vec<_> = ours.chain(others).collect();
    rows.sort_by_key(|(_, bytes, _)| *bytes);
    Group {
        title: "Bytes of programs, with all libraries that they need".into(),
        rows,
    }
}

fn steps(arch: Arch, measured: &Measured) -> Group {
    let steps = measured
        .columns
        .last()
        .map_or(&[][..], |column| &column.steps);
    let row = |step: &crate::build::Step| (step.name.to_owned(), step.bytes, BLUE);
    Group {
        title: format!(
            "Bytes of stowaway for {} after each step of the build",
            arch.name()
        ),
        rows: steps.iter().map(row).collect(),
    }
}

/// Our own crate is shown by rooms.
fn parts(measured: &Measured) -> Group {
    let sizes = &measured.sizes;
    let rooms = by_size(&sizes.rooms).into_iter();
    let mut rows: Vec<_> = rooms
        .map(|(name, bytes)| (name.clone(), bytes, BLUE))
        .collect();
    let others = sizes.crates.iter().filter(|(name, _)| *name != "stowaway");
    rows.extend(others.map(|(name, bytes)| (name.clone(), *bytes, GREY)));
    rows.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(*bytes));
    Group {
        title: format!("Where the {} bytes are", grouped(sizes.file)),
        rows,
    }
}

fn draw_groups(path: &Path, groups: &[Group]) -> Result<(), Box<dyn std::error::Error>> {
    let rows: usize = groups.iter().map(|group| group.rows.len()).sum();
    let titles = TITLE * i32::try_from(groups.len())?;
    let height = TOP + titles + ROW * i32::try_from(rows)? + TOP;
    let area = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let plain = TextStyle::from(("sans-serif", 14).into_font()).color(&BLACK);
    let mut y = TOP;
    for Group { title, rows } in groups {
        let start = (20, y + TITLE / 2 - 8);
        area.draw(&Text::new(title.clone(), start, ("sans-serif", 18)))?;
        y += TITLE;
        let largest = rows.iter().map(|(_, bytes, _)| *bytes).max();
        let largest = largest.unwrap_or_default().max(1);
        for (name, bytes, color) in rows {
            let width = u64::try_from(BARS.1 - BARS.0)? * bytes / largest;
            // What is there is seen.
            let end = BARS.0 + i32::try_from(width)?.max(1);
            let middle = y + ROW / 2;
            let right = plain.pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(name.clone(), (BARS.0 - 10, middle), right))?;
            area.draw(&Rectangle::new(
                [(BARS.0, y + 4), (end, y + ROW - 4)],
                color.filled(),
            ))?;
            let left = plain.pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(grouped(*bytes), (end + 8, middle), left))?;
            y += ROW;
        }
    }
    area.present()?;
    Ok(())
}
