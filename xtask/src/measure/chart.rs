//! Bars in an SVG, in groups that have a scale each; the numbers stand behind the bars.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 900;
const ROW: i32 = 24;
/// Where the bars begin and the longest ends.
const BARS: (i32, i32) = (290, 760);
/// Above the first group, and above each one's bars.
const TOP: i32 = 10;
const TITLE: i32 = 44;

/// Ours.
pub const BLUE: RGBColor = RGBColor(44, 110, 180);
/// What we use, and others.
pub const GREY: RGBColor = RGBColor(150, 150, 150);

/// Bars of one scale.
pub struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
    /// A line through all bars.
    pub mark: Option<f64>,
}

/// One of them.
pub struct Bar {
    pub name: String,
    pub value: f64,
    /// From where to where it wavers.
    pub range: Option<(f64, f64)>,
    /// What stands behind it.
    pub text: String,
    pub color: RGBColor,
}

/// Writes them.
pub fn draw(path: &Path, groups: &[Group]) -> Result<()> {
    let draw = || draw_groups(path, groups).map_err(|why| anyhow!("{why}"));
    draw().with_context(|| format!("cannot draw {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

fn draw_groups(path: &Path, groups: &[Group]) -> Result<(), Box<dyn std::error::Error>> {
    let rows = groups.iter().map(|group| group.bars.len() as i32);
    let height = TOP + TITLE * groups.len() as i32 + ROW * rows.sum::<i32>() + TOP;
    let area = SVGBackend::new(path, (WIDTH, u32::try_from(height)?)).into_drawing_area();
    area.fill(&WHITE)?;
    let plain = TextStyle::from(("sans-serif", 14).into_font()).color(&BLACK);
    let right = plain.pos(Pos::new(HPos::Right, VPos::Center));
    let left = plain.pos(Pos::new(HPos::Left, VPos::Center));
    let mut y = TOP;
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
            // What is there is seen.
            let end = x(bar.value).max(BARS.0 + 1);
            let corners = [(BARS.0, y + 4), (end, y + ROW - 4)];
            area.draw(&Rectangle::new(corners, bar.color.filled()))?;
            let (min, max) = bar.range.unwrap_or((bar.value, bar.value));
            if bar.range.is_some() {
                let line = [(x(min), middle), (x(max), middle)];
                area.draw(&PathElement::new(line, BLACK.stroke_width(2)))?;
            }
            let place = (end.max(x(max)) + 8, middle);
            area.draw(&Text::new(&*bar.text, place, left.clone()))?;
            y += ROW;
        }
    }
    area.present()?;
    Ok(())
}
