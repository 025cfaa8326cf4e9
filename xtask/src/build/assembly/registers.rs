//! The registers that a function keeps for its caller change their names, so that those it uses most take fewest bytes.
//!
//! Six registers are the caller's: whoever uses one gives it back as it was. Of these, two are older than the others, which
//! take a byte more in most instructions; the compiler takes the oldest one last. All six do the same otherwise. Calls of
//! functions that do not give back some of them, because the compiler knows their callers, leave these their names.

use std::collections::{HashMap, HashSet};

use super::{Kind, Line, is_code, kind};

/// Numbers of registers that are the caller's, and their names by width: 8, 4, 2 and 1 bytes.
const NAMES: [[&str; 4]; 6] = [
    ["rbx", "ebx", "bx", "bl"],
    ["rbp", "ebp", "bp", "bpl"],
    ["r12", "r12d", "r12w", "r12b"],
    ["r13", "r13d", "r13w", "r13b"],
    ["r14", "r14d", "r14w", "r14b"],
    ["r15", "r15d", "r15w", "r15b"],
];
const RBX: u8 = 0;
const RBP: u8 = 1;
const R12: u8 = 2;
const R13: u8 = 3;
/// The order in which functions push them.
const PUSHED: [u8; 6] = [RBP, 5, 4, R13, R12, RBX];
const BYTE_WIDE: usize = 3;

/// A set of their numbers, a bit for each.
pub(super) type Set = u8;
/// The one that frames are found by.
pub(super) const RBP_ONLY: Set = 1 << RBP;
/// The new number of each.
type Naming = [u8; 6];
const AS_THEY_ARE: Naming = [0, 1, 2, 3, 4, 5];

/// A function, by the numbers of its lines.
#[derive(Default)]
pub(super) struct Function {
    pub(super) instructions: Vec<usize>,
    /// The label by which debug information knows it.
    begin: String,
    /// Where it pushes what it keeps, and which.
    pub(super) pushes: Vec<(usize, u8)>,
    /// Where it gives that back.
    pops: Vec<usize>,
    /// Whether it does so wherever it ends, and does nothing else that names cannot be changed of.
    pub(super) is_plain: bool,
    pub(super) used: Set,
    callees: Vec<String>,
}

/// Gives the registers their names.
///
/// Returns what each function does not give back.
pub(super) fn rename(lines: &mut [Line<'_>]) -> HashMap<String, Set> {
    let functions = functions(lines);
    let lost = lost(&functions);
    let mut renamed = HashSet::new();
    for function in functions.values() {
        let kept = set(function.pushes.iter().map(|(_, register)| *register));
        let callees = function.callees.iter();
        let lost = callees.fold(function.used & !kept, |all, name| {
            all | lost.get(name).copied().unwrap_or_default()
        });
        if !function.is_plain || kept & lost != 0 || kept == 0 {
            continue;
        }
        let naming = best(function, lines, kept, lost);
        if naming != AS_THEY_ARE {
            apply(function, lines, &naming);
            renamed.insert(function.begin.clone());
        }
    }
    forget_places(lines, &renamed);
    lost
}

fn set(registers: impl Iterator<Item = u8>) -> Set {
    registers.fold(0, |set, register| set | 1 << register)
}

/// The registers that an instruction names: from where in its text, and what they are.
pub(super) fn registers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('%').map(|(at, _)| {
        let name = &text[at + 1..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric());
        (at + 1, &name[..end.unwrap_or(name.len())])
    })
}

/// Whether a name is that of a register or of a part of it.
pub(super) fn is_part(name: &str, whole: &str) -> bool {
    if let Some((number, _)) = known(whole) {
        return known(name).is_some_and(|(other, _)| other == number)
            || name == "bh" && whole == "rbx";
    }
    if whole[1..].starts_with(char::is_numeric) {
        return name.trim_end_matches(['d', 'w', 'b']) == whole;
    }
    // rax, eax, ax, al, ah; rsi, esi, si, sil.
    name.trim_start_matches(['r', 'e']).starts_with(&whole[1..])
        || name.len() == 2
            && whole.ends_with('x')
            && name.starts_with(&whole[1..2])
            && name.ends_with(['l', 'h'])
}

