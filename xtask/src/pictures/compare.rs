//! The picture of figures: a chart for each quantity, with a pair of bars for each protocol, stowaway's above its peer's.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{escaped, head};

/// The figures, as kept in `image/doc/figures.json`.
#[derive(Serialize, Deserialize)]
pub struct Figures {
    pub date: String,
    /// Kernel, number and model of processors.
    pub machine: String,
    /// Programs with their versions.
    pub versions: Vec<String>,
    pub charts: Vec<Chart>,
}

impl Figures {
    /// Parses image/doc/figures.json.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("figures.json")
    }

    /// The text of image/doc/figures.json.
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The sizes of stowaway's file with all roles.
    pub fn sizes(&mut self) -> impl Iterator<Item = &mut f64> {
        let charts = self.charts.iter_mut();
        let of_bytes = charts.filter(|chart| chart.unit == Unit::Bytes);
        of_bytes.flat_map(|chart| chart.pairs.iter_mut().map(|pair| &mut pair.ours))
    }

    /// Returns true if a size differs from `bytes` by more than one per cent.
    pub fn is_stale(&mut self, bytes: f64) -> bool {
        self.sizes()
            .any(|size| (*size - bytes).abs() * 100.0 > bytes)
    }
}

/// A quantity.
#[derive(Serialize, Deserialize)]
pub struct Chart {
    pub title: String,
    pub unit: Unit,
    pub pairs: Vec<Pair>,
}

/// A figure of stowaway and of the peer with the same protocol.
#[derive(Serialize, Deserialize)]
pub struct Pair {
    pub protocol: String,
    pub ours: f64,
    pub peer: String,
    pub theirs: f64,
}

/// Unit of a chart's figures.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Bytes,
    KiB,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "µs")]
    Microseconds,
}

impl Unit {
    /// A figure with at most three digits, or more before the decimal point.
    fn text(self, value: f64) -> String {
        let (value, name) = match self {
            Self::Bytes if value >= 1e6 => (value / 1e6, "MB"),
            Self::Bytes => (value / 1e3, "kB"),
            Self::KiB if value >= 1024.0 => (value / 1024.0, "MiB"),
            Self::KiB => (value, "KiB"),
            Self::Milliseconds => (value, "ms"),
            Self::Microseconds => (value, "µs"),
        };
        let digits = match value {
            value if value >= 99.95 => 0,
            value if value >= 9.995 => 1,
            _ => 2,
        };
        format!("{value:.digits$} {name}")
    }
}

/// Width of a chart, and sizes of its parts, in pixels.
const CHART: usize = 410;
const TITLE: usize = 44;
const PAIR: usize = 42;
const LABEL: usize = 70;
const BAR: [f64; 2] = [162.0, 14.0];
const FOOT: usize = 46;
/// Colours: for light pages, and for dark ones where the browser says so. The background makes both readable on either.
const STYLE: &str = "<style>
.card{fill:#fff;stroke:#d0d7de}.text{fill:#1f2328}.quiet{fill:#59636e}.ours{fill:#0969da}.peer{fill:#afb8c1}
@media(prefers-color-scheme:dark){
.card{fill:#161b22;stroke:#3d444d}.text{fill:#f0f6fc}.quiet{fill:#9198a1}.ours{fill:#4493f8}.peer{fill:#656c76}}
</style>
";

/// Draws the figures, which are JSON.
pub fn draw(figures: &str) -> Result<String> {
    let figures = Figures::parse(figures)?;
    let pair_count = figures.charts.iter().map(|chart| chart.pairs.len()).max();
    let height = TITLE + pair_count.unwrap_or_default() * PAIR;
    let rows = figures.charts.len().div_ceil(2);
    let size = [2 * CHART + 20, rows * height + FOOT + 16];
    let mut svg = head(size, "Bars: stowaway beside its peers") + STYLE;
    write!(
        svg,
        "<rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         <g font-family=\"sans-serif\" font-size=\"13\">\n",
        size[0] - 1,
        size[1] - 1
    )?;
    for (index, chart) in figures.charts.iter().enumerate() {
        let corner = [10 + index % 2 * CHART, 6 + index / 2 * height];
        chart.draw(corner, &mut svg)?;
    }
    let notes = [
        format!(
            "Less is better. Each pair of bars has its own scale. {}, {}",
            figures.date, figures.machine
        ),
        figures.versions.join(", "),
    ];
    for (note, up) in notes.iter().zip([32, 14]) {
        writeln!(
            svg,
            "<text class=\"quiet\" x=\"20\" y=\"{}\" font-size=\"12\">{}</text>",
            size[1] - up,
            escaped(note)
        )?;
    }
    svg += "</g>\n</svg>\n";
    Ok(svg)
}

impl Chart {
    fn draw(&self, [left, top]: [usize; 2], svg: &mut String) -> Result<()> {
        let (left, label) = (left + 10, left + 10 + LABEL);
        writeln!(
            svg,
            "<text class=\"text\" x=\"{left}\" y=\"{}\" font-weight=\"bold\">{}</text>",
            top + 26,
            escaped(&self.title)
        )?;
        for (index, pair) in self.pairs.iter().enumerate() {
            let y = top + TITLE + index * PAIR;
            writeln!(
                svg,
                "<text class=\"text\" x=\"{left}\" y=\"{}\">{}</text>",
                y + 19,
                escaped(&pair.protocol)
            )?;
            let longest = pair.ours.max(pair.theirs);
            let bars = [
                ("ours", pair.ours, "stowaway", y),
                ("peer", pair.theirs, pair.peer.as_str(), y + 17),
            ];
            for (class, value, name, y) in bars {
                let width = (value / longest * BAR[0]).max(2.0);
                let text = label as f64 + width + 6.0;
                writeln!(
                    svg,
                    "<rect class=\"{class}\" x=\"{label}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\"/>\
                     <text class=\"text\" x=\"{text:.1}\" y=\"{}\">{} <tspan class=\"quiet\">{}</tspan></text>",
                    BAR[1],
                    y + 12,
                    self.unit.text(value),
                    escaped(name)
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let cases = [
            (Unit::Bytes, 50_480.0, "50.5 kB"),
            (Unit::Bytes, 10_539_752.0, "10.5 MB"),
            (Unit::KiB, 1536.0, "1.50 MiB"),
            (Unit::Milliseconds, 0.7, "0.70 ms"),
            (Unit::Microseconds, 123.4, "123 µs"),
        ];
        for (unit, value, text) in cases {
            assert_eq!(unit.text(value), text);
        }
    }
}
