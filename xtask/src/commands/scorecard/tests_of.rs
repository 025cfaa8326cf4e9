//! Finds the RFC quotations in the doc comments of tests. Ignored tests and tests with an empty body do not count.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ItemFn, Lit, Meta};
use walkdir::WalkDir;

use super::list::Must;

/// A quotation of an RFC in a test's doc comment.
#[derive(Debug)]
pub(super) struct Quote {
    /// File and name of the test: `engine/mdns/tests/probing.rs: probes_three_times`.
    pub test: String,
    standard: String,
    sections: Vec<String>,
    words: String,
}

impl Quote {
    /// Returns true if the quotation names the MUST's section and contains its words.
    pub(super) fn is_about(&self, standard: &str, must: &Must) -> bool {
        self.standard == standard
            && self.sections.contains(&must.section)
            && self.words.contains(&must.words)
    }
}

/// All quotations in the Rust files below `dir`.
pub(super) fn quotes(dir: &Path) -> Result<Vec<Quote>> {
    let mut quotes = Vec::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.context("cannot list the sources")?;
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        // A file without this text is not parsed, because it quotes no RFC of the lists. Most files are skipped here.
        if !text.contains("RFC 676") {
            continue;
        }
        let file =
            syn::parse_file(&text).with_context(|| format!("cannot parse {}", path.display()))?;
        let name = path.strip_prefix(dir)?.display().to_string();
        Finder {
            file: &name,
            quotes: &mut quotes,
        }
        .visit_file(&file);
    }
    Ok(quotes)
}

struct Finder<'a> {
    file: &'a str,
    quotes: &'a mut Vec<Quote>,
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let has = |name: &str| item.attrs.iter().any(|attr| attr.path().is_ident(name));
        if has("test") && !has("ignore") && !item.block.stmts.is_empty() {
            let text: Vec<String> = item.attrs.iter().filter_map(documentation).collect();
            let words = text.join(" ");
            let words: Vec<&str> = words.split_whitespace().collect();
            let test = format!("{}: {}", self.file, item.sig.ident);
            let quotes = words.join(" ");
            let quotes = quotes.split("RFC ").skip(1);
            self.quotes
                .extend(quotes.filter_map(|quote| parse_quote(&test, quote)));
        }
        visit::visit_item_fn(self, item);
    }
}

fn documentation(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(value) = &pair.value else {
        return None;
    };
    match &value.lit {
        Lit::Str(text) if pair.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}

/// Parses `6762 section 18.4, 18.5: "…"`.
fn parse_quote(test: &str, quote: &str) -> Option<Quote> {
    let (standard, rest) = quote.split_once(" section ")?;
    let (sections, words) = rest.split_once(": ")?;
    Some(Quote {
        test: test.to_owned(),
        standard: standard.to_owned(),
        sections: sections.split(", ").map(str::to_owned).collect(),
        words: words.to_owned(),
    })
}
