//! `cargo xtask scorecard`: lists every MUST of multicast DNS (RFC 6762) and DNS-SD (RFC 6763) with the tests that check it.
//!
//! The lists are scorecard/*.txt. A test covers a MUST if its doc comment contains `RFC 6762 section 6.1: "…"` with the words of
//! the list. A MUST without a test and without a reason is an error, here and in a unit test.

mod list;
mod tests_of;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::build::workspace_root;
use list::{Must, Reason};
use tests_of::Quote;

/// `cargo xtask scorecard`
#[derive(clap::Args)]
pub struct Args {}

/// RFC numbers and their lists of MUSTs.
const LISTS: [(&str, &str); 2] = [
    ("6762", include_str!("rfc6762.txt")),
    ("6763", include_str!("rfc6763.txt")),
];

/// Directories that contain the tests.
const TEST_DIRECTORIES: [&str; 2] = ["src", "xtask/tests/mdns"];

/// Maximum number of excused MUSTs in all lists.
const EXCUSED_COUNT_MAX: usize = 12;

/// Prints the scorecard; fails if a MUST has neither a test nor a reason.
pub fn main(_args: Args) -> Result<()> {
    let card = Card::new(&workspace_root())?;
    card.print();
    card.check()
}

/// A MUST, and the tests that quote it.
struct Line {
    standard: &'static str,
    must: Must,
    tests: Vec<String>,
}

struct Card {
    lines: Vec<Line>,
    /// Number of quotations in tests that match no MUST of the lists, for example quotations of a SHOULD.
    unmatched: usize,
}

impl Card {
    fn new(root: &Path) -> Result<Self> {
        let mut quotes = Vec::new();
        for directory in TEST_DIRECTORIES {
            quotes.extend(tests_of::quotes(&root.join(directory))?);
        }
        Self::of(&LISTS, &quotes)
    }

    fn of(lists: &[(&'static str, &str)], quotes: &[Quote]) -> Result<Self> {
        let (mut lines, mut used) = (Vec::new(), vec![false; quotes.len()]);
        for (standard, list) in lists {
            let musts =
                list::parse(list).with_context(|| format!("in the list of RFC {standard}"))?;
            for must in musts {
                let mut tests = Vec::new();
                for (quote, used) in quotes.iter().zip(&mut used) {
                    if quote.is_about(standard, &must) {
                        *used = true;
                        if !tests.contains(&quote.test) {
                            tests.push(quote.test.clone());
                        }
                    }
                }
                lines.push(Line {
                    standard,
                    must,
                    tests,
                });
            }
        }
        let unmatched = used.iter().filter(|used| !**used).count();
        Ok(Self { lines, unmatched })
    }

    fn count_reasons(&self, is_counted: impl Fn(&Reason) -> bool) -> usize {
        let reasons = self
            .lines
            .iter()
            .filter_map(|line| line.must.reason.as_ref());
        reasons.filter(|reason| is_counted(reason)).count()
    }

    fn print(&self) {
        for line in &self.lines {
            let Must {
                section,
                words,
                reason,
            } = &line.must;
            println!("RFC {} {section}: {words}", line.standard);
            for test in &line.tests {
                println!("    {test}");
            }
            match reason {
                Some(Reason::Neither(why)) => {
                    println!("    applies neither to responder nor to browser: {why}")
                }
                Some(Reason::Excused(why)) => println!("    EXCUSED: {why}"),
                None if line.tests.is_empty() => println!("    MISSING"),
                None => {}
            }
        }
        let tested = self.lines.iter().filter(|line| !line.tests.is_empty());
        println!(
            "\n{} MUSTs: {} tested, {} excused (limit {EXCUSED_COUNT_MAX}), {} apply neither to responder nor to browser; \
             {} more quotations match no MUST",
            self.lines.len(),
            tested.count(),
            self.count_reasons(|reason| matches!(reason, Reason::Excused(_))),
            self.count_reasons(|reason| matches!(reason, Reason::Neither(_))),
            self.unmatched,
        );
    }

    /// Fails unless each MUST has either a test or a reason (not both), and at most `EXCUSED_COUNT_MAX` are excused.
    fn check(&self) -> Result<()> {
        let wrong: Vec<String> = self
            .lines
            .iter()
            .filter(|line| line.must.reason.is_some() != line.tests.is_empty())
            .map(|line| {
                let Must { section, words, .. } = &line.must;
                let problem = if line.tests.is_empty() {
                    "no test quotes this MUST"
                } else {
                    "this MUST has a test and also a reason for having none"
                };
                format!(
                    "{problem}: RFC {} section {section}: \"{words}\"",
                    line.standard
                )
            })
            .collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let excused = self.count_reasons(|reason| matches!(reason, Reason::Excused(_)));
        ensure!(
            excused <= EXCUSED_COUNT_MAX,
            "{excused} MUSTs are excused; the limit is {EXCUSED_COUNT_MAX}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, source: &str) -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("a.rs"), source)?;
        Card::of(&[("6762", list)], &tests_of::quotes(dir.path())?)?.check()
    }

    #[test]
    fn every_must_has_a_test_or_reason() -> Result<()> {
        Card::new(&workspace_root())?.check()
    }

    #[test]
    fn test_counts_by_standard_section_and_words() -> Result<()> {
        let list = "6.1: it MUST do\n";
        let test = |doc: &str| format!("/// {doc}\n#[test]\nfn f() {{ assert!(g()) }}");
        check(list, &test("RFC 6762 section 6.1: \"and it MUST do so\"."))?;
        check(list, &test("RFC 6762 section 6.2, 6.1: it MUST do."))?;
        check(
            list,
            &test("Why. RFC 6762 section 6: no. RFC 6762 section 6.1: \"it\n/// MUST do\"."),
        )?;
        for doc in [
            "RFC 6763 section 6.1: it MUST do",
            "RFC 6762 section 6: it MUST do",
            "RFC 6762 section 6.1: it must do",
            "RFC 6762 section 6.1: no. RFC 6762 section 6: it MUST do",
            "It MUST do.",
        ] {
            assert!(check(list, &test(doc)).is_err(), "{doc}");
        }
        Ok(())
    }

    #[test]
    fn unrun_or_empty_test_does_not_count() {
        let doc = "/// RFC 6762 section 6: it MUST do\n";
        for rest in [
            "fn f() {}",
            "#[test]\n#[ignore]\nfn f() {}",
            "#[test]\nfn f() {}",
        ] {
            let result = check("6: it MUST do\n", &format!("{doc}{rest}"));
            assert!(result.is_err(), "{rest}");
        }
    }

    #[test]
    fn excused_must_has_a_reason_and_no_test() {
        let many = "6: it MUST do\n    excused: no\n".repeat(EXCUSED_COUNT_MAX + 1);
        assert!(check(&many, "").is_err());
        assert!(check(&many.replace("excused", "neither"), "").is_ok());
        assert!(check("6: it MUST do\n    excused:\n", "").is_err());
        let test = "/// RFC 6762 section 6: it MUST do\n#[test]\nfn f() { g() }";
        assert!(check("6: it MUST do\n    excused: no\n", test).is_err());
    }
}
