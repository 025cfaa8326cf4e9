//! Functions one behind the other, in an order in which some need no jump to the next one.

use std::collections::{HashMap, HashSet};

use super::{Kind, Line, is_code, kind};

/// A function: its name and its lines, the first of which says in which section it lies.
struct Function<'a> {
    name: String,
    lines: Vec<Line<'a>>,
}

/// A function that ends in a jump to another one is put before that one, and needs no jump.
pub(super) fn fall_through(lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    // What is not code comes first, and before all else the names of files.
    let (mut out, other): (Vec<Line<'_>>, Vec<Line<'_>>) = lines
        .into_iter()
        .partition(|line| line.starts_with("\t.file\t"));
    let mut functions: Vec<Function<'_>> = Vec::new();
    let mut of_section: HashMap<String, usize> = HashMap::new();
    for part in sections(other) {
        let section = match part.first().map(|line| kind(line)) {
            Some(Kind::Section(section)) if is_code(section) => section.to_owned(),
            _ => {
                out.extend(part);
                continue;
            }
        };
        let name = part.iter().find_map(|line| match kind(line) {
            Kind::Label(label) if !label.starts_with('.') => Some(label.to_owned()),
            _ => None,
        });
        match (name, of_section.get(&section)) {
            // Where debug information comes back to a section to say where that ends.
            (None, Some(at)) => functions[*at].lines.extend(part.into_iter().skip(1)),
            (None, None) => out.extend(part),
            (Some(name), _) => {
                of_section.insert(section, functions.len());
                functions.push(Function { name, lines: part });
            }
        }
    }
    let places: HashMap<String, usize> = functions
        .iter()
        .enumerate()
        .map(|(at, function)| (function.name.clone(), at))
        .collect();
    let mut next: HashMap<usize, usize> = HashMap::new();
    let mut followers = HashSet::new();
    for (at, Function { lines, .. }) in functions.iter_mut().enumerate() {
        let is_instruction = |line: &Line<'_>| matches!(kind(line), Kind::Instruction(_));
        let Some(last) = lines.iter().rposition(is_instruction) else {
            continue;
        };
        let Kind::Instruction(text) = kind(&lines[last]) else {
            continue;
        };
        // Data behind the jump would be run.
        let is_harmless =
            |line: &Line<'_>| kind(line) != Kind::Other || line.trim_start().starts_with(".size\t");
        if !lines[last..].iter().all(is_harmless) {
            continue;
        }
        let target = text
            .strip_prefix("jmp\t")
            .and_then(|name| places.get(name.trim_matches('"')));
        let Some(&target) = target else { continue };
        let end = std::iter::successors(Some(target), |at| next.get(at).copied()).last();
        // One that leads back here would be a circle.
        if end == Some(at) || !followers.insert(target) {
            continue;
        }
        next.insert(at, target);
        lines[last] = Line::default();
    }
    let mut functions: Vec<_> = functions
        .into_iter()
        .map(|function| function.lines)
        .collect();
    // One section for all: where they are from each other is known then.
    out.push("\t.text".into());
    for first in 0..functions.len() {
        if followers.contains(&first) {
            continue;
        }
        let mut at = first;
        out.extend(functions[at].drain(..).skip(1));
        while let Some(follower) = next.get(&at) {
            at = *follower;
            out.extend(functions[at].drain(..).skip(1));
        }
    }
    out
}

/// The lines from each change of the section to the next.
fn sections(lines: Vec<Line<'_>>) -> Vec<Vec<Line<'_>>> {
    let mut parts = vec![Vec::new()];
    for line in lines {
        if matches!(kind(&line), Kind::Section(_)) {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(line);
        }
    }
    parts
}

/// Code begins anywhere: what aligns it goes. Data stays where it can be read.
pub(super) fn pack(lines: &mut [Line<'_>]) {
    let mut in_code = false;
    for line in lines {
        if let Kind::Section(section) = kind(line) {
            in_code = is_code(section);
        } else if in_code && line.trim_start().starts_with(".p2align\t") {
            *line = Line::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{function, shortened};
    use super::super::{joined, rewritten};

    #[test]
    fn code_begins_anywhere_and_data_does_not() {
        let code = "\t.section\t.text.a,\"ax\"\n\t.p2align\t4\na:\n\tretq\n";
        let data = "\t.section\t.rodata.b,\"a\"\n\t.p2align\t3, 0x0\nb:\n\t.quad\t1\n";
        let text = joined(&rewritten(&format!("{code}{data}")));
        assert!(!text.contains(".p2align\t4"), "{text}");
        assert!(text.contains(".p2align\t3"), "{text}");
    }

    #[test]
    fn a_function_stands_before_the_one_that_it_ends_in() {
        let text = function("last", &["retq"])
            + &function("first", &["incl %eax", "jmp middle # TAILCALL"])
            + &function("middle", &["incl %ecx", "jmp last # TAILCALL"]);
        let expect = [
            "first:",
            "incl %eax",
            "middle:",
            "incl %ecx",
            "last:",
            "retq",
        ];
        assert_eq!(shortened(&text), expect);
        // What lies behind a jump is not run.
        let text =
            function("first", &["incl %eax", "jmp last", ".byte 7"]) + &function("last", &["retq"]);
        assert!(shortened(&text).contains(&"jmp last".to_owned()));
        // A circle keeps one of its jumps.
        let text = function("one", &["incl %eax", "jmp two"]) + &function("two", &["jmp one"]);
        let left = shortened(&text);
        assert_eq!(
            left.iter().filter(|line| line.starts_with("jmp")).count(),
            1
        );
    }
}