/// Number and width of a register that is the caller's.
pub(super) fn known(name: &str) -> Option<(u8, usize)> {
    NAMES.iter().enumerate().find_map(|(number, names)| {
        let width = names.iter().position(|other| *other == name)?;
        Some((u8::try_from(number).ok()?, width))
    })
}

pub(super) fn functions(lines: &[Line<'_>]) -> HashMap<String, Function> {
    let mut functions: HashMap<String, Function> = HashMap::new();
    let mut in_code = false;
    let mut current: Option<String> = None;
    for (at, line) in lines.iter().enumerate() {
        match kind(line) {
            Kind::Section(section) => {
                in_code = is_code(section);
                current = None;
            }
            Kind::Label(label) if in_code && !label.starts_with('.') => {
                functions.insert(label.to_owned(), Function::default());
                current = Some(label.to_owned());
            }
            Kind::Instruction(_) if in_code => {
                if let Some(function) = current.as_ref().and_then(|name| functions.get_mut(name)) {
                    function.instructions.push(at);
                }
            }
            Kind::Remark if line.starts_with(".Lfunc_begin") => {
                if let Some(function) = current.as_ref().and_then(|name| functions.get_mut(name)) {
                    function.begin = line.trim_end_matches(':').to_owned();
                }
            }
            _ => {}
        }
    }
    for function in functions.values_mut() {
        function.look(lines);
    }
    functions
}

pub(super) fn instruction<'a>(line: &'a Line<'_>) -> (&'a str, &'a str) {
    match kind(line) {
        Kind::Instruction(text) => text.split_once('\t').unwrap_or((text, "")),
        _ => ("", ""),
    }
}

