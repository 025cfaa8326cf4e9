//! The roles, their flags and their help, read from the sources in `src/role`.
//!
//! The parser reads `roles!`, `flags!`, and constants named HELP, MORE_HELP, SUMMARY and FLAGS, as far as `src/role` uses them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::page::section_of;
use anyhow::{Context as _, Result, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Expr, FieldValue, Item, Lit, Member, Token};
use walkdir::WalkDir;

/// A role: a line of `roles!`.
pub(super) struct Role {
    /// Names by which the role is started; the usual one is first.
    pub(super) names: Vec<String>,
    /// The module in `src/role` that implements the role.
    pub(super) module: String,
}

/// A flag of `flags!`.
#[derive(Debug, Default)]
pub(super) struct Flag {
    /// All names of the flag, such as `-a` and `--all`.
    pub(super) names: Vec<String>,
}

/// The command line of a module of `src/role`, as its constants and `flags!` declare it.
#[derive(Default)]
pub(super) struct Module {
    /// The flags in `flags!`, without operands.
    pub(super) flags: Vec<Flag>,
    /// The text of `--help`; empty if the module has none of its own.
    pub(super) help: String,
    /// The text of a second help, such as that of `--net help`; empty if the module has none.
    pub(super) more_help: String,
    /// The role's line in `stowaway --help`.
    pub(super) summary: String,
    /// Other modules whose flags this module accepts.
    pub(super) includes: Vec<String>,
    /// The module whose help is printed if this module has none.
    pub(super) base: Option<String>,
}

/// All roles and the modules that they use.
pub(super) struct Tables {
    pub(super) roles: Vec<Role>,
    pub(super) modules: BTreeMap<String, Module>,
}

