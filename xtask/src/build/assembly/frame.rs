//! What functions have on the stack: not aligned for nobody, and reached by the shortest address there is.

use std::collections::HashMap;

use super::registers::{self, Function, Set};
use super::{Kind, Line, kind};

/// Where 16 bytes are moved at once, they need not be aligned, and nothing that is called needs an aligned stack: functions
/// that push a register for that only push none. The few that compute with 16 bytes on the stack align it themselves.
pub(super) fn forget_alignment(lines: &mut Vec<Line<'_>>) {
    let functions = registers::functions(lines);
    let needy = |function: &&Function| {
        let mut instructions = function.instructions.iter();
        instructions.any(|at| needs_alignment(&lines[*at]))
    };
    let needy: Vec<&Function> = functions.values().filter(needy).collect();
    // How to call one that has arguments on the stack is not known here; nor what becomes of an address that is known to be
    // round, so that a part of it can be set rather than added.
    let is_round = |line: &Line<'_>| match kind(line) {
        Kind::Instruction(text) => text
            .strip_prefix("orq\t$")
            .and_then(|operands| operands.split(',').next()?.parse::<i64>().ok())
            .is_some_and(|number| (8..16).contains(&number)),
        _ => false,
    };
    if lines.iter().any(is_round)
        || !needy
            .iter()
            .all(|function| has_its_own_stack(function, lines))
    {
        return;
    }
    let needy: Vec<usize> = needy
        .iter()
        .filter_map(|function| function.instructions.first().copied())
        .collect();
    for function in functions.values() {
        let first = function.instructions.first();
        if first.is_some_and(|first| !needy.contains(first)) {
            forget_push(function, lines);
        }
        for at in &function.instructions {
            let line = &lines[*at];
            let Kind::Instruction(text) = kind(line) else {
                continue;
            };
            if text.contains("(%r") && !text.contains("(%rip") {
                let other = line.replacen("movaps", "movups", 1);
                lines[*at] = other.replacen("movdqa", "movdqu", 1).into();
            }
        }
    }
    let all = std::mem::take(lines);
    for (at, line) in all.into_iter().enumerate() {
        if needy.contains(&at) {
            lines.extend(align(at));
        }
        lines.push(line);
    }
}

/// Calls what follows with an aligned stack. The number is nobody else's.
fn align<'a>(number: usize) -> impl Iterator<Item = Line<'a>> {
    let before = [
        "\tpushq\t%rbp",
        "\t.cfi_def_cfa_offset 16",
        "\t.cfi_offset %rbp, -16",
        "\tmovq\t%rsp, %rbp",
        "\t.cfi_def_cfa_register %rbp",
        "\tandq\t$-16, %rsp",
    ];
    let behind = [
        "\tleave",
        "\t.cfi_def_cfa %rsp, 8",
        "\t.cfi_restore %rbp",
        "\tretq",
    ];
    let call = [format!("\tcallq\t.Laligned{number}").into()];
    let label = [format!(".Laligned{number}:").into()];
    let before = before.into_iter().map(Line::from).chain(call);
    before
        .chain(behind.into_iter().map(Line::from))
        .chain(label)
}

/// Whether an instruction computes with 16 bytes that may lie on the stack.
fn needs_alignment(line: &Line<'_>) -> bool {
    let Kind::Instruction(text) = kind(line) else {
        return false;
    };
    let starts = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    let is_any = starts(&["mov", "cvt", "pinsr", "pextr"]) && !starts(&["movapd", "movnt"]);
    text.contains("%xmm") && text.contains("(%r") && !text.contains("(%rip") && !is_any
}