impl Function {
    fn look(&mut self, lines: &[Line<'_>]) {
        let whole = |operand: &str, register: u8| {
            operand.strip_prefix('%') == Some(NAMES[usize::from(register)][0])
        };
        for at in &self.instructions {
            let (word, operands) = instruction(&lines[*at]);
            let register = PUSHED.into_iter().find(|number| whole(operands, *number));
            match register.filter(|_| word == "pushq") {
                Some(register) => self.pushes.push((*at, register)),
                None => break,
            }
        }
        self.is_plain = true;
        for (place, at) in self.instructions.iter().enumerate() {
            let (word, operands) = instruction(&lines[*at]);
            for (_, name) in registers(operands) {
                if let Some((register, _)) = known(name) {
                    self.used |= 1 << register;
                }
                self.is_plain &= name != "bh";
            }
            // These use some without naming them.
            let is_odd = ["cpuid", "cmpxchg16b", "leave", "enter", "xlat"];
            self.is_plain &= !is_odd.iter().any(|odd| word.starts_with(odd));
            let leads_out = !operands.starts_with(".L") && !operands.starts_with('*');
            if leads_out && (word == "callq" || word.starts_with('j')) {
                self.callees.push(operands.trim_matches('"').to_owned());
            }
            let is_end = word == "retq" || word.starts_with('j') && !operands.starts_with(".L");
            if is_end {
                for (back, (_, register)) in self.pushes.iter().enumerate() {
                    let pop = place.checked_sub(1 + back).map(|at| self.instructions[at]);
                    let (word, operands) = pop.map_or(("", ""), |at| instruction(&lines[at]));
                    self.is_plain &= word == "popq" && whole(operands, *register);
                    self.pops.extend(pop);
                }
            }
        }
    }
}

/// What each function does not give back, with all that it calls.
fn lost(functions: &HashMap<String, Function>) -> HashMap<String, Set> {
    let mut lost: HashMap<String, Set> = HashMap::new();
    loop {
        let mut is_done = true;
        for (name, function) in functions {
            let callees = function.callees.iter();
            let all = callees.fold(function.used, |all, name| {
                all | lost.get(name).copied().unwrap_or_default()
            });
            let all = all & !set(function.pushes.iter().map(|(_, register)| *register));
            is_done &= lost.insert(name.clone(), all).unwrap_or_default() == all;
        }
        if is_done {
            return lost;
        }
    }
}

/// What an instruction's bytes depend on.
struct Form {
    /// Registers that are the caller's, with their widths.
    registers: Vec<(u8, usize)>,
    /// It takes one more for other reasons.
    is_long: bool,
    is_stack: bool,
    /// From register to register, both of 8 bytes; whether another one of them is newer.
    is_move: Option<bool>,
    /// The register to which a distance is added, and whether there is none.
    base: Option<(u8, bool)>,
}

impl Form {
    fn new(line: &Line<'_>) -> Self {
        let (word, operands) = instruction(line);
        let is_stack = matches!(word, "pushq" | "popq");
        let is_newer =
            |name: &str| name.starts_with('r') && name[1..].starts_with(char::is_numeric);
        let (mut known_ones, mut is_long, mut newer) = (Vec::new(), false, false);
        for (at, name) in registers(operands) {
            let in_memory =
                operands[..at].matches('(').count() > operands[..at].matches(')').count();
            match known(name) {
                Some((register, width)) => {
                    known_ones.push((register, width));
                    is_long |= width == 0 && !in_memory && !is_stack;
                }
                None => {
                    newer |= is_newer(name);
                    let is_whole = name.starts_with('r') && !name.ends_with(['d', 'w', 'b']);
                    is_long |= is_whole && !in_memory && !is_stack;
                    is_long |= ["sil", "dil", "spl"].contains(&name);
                }
            }
        }
        let is_whole =
            word == "movq" && !operands.contains(['(', '$']) && !operands.contains("xmm");
        let base = operands.split_once('(').and_then(|(before, inside)| {
            let before = before.rsplit([' ', '*']).next().unwrap_or_default();
            let first = inside.split([',', ')']).next()?.strip_prefix('%')?;
            Some((
                known(first)?.0,
                before.is_empty(),
                inside.split(')').next()?.contains(','),
            ))
        });
        Self {
            registers: known_ones,
            is_long: is_long || newer || word.ends_with('q') && !is_stack && word != "callq",
            is_stack,
            is_move: is_whole.then_some(newer),
            // With another register added there is room for all.
            base: base.and_then(|(register, is_bare, is_sum)| {
                (!is_sum || is_bare).then_some((register, is_bare))
            }),
        }
    }