impl Tables {
    /// Reads the tables from `src/role` below `root`, the workspace root. A role without a page of its own is another name of the
    /// role with the same module.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let dir = root.join("src/role");
        let mut roles: Vec<Role> = Vec::new();
        for role in all_roles(&dir.join("mod.rs"))? {
            let name = &role.names[0];
            let page = format!("image/man/stowaway-{name}.{}", section_of(name));
            let same = roles.iter_mut().find(|same| same.module == role.module);
            match same.filter(|_| !root.join(page).exists()) {
                Some(same) => same.names.extend(role.names),
                None => roles.push(role),
            }
        }
        let mut tables = Self {
            roles,
            modules: BTreeMap::new(),
        };
        tables.add_module(&dir, "stack")?;
        let modules: Vec<String> = tables
            .roles
            .iter()
            .map(|role| role.module.clone())
            .collect();
        for module in modules {
            tables.add_module(&dir, &module)?;
        }
        Ok(tables)
    }

    /// The text that `stowaway ROLE --help` prints.
    pub(super) fn help(&self, module: &str) -> &str {
        let Some(own) = self.modules.get(module) else {
            return "";
        };
        match &own.base {
            Some(base) if own.help.is_empty() => self.help(base),
            _ => &own.help,
        }
    }

    /// Returns the module and all other modules whose flags it accepts, each once.
    pub(super) fn with_included<'a>(&'a self, module: &'a str) -> Vec<&'a str> {
        let mut found = vec![module];
        let mut index = 0;
        while let Some(name) = found.get(index) {
            if let Some(module) = self.modules.get(*name) {
                for other in &module.includes {
                    if !found.contains(&other.as_str()) {
                        found.push(other);
                    }
                }
            }
            index += 1;
        }
        found
    }

    /// All flags that a role accepts.
    pub(super) fn flags(&self, module: &str) -> Vec<&Flag> {
        let modules = self.with_included(module);
        let flags = modules.iter().filter_map(|name| self.modules.get(*name));
        flags.flat_map(|module| &module.flags).collect()
    }

    fn add_module(&mut self, dir: &Path, name: &str) -> Result<()> {
        if self.modules.contains_key(name) {
            return Ok(());
        }
        let mut module = Module::default();
        for file in files(dir, name)? {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let parsed = syn::parse_file(&text)
                .with_context(|| format!("cannot parse {}", file.display()))?;
            for item in parsed.items {
                self.add_item(&mut module, &item, &file)
                    .with_context(|| format!("{}: cannot read a table", file.display()))?;
            }
        }
        module.includes.retain(|other| other != name);
        let included = module.includes.clone();
        self.modules.insert(name.to_owned(), module);
        for other in included {
            self.add_module(dir, &other)?;
        }
        Ok(())
    }

    fn add_item(&self, module: &mut Module, item: &Item, file: &Path) -> Result<()> {
        let (name, expr) = match item {
            Item::Macro(call) if call.mac.path.is_ident("flags") => {
                module.flags.extend(flags(call.mac.tokens.clone())?);
                return Ok(());
            }
            Item::Const(item) => (item.ident.to_string(), &*item.expr),
            Item::Static(item) => (item.ident.to_string(), &*item.expr),
            _ => return Ok(()),
        };
        let text = || self.text(tokens_of(expr)?, file);
        match name.as_str() {
            "HELP" => module.help = text()?,
            "MORE_HELP" => module.more_help = text()?,
            "SUMMARY" => module.summary = text()?,
            "FLAGS" => {
                if let Expr::Struct(fields) = expr
                    && let Some(rest) = &fields.rest
                    && let Some(base) = table_owner(rest)
                {
                    module.includes.push(base.clone());
                    module.base = Some(base);
                }
                included(tokens_of(expr)?, &mut module.includes);
            }
            _ => {}
        }
        Ok(())
    }

    /// Joins the texts of `text!(…)` in an expression. A path to the HELP of another module is replaced by that HELP's text.
    fn text(&self, tokens: TokenStream, file: &Path) -> Result<String> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut text = String::new();
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            index += 1;
            match token {
                // Skips the `#` of an attribute.
                TokenTree::Punct(punct) if punct.as_char() == '#' => index += 1,
                TokenTree::Ident(ident) if ident == "text" => {
                    if let Some(TokenTree::Group(body)) = tokens.get(index + 1) {
                        text += &literal(body.stream(), file)?;
                    }
                    index += 2;
                }
                TokenTree::Ident(ident) if ident == "HELP" => {
                    if let Some(TokenTree::Ident(owner)) =
                        index.checked_sub(4).and_then(|owner| tokens.get(owner))
                        && let Some(module) = self.modules.get(&owner.to_string())
                    {
                        text += &module.help;
                    }
                }
                TokenTree::Group(group) => text += &self.text(group.stream(), file)?,
                _ => {}
            }
        }
        Ok(text)
    }
}

/// The tokens that `expr` was parsed from.
fn tokens_of(expr: &Expr) -> Result<TokenStream> {
    let text = expr.span().source_text().context("no source text")?;
    text.parse().ok().context("no tokens")
}

