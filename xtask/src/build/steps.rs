//! What each step on the way to the file that ships saves, in bytes.
//!
//! Sections that are not mapped can go in any order.

use anyhow::Result;
use object::{Object as _, ObjectSection as _};

use super::minimise;

/// A step, and how large the file is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// Bytes of the file then.
    pub bytes: u64,
}

/// The steps from what was linked to the file.
pub(super) fn of(linked: &[u8], file: &[u8]) -> Result<Vec<Step>> {
    let elf = object::File::parse(linked)?;
    let mut steps = vec![Step {
        name: "compiled and linked",
        bytes: linked.len() as u64,
    }];
    let mut push = |name, bytes| steps.push(Step { name, bytes });
    let mut left = linked.len() as u64;
    let kinds: [(&'static str, &[&str]); 3] = [
        ("debug information gone", &[".debug_"]),
        ("symbols gone", &[".symtab", ".strtab"]),
        ("texts of traces gone", &[".defmt"]),
    ];
    for (name, prefixes) in kinds {
        for section in elf.sections() {
            let section_name = section.name()?;
            if prefixes
                .iter()
                .any(|prefix| section_name.starts_with(prefix))
            {
                left -= section.file_range().map_or(0, |(_, len)| len);
            }
        }
        push(name, left);
    }
    push("section headers gone", minimise::mapped_len(linked)?);
    push("zeroes at the end gone", file.len() as u64);
    Ok(steps)
}

/// A line for each step: its name, what is left, what it saved.
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
    fn steps_add_up_from_what_was_linked_to_the_file() -> Result<()> {
        let elf = std::fs::read("/proc/self/exe")?;
        let file = minimise::minimise(&elf)?;
        let steps = of(&elf, &file)?;
        let bytes: Vec<u64> = steps.iter().map(|step| step.bytes).collect();
        assert_eq!(bytes.first(), Some(&(elf.len() as u64)));
        assert_eq!(bytes.last(), Some(&(file.len() as u64)));
        assert!(bytes.is_sorted_by(|one, other| one >= other), "{steps:?}");
        // This program has debug information and symbols, and no traces.
        assert!(bytes[0] > bytes[1] && bytes[1] > bytes[2] && bytes[2] == bytes[3]);
        Ok(())
    }
}
