//! Pushes and pops: the shortest instructions there are.

use super::{Kind, Line, kind};

/// Where the stack grows by a page and the page is touched, a push touches it: six bytes less than a store.
pub(super) fn touch_by_push(lines: &mut [Line<'_>]) {
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
