//! What functions have on the stack: not aligned for nobody, and reached by the shortest address there is.

use std::collections::HashMap;

use super::registers::{self, Function, Set};
use super::{Kind, Line, kind};

/// Where 16 bytes are moved at once, they need not be aligned, and nothing that is called needs an aligned stack: functions
/// that push a register for that only push none. The few that compute with 16 bytes on the stack align it themselves.
pub(super) fn forget_alignment(lines: &mut [Line<'_>]) {
    let functions = registers::functions(lines);
    let needy = |function: &&Function| {
        let mut instructions = function.instructions.iter();
        instructions.any(|at| needs_alignment(&lines[*at]))
    };
    let needy: Vec<&Function> = functions.values().filter(needy).collect();
    // How to call one that has arguments on the stack is not known here.
    if !needy
        .iter()
        .all(|function| has_its_own_stack(function, lines))
    {
        return;
    }
    let needy: Vec<usize> = needy.iter().map(|function| function.label).collect();
    for function in functions.values() {
        if !needy.contains(&function.label) {
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
    for (number, at) in needy.into_iter().enumerate() {
        let label = &lines[at];
        lines[at] = format!(
            "{label}\n\tpushq\t%rbp\n\tmovq\t%rsp, %rbp\n\tandq\t$-16, %rsp\n\tcallq\t.Laligned{number}\n\tleave\n\tretq\n.Laligned{number}:"
        )
        .into();
    }
}

/// Whether an instruction computes with 16 bytes that may lie on the stack.
fn needs_alignment(line: &Line<'_>) -> bool {
    let Kind::Instruction(text) = kind(line) else {
        return false;
    };
    let is_any = ["mov", "cvt", "pinsr", "pextr"]
        .iter()
        .any(|word| text.starts_with(word));
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
        for at in gone {
            lines[at] = Line::default();
        }
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
