//! Finds imports, permissions of unsafe code and functions of a source file, in its syntax tree and in the tokens of its macros.
//!
//! Considers `use` items and qualified paths. Names are not resolved here: `reexports` follows the aliases that `use` items make.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// A use of a module, of a crate or of unsafe code, which the import table restricts.
#[derive(Clone)]
pub(super) enum Found {
    /// A path in our own crate, relative to its root: `wire::rpc::Call`.
    Module(String),
    /// Use of another crate.
    Crate(String),
    /// `allow(unsafe_code)`. Without it, rustc refuses unsafe code (Cargo.toml).
    Unsafe,
}

/// A function with a body.
pub(super) struct Function {
    /// The type whose method it is.
    pub(super) owner: Option<String>,
    pub(super) name: String,
    /// Line of `fn`.
    pub(super) line: usize,
    /// Number of lines from `fn` to the closing brace.
    pub(super) line_count: usize,
    /// Methods of the same type that it may call, each with the line: `self.name(` and `Type::name`.
    pub(super) calls: Vec<(usize, String)>,
}

/// A source file, without its test code.
pub(super) struct Module {
    /// Path relative to src/.
    pub(super) path: PathBuf,
    /// The restricted uses in the file, each with its line number.
    pub(super) found: Vec<(usize, Found)>,
    /// Names that `use` items make in a module, each with the item that it stands for: `drive::World`, `drive::task::World`.
    pub(super) aliases: Vec<(String, Found)>,
    pub(super) functions: Vec<Function>,
    /// Types with an inherent impl in this file.
    pub(super) types: Vec<String>,
    /// Types that this file defines.
    pub(super) defined: Vec<String>,
    /// Modules that this file declares as test code: paths without extension, relative to src/.
    pub(super) test_modules: Vec<PathBuf>,
}

impl Module {
    /// Parses the text of the file `path`, relative to src/. `crates` are the names of dependencies in Rust paths.
    pub(super) fn parse(path: &Path, text: &str, crates: &[String]) -> Result<Self> {
        let module = Self {
            path: path.to_path_buf(),
            found: Vec::new(),
            aliases: Vec::new(),
            functions: Vec::new(),
            types: Vec::new(),
            defined: Vec::new(),
            test_modules: Vec::new(),
        };
        let file = syn::parse_file(text)?;
        let mut scan = Scan {
            inside: module.segments(),
            module,
            crates,
            children: file.items.iter().filter_map(child).collect(),
            relative: Vec::new(),
            owner: None,
            bodies: Vec::new(),
        };
        scan.visit_file(&file);
        let aliases: BTreeSet<&String> = scan.module.aliases.iter().map(|(name, _)| name).collect();
        let through_alias = scan
            .relative
            .into_iter()
            .filter(|(_, start, _)| aliases.contains(start));
        let through_alias =
            through_alias.map(|(line, start, rest)| (line, Found::Module(start + &rest)));
        let through_alias: Vec<(usize, Found)> = through_alias.collect();
        scan.module.found.extend(through_alias);
        Ok(scan.module)
    }

    /// Path of the module in the crate: `vfs::host`; `lib` and `main` for the crate roots.
    pub(super) fn name(&self) -> String {
        match self.path.to_str() {
            Some("lib.rs") => "lib".to_owned(),
            Some("main.rs") => "main".to_owned(),
            _ => self.segments().join("::"),
        }
    }

    fn segments(&self) -> Vec<String> {
        let mut segments: Vec<String> = self
            .path
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if ["mod", "lib", "main"]
            .map(str::to_owned)
            .contains(segments.last().unwrap_or(&String::new()))
        {
            segments.pop();
        }
        segments
    }
}

struct Scan<'a> {
    module: Module,
    /// Path of the module that is being visited.
    inside: Vec<String>,
    crates: &'a [String],
    /// Names of the modules that the file declares.
    children: Vec<String>,
    /// Paths that start with a name of the module that is being visited: line, this name, the other names.
    relative: Vec<(usize, String, String)>,
    /// The type whose methods are being visited.
    owner: Option<String>,
    /// The function that is being visited, and those around it.
    bodies: Vec<Function>,
}

