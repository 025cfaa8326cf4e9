//! What a source file imports and where it is unsafe, read from its syntax tree and from the tokens of its macros.
//!
//! It follows `use` lines and written-out paths; it does not resolve names, so a re-export counts for who wrote it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// One thing that the table has an opinion about.
pub(super) enum Found {
    /// A path into our own crate, from its root: `wire::rpc::Call`.
    Module(String),
    /// Another crate.
    Crate(String),
    /// A block, a function, an impl, an attribute, or the leave for any of them.
    Unsafe,
}

/// A source file outside its test code.
pub(super) struct Module {
    /// Relative to src/.
    pub(super) path: PathBuf,
    /// With the line each.
    pub(super) found: Vec<(usize, Found)>,
    /// Types that have methods here.
    pub(super) types: Vec<String>,
    /// Files, without their extension, that this one declares as test code.
    pub(super) test_modules: Vec<PathBuf>,
}

impl Module {
    /// Reads the file at `path` below src/; `crates` are the names that other crates go by.
    pub(super) fn parse(path: &Path, text: &str, crates: &[String]) -> Result<Self> {
        let module = Self {
            path: path.to_path_buf(),
            found: Vec::new(),
            types: Vec::new(),
            test_modules: Vec::new(),
        };
        let file = syn::parse_file(text)?;
        let mut scan = Scan {
            inside: module.segments(),
            module,
            crates,
        };
        scan.visit_file(&file);
        Ok(scan.module)
    }

    /// Its path in the crate: `vfs::host`; `lib` and `main` for the two roots.
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
    /// The module that the visitor is in.
    inside: Vec<String>,
    crates: &'a [String],
}

impl Scan<'_> {
    fn add(&mut self, span: Span, found: Found) {
        self.module.found.push((span.start().line, found));
    }

    /// A path as it is written; `rooted` when it begins with `::`.
    fn path(&mut self, span: Span, names: &[String], rooted: bool) {
        let Some(name) = names.first() else { return };
        if !rooted && ["crate", "stowaway"].contains(&name.as_str()) {
            self.own(span, &[], &names[1..]);
        } else if !rooted && ["self", "super"].contains(&name.as_str()) {
            let mut base = self.inside.clone();
            let ups = names
                .iter()
                .take_while(|name| ["self", "super"].contains(&name.as_str()))
                .count();
            names[..ups]
                .iter()
                .filter(|name| *name == "super")
                .for_each(|_| drop(base.pop()));
            self.own(span, &base, &names[ups..]);
        } else if self.crates.contains(name) {
            self.add(span, Found::Crate(name.clone()));
        }
    }

    fn own(&mut self, span: Span, base: &[String], rest: &[String]) {
        let path = [base, rest].concat();
        if !path.is_empty() {
            self.add(span, Found::Module(path.join("::")));
        }
    }

    /// The leaves of a `use`.
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
            UseTree::Name(name) if name.ident == "self" => self.path(name.span(), names, rooted),
            UseTree::Name(syn::UseName { ident })
            | UseTree::Rename(syn::UseRename { ident, .. }) => {
                names.push(ident.to_string());
                self.path(ident.span(), names, rooted);
                names.pop();
            }
            UseTree::Glob(glob) => self.path(glob.span(), names, rooted),
        }
    }

    /// Paths and `unsafe` in the tokens of a macro, which have no tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon =
            |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let is_path = |at: usize| is_colon(at) && is_colon(at + 1);
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "unsafe" => {
                    self.add(ident.span(), Found::Unsafe)
                }
                // Not in the middle of a path: `a::core` is no crate.
                // Not in the middle of a path: in `a::core::b` is no crate.
                TokenTree::Ident(ident) if is_path(at + 1) && !(at >= 2 && is_path(at - 2)) => {
                    let mut names = vec![ident.to_string()];
                    let mut next = at + 1;
                    while is_path(next) {
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
            visit::visit_impl_item_fn(self, function);
        }
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
        // A single name is local: a variable may be called as a crate is.
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
            let allows =
                list.path.is_ident("allow") && list.tokens.to_string().contains("unsafe_code");
            if list.path.is_ident("unsafe") || allows {
                self.add(attribute.span(), Found::Unsafe);
            } else {
                self.tokens(list.tokens.clone());
            }
        }
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.add(block.unsafe_token.span, Found::Unsafe);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.unsafety(signature.unsafety.as_ref());
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.unsafety(item.unsafety.as_ref());
        if item.trait_.is_none()
            && let syn::Type::Path(path) = &*item.self_ty
            && let Some(name) = path.path.segments.last()
        {
            self.module.types.push(name.ident.to_string());
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.unsafety(item.unsafety.as_ref());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.unsafety(item.unsafety.as_ref());
        visit::visit_item_foreign_mod(self, item);
    }
}

impl Scan<'_> {
    fn unsafety(&mut self, token: Option<&syn::token::Unsafe>) {
        if let Some(token) = token {
            self.add(token.span, Found::Unsafe);
        }
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

/// Whether a `cfg` condition can only hold in tests, or under a fuzzer.
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
