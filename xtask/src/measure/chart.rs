//! Draws bar charts as SVG: groups of horizontal bars, each group with its own scale, each bar followed by its value as text.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width of the picture in pixels.
const WIDTH: u32 = 900;
/// Height of a bar's row in pixels.
const ROW: i32 = 24;
/// Left and right end, in pixels, of the longest bar of a group; all bars begin at the left one.
const BARS: (i32, i32) = (290, 760);
/// Pixels above the first group and below the last.
const MARGIN: i32 = 10;
/// Height in pixels of a group's title.
const TITLE: i32 = 44;

/// Colour of stowaway's own bars.
pub const BLUE: RGBColor = RGBColor(44, 110, 180);
/// Colour of dependencies and of other programs.
pub const GREY: RGBColor = RGBColor(150, 150, 150);

/// Bars that share a title and a scale.
pub struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
    /// Value at which a red line crosses all bars.
    pub mark: Option<f64>,
}

/// A bar of a [`Group`].
pub struct Bar {
    pub name: String,
    pub value: f64,
    /// Smallest and largest measured value, drawn as a black line across the bar's end.
    pub range: Option<(f64, f64)>,
    /// Label to the right of the bar.
    pub text: String,
    pub color: RGBColor,
}

/// Draws the groups one below the other, writes the SVG to `path` and prints the path.
pub fn draw(path: &Path, groups: &[Group]) -> Result<()> {
    let draw = || draw_groups(path, groups).map_err(|why| anyhow!("{why}"));
    draw().with_context(|| format!("cannot draw {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

fn draw_groups(path: &Path, groups: &[Group]) -> Result<(), Box<dyn std::error::Error>> {
    let rows = groups.iter().map(|group| group.bars.len() as i32);
    let height = MARGIN + TITLE * groups.len() as i32 + ROW * rows.sum::<i32>() + MARGIN;
    let area = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let plain = TextStyle::from(("sans-serif", 14).into_font()).color(&BLACK);
    let right = plain.pos(Pos::new(HPos::Right, VPos::Center));
    let left = plain.pos(Pos::new(HPos::Left, VPos::Center));
    let mut y = MARGIN;
    for Group { title, bars, mark } in groups {
        let start = (20, y + TITLE / 2 - 8);
        area.draw(&Text::new(title.clone(), start, ("sans-serif", 18)))?;
        y += TITLE;
        let ends = bars
            .iter()
            .map(|bar| bar.range.map_or(bar.value, |it| it.1));
        let largest = ends.chain(*mark).fold(f64::MIN_POSITIVE, f64::max);
        let x = |value: f64| BARS.0 + (f64::from(BARS.1 - BARS.0) * value / largest) as i32;
        if let Some(mark) = mark {
            let line = [(x(*mark), y), (x(*mark), y + ROW * bars.len() as i32)];
            area.draw(&PathElement::new(line, RED.stroke_width(1)))?;
        }
        for bar in bars {
            let middle = y + ROW / 2;
            area.draw(&Text::new(&*bar.name, (BARS.0 - 10, middle), right.clone()))?;
            // A bar is at least one pixel wide.
            let end = x(bar.value).max(BARS.0 + 1);
            let corners = [(BARS.0, y + 4), (end, y + ROW - 4)];
            area.draw(&Rectangle::new(corners, bar.color.filled()))?;
            let (min, max) = bar.range.unwrap_or((bar.value, bar.value));
            if bar.range.is_some() {
                let line = [(x(min), middle), (x(max), middle)];
                area.draw(&PathElement::new(line, BLACK.stroke_width(2)))?;
            }
            let label = (end.max(x(max)) + 8, middle);
            area.draw(&Text::new(&*bar.text, label, left.clone()))?;
            y += ROW;
        }
    }
    area.present()?;
    Ok(())
}