impl Scan<'_> {
    fn add(&mut self, span: Span, found: Found) {
        self.module.found.push((span.start().line, found));
    }

    /// Adds a path as written in the source; `rooted` is true if the path starts with `::`.
    fn path(&mut self, span: Span, names: &[String], rooted: bool) {
        let first = names.first().map_or("", String::as_str);
        let is_absolute = rooted || ["crate", "stowaway", "self", "super"].contains(&first);
        let is_known = |list: &[String]| list.iter().any(|known| known == first);
        if is_absolute || is_known(self.crates) || is_known(&self.children) {
            self.absolute(names, rooted)
                .into_iter()
                .for_each(|found| self.add(span, found));
        } else if let [_, rest @ ..] = names {
            let start = [&self.inside[..], &names[..1]].concat().join("::");
            let rest = rest.iter().map(|name| format!("::{name}")).collect();
            self.relative.push((span.start().line, start, rest));
        }
    }

    /// Returns the crate or the path in our own crate that `names` mean.
    fn absolute(&self, names: &[String], rooted: bool) -> Option<Found> {
        let first = names.first()?.as_str();
        if !rooted && ["crate", "stowaway"].contains(&first) {
            return own_path(&[], &names[1..]);
        }
        if self.crates.iter().any(|known| known == first) {
            return Some(Found::Crate(first.to_owned()));
        }
        if rooted {
            return None;
        }
        let is_up = |name: &&String| ["self", "super"].contains(&name.as_str());
        let (ups, rest) = names.split_at(names.iter().take_while(is_up).count());
        let levels = ups.iter().filter(|name| *name == "super").count();
        own_path(
            &self.inside[..self.inside.len().saturating_sub(levels)],
            rest,
        )
    }

    /// Adds a name that a `use` item makes.
    fn alias(&mut self, name: &str, names: &[String], rooted: bool) {
        if let Some(target) = self.absolute(names, rooted) {
            let inside = [self.inside.as_slice(), &[name.to_owned()]].concat();
            self.module.aliases.push((inside.join("::"), target));
        }
    }

    /// Adds the leaves of a `use` tree.
    fn use_tree(&mut self, tree: &UseTree, names: &mut Vec<String>, rooted: bool) {
        match tree {
            UseTree::Path(path) => {
                names.push(path.ident.to_string());
                self.use_tree(&path.tree, names, rooted);
                names.pop();
            }
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.use_tree(tree, names, rooted)),
            UseTree::Name(syn::UseName { ident }) => {
                self.use_leaf(ident, ident, names.clone(), rooted);
            }
            UseTree::Rename(syn::UseRename { ident, rename, .. }) => {
                self.use_leaf(ident, rename, names.clone(), rooted);
            }
            UseTree::Glob(glob) => self.path(glob.span(), names, rooted),
        }
    }

    fn use_leaf(&mut self, ident: &Ident, name: &Ident, mut names: Vec<String>, rooted: bool) {
        if ident != "self" {
            names.push(ident.to_string());
        }
        let name = if name == "self" {
            names.last().cloned()
        } else {
            Some(name.to_string())
        };
        self.alias(&name.unwrap_or_default(), &names, rooted);
        self.path(ident.span(), &names, rooted);
    }

    /// Adds the function whose body `visit` visits.
    fn function(
        &mut self,
        signature: &syn::Signature,
        body: &syn::Block,
        visit: impl FnOnce(&mut Self),
    ) {
        let line = signature.fn_token.span.start().line;
        self.bodies.push(Function {
            owner: self.owner.clone(),
            name: signature.ident.to_string(),
            line,
            line_count: body.brace_token.span.close().end().line - line + 1,
            calls: Vec::new(),
        });
        visit(self);
        self.module.functions.extend(self.bodies.pop());
    }

    /// Adds a call of a method of the own type.
    fn call(&mut self, span: Span, name: &Ident) {
        if let Some(body) = self.bodies.last_mut() {
            body.calls.push((span.start().line, name.to_string()));
        }
    }

    /// Adds paths and calls of own methods in the tokens of a macro, for which syn has no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |index: usize| matches!(tokens.get(index), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let is_path_separator = |index: usize| is_colon(index) && is_colon(index + 1);
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "self" => {
                    if let Some(
                        [
                            TokenTree::Punct(dot),
                            TokenTree::Ident(name),
                            TokenTree::Group(_),
                        ],
                    ) = tokens.get(index + 1..index + 4)
                        && dot.as_char() == '.'
                    {
                        self.call(ident.span(), name);
                    }
                }
                // A crate's name counts only at the start of a path: `core` in `a::core::b` is not the crate.
                TokenTree::Ident(ident)
                    if is_path_separator(index + 1)
                        && !(index >= 2 && is_path_separator(index - 2)) =>
                {
                    let mut names = vec![ident.to_string()];
                    let mut next = index + 1;
                    while is_path_separator(next) {
                        let Some(TokenTree::Ident(name)) = tokens.get(next + 2) else {
                            break;
                        };
                        names.push(name.to_string());
                        next += 3;
                    }
                    self.path(ident.span(), &names, false);
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Scan<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let test = attributes(item).iter().any(is_test_only);
        if let Item::Mod(module) = item
            && module.content.is_none()
            && test
        {
            let file = self
                .inside
                .iter()
                .chain([&module.ident.to_string()])
                .collect();
            self.module.test_modules.push(file);
        }
        if !test {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !function.attrs.iter().any(is_test_only) {
            self.function(&function.sig, &function.block, |scan| {
                visit::visit_impl_item_fn(scan, function)
            });
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block, |scan| {
            visit::visit_item_fn(scan, function)
        });
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        match &function.default {
            Some(body) => self.function(&function.sig, body, |scan| {
                visit::visit_trait_item_fn(scan, function)
            }),
            None => visit::visit_trait_item_fn(self, function),
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if matches!(&*call.receiver, syn::Expr::Path(path) if path.path.is_ident("self")) {
            self.call(call.method.span(), &call.method);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.inside.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.inside.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new(), item.leading_colon.is_some());
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.path(item.span(), &[item.ident.to_string()], true);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if let [owner, _] = names.as_slice()
            && (owner == "Self" || Some(owner) == self.owner.as_ref())
            && let Some(last) = path.segments.last()
        {
            self.call(path.span(), &last.ident);
        }
        // A path of one name is a local item, for example a variable with the name of a crate.
        if names.len() > 1 {
            self.path(path.span(), &names, path.leading_colon.is_some());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            let levels = ["allow", "expect", "warn"];
            let is_lint = levels.iter().any(|level| list.path.is_ident(level));
            if is_lint && list.tokens.to_string().contains("unsafe_code") {
                self.add(attribute.span(), Found::Unsafe);
            } else {
                self.tokens(list.tokens.clone());
            }
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let owner = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|name| name.ident.to_string()),
            _ => None,
        };
        if item.trait_.is_none() {
            self.module.types.extend(owner.clone());
        }
        let around = std::mem::replace(&mut self.owner, owner);
        visit::visit_item_impl(self, item);
        self.owner = around;
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.module.defined.push(item.ident.to_string());
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.module.defined.push(item.ident.to_string());
        visit::visit_item_enum(self, item);
    }
}

/// The path of an item of our own crate: `relative` within the module `base`.
fn own_path(base: &[String], relative: &[String]) -> Option<Found> {
    let path = [base, relative].concat();
    (!path.is_empty()).then(|| Found::Module(path.join("::")))
}

/// The name of the module that an item declares.
fn child(item: &Item) -> Option<String> {
    match item {
        Item::Mod(module) if !module.attrs.iter().any(is_test_only) => {
            Some(module.ident.to_string())
        }
        _ => None,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test_only(attribute: &Attribute) -> bool {
    let condition = attribute
        .path()
        .is_ident("cfg")
        .then(|| attribute.parse_args::<Meta>());
    condition.is_some_and(|condition| condition.is_ok_and(|condition| needs_test(&condition)))
}

/// Returns true if a `cfg` condition can be true only in tests or in fuzzing builds.
fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test") || path.is_ident("fuzzing"),
        Meta::List(list) => {
            let parse = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
            list.parse_args_with(parse).is_ok_and(|parts| {
                list.path.is_ident("all") && parts.iter().any(needs_test)
                    || list.path.is_ident("any") && parts.iter().all(needs_test)
            })
        }
        Meta::NameValue(_) => false,
    }
}
