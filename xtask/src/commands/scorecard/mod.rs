//! `cargo xtask scorecard`: every MUST of multicast DNS and DNS-SD beside the tests that hold it.
//!
//! The lists are scorecard/*.txt. A test stands for a MUST when its documentation says `RFC 6762 section 6.1: "…"` with the
//! words of the list. What has none and no reason fails here, and as a unit test.

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

/// The standards, and what they demand.
const LISTS: [(&str, &str); 2] = [
    ("6762", include_str!("rfc6762.txt")),
    ("6763", include_str!("rfc6763.txt")),
];

/// Where tests are.
const PLACES: [&str; 2] = ["src", "xtask/tests/mdns"];

/// More than these are not excused, in all.
const EXCUSED_COUNT_MAX: usize = 12;

/// Prints the card, and fails when something is missing on it.
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
    /// What tests quote that is no MUST: recommendations, and what is said in other words.
    others: usize,
}

impl Card {
    fn new(root: &Path) -> Result<Self> {
        let mut quotes = Vec::new();
        for place in PLACES {
            quotes.extend(tests_of::quotes(&root.join(place))?);
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
        let others = used.iter().filter(|used| !**used).count();
        Ok(Self { lines, others })
    }

    fn with_reason(&self, is_it: impl Fn(&Reason) -> bool) -> usize {
        let reasons = self
            .lines
            .iter()
            .filter_map(|line| line.must.reason.as_ref());
        reasons.filter(|reason| is_it(reason)).count()
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
                Some(Reason::Neither(why)) => println!("    applies to neither: {why}"),
                Some(Reason::Excused(why)) => println!("    EXCUSED: {why}"),
                None if line.tests.is_empty() => println!("    MISSING"),
                None => {}
            }
        }
        let tested = self.lines.iter().filter(|line| !line.tests.is_empty());
        println!(
            "\n{} MUSTs: {} with a test, {} excused ({EXCUSED_COUNT_MAX} at most), {} that apply to neither responder nor browser; \
             {} more quotations are no MUST",
            self.lines.len(),
            tested.count(),
            self.with_reason(|reason| matches!(reason, Reason::Excused(_))),
            self.with_reason(|reason| matches!(reason, Reason::Neither(_))),
            self.others,
        );
    }

    /// Each has a test or a reason, none has both, and not too many are excused.
    fn check(&self) -> Result<()> {
        let wrong: Vec<String> = self
            .lines
            .iter()
            .filter(|line| line.must.reason.is_some() != line.tests.is_empty())
            .map(|line| {
                let Must { section, words, .. } = &line.must;
                let what = if line.tests.is_empty() {
                    "no test quotes"
                } else {
                    "it has a reason to have no test, and a test"
                };
                format!(
                    "{what}: RFC {} section {section}: \"{words}\"",
                    line.standard
                )
            })
            .collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let excused = self.with_reason(|reason| matches!(reason, Reason::Excused(_)));
        ensure!(
            excused <= EXCUSED_COUNT_MAX,
            "{excused} are excused; {EXCUSED_COUNT_MAX} are the most"
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
    fn every_must_has_a_test() -> Result<()> {
        Card::new(&workspace_root())?.check()
    }

    #[test]
    fn a_test_counts_by_standard_section_and_words() -> Result<()> {
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
    fn what_is_not_run_is_no_test() {
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
    fn what_is_excused_has_a_reason_and_no_test() {
        let many = "6: it MUST do\n    excused: no\n".repeat(EXCUSED_COUNT_MAX + 1);
        assert!(check(&many, "").is_err());
        assert!(check(&many.replace("excused", "neither"), "").is_ok());
        assert!(check("6: it MUST do\n    excused:\n", "").is_err());
        let test = "/// RFC 6762 section 6: it MUST do\n#[test]\nfn f() { g() }";
        assert!(check("6: it MUST do\n    excused: no\n", test).is_err());
    }
}
