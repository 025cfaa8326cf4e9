//! Makes the compiler's assembly of x86_64 shorter: what it does for each function by itself is done for all of them.
//!
//! It does not have to understand the code. Instructions that read the same, up to where control leaves for good, do the same
//! wherever they stand; their debug information stays where it was, about no instructions. What is not known is left alone.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Bytes of a jump to another function.
const JUMP_BYTES: usize = 5;

/// The same program in fewer bytes. `assembly` is what rustc's `--emit=asm` writes for the whole of it.
pub fn shorten(assembly: &str) -> String {
    let mut lines: Vec<Line<'_>> = assembly.lines().map(Cow::Borrowed).collect();
    touch_by_push(&mut lines);
    share_tails(&mut lines);
    let mut text = fall_through(lines).join("\n");
    text.push('\n');
    text
}

/// A line; an empty one when its instruction went.
type Line<'a> = Cow<'a, str>;

/// What a line is, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind<'a> {
    /// An instruction, without what is said of it.
    Instruction(&'a str),
    /// Control may come here from anywhere.
    Label(&'a str),
    /// What follows lies in this section, named as it is written.
    Section(&'a str),
    /// Debug information, or nothing.
    Remark,
    /// Anything else.
    Other,
}

fn kind(line: &str) -> Kind<'_> {
    if let Some((label, _)) = line.split_once(':')
        && !line.starts_with(['\t', '#', ' '])
    {
        // These serve debug information only.
        let about = ["Ltmp", "Lfunc", "Lsec_end"];
        let named = |name: &&str| {
            label
                .strip_prefix('.')
                .is_some_and(|label| label.starts_with(*name))
        };
        return match about.iter().find(|name| named(name)) {
            Some(_) => Kind::Remark,
            None => Kind::Label(label.trim_matches('"')),
        };
    }
    let text = line.split(" #").next().unwrap_or_default().trim();
    let (word, rest) = text.split_once('\t').unwrap_or((text, ""));
    match word {
        "" | ".loc" => Kind::Remark,
        ".text" => Kind::Section(word),
        ".section" => Kind::Section(rest),
        _ if word.starts_with(".cfi_") || word.starts_with('#') => Kind::Remark,
        _ if word.starts_with('.') => Kind::Other,
        _ => Kind::Instruction(text),
    }
}

/// Whether code lies in a section.
fn is_code(section: &str) -> bool {
    section.trim_start_matches('"').starts_with(".text")
}

/// Where the stack grows by a page and the page is touched, a push touches it: six bytes less than a store.
fn touch_by_push(lines: &mut [Line<'_>]) {
    let mut grown = None;
    for at in 0..lines.len() {
        match kind(&lines[at]) {
            Kind::Instruction("subq\t$4096, %rsp") => grown = Some(at),
            Kind::Instruction("movq\t$0, (%rsp)") => {
                if let Some(grown) = grown.take() {
                    lines[grown] = "\tsubq\t$4088, %rsp".into();
                    lines[at] = "\tpushq\t$0".into();
                }
            }
            Kind::Remark => {}
            _ => grown = None,
        }
    }
}

/// Where the instructions of a tail stand, the last one first.
type Tail = Vec<usize>;

/// A tail that reads like another one becomes a jump into that one.
fn share_tails(lines: &mut Vec<Line<'_>>) {
    let mut tails = tails(lines);
    let read = |at: &usize| match kind(&lines[*at]) {
        Kind::Instruction(text) => text,
        _ => "",
    };
    // Those that share most are neighbours then.
    tails.sort_by(|one, other| one.iter().map(read).cmp(other.iter().map(read)));
    // How many of its last instructions a tail leaves to the one before.
    let mut left = vec![0; tails.len()];
    let mut labels = HashMap::new();
    let mut changes = Vec::new();
    for number in 1..tails.len() {
        let (before, tail) = (&tails[number - 1], &tails[number]);
        let shared = before.iter().zip(tail);
        let shared = shared.take_while(|(one, other)| read(one) == read(other));
        let count = shared.count();
        let bytes: usize = tail[..count].iter().map(|at| least_bytes(read(at))).sum();
        if bytes <= JUMP_BYTES {
            continue;
        }
        left[number] = count;
        let mut keeper = number - 1;
        while left[keeper] >= count {
            keeper -= 1;
        }
        let next = labels.len();
        let label = labels.entry(tails[keeper][count - 1]).or_insert(next);
        for at in &tail[..count] {
            changes.push((*at, String::new()));
        }
        changes.push((tail[count - 1], format!("\tjmp\t.Ltail{label}")));
    }
    for (at, text) in changes {
        lines[at] = text.into();
    }
    let all = std::mem::take(lines);
    for (at, line) in all.into_iter().enumerate() {
        if let Some(label) = labels.get(&at) {
            lines.push(format!(".Ltail{label}:").into());
        }
        lines.push(line);
    }
}

/// The runs of instructions that control enters at their first one only and leaves at their last one for good.
fn tails(lines: &[Line<'_>]) -> Vec<Tail> {
    let (mut tails, mut run) = (Vec::new(), Tail::new());
    let mut in_code = false;
    for (at, line) in lines.iter().enumerate() {
        match kind(line) {
            Kind::Section(section) => {
                in_code = is_code(section);
                run.clear();
            }
            Kind::Instruction(text) if in_code => {
                run.push(at);
                let (word, operands) = text.split_once('\t').unwrap_or((text, ""));
                let leaves = match word {
                    "retq" | "ud2" => true,
                    "jmp" | "jmpq" => !operands.starts_with(".L"),
                    _ => false,
                };
                if leaves {
                    run.reverse();
                    tails.push(std::mem::take(&mut run));
                } else if word.starts_with('j') {
                    run.clear();
                }
            }
            Kind::Remark => {}
            _ => run.clear(),
        }
    }
    tails
}

/// Bytes that an instruction takes at least.
fn least_bytes(text: &str) -> usize {
    let (word, operands) = text.split_once('\t').unwrap_or((text, ""));
    let is_new = ["%r8", "%r9", "%r1"]
        .iter()
        .any(|name| operands.contains(name));
    match word {
        "retq" => 1,
        "pushq" | "popq" if operands.starts_with('%') => 1 + usize::from(is_new),
        "callq" | "jmp" if !operands.starts_with('*') => 5,
        _ => {
            let is_wide =
                is_new || word.ends_with('q') && !matches!(word, "pushq" | "popq" | "callq");
            let has_number = operands.starts_with('$');
            2 + usize::from(is_wide && word != "jmpq") + usize::from(has_number)
        }
    }
}

/// A function: its name and its lines, the first of which says in which section it lies.
struct Function<'a> {
    name: String,
    lines: Vec<Line<'a>>,
}

/// A function that ends in a jump to another one is put before that one, and needs no jump.
fn fall_through(lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
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
    for first in 0..functions.len() {
        if followers.contains(&first) {
            continue;
        }
        out.append(&mut functions[first]);
        let mut at = first;
        while let Some(follower) = next.get(&at) {
            at = *follower;
            // It lies in the section of the one before.
            out.extend(std::mem::take(&mut functions[at]).into_iter().skip(1));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The instructions and labels that are left, in their order.
    fn shortened(assembly: &str) -> Vec<String> {
        shorten(assembly)
            .lines()
            .filter(|line| matches!(kind(line), Kind::Instruction(_) | Kind::Label(_)))
            .map(|line| line.trim().replace('\t', " "))
            .collect()
    }

    fn function(name: &str, body: &[&str]) -> String {
        let mut text = format!("\t.section\t.text.{name},\"ax\",@progbits\n{name}:\n");
        for line in body {
            let tab = if line.ends_with(':') { "" } else { "\t" };
            text += &format!("{tab}{}\n", line.replacen(' ', "\t", 1));
        }
        text
    }

    const POPS: [&str; 5] = [
        "addq $24, %rsp",
        "popq %rbx",
        "popq %r12",
        "popq %rbp",
        "retq",
    ];

    #[test]
    fn equal_tails_are_one() {
        let one = function("one", &[&["movl $1, %eax"], &POPS[..]].concat());
        let two = function("two", &[&["movl $2, %eax"], &POPS[..]].concat());
        let short = function(
            "short",
            &["movl $3, %eax", "popq %r12", "popq %rbp", "retq"],
        );
        let left = shortened(&(one + &two + &short));
        assert_eq!(left.iter().filter(|line| *line == "retq").count(), 2);
        let jump = left.iter().position(|line| line == "jmp .Ltail0");
        let label = left.iter().position(|line| line == ".Ltail0:");
        assert!(jump.is_some() && label.is_some(), "{left:?}");
        let behind = &left[label.unwrap() + 1..][..POPS.len()];
        assert_eq!(behind, POPS);
    }

    #[test]
    fn a_tail_begins_where_control_may_enter_it() {
        let body = [
            "movl $1, %eax",
            "addq $24, %rsp",
            ".LBB1_1:",
            "popq %rbx",
            "retq",
        ];
        let left = shortened(&(function("one", &body) + &function("two", &body)));
        assert_eq!(left.iter().filter(|line| *line == "retq").count(), 2);
    }

    #[test]
    fn other_directives_keep_their_instructions() {
        let body = [
            "movl $1, %eax",
            ".byte 0xf3",
            "addq $24, %rsp",
            "popq %rbx",
            "retq",
        ];
        let left = shortened(&(function("one", &body) + &function("two", &body)));
        // Only what stands behind them is shared.
        assert_eq!(
            left.iter().filter(|line| *line == "movl $1, %eax").count(),
            2
        );
    }

    #[test]
    fn debug_information_stays() {
        let body = "\tmovl\t$1, %eax\n\t.loc\t1 2 3\n.Ltmp7:\n\taddq\t$24, %rsp\n\t.cfi_def_cfa_offset 8\n\tpopq\t%rbx\n\tretq\n";
        let text = shorten(&format!(
            "\t.section\t.text.a,\"ax\"\na:\n{body}\t.section\t.text.b,\"ax\"\nb:\n{body}"
        ));
        for line in ["\t.loc\t1 2 3\n", ".Ltmp7:\n", "\t.cfi_def_cfa_offset 8\n"] {
            assert_eq!(text.matches(line).count(), 2, "{line}");
        }
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

    #[test]
    fn a_page_of_stack_is_touched_by_a_push() {
        let body = [
            "subq $4096, %rsp",
            "movq $0, (%rsp)",
            "movq $0, (%rsp)",
            "retq",
        ];
        let expect = [
            "one:",
            "subq $4088, %rsp",
            "pushq $0",
            "movq $0, (%rsp)",
            "retq",
        ];
        assert_eq!(shortened(&function("one", &body)), expect);
    }
}
