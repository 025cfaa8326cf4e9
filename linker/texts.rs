//! Collects the texts of `src`: the argument of each `text!(…)`, the rows of `texts! { enum … }`, and the names in `optional! { … }`.
//!
//! Follows the modules from lib.rs as the compiler does, and skips items that a `#[cfg]` disables. Such an item is assumed to end
//! at its first `,`, `;` or block. If the item is longer, the executable may get a text that it does not need.

use core::iter::Peekable;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Texts that must be adjacent in the packed table, because they are indexed by the value of an enum.
pub(crate) type Row = Vec<String>;

/// The texts of the crate.
#[derive(Default)]
pub(crate) struct Texts {
    /// Texts that the executable contains.
    pub(crate) rows: Vec<Row>,
    /// Texts that are disabled for the selected features and target.
    pub(crate) absent: BTreeSet<String>,
    /// True while scanning a disabled item or module.
    is_absent: bool,
    /// The file being scanned.
    file: PathBuf,
    /// Directory of the submodules of the module in `file`.
    below: PathBuf,
    /// The file that a `#[path]` names for the next module.
    path: Option<String>,
}

type Tokens = Peekable<IntoIter<TokenTree>>;

impl Texts {
    /// Collects the texts of the crate whose lib.rs is in `src`.
    pub(crate) fn collect(src: &Path) -> Self {
        let mut texts = Self {
            rows: vec![vec![String::new()]],
            below: src.to_path_buf(),
            ..Self::default()
        };
        texts.file(&src.join("lib.rs"));
        texts
    }

    fn file(&mut self, file: &Path) {
        let text =
            fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let tokens: TokenStream = match text.parse() {
            Ok(tokens) => tokens,
            // A syntax error: the compiler reports it with more detail.
            Err(_) => return,
        };
        let below = match file.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "mod") => file.with_file_name(""),
            _ => file.with_extension(""),
        };
        let before = (self.file.clone(), self.below.clone());
        (self.file, self.below) = (file.to_path_buf(), below);
        self.scan(tokens);
        (self.file, self.below) = before;
    }

    fn scan(&mut self, tokens: TokenStream) {
        let mut tokens = peekable(tokens);
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = tokens.peek() {
                        let attribute = attribute.stream();
                        if is_disabled(attribute.clone()) {
                            let item = skip_item(&mut tokens);
                            self.leave_out(item);
                        } else if let Some(path) = path(attribute) {
                            self.path = Some(path);
                        }
                    }
                }
                TokenTree::Ident(word) if word == "mod" => self.module(&mut tokens),
                TokenTree::Ident(word) => {
                    match (word.to_string().as_str(), macro_body(&mut tokens)) {
                        // Skip the name and body of a macro definition: its texts depend on the arguments.
                        ("macro_rules", Some(_)) => _ = (tokens.next(), tokens.next()),
                        ("text", Some(body)) => {
                            let text = self.text(body.stream());
                            self.row(vec![text]);
                        }
                        ("texts", Some(body)) => self.texts(body.stream()),
                        ("optional", Some(body)) if has_feature("probe") => {
                            self.row(literals(body.stream()))
                        }
                        (_, Some(body)) => self.scan(body.stream()),
                        _ => {}
                    }
                }
                TokenTree::Group(group) => self.scan(group.stream()),
                _ => {}
            }
        }
    }

    /// Scans a disabled item: its texts go to `absent`.
    fn leave_out(&mut self, item: TokenStream) {
        let before = core::mem::replace(&mut self.is_absent, true);
        self.scan(item);
        self.is_absent = before;
    }

    /// Scans the file of a `mod name;`. An inline module is scanned like any other block.
    fn module(&mut self, tokens: &mut Tokens) {
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return;
        };
        if matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == ';') {
            let directory = self.below.join(name.to_string());
            let file = match self.path.take() {
                Some(path) => self.file.with_file_name(path),
                None if directory.join("mod.rs").exists() => directory.join("mod.rs"),
                None => directory.with_extension("rs"),
            };
            if file.exists() {
                self.file(&file);
            }
        }
    }

    fn row(&mut self, row: Row) {
        if self.is_absent {
            self.absent.extend(row);
        } else if !row.is_empty() {
            self.rows.push(row);
        }
    }

    /// Collects the row of `enum Name { Variant => "text", … }`. Variants may be in nested blocks.
    fn texts(&mut self, body: TokenStream) {
        for token in body {
            if let TokenTree::Group(variants) = token
                && variants.delimiter() == Delimiter::Brace
            {
                let row = self.variants(variants.stream());
                self.row(row);
            }
        }
    }

    fn variants(&self, tokens: TokenStream) -> Row {
        let (mut row, mut value, mut is_text) = (Row::new(), TokenStream::new(), false);
        let mut tokens = peekable(tokens);
        while let Some(token) = tokens.next() {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ',' && is_text => {
                    row.push(self.text(core::mem::take(&mut value)));
                    is_text = false;
                }
                _ if is_text => value.extend([token]),
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = tokens.peek()
                        && is_disabled(attribute.stream())
                    {
                        skip_item(&mut tokens);
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == '=' => {
                    tokens.next();
                    is_text = true;
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    row.extend(self.variants(group.stream()));
                }
                _ => {}
            }
        }
        if is_text {
            row.push(self.text(value));
        }
        row
    }

    /// Evaluates the expression of a text: a literal, `concat!`, `include_str!` or `env!`.
    fn text(&self, tokens: TokenStream) -> String {
        let mut text = String::new();
        let mut tokens = peekable(tokens);
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Literal(literal) => text.push_str(&unquoted(&literal.to_string())),
                TokenTree::Punct(punct) if punct.as_char() == ',' => {}
                TokenTree::Ident(name) => {
                    let Some(body) = macro_body(&mut tokens) else {
                        panic!(
                            "{}: the build script cannot evaluate `{name}` in a text: write a literal instead",
                            self.file.display()
                        );
                    };
                    let inside = self.text(body.stream());
                    match name.to_string().as_str() {
                        "concat" => text.push_str(&inside),
                        "include_str" => {
                            let path = self.file.with_file_name(inside);
                            let content = fs::read_to_string(&path);
                            text.push_str(
                                &content.unwrap_or_else(|why| panic!("{}: {why}", path.display())),
                            );
                        }
                        "env" => text.push_str(&std::env::var(inside).unwrap_or_default()),
                        _ => panic!(
                            "{}: the build script cannot evaluate {name}! in a text",
                            self.file.display()
                        ),
                    }
                }
                token => panic!("{}: unexpected {token} in a text", self.file.display()),
            }
        }
        text
    }
}

