//! Instructions that read the same up to where control leaves for good stand once.

use std::collections::HashMap;

use super::{Kind, Line, is_code, kind};

/// Bytes of a jump to another function.
const JUMP_BYTES: usize = 5;

/// Where the instructions of a tail stand, the last one first.
type Tail = Vec<usize>;

/// A tail that reads like another one becomes a jump into that one.
pub(super) fn share_tails(lines: &mut Vec<Line<'_>>) {
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

#[cfg(test)]
mod tests {
    use super::super::tests::{function, shortened};
    use super::super::{joined, rewritten};

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
            "incl %eax",
            ".byte 0xf3",
            "addq $24, %rsp",
            "popq %rbx",
            "retq",
        ];
        let left = shortened(&(function("one", &body) + &function("two", &body)));
        // Only what stands behind them is shared.
        assert_eq!(left.iter().filter(|line| *line == "incl %eax").count(), 2);
    }

    #[test]
    fn debug_information_stays() {
        let body = "\tmovl\t$1, %eax\n\t.loc\t1 2 3\n.Ltmp7:\n\taddq\t$24, %rsp\n\t.cfi_def_cfa_offset 8\n\tpopq\t%rbx\n\tretq\n";
        let text = joined(&rewritten(&format!(
            "\t.section\t.text.a,\"ax\"\na:\n{body}\t.section\t.text.b,\"ax\"\nb:\n{body}"
        )));
        for line in ["\t.loc\t1 2 3\n", ".Ltmp7:\n", "\t.cfi_def_cfa_offset 8\n"] {
            assert_eq!(text.matches(line).count(), 2, "{line}");
        }
    }
}
