//! `cargo xtask size --svg`: a chart of stowaway's size beside the programs found on this machine, after each build step, and by
//! module and crate.

use std::path::Path;

use anyhow::Result;
use plotters::style::RGBColor;

use super::peers::Peer;
use super::table::grouped;
use super::{Measured, by_size};
use crate::build::Arch;
use crate::measure::chart::{self, BLUE, Bar, GREY, Group};

/// Writes the three groups of bars to an SVG file.
pub(super) fn draw(path: &Path, arch: Arch, measured: &Measured, peers: &[Peer]) -> Result<()> {
    let groups = [
        programs(measured, peers),
        steps(arch, measured),
        parts(measured),
    ];
    chart::draw(path, &groups)
}

fn group(title: String, rows: impl IntoIterator<Item = (String, u64, RGBColor)>) -> Group {
    let bar = |(name, bytes, color)| Bar {
        name,
        value: bytes as f64,
        range: None,
        text: grouped(bytes),
        color,
    };
    Group {
        title,
        bars: rows.into_iter().map(bar).collect(),
        mark: None,
    }
}

fn programs(measured: &Measured, peers: &[Peer]) -> Group {
    let others = peers
        .iter()
        .map(|peer| (peer.name.to_owned(), peer.total_bytes, GREY));
    let ours = measured.columns.iter().map(|column| {
        let name = format!("stowaway: {}", column.name);
        (name, column.bytes(), BLUE)
    });
    let mut rows: Vec<_> = ours.chain(others).collect();
    rows.sort_by_key(|(_, bytes, _)| *bytes);
    let title = "Bytes of programs, with all libraries that they need";
    group(title.into(), rows)
}

fn steps(arch: Arch, measured: &Measured) -> Group {
    let steps = measured
        .columns
        .last()
        .map_or(&[][..], |column| &column.steps);
    let row = |step: &crate::build::Step| (step.name.to_owned(), step.bytes, BLUE);
    let name = arch.name();
    let title = format!("Bytes of stowaway for {name} after each step of the build");
    group(title, steps.iter().map(row))
}

/// The size in bytes of each module of stowaway and of each other crate, largest first.
fn parts(measured: &Measured) -> Group {
    let sizes = &measured.sizes;
    let modules = by_size(&sizes.modules).into_iter();
    let mut rows: Vec<_> = modules
        .map(|(name, bytes)| (name.clone(), bytes, BLUE))
        .collect();
    let others = sizes.crates.iter().filter(|(name, _)| *name != "stowaway");
    rows.extend(others.map(|(name, bytes)| (name.clone(), *bytes, GREY)));
    rows.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(*bytes));
    group(format!("Where the {} bytes are", grouped(sizes.file)), rows)
}
