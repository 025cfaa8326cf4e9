//! Pushes and pops: the shortest instructions there are.

use super::{Kind, Line, kind};

/// After so many bytes of stack the compiler touches it.
const PAGE_BYTES: u32 = 4096;
/// The largest frame that is taken at once.
const GROWTH_MAX: u32 = 1 << 19;

/// Where the stack grows by several pages, they are not touched one by one. What functions have there is much less than the
/// megabyte that a kernel keeps free below a stack, so that none steps over that.
pub(super) fn grow_at_once(lines: &mut [Line<'_>]) {
    // Where it grew, by how much, and whether that was touched.
    let mut grown: Option<(usize, u32, bool)> = None;
    for at in 0..lines.len() {
        let text = match kind(&lines[at]) {
            Kind::Instruction(text) => text,
            Kind::Remark => continue,
            _ => "",
        };
        let bytes = text
            .strip_prefix("subq\t$")
            .and_then(|text| text.strip_suffix(", %rsp"))
            .and_then(|bytes| bytes.parse::<u32>().ok());
        grown = match (grown, bytes) {
            (Some((before, all, true)), Some(bytes)) if all + bytes <= GROWTH_MAX => {
                lines[before] = Line::default();
                let all = all + bytes;
                lines[at] = format!("\tsubq\t${all}, %rsp").into();
                Some((at, all, bytes != PAGE_BYTES))
            }
            (_, Some(PAGE_BYTES)) => Some((at, PAGE_BYTES, false)),
            (Some((before, all, false)), None) if text == "movq\t$0, (%rsp)" => {
                lines[at] = Line::default();
                Some((before, all, true))
            }
            _ => None,
        };
    }
}

/// What is moved between the older registers, and small numbers, are pushed and popped: some bytes less.
pub(super) fn move_by_push(lines: &mut [Line<'_>]) {
    for at in 0..lines.len() {
        let Kind::Instruction(text) = kind(&lines[at]) else {
            continue;
        };
        let Some((word, (from, to))) = text
            .split_once('\t')
            .and_then(|(word, operands)| Some((word, operands.split_once(", ")?)))
        else {
            continue;
        };
        let number = from
            .strip_prefix('$')
            .and_then(|text| text.parse::<i64>().ok());
        let by_push = match (word, number) {
            ("movq", None) => is_older(from) && is_older(to) && to != "%rsp",
            ("movq", Some(-128..=127)) => to.ends_with(')'),
            _ => false,
        };
        let whole = || whole(to).map(|to| format!("%{to}"));
        let shorter = match (word, number) {
            _ if by_push => Some(format!("\tpushq\t{from}\n\tpopq\t{to}")),
            ("movl", Some(0..=127)) => whole().map(|to| format!("\tpushq\t{from}\n\tpopq\t{to}")),
            // A small number that is shifted, where nobody asks what the shift came to.
            ("movabsq", Some(number)) if number != 0 && !are_flags_used(&lines[at + 1..]) => {
                let shift = number.trailing_zeros();
                match number >> shift {
                    small @ -128..=127 => Some(format!(
                        "\tpushq\t${small}\n\tpopq\t{to}\n\tshlq\t${shift}, {to}"
                    )),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some(shorter) = shorter {
            lines[at] = shorter.into();
        }
    }
}

/// Whether a register is one of the eight that there were first, and is named as a whole.
fn is_older(name: &str) -> bool {
    [
        "%rax", "%rbx", "%rcx", "%rdx", "%rsi", "%rdi", "%rbp", "%rsp",
    ]
    .contains(&name)
}

/// The whole of the register of which this is the lower half.
fn whole(half: &str) -> Option<String> {
    let name = half.strip_prefix('%')?;
    match name.strip_prefix('e') {
        Some(rest) => Some(format!("r{rest}")),
        None => name
            .strip_suffix('d')
            .filter(|name| name.starts_with('r'))
            .map(str::to_owned),
    }
}

/// Whether what follows may ask what the last computation came to.
fn are_flags_used(lines: &[Line<'_>]) -> bool {
    for line in lines {
        let text = match kind(line) {
            Kind::Instruction(text) => text,
            Kind::Remark => continue,
            _ => return true,
        };
        let word = text.split('\t').next().unwrap_or_default();
        let starts = |words: &[&str]| words.iter().any(|start| word.starts_with(start));
        if word == "retq"
            || starts(&["call", "test", "cmp", "add", "sub", "and", "or", "xor"])
                && !starts(&["cmpxchg"])
        {
            return false;
        }
        if !starts(&["mov", "lea", "push", "pop"]) {
            return true;
        }
    }
    true
}

/// Registers that a function gives back as it found them, in the order in which all six are pushed.
const KEPT: [&str; 6] = ["%rbp", "%r15", "%r14", "%r13", "%r12", "%rbx"];

/// Does what functions that keep six registers begin with. The first lies where the call left the way back.
const KEEP: &str = "\t.section\t.text.keep_registers,\"ax\",@progbits
\t.type\tkeep_registers,@function
keep_registers:
\tpushq\t%r15
\tpushq\t%r14
\tpushq\t%r13
\tpushq\t%r12
\tpushq\t%rbx
\tpushq\t40(%rsp)
\tmovq\t%rbp, 48(%rsp)
\tretq
.Lkept:
\t.size\tkeep_registers, .Lkept-keep_registers";

/// Functions that keep six registers begin with a call: half of the bytes.
pub(super) fn keep_by_call(lines: &mut Vec<Line<'_>>) {
    let mut run: Option<Vec<usize>> = None;
    let mut is_used = false;
    for at in 0..lines.len() {
        match kind(&lines[at]) {
            Kind::Label(label) if !label.starts_with('.') => run = Some(Vec::new()),
            Kind::Instruction(text) => {
                let Some(pushes) = &mut run else { continue };
                if text.strip_prefix("pushq\t") != Some(KEPT[pushes.len()]) {
                    run = None;
                    continue;
                }
                pushes.push(at);
                if pushes.len() == KEPT.len() {
                    for at in pushes.drain(..) {
                        lines[at] = Line::default();
                    }
                    lines[at] = "\tcallq\tkeep_registers".into();
                    is_used = true;
                    run = None;
                }
            }
            Kind::Remark => {}
            _ => run = None,
        }
    }
    if is_used {
        lines.extend(KEEP.lines().map(Line::from));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{function, shortened};
    use super::KEPT;

    #[test]
    fn pages_of_stack_are_taken_at_once() {
        let touch = ["subq $4096, %rsp", "movq $0, (%rsp)"];
        let body = [&touch[..], &touch, &["subq $24, %rsp", "retq"]].concat();
        let expect = ["one:", "subq $8216, %rsp", "retq"];
        assert_eq!(shortened(&function("one", &body)), expect);
        let body = [&touch[..], &["movq $0, (%rsp)", "subq $24, %rsp", "retq"]].concat();
        let expect = [
            "one:",
            "subq $4096, %rsp",
            "pushq $0",
            "popq (%rsp)",
            "subq $24, %rsp",
            "retq",
        ];
        assert_eq!(shortened(&function("one", &body)), expect);
    }

    #[test]
    fn older_registers_are_moved_by_push_and_pop() {
        let body = [
            "movq %rbx, %rdi",
            "movq %rsp, %rsi",
            "movq %rdi, %rsp",
            "movq %r8, %rdi",
            "movq (%rax), %rdi",
            "movl %eax, %edi",
            "retq",
        ];
        let mut expect = vec!["one:", "pushq %rbx", "popq %rdi", "pushq %rsp", "popq %rsi"];
        expect.extend(&body[2..]);
        assert_eq!(shortened(&function("one", &body)), expect);
    }

    #[test]
    fn small_numbers_are_pushed_and_popped() {
        let body = [
            "movl $0, %esi",
            "movl $127, %r8d",
            "movl $128, %esi",
            "movl $-1, %esi",
            "movq $-5, 8(%rsp)",
            "movq $1000, 8(%rsp)",
            "movl $5, 8(%rsp)",
            "retq",
        ];
        let mut expect = vec!["one:", "pushq $0", "popq %rsi", "pushq $127", "popq %r8"];
        expect.extend(&body[2..4]);
        expect.extend(["pushq $-5", "popq 8(%rsp)"]);
        expect.extend(&body[5..]);
        assert_eq!(shortened(&function("one", &body)), expect);
    }

    #[test]
    fn large_numbers_are_shifted_where_nobody_asks_for_the_flags() {
        let number = "movabsq $-4294967296, %rcx";
        let body = [number, "movq %r8, %rdx", "addq %rdx, %rcx", "retq"];
        let expect = [
            "one:",
            "pushq $-1",
            "popq %rcx",
            "shlq $32, %rcx",
            body[1],
            body[2],
            body[3],
        ];
        assert_eq!(shortened(&function("one", &body)), expect);
        for after in [
            "jne .LBB0_1",
            ".LBB0_1:",
            "sbbq %rax, %rax",
            "cmovneq %rax, %rdx",
        ] {
            let body = [number, after, "retq"];
            assert_eq!(shortened(&function("one", &body))[1..], body);
        }
    }

    #[test]
    fn six_registers_are_kept_by_a_call() {
        let pushes = KEPT.map(|name| format!("pushq {name}"));
        let mut body: Vec<&str> = pushes.iter().map(String::as_str).collect();
        body.push("retq");
        let left = shortened(&function("one", &body));
        assert_eq!(left[..3], ["one:", "callq keep_registers", "retq"]);
        assert_eq!(left[3], "keep_registers:");
        // In another order they are for something else.
        body.swap(0, 1);
        assert_eq!(shortened(&function("one", &body))[1..], body);
        // Whoever jumps behind the first one has pushed what is missing.
        body.swap(0, 1);
        body.insert(1, ".LBB0_1:");
        assert_eq!(shortened(&function("one", &body))[1..], body);
    }
}