/// The source files of a module of `src/role`, without its tests.
fn files(dir: &Path, module: &str) -> Result<Vec<PathBuf>> {
    let single = dir.join(module).with_extension("rs");
    if single.exists() {
        return Ok(vec![single]);
    }
    let mut files = Vec::new();
    for entry in WalkDir::new(dir.join(module)).sort_by_file_name() {
        let path = entry.context("cannot list the roles")?.into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Each line of `roles!`: names, and the module whose `run` it calls.
fn all_roles(file: &Path) -> Result<Vec<Role>> {
    let text = fs::read_to_string(file).context("cannot read the roles")?;
    let parsed = syn::parse_file(&text).context("cannot parse the roles")?;
    let mut roles = Vec::new();
    for item in parsed.items {
        let Item::Macro(call) = item else { continue };
        if !call.mac.path.is_ident("roles") {
            continue;
        }
        let tokens: Vec<TokenTree> = call.mac.tokens.into_iter().collect();
        for line in tokens.split(|token| is_punct(Some(token), ';')) {
            let names = line.iter().filter_map(|token| match token {
                TokenTree::Literal(literal) => string(&literal.to_string()).ok(),
                _ => None,
            });
            // The first literal is the cargo feature.
            let names: Vec<String> = names.skip(1).collect();
            let module = line.windows(4).find_map(|part| match part {
                [TokenTree::Ident(module), _, _, TokenTree::Ident(run)] if run == "run" => {
                    Some(module.to_string())
                }
                _ => None,
            });
            if let Some(module) = module {
                roles.push(Role { names, module });
            }
        }
    }
    if roles.is_empty() {
        bail!("{}: no line of roles! was found", file.display());
    }
    Ok(roles)
}

/// The flags in the body of `flags!`, which has a row `Name { short: …, long: …, takes: … }` for each.
fn flags(body: TokenStream) -> Result<Vec<Flag>> {
    let mut found: Vec<Flag> = Vec::new();
    let rows = body.into_iter().filter_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    });
    for token in rows.flatten() {
        let TokenTree::Group(row) = token else {
            continue;
        };
        if row.delimiter() != Delimiter::Brace {
            continue;
        }
        let fields = Punctuated::<FieldValue, Token![,]>::parse_terminated.parse2(row.stream())?;
        let mut flag = Flag::default();
        for field in fields {
            match (&field.member, field.expr) {
                (Member::Named(name), _) if name == "takes" => {}
                (Member::Named(name), Expr::Call(some)) if name == "short" => {
                    if let Some(Expr::Lit(literal)) = some.args.first()
                        && let Lit::Byte(letter) = &literal.lit
                    {
                        flag.names.push(format!("-{}", char::from(letter.value())));
                    }
                }
                (Member::Named(name), Expr::Macro(text)) if name == "long" => {
                    flag.names
                        .push(syn::parse2::<syn::LitStr>(text.mac.tokens)?.value());
                }
                _ => bail!("a row of flags! has an unknown field"),
            }
        }
        found.push(flag);
    }
    // Removes operands: they have no name, or "--", which ends the options.
    found.retain(|flag| flag.names.first().is_some_and(|name| name != "--"));
    Ok(found)
}

/// Returns the module name in a path `module::FLAGS`; None if `expr` is not such a path.
fn table_owner(expr: &Expr) -> Option<String> {
    let Expr::Path(path) = expr else { return None };
    let mut segments = path.path.segments.iter().rev();
    let last = segments.next()?;
    (last.ident == "FLAGS").then(|| segments.next().map(|owner| owner.ident.to_string()))?
}

/// Adds to `to` the modules whose FLAGS an expression mentions. A call of `network::with` also adds the flags of module `stack`.
fn included(tokens: TokenStream, to: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for part in tokens.windows(4) {
        if let [TokenTree::Ident(owner), _, _, TokenTree::Ident(item)] = part {
            if item == "FLAGS" {
                to.push(owner.to_string());
            } else if owner == "network" && item == "with" {
                to.push("stack".to_owned());
            }
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            included(group.stream(), to);
        }
    }
}

/// The string that an expression yields: a literal, `concat!` of literals, or `include_str!` of a file beside `file`.
fn literal(tokens: TokenStream, file: &Path) -> Result<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name), _, TokenTree::Group(body), ..] if name == "include_str" => {
            let place = file.with_file_name(literal(body.stream(), file)?);
            fs::read_to_string(&place).with_context(|| format!("cannot read {}", place.display()))
        }
        [TokenTree::Ident(name), _, TokenTree::Group(body), ..] if name == "concat" => {
            literal(body.stream(), file)
        }
        _ => {
            let mut text = String::new();
            for token in tokens {
                if let TokenTree::Literal(literal) = token {
                    text += &string(&literal.to_string())?;
                }
            }
            Ok(text)
        }
    }
}

fn string(literal: &str) -> Result<String> {
    let parsed: syn::LitStr = syn::parse_str(literal)?;
    Ok(parsed.value())
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}