fn peekable(tokens: TokenStream) -> Tokens {
    tokens
        .into_iter()
        .collect::<Vec<_>>()
        .into_iter()
        .peekable()
}

/// The body of a macro call, if the next tokens are `!` and a group. Called after an identifier.
fn macro_body(tokens: &mut Tokens) -> Option<Group> {
    match tokens.peek() {
        Some(TokenTree::Punct(punct)) if punct.as_char() == '!' => {}
        _ => return None,
    }
    tokens.next();
    match tokens.peek() {
        Some(TokenTree::Group(group)) => {
            let group = group.clone();
            tokens.next();
            Some(group)
        }
        // `macro_rules! name`: the body follows the name, and the caller skips both.
        Some(TokenTree::Ident(_)) => Some(Group::new(Delimiter::None, TokenStream::new())),
        _ => None,
    }
}

/// Consumes and returns the item, field, element or match arm that an attribute applies to.
fn skip_item(tokens: &mut Tokens) -> TokenStream {
    let mut item = TokenStream::new();
    // The attribute's brackets.
    tokens.next();
    let mut is_attribute = false;
    for token in tokens.by_ref() {
        let ends = match &token {
            TokenTree::Punct(punct) => matches!(punct.as_char(), ',' | ';'),
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !is_attribute,
            _ => false,
        };
        is_attribute = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        item.extend([token]);
        if ends {
            break;
        }
    }
    item
}

/// The values of all string literals.
fn literals(tokens: TokenStream) -> Row {
    let literal = |token| match token {
        TokenTree::Literal(literal) => syn::parse_str::<syn::LitStr>(&literal.to_string()).ok(),
        _ => None,
    };
    let literals = tokens.into_iter().filter_map(literal);
    literals.map(|literal| literal.value()).collect()
}

/// The value of a string literal.
fn unquoted(literal: &str) -> String {
    match syn::parse_str::<syn::LitStr>(literal) {
        Ok(text) => text.value(),
        Err(_) => panic!("{literal} is not a string literal"),
    }
}

/// The value of the attribute `path = "…"`, or of a `cfg_attr(…, path = "…")` whose condition is true.
fn path(attribute: TokenStream) -> Option<String> {
    let mut tokens = attribute.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(name)), Some(TokenTree::Group(inside))) if name == "cfg_attr" => {
            let inside: Vec<TokenTree> = inside.stream().into_iter().collect();
            let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
            let comma = inside.iter().position(is_comma)?;
            let (condition, attribute) = inside.split_at(comma);
            let holds = evaluate(condition.iter().cloned().collect()) == [true];
            holds.then(|| path(attribute.iter().skip(1).cloned().collect()))?
        }
        (Some(TokenTree::Ident(name)), Some(_)) if name == "path" => {
            Some(unquoted(&tokens.next()?.to_string()))
        }
        _ => None,
    }
}

/// Returns true if the attribute is a `cfg` whose condition is false.
fn is_disabled(attribute: TokenStream) -> bool {
    let mut tokens = attribute.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(name)), Some(TokenTree::Group(predicates))) if name == "cfg" => {
            !evaluate(predicates.stream()).iter().all(|holds| *holds)
        }
        _ => false,
    }
}

/// Evaluates a comma-separated list of `cfg` predicates.
fn evaluate(predicates: TokenStream) -> Vec<bool> {
    let mut results = Vec::new();
    let mut tokens = predicates.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Ident(name) = token else {
            continue;
        };
        let name = name.to_string();
        results.push(match tokens.peek().cloned() {
            Some(TokenTree::Group(group)) => {
                tokens.next();
                let inside = evaluate(group.stream());
                match name.as_str() {
                    "not" => !inside.contains(&true),
                    "any" => inside.contains(&true),
                    _ => !inside.contains(&false),
                }
            }
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => {
                tokens.next();
                let value = tokens
                    .next()
                    .map_or(String::new(), |value| unquoted(&value.to_string()));
                match name.as_str() {
                    "feature" => has_feature(&value),
                    _ => variable(&format!("CARGO_CFG_{name}"))
                        .is_some_and(|values| values.split(',').any(|has| has == value)),
                }
            }
            _ if name == "bare" => is_bare(),
            // The build does not know whether it compiles tests. Those of some roles have modules that the roles do not need.
            _ if name == "test" => {
                !has_feature("default") && variable("profile").as_deref() == Some("debug")
            }
            _ => variable(&format!("CARGO_CFG_{name}")).is_some(),
        });
    }
    results
}

/// Returns true if the executable boots without an operating system: feature `bare`, x86_64 only.
pub(crate) fn is_bare() -> bool {
    has_feature("bare") && variable("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "x86_64")
}

pub(crate) fn has_feature(name: &str) -> bool {
    variable(&format!("CARGO_FEATURE_{name}")).is_some()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name.to_uppercase().replace('-', "_")).ok()
}
