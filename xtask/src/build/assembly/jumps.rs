//! Jumps that are too far for two bytes go by way of a jump nearby that leads to the same place.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSymbol as _};

use super::{Assembler, Kind, Line, is_code, kind};

/// How far a jump of two bytes reaches from its end.
const REACH: i64 = 127;
/// Bytes of a jump that reaches so far.
const SHORT_BYTES: i64 = 2;
/// Through how many others a jump may lead: each takes a moment.
const WAY_COUNT_MAX: u32 = 2;
/// What became short brings others closer, a few of them.
const ROUND_COUNT: u32 = 3;

/// Where a jump is, in lines and in bytes.
#[derive(Clone, Copy)]
struct Jump<'a> {
    line: usize,
    place: i64,
    /// When it is taken.
    word: &'a str,
    /// How many others it leads through.
    way_count: u32,
    is_short: bool,
}

/// Leads far jumps by way of others. All code lies in one section, in this order.
pub(super) fn lead_nearby(lines: &mut Vec<Line<'_>>, assembler: Assembler<'_>) -> Result<()> {
    for _ in 0..ROUND_COUNT {
        let places = places(lines, assembler)?;
        let ways = ways(lines, &places);
        if ways.is_empty() {
            break;
        }
        let mut is_met = vec![false; lines.len()];
        for (from, by) in &ways {
            is_met[*by] = true;
            let Some((word, target)) = jump(&lines[*from]) else {
                continue;
            };
            // It may have a label before it.
            let other = lines[*from].replace(
                &format!("\t{word}\t{target}"),
                &format!("\t{word}\t.Lway{by}"),
            );
            lines[*from] = other.into();
        }
        // Numbers of lines are names of labels: they may not change from round to round.
        for (at, line) in lines.iter_mut().enumerate() {
            let label = format!(".Lway{at}:\n");
            if is_met[at] && !line.starts_with(&label) {
                *line = format!("{label}{line}").into();
            }
        }
    }
    Ok(())
}

/// The word and the target of a jump, and whether its line has a label for others before it.
fn jump(line: &str) -> Option<(&str, &str)> {
    let line = line.rsplit('\n').next().unwrap_or(line);
    match kind(line) {
        Kind::Instruction(text) if text.starts_with('j') => text
            .split_once('\t')
            .filter(|(_, target)| !target.starts_with('*')),
        _ => None,
    }
}

/// Where the jumps and labels of the code will be, by their lines.
fn places(lines: &[Line<'_>], assembler: Assembler<'_>) -> Result<HashMap<usize, i64>> {
    let mut text = String::new();
    let mut in_code = false;
    for (at, line) in lines.iter().enumerate() {
        let found = kind(line);
        if let Kind::Section(section) = found {
            in_code = is_code(section);
        }
        if in_code && (jump(line).is_some() || matches!(found, Kind::Label(_))) {
            text.push_str(&format!("place{at}:\n"));
        }
        // What is known for debuggers only takes its time.
        let is_about = line.starts_with("\t.loc\t") || line.starts_with("\t.cfi_");
        if !is_about {
            text.push_str(line);
        }
        text.push('\n');
    }
    let assembled = assembler(&text)?;
    let object = object::File::parse(&*assembled).context("the assembler's object")?;
    let mut places = HashMap::new();
    for symbol in object.symbols() {
        if let Some(at) = symbol.name()?.strip_prefix("place") {
            places.insert(at.parse()?, i64::try_from(symbol.address())?);
        }
    }
    Ok(places)
}

/// Which far jumps may lead to which others, by their lines.
fn ways(lines: &[Line<'_>], places: &HashMap<usize, i64>) -> Vec<(usize, usize)> {
    let mut labels = HashMap::new();
    let mut jumps: HashMap<&str, Vec<Jump<'_>>> = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(place) = places.get(&at).copied() else {
            continue;
        };
        if let Some((word, target)) = jump(line) {
            jumps
                .entry(target.trim_matches('"'))
                .or_default()
                .push(Jump {
                    line: at,
                    place,
                    word,
                    way_count: 0,
                    is_short: false,
                });
        } else if let Kind::Label(label) = kind(line) {
            labels.insert(label, place);
        }
    }
    let is_near = |from: i64, to: i64| (to - from - SHORT_BYTES).abs() <= REACH;
    let mut ways = Vec::new();
    for (target, mut jumps) in jumps {
        let Some(target) = labels.get(target).copied() else {
            continue;
        };
        for jump in &mut jumps {
            jump.is_short = is_near(jump.place, target);
        }
        // Each leads to one that is closer, so that none goes round in a circle.
        jumps.sort_by_key(|jump| ((jump.place - target).abs(), jump.line));
        for at in 1..jumps.len() {
            let (closer, jump) = (&jumps[..at], &jumps[at]);
            if jump.is_short {
                continue;
            }
            let by = closer
                .iter()
                .filter(|by| by.word == "jmp" || by.word == jump.word)
                .filter(|by| is_near(jump.place, by.place) && by.way_count < WAY_COUNT_MAX)
                .min_by_key(|by| by.way_count);
            if let Some(by) = by.copied() {
                ways.push((jump.line, by.line));
                jumps[at].way_count = by.way_count + 1;
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assembled, function};
    use super::*;

    fn led(body: &[&str]) -> Vec<String> {
        let text = function("one", body);
        let mut lines: Vec<Line<'_>> = text.lines().map(Line::from).collect();
        lead_nearby(&mut lines, &assembled).unwrap();
        let text = lines.join("\n");
        text.lines()
            .skip(2)
            .map(|line| line.trim().replace('\t', " "))
            .collect()
    }

    #[test]
    fn far_jumps_lead_through_near_ones() {
        let jumps = ["jne", "jne", "jmp", "jmp", "jmp", "jmp"];
        let jumps = jumps.map(|word| format!("{word} .LBB0_1"));
        let mut body = vec![".LBB0_1:", "retq"];
        for jump in &jumps {
            body.extend([".zero 100", jump]);
        }
        let expect = [
            ".LBB0_1:",
            "retq",
            ".zero 100",
            ".Lway5:",
            "jne .LBB0_1",
            ".zero 100",
            "jne .Lway5",
            ".zero 100",
            // It is taken where the others are not, but not through them.
            ".Lway9:",
            "jmp .LBB0_1",
            ".zero 100",
            ".Lway11:",
            "jmp .Lway9",
            ".zero 100",
            "jmp .Lway11",
            ".zero 100",
            // Three others would be too many.
            "jmp .LBB0_1",
        ];
        assert_eq!(led(&body), expect);
    }

    #[test]
    fn jumps_with_another_condition_are_no_way() {
        let body = [
            ".LBB0_1:",
            "retq",
            ".zero 100",
            "jne .LBB0_1",
            ".zero 100",
            "je .LBB0_1",
            ".zero 100",
            "jmp *%rax",
        ];
        assert_eq!(led(&body), body);
    }
}