/// Whether all that a function reaches through the stack pointer is its own, and it gives back the register that is needed
/// to align the stack before it.
fn has_its_own_stack(function: &Function, lines: &[Line<'_>]) -> bool {
    let mut own = 0;
    function.instructions.iter().all(|at| {
        let (word, operands) = registers::instruction(&lines[*at]);
        if word == "subq"
            && let Some(bytes) = operands.strip_suffix(", %rsp")
        {
            own += bytes.trim_start_matches('$').parse::<i64>().unwrap_or(0);
        }
        let offset = stack_offset(operands).map_or(0, |(_, offset)| offset);
        offset < own || !operands.contains("(%rsp")
    }) && (function.is_plain || function.used & registers::RBP_ONLY == 0)
}

/// Takes away a push before all else, and its pops, that are for nothing but the alignment.
fn forget_push(function: &Function, lines: &mut [Line<'_>]) {
    let Some(place) = function.instructions.get(function.pushes.len()) else {
        return;
    };
    if registers::instruction(&lines[*place]) != ("pushq", "%rax") {
        return;
    }
    let mut gone = vec![*place];
    for (number, at) in function.instructions.iter().enumerate() {
        let (word, operands) = registers::instruction(&lines[*at]);
        let is_end = word == "retq" || word.starts_with('j') && !operands.starts_with(".L");
        let before = |count: usize| {
            let at = number
                .checked_sub(count)
                .map(|at| function.instructions[at]);
            at.map_or((0, "", ""), |at| {
                let (word, operands) = registers::instruction(&lines[at]);
                (at, word, operands)
            })
        };
        let pops = function.pushes.len();
        if is_end {
            let (at, word, operands) = before(1 + pops);
            let is_pop = word == "popq" && ["%rax", "%rcx", "%rdx"].contains(&operands)
                || (word, operands) == ("addq", "$8, %rsp");
            if !is_pop || before(2 + pops).1 == "pushq" {
                return;
            }
            gone.push(at);
        } else if operands.contains("%rsp") && operands != "$8, %rsp" {
            return;
        }
    }
    // Each that was found belongs to one end, and nothing else changes the stack pointer.
    let grown = function.instructions.iter().filter(|at| {
        registers::instruction(&lines[**at]).1.ends_with(", %rsp") && !gone.contains(*at)
    });
    if grown.count() == 0 {
        forget_room(&gone, function, lines);
    }
}

/// Takes these pushes and pops away, and eight bytes from where debuggers look for the caller behind them.
fn forget_room(gone: &[usize], function: &Function, lines: &mut [Line<'_>]) {
    let pushed = 8 * (function.pushes.len() + 1);
    let [told, less] = [8 + pushed, pushed].map(|bytes| format!("\t.cfi_def_cfa_offset {bytes}"));
    if let (Some(first), Some(last)) = (function.instructions.first(), function.instructions.last())
    {
        for line in lines[*first..=*last]
            .iter_mut()
            .filter(|line| **line == told)
        {
            *line = less.clone().into();
        }
    }
    for at in gone {
        lines[*at] = Line::default();
    }
}

/// Where an operand on the stack stands in the text, and how far from the stack pointer it is.
fn stack_offset(operands: &str) -> Option<(std::ops::Range<usize>, i64)> {
    let open = operands.find("(%rsp)")?;
    let begin = operands[..open].rfind([' ', '*']).map_or(0, |at| at + 1);
    let offset = &operands[begin..open];
    let offset = if offset.is_empty() {
        0
    } else {
        offset.parse().ok()?
    };
    Some((begin..open + "(%rsp)".len(), offset))
}

/// Words of instructions that change what they name last, and nothing else.
const PLAIN: [&str; 30] = [
    "mov", "lea", "add", "sub", "and", "or", "xor", "cmp", "test", "inc", "dec", "neg", "not",
    "shl", "shr", "sar", "rol", "ror", "set", "cmov", "bt", "bswap", "adc", "sbb", "por", "pand",
    "pxor", "punpck", "pshuf", "padd",
];

/// What lies on the stack is reached through a register that points there, where that takes fewer bytes.
pub(super) fn reach_by_register(lines: &mut [Line<'_>], lost: &HashMap<String, Set>) {
    // Registers that point to the stack, and how far from the stack pointer.
    let mut known: Vec<(String, i64)> = Vec::new();
    for line in lines {
        let text = match kind(line) {
            Kind::Instruction(text) => text,
            Kind::Remark => continue,
            _ => {
                known.clear();
                continue;
            }
        };
        let (word, operands) = text.split_once('\t').unwrap_or((text, ""));
        let points = stack_offset(operands)
            .filter(|(range, _)| word == "leaq" && range.start == 0)
            .and_then(|(range, offset)| {
                Some((
                    operands[range.end..].strip_prefix(", %")?.to_owned(),
                    offset,
                ))
            });
        let mut shorter = None;
        if let Some((range, offset)) = stack_offset(operands)
            && !matches!(word, "pushq" | "popq")
        {
            let rest = [&operands[..range.start], &operands[range.end..]].concat();
            let has_prefix = word.ends_with('q') && word != "callq" || rest.contains("%r");
            let best = known
                .iter()
                .map(|(register, from)| {
                    (
                        saved(register, offset, offset - from, has_prefix),
                        register,
                        offset - from,
                    )
                })
                .max_by_key(|(saved, register, _)| (*saved, (*register).clone()));
            if let Some((1.., register, offset)) = best {
                let offset = if offset == 0 {
                    String::new()
                } else {
                    offset.to_string()
                };
                shorter = Some(format!(
                    "\t{word}\t{}{offset}(%{register}){}",
                    &operands[..range.start],
                    &operands[range.end..]
                ));
            }
        }
        if word == "callq" {
            let lost = lost
                .get(operands.trim_matches('"'))
                .copied()
                .unwrap_or_default();
            known.retain(|(register, _)| {
                registers::known(register).is_some_and(|(number, _)| lost & 1 << number == 0)
            });
        } else if word == "pushq" {
            known.iter_mut().for_each(|(_, offset)| *offset += 8);
        } else if word == "popq" {
            known.iter_mut().for_each(|(_, offset)| *offset -= 8);
            known.retain(|(register, _)| operands.strip_prefix('%') != Some(register));
        } else if word.starts_with('j') {
            // What is known stays so where it does not lead away.
        } else if PLAIN.iter().any(|plain| word.starts_with(plain))
            && !word.starts_with("cmpxchg")
            && !operands.contains("%es:")
            && !operands.ends_with(", %rsp")
        {
            let last = registers::registers(operands)
                .last()
                .filter(|(at, name)| at + name.len() == operands.len());
            if let Some((_, name)) = last {
                known.retain(|(register, _)| !registers::is_part(name, register));
            }
        } else {
            known.clear();
        }
        if let Some((register, offset)) = points {
            known.retain(|(other, _)| *other != register);
            known.push((register, offset));
        }
        if let Some(shorter) = shorter {
            *line = shorter.into();
        }
    }
}

/// Bytes that are saved where the stack is reached through a register.
fn saved(register: &str, from_stack: i64, from_register: i64, has_prefix: bool) -> i64 {
    let bytes = |offset: i64| match offset {
        0 => 0,
        -128..=127 => 1,
        _ => 4,
    };
    let is_newer = register[1..].starts_with(char::is_numeric);
    let mut new = bytes(from_register) + i64::from(register == "r12");
    new += i64::from(from_register == 0 && matches!(register, "rbp" | "r13"));
    new += i64::from(is_newer && !has_prefix);
    1 + bytes(from_stack) - new
}

#[cfg(test)]
mod tests {
    use super::super::tests::{function, shortened};

    #[test]
    fn nothing_is_pushed_for_the_alignment() {
        let body = ["pushq %rax", "callq two", "popq %rcx", "retq"];
        assert_eq!(
            shortened(&function("one", &body)),
            ["one:", "callq two", "retq"]
        );
        // What is pushed for its room stays, and what is not taken away at every end.
        for body in [
            &[
                "pushq %rax",
                "movl %edi, (%rsp)",
                "callq two",
                "popq %rcx",
                "retq",
            ][..],
            &[
                "pushq %rax",
                "testl %edi, %edi",
                "je .LBB0_1",
                "popq %rcx",
                "retq",
                ".LBB0_1:",
                "retq",
            ],
            &["pushq %rax", "callq two", "pushq $5", "popq %rax", "retq"],
            &[
                "pushq %rax",
                "orq $8, %rdi",
                "callq two",
                "popq %rcx",
                "retq",
            ],
        ] {
            assert_eq!(shortened(&function("one", body))[1..], *body);
        }
    }

    #[test]
    fn sixteen_bytes_are_moved_from_anywhere() {
        let body = [
            "movaps %xmm0, 16(%rsp)",
            "movdqa (%rdi), %xmm1",
            "movaps .LCPI0_0(%rip), %xmm2",
            "retq",
        ];
        let expect = [
            "one:",
            "movups %xmm0, 16(%rsp)",
            "movdqu (%rdi), %xmm1",
            body[2],
            "retq",
        ];
        assert_eq!(shortened(&function("one", &body)), expect);
    }

    #[test]
    fn who_computes_on_the_stack_aligns_it() {
        let body = [
            "subq $24, %rsp",
            "paddd (%rsp), %xmm0",
            "addq $24, %rsp",
            "retq",
        ];
        let left = shortened(&function("one", &body));
        assert_eq!(
            left[1..5],
            ["pushq %rbp", "pushq %rsp", "popq %rbp", "andq $-16, %rsp"]
        );
        assert_eq!(
            left[5..9],
            ["callq .Laligned2", "leave", "retq", ".Laligned2:"]
        );
        assert_eq!(left[9..], body);
        // Arguments on the stack would be out of reach.
        let body = [
            "subq $24, %rsp",
            "paddd (%rsp), %xmm0",
            "movq 32(%rsp), %rax",
            "addq $24, %rsp",
            "retq",
        ];
        assert_eq!(shortened(&function("one", &body))[1..], body);
    }

    #[test]
    fn the_stack_is_reached_through_what_points_there() {
        let body = [
            "leaq 256(%rsp), %rdi",
            "movq %rax, 264(%rsp)",
            "leaq 260(%rsp), %rsi",
            "pushq %rax",
            "movb $1, 264(%rsp)",
            "popq %rax",
            "movl 8(%rsp), %edi",
            "movl 256(%rsp), %eax",
            "callq two",
            "movl 256(%rsp), %eax",
            "retq",
        ];
        let expect = [
            "leaq 256(%rsp), %rdi",
            "movq %rax, 8(%rdi)",
            "leaq 4(%rdi), %rsi",
            "pushq %rax",
            "movb $1, (%rdi)",
            "popq %rax",
            "movl 8(%rsp), %edi",
            "movl -4(%rsi), %eax",
            "callq two",
            "movl 256(%rsp), %eax",
            "retq",
        ];
        assert_eq!(shortened(&function("one", &body))[1..], expect);
    }

    #[test]
    fn nobody_knows_where_a_register_points_behind_a_label_or_an_unknown_instruction() {
        for between in [
            ".LBB0_1:",
            "rep;movsb (%rsi), %es:(%rdi)",
            "cmpxchgq %rcx, (%rbx)",
            "subq $8, %rsp",
        ] {
            let body = [
                "leaq 256(%rsp), %rdi",
                between,
                "movl 256(%rsp), %eax",
                "retq",
            ];
            assert_eq!(shortened(&function("one", &body))[1..], body);
        }
    }
}
