//! Checks that every MUST of multicast DNS (RFC 6762) and DNS-SD (RFC 6763) has a test, or a reason for having none.
//!
//! The lists are rfc6762.txt and rfc6763.txt. A test covers a MUST if its doc comment contains `RFC 6762 section 6.1: "…"` with the
//! words of the list. Ignored tests and tests with an empty body do not count.
//! A MUST of NFS 4.1 (RFC 8881) is quoted so above the line that keeps it, and each quotation is in the list rfc8881.txt.

use anyhow::{Context as _, Result, ensure};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ItemFn, Lit, Meta};

use super::Source;

/// RFC numbers and their lists of MUSTs.
const LISTS: [(&str, &str); 2] = [
    ("6762", include_str!("rfc6762.txt")),
    ("6763", include_str!("rfc6763.txt")),
];
/// Directories that contain the tests.
const TEST_DIRECTORIES: [&str; 2] = ["src", "xtask/tests/mdns"];
/// An RFC, its list, and the directory where comments quote it above the lines that keep it.
const KEPT: (&str, &str, &str) = ("8881", include_str!("rfc8881.txt"), "src/engine/nfs4");
/// Maximum number of excused MUSTs in all lists.
const EXCUSED_COUNT_MAX: usize = 12;

/// Returns a message for each MUST that has neither a test nor a reason, or both.
pub(super) fn check(sources: &[Source]) -> Result<Vec<String>> {
    let mut quotes = Vec::new();
    let tests = |source: &&Source| {
        TEST_DIRECTORIES
            .iter()
            .any(|it| source.path.starts_with(it))
    };
    // A file without this text is not parsed, because it quotes no RFC of the lists.
    for source in sources
        .iter()
        .filter(tests)
        .filter(|source| source.text.contains("RFC 676"))
    {
        let file = syn::parse_file(&source.text);
        let file = file.with_context(|| format!("cannot parse {}", source.path.display()))?;
        Finder(&mut quotes).visit_file(&file);
    }
    let mut breaches = compare(&LISTS, &quotes)?;
    let (standard, list, directory) = KEPT;
    let code = sources
        .iter()
        .filter(|source| source.path.starts_with(directory));
    let quotes: Vec<String> = code.flat_map(|source| quoted(&source.text)).collect();
    breaches.extend(compare(&[(standard, list)], &quotes)?);
    let musts = || list.lines().filter_map(|line| line.split_once(": "));
    let unknown = quotes.iter().filter(|quote| {
        let is_known = || musts().any(|(section, words)| is_about(quote, standard, section, words));
        quote.contains("MUST") && !is_known()
    });
    breaches.extend(unknown.map(|quote| format!("not in the list of RFC {standard}: {quote}")));
    Ok(breaches)
}

/// The quotations in the comments of a file: the text after each "RFC ", with single blanks between words.
fn quoted(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix("//") {
            Some(comment) => comment.trim_start_matches(['/', '!']),
            // The code ends a quotation.
            None => "RFC ",
        });
    let all = lines
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ");
    all.split("RFC")
        .map(|quote| quote.trim().to_owned())
        .collect()
}

fn compare(lists: &[(&str, &str)], quotes: &[String]) -> Result<Vec<String>> {
    let (mut breaches, mut excused) = (Vec::new(), 0);
    for (standard, list) in lists {
        let mut lines = list
            .lines()
            .filter(|line| !line.starts_with('#'))
            .peekable();
        while let Some(line) = lines.next() {
            let (section, words) = line
                .split_once(": ")
                .with_context(|| format!("line {line:?}"))?;
            // The next line is indented if it is the reason for having no test.
            let reason = lines.next_if(|line| line.starts_with(' '));
            let kind = reason.map(|reason| {
                reason
                    .trim()
                    .split_once(": ")
                    .context("a reason without a text")
            });
            let kind = kind.transpose()?.map(|(kind, _)| kind);
            ensure!(
                matches!(kind, None | Some("neither" | "excused")),
                "RFC {standard}: {reason:?}"
            );
            excused += usize::from(kind == Some("excused"));
            let has_test = quotes
                .iter()
                .any(|quote| is_about(quote, standard, section, words));
            let problem = match (has_test, kind) {
                (false, None) => "nothing quotes this MUST",
                (true, Some(_)) => "this MUST has a test and also a reason for having none",
                _ => continue,
            };
            breaches.push(format!(
                "{problem}: RFC {standard} section {section}: \"{words}\""
            ));
        }
    }
    if excused > EXCUSED_COUNT_MAX {
        breaches.push(format!(
            "{excused} MUSTs are excused; the limit is {EXCUSED_COUNT_MAX}"
        ));
    }
    Ok(breaches)
}

