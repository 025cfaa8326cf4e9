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

/// What is moved between the older registers is pushed and popped: a byte less.
pub(super) fn move_by_push(lines: &mut [Line<'_>]) {
    const OLDER: [&str; 7] = ["%rax", "%rbx", "%rcx", "%rdx", "%rsi", "%rdi", "%rbp"];
    for line in lines {
        if let Kind::Instruction(text) = kind(line)
            && let Some(operands) = text.strip_prefix("movq\t")
            && let Some((from, to)) = operands.split_once(", ")
            && (OLDER.contains(&from) || from == "%rsp")
            && OLDER.contains(&to)
        {
            *line = format!("\tpushq\t{from}\n\tpopq\t{to}").into();
        }
    }
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
            "movq $0, (%rsp)",
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
