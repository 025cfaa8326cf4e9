//! Size of the executable after each step of minimising, in bytes.
//!
//! The steps are computed from the section sizes. Unmapped sections are independent of each other, so their order is arbitrary.

use anyhow::Result;
use object::{Object as _, ObjectSection as _};

use super::minimise;

/// A step of minimising, and the size of the file after the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the step in the printed table.
    pub name: &'static str,
    /// Size of the file after this step.
    pub bytes: u64,
}

/// The steps from the linked executable `linked` to the minimised `file`.
pub(super) fn list_steps(linked: &[u8], file: &[u8]) -> Result<Vec<Step>> {
    let elf = object::File::parse(linked)?;
    let mut steps = vec![Step {
        name: "compiled and linked",
        bytes: linked.len() as u64,
    }];
    let mut push = |name, bytes| steps.push(Step { name, bytes });
    let mut remaining = linked.len() as u64;
    let kinds: [(&'static str, &[&str]); 3] = [
        ("without DWARF", &[".debug_"]),
        ("without symbols", &[".symtab", ".strtab"]),
        ("without defmt table", &[".defmt"]),
    ];
    for (name, prefixes) in kinds {
        for section in elf.sections() {
            let section_name = section.name()?;
            if prefixes
                .iter()
                .any(|prefix| section_name.starts_with(prefix))
            {
                remaining -= section.file_range().map_or(0, |(_, len)| len);
            }
        }
        push(name, remaining);
    }
    push("without section headers", minimise::mapped_len(linked)?);
    push("without trailing zeros", file.len() as u64);
    Ok(steps)
}

/// Prints a line for each step: name, size, bytes saved.
pub fn print(steps: &[Step]) {
    let mut before = None;
    for Step { name, bytes } in steps {
        let saved = before.map_or_else(String::new, |before: u64| {
            format!("{:>10}", -(before.cast_signed() - bytes.cast_signed()))
        });
        println!("  {name:<24}{bytes:>10}{saved}");
        before = Some(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_start_at_linked_and_end_at_minimised() -> Result<()> {
        let elf = std::fs::read("/proc/self/exe")?;
        let file = minimise::minimise(&elf)?;
        let steps = list_steps(&elf, &file)?;
        let bytes: Vec<u64> = steps.iter().map(|step| step.bytes).collect();
        assert_eq!(bytes.first(), Some(&(elf.len() as u64)));
        assert_eq!(bytes.last(), Some(&(file.len() as u64)));
        assert!(
            bytes.is_sorted_by(|before, after| before >= after),
            "{steps:?}"
        );
        // The test uses its own executable, which has debug information and symbols but no defmt table.
        assert!(bytes[0] > bytes[1] && bytes[1] > bytes[2] && bytes[2] == bytes[3]);
        Ok(())
    }
}