/// Returns true if a quotation, `6762 section 18.4, 18.5: "…"`, names the MUST's section and contains its words.
fn is_about(quote: &str, standard: &str, section: &str, words: &str) -> bool {
    let place = quote
        .split_once(" section ")
        .and_then(|(of, rest)| Some((of, rest.split_once(": ")?)));
    place.is_some_and(|(of, (sections, quoted))| {
        of == standard && sections.split(", ").any(|it| it == section) && quoted.contains(words)
    })
}

/// Collects what follows each "RFC " in the doc comments of tests, with single blanks between words.
struct Finder<'a>(&'a mut Vec<String>);

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let has = |name: &str| item.attrs.iter().any(|attr| attr.path().is_ident(name));
        if has("test") && !has("ignore") && !item.block.stmts.is_empty() {
            let text: Vec<String> = item.attrs.iter().filter_map(documentation).collect();
            let text = text.join(" ");
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            self.0.extend(text.split("RFC ").skip(1).map(str::to_owned));
        }
        visit::visit_item_fn(self, item);
    }
}

fn documentation(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        Expr::Lit(value) if pair.path.is_ident("doc") => match &value.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many MUSTs of a list are refused beside a file with this text.
    fn refused(list: &str, text: &str) -> Result<usize> {
        let mut quotes = Vec::new();
        Finder(&mut quotes).visit_file(&syn::parse_file(text)?);
        Ok(compare(&[("6762", list)], &quotes)?.len())
    }

    #[test]
    fn test_counts_by_standard_section_and_words() -> Result<()> {
        for (count, doc, rest) in [
            (
                0,
                "RFC 6762 section 6.1: \"and it MUST do so\".",
                "{ assert!(g()) }",
            ),
            (
                0,
                "RFC 6762 section 6.2, 6.1: it MUST do.",
                "{ assert!(g()) }",
            ),
            (
                0,
                "RFC 6762 section 6: no. RFC 6762 section 6.1: it\n/// MUST do.",
                "{ g() }",
            ),
            (1, "RFC 6763 section 6.1: it MUST do", "{ g() }"),
            (1, "RFC 6762 section 6: it MUST do", "{ g() }"),
            (1, "RFC 6762 section 6.1: it must do", "{ g() }"),
            (
                1,
                "RFC 6762 section 6.1: no. RFC 6762 section 6: it MUST do",
                "{ g() }",
            ),
            (1, "It MUST do.", "{ g() }"),
            (1, "RFC 6762 section 6.1: it MUST do", "{}"),
        ] {
            let test = format!("/// {doc}\n#[test]\nfn f() {rest}");
            assert_eq!(refused("6.1: it MUST do\n", &test)?, count, "{doc}");
            let ignored = test.replace("#[test]", "#[test]\n#[ignore]");
            assert_eq!(refused("6.1: it MUST do\n", &ignored)?, 1, "{doc}");
            assert_eq!(
                refused("6.1: it MUST do\n", &test.replace("#[test]\n", ""))?,
                1,
                "{doc}"
            );
        }
        Ok(())
    }

    #[test]
    fn excused_must_has_a_reason_and_no_test() -> Result<()> {
        let many = "6: it MUST do\n    excused: no\n".repeat(EXCUSED_COUNT_MAX + 1);
        assert_eq!(refused(&many, "")?, 1);
        assert_eq!(refused(&many.replace("excused", "neither"), "")?, 0);
        assert!(refused("6: it MUST do\n    excused:\n", "").is_err());
        let test = "/// RFC 6762 section 6: it MUST do\n#[test]\nfn f() { g() }";
        assert_eq!(refused("6: it MUST do\n    excused: no\n", test)?, 1);
        Ok(())
    }

    #[test]
    fn quotation_ends_with_its_comment() {
        let text = "    // RFC 8881 section 5: \"it MUST\n    // do so\".\n    call();\n    // More.\n/// RFC 1 x";
        let quotes = quoted(text);
        let quotes: Vec<_> = quotes.iter().filter(|quote| !quote.is_empty()).collect();
        assert_eq!(
            quotes,
            ["8881 section 5: \"it MUST do so\".", "More.", "1 x"]
        );
    }
}
