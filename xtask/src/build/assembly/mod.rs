//! Makes the compiler's assembly of x86_64 shorter: what it does for each function by itself is done for all of them.
//!
//! It does not have to understand the code. Instructions that read the same, up to where control leaves for good, do the same
//! wherever they stand; their debug information stays where it was, about no instructions. What is not known is left alone.

mod frame;
mod jumps;
mod order;
mod registers;
mod stack;
mod tails;

use std::borrow::Cow;

use anyhow::Result;

/// How it is done, for whoever keeps what was made.
pub const SOURCE: &str = concat!(
    include_str!("mod.rs"),
    include_str!("frame.rs"),
    include_str!("jumps.rs"),
    include_str!("order.rs"),
    include_str!("registers.rs"),
    include_str!("stack.rs"),
    include_str!("tails.rs"),
);

/// Makes an object of assembly.
pub type Assembler<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>>;

/// The same program in fewer bytes. `assembly` is what rustc's `--emit=asm` writes for the whole of it.
pub fn shorten(assembly: &str, assembler: Assembler<'_>) -> Result<String> {
    let mut lines = rewritten(assembly);
    jumps::lead_nearby(&mut lines, assembler)?;
    // Debuggers find callers by it. It goes where it is not mapped.
    Ok("\t.cfi_sections .debug_frame\n".to_owned() + &joined(&lines))
}

/// All that can be done without knowing where instructions will be.
fn rewritten(assembly: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = assembly.lines().map(Cow::Borrowed).collect();
    order::pack(&mut lines);
    stack::grow_at_once(&mut lines);
    frame::forget_alignment(&mut lines);
    let lost = registers::rename(&mut lines);
    frame::reach_by_register(&mut lines, &lost);
    stack::keep_by_call(&mut lines);
    tails::share_tails(&mut lines);
    let mut lines = order::fall_through(lines);
    stack::move_by_push(&mut lines);
    lines
}

fn joined(lines: &[Line<'_>]) -> String {
    let mut text = lines.join("\n");
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
        "" | ".loc" | ".file" => Kind::Remark,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As the compiler does it.
    pub(super) fn assembled(text: &str) -> Result<Vec<u8>> {
        let room = tempfile::tempdir()?;
        Ok(std::fs::read(crate::build::toolchain::assemble(
            text,
            room.path(),
        )?)?)
    }

    /// The instructions and labels that are left, in their order.
    pub(super) fn shortened(assembly: &str) -> Vec<String> {
        let text = joined(&rewritten(assembly));
        text.lines()
            .filter(|line| matches!(kind(line), Kind::Instruction(_) | Kind::Label(_)))
            .map(|line| line.trim().replace('\t', " "))
            .collect()
    }

    pub(super) fn function(name: &str, body: &[&str]) -> String {
        let mut text = format!("\t.section\t.text.{name},\"ax\",@progbits\n{name}:\n");
        for line in body {
            let tab = if line.ends_with(':') { "" } else { "\t" };
            text += &format!("{tab}{}\n", line.replacen(' ', "\t", 1));
        }
        text
    }
}