    /// Bytes beyond the fewest.
    fn bytes(&self, naming: &Naming) -> i32 {
        let named = |register: u8| naming[usize::from(register)];
        let newer = self
            .registers
            .iter()
            .any(|(register, _)| named(*register) >= R12);
        if let Some(other) = self.is_move {
            return i32::from(newer || other);
        }
        if self.is_stack {
            return i32::from(newer);
        }
        let low = self
            .registers
            .iter()
            .any(|(register, width)| *width == BYTE_WIDE && named(*register) == RBP);
        let mut bytes = i32::from(self.is_long || newer || low);
        if let Some((register, is_bare)) = self.base {
            let register = named(register);
            bytes += i32::from(register == R12);
            bytes += i32::from(is_bare && matches!(register, RBP | R13));
        }
        bytes
    }
}

/// The names by which a function that keeps these, and may not use those that are lost, takes fewest bytes.
fn best(function: &Function, lines: &[Line<'_>], kept: Set, lost: Set) -> Naming {
    let forms: Vec<Form> = function
        .instructions
        .iter()
        .filter(|at| !function.pops.contains(at))
        .map(|at| Form::new(&lines[*at]))
        .filter(|form| !form.registers.is_empty())
        .collect();
    let ends = i32::try_from(function.pops.len() / function.pushes.len().max(1)).unwrap_or(1);
    let cost = |naming: &Naming| {
        let newer = PUSHED.iter().filter(|register| {
            kept & 1 << **register != 0 && naming[usize::from(**register)] >= R12
        });
        let pops = ends.min(1) * i32::try_from(newer.count()).unwrap_or(0);
        pops + forms.iter().map(|form| form.bytes(naming)).sum::<i32>()
    };
    let free: Vec<u8> = (0..6)
        .filter(|register| lost & 1 << register == 0)
        .collect();
    let kept: Vec<u8> = (0..6)
        .filter(|register| kept & 1 << register != 0)
        .collect();
    let mut best = (cost(&AS_THEY_ARE), AS_THEY_ARE);
    try_all(&kept, &free, AS_THEY_ARE, 0, &mut |naming| {
        let bytes = cost(naming);
        if bytes < best.0 {
            best = (bytes, *naming);
        }
    });
    best.1
}

fn try_all(kept: &[u8], free: &[u8], naming: Naming, taken: Set, try_one: &mut dyn FnMut(&Naming)) {
    let Some((first, rest)) = kept.split_first() else {
        return try_one(&naming);
    };
    for register in free.iter().filter(|register| taken & 1 << **register == 0) {
        let mut naming = naming;
        naming[usize::from(*first)] = *register;
        try_all(rest, free, naming, taken | 1 << register, try_one);
    }
}

fn apply(function: &Function, lines: &mut [Line<'_>], naming: &Naming) {
    // What is pushed and popped stays in the usual order, whatever the names are.
    let new = set(function
        .pushes
        .iter()
        .map(|(_, old)| naming[usize::from(*old)]));
    let pushed: Vec<u8> = PUSHED
        .into_iter()
        .filter(|register| new & 1 << register != 0)
        .collect();
    let name = |register: u8| NAMES[usize::from(register)][0];
    let mut places = HashMap::new();
    for ((at, old), new) in function.pushes.iter().zip(&pushed) {
        lines[*at] = format!("\tpushq\t%{}", name(*new)).into();
        places.insert(name(*old), name(*new));
    }
    for (number, at) in function.pops.iter().enumerate() {
        let register = pushed[number % pushed.len()];
        lines[*at] = format!("\tpopq\t%{}", name(register)).into();
    }
    let (Some(first), Some(last)) = (function.instructions.first(), function.instructions.last())
    else {
        return;
    };
    for (at, line) in lines.iter_mut().enumerate().take(*last + 1).skip(*first) {
        if let Some((word, operands)) = line
            .split_once("\t%")
            .filter(|_| line.starts_with("\t.cfi_offset"))
        {
            // Where the caller's is found.
            let (old, offset) = operands.split_once(',').unwrap_or((operands, ""));
            if let Some(new) = places.get(old) {
                *line = format!("{word}\t%{new},{offset}").into();
            }
        } else if !function.pops.contains(&at)
            && !function.pushes.iter().any(|(push, _)| *push == at)
        {
            let mut text = String::new();
            let mut behind = 0;
            for (from, name) in registers(line) {
                if let Some((register, width)) = known(name) {
                    text.push_str(&line[behind..from]);
                    text.push_str(NAMES[usize::from(naming[usize::from(register)])][width]);
                    behind = from + name.len();
                }
            }
            if behind > 0 {
                text.push_str(&line[behind..]);
                *line = text.into();
            }
        }
    }
}

/// Debug information does not tell where in renamed registers variables are: nothing is better than another one's value.
fn forget_places(lines: &mut [Line<'_>], renamed: &HashSet<String>) {
    /// What says that it is in one of the six, and that it lies where one of them points.
    fn names_one(byte: &str) -> bool {
        let byte = byte.parse::<u8>().unwrap_or_default();
        matches!(byte, 0x53 | 0x56 | 0x5c..=0x5f | 0x73 | 0x76 | 0x7c..=0x7f)
    }
    let (mut is_list, mut is_here) = (false, false);
    let mut at = 0;
    while at < lines.len() {
        if let Kind::Section(section) = kind(&lines[at]) {
            is_list = section.starts_with(".debug_loc,");
            is_here = false;
        } else if let Some(begin) = lines[at].strip_prefix("\t.quad\t.Lfunc_begin")
            && !begin.contains('-')
        {
            is_here = is_list && renamed.contains(&format!(".Lfunc_begin{begin}"));
        } else if is_here && let Some(len) = lines[at].strip_prefix("\t.short\t") {
            let len: usize = len.trim().parse().unwrap_or(0);
            let expression = at + 1..at + 1 + len;
            let bytes: Vec<&str> = lines[expression.clone()]
                .iter()
                .map(|line| line.trim_start_matches("\t.byte\t").trim())
                .collect();
            if bytes.iter().any(|byte| names_one(byte)) {
                lines[at] = "\t.short\t0".into();
                for line in &mut lines[expression] {
                    *line = Line::default();
                }
            }
            at += len;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{function, shortened};
    use super::super::{joined, rewritten};

    /// Keeps r14, calls another function, and uses it in instructions that are shorter with an older register.
    const BODY: [&str; 6] = [
        "pushq %r14",
        "movl %edi, %r14d",
        "callq two",
        "movl %r14d, %eax",
        "popq %r14",
        "retq",
    ];

    fn with(name: &str, part: &str) -> Vec<String> {
        let all = BODY.map(|line| line.replace("r14d", part).replace("r14", name));
        all.into()
    }

    #[test]
    fn what_is_used_most_has_a_short_name() {
        let text = function("one", &BODY) + &function("two", &["retq"]);
        assert_eq!(shortened(&text)[1..7], with("rbx", "ebx"));
    }

    #[test]
    fn names_of_what_is_not_given_back_are_not_taken() {
        let two = function("two", &["callq three", "retq"]);
        let three =
            function("three", &["movl $1, %ebx", "jmp four"]) + &function("four", &["retq"]);
        let text = function("one", &BODY) + &two + &three;
        assert_eq!(shortened(&text)[1..7], with("rbp", "ebp"));
        let three = function("three", &["movl $1, %ebx", "movl $1, %ebp", "retq"]);
        let text = function("one", &BODY) + &two + &three;
        assert_eq!(shortened(&text)[1..7], BODY);
    }

    #[test]
    fn who_does_not_end_in_the_usual_way_keeps_the_names() {
        let mut body = BODY;
        body.swap(3, 4);
        assert_eq!(shortened(&function("one", &body))[1..], body);
        let mut body = BODY;
        body[2] = "cpuid";
        assert_eq!(shortened(&function("one", &body))[1..], body);
    }

    #[test]
    fn debuggers_are_told_no_other_registers_value() {
        let text = function("one", &BODY).replacen("one:\n", "one:\n.Lfunc_begin0:\n", 1)
            + &function("two", &["retq"]).replacen("two:\n", "two:\n.Lfunc_begin1:\n", 1);
        let list = |begin: &str, byte: u8| {
            format!(
                "\t.quad\t-1\n\t.quad\t{begin}\n\t.quad\t0\n\t.quad\t4\n\t.short\t1\n\t.byte\t{byte}\n\t.quad\t0\n\t.quad\t0\n"
            )
        };
        let lists = [
            list(".Lfunc_begin0", 0x5e),
            list(".Lfunc_begin0", 0x50),
            list(".Lfunc_begin1", 0x5e),
        ];
        let section = "\t.section\t.debug_loc,\"\",@progbits\n";
        let short = joined(&rewritten(&(text + section + &lists.concat())));
        assert!(!short.contains(&lists[0]) && short.contains("\t.short\t0\n"));
        assert!(
            short.contains(&lists[1]) && short.contains(&lists[2]),
            "{short}"
        );
    }
}
