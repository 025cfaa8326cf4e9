//! Finds the imports and the unsafe code of a source file, in its syntax tree and in the tokens of its macros.
//!
//! Considers `use` items and qualified paths. Names are not resolved, so an import of a re-export counts as an import from the
//! re-exporting module.

use std::path::{Path, PathBuf};

use anyhow::Result;
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// A use of a module, of a crate or of unsafe code, which the import table restricts.
pub(super) enum Found {
    /// A path in our own crate, relative to its root: `wire::rpc::Call`.
    Module(String),
    /// Use of another crate.
    Crate(String),
    /// An unsafe block, function, impl, trait or attribute, or `allow(unsafe_code)`.
    Unsafe,
}

/// A source file, without its test code.
pub(super) struct Module {
    /// Path relative to src/.
    pub(super) path: PathBuf,
    /// The restricted uses in the file, each with its line number.
    pub(super) found: Vec<(usize, Found)>,
    /// Types with an inherent impl in this file.
    pub(super) types: Vec<String>,
    /// Modules that this file declares as test code: paths without extension, relative to src/.
    pub(super) test_modules: Vec<PathBuf>,
}

impl Module {
    /// Parses the text of the file `path`, relative to src/. `crates` are the names of dependencies in Rust paths.
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
}

impl Scan<'_> {
    fn add(&mut self, span: Span, found: Found) {
        self.module.found.push((span.start().line, found));
    }

    /// Adds a path as written in the source; `rooted` is true if the path starts with `::`.
    fn path(&mut self, span: Span, names: &[String], rooted: bool) {
        let Some(name) = names.first() else { return };
        if !rooted && ["crate", "stowaway"].contains(&name.as_str()) {
            self.add_own_path(span, &[], &names[1..]);
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
            self.add_own_path(span, &base, &names[ups..]);
        } else if self.crates.contains(name) {
            self.add(span, Found::Crate(name.clone()));
        }
    }

    /// Adds a path in our own crate.
    fn add_own_path(&mut self, span: Span, base: &[String], relative: &[String]) {
        let path = [base, relative].concat();
        if !path.is_empty() {
            self.add(span, Found::Module(path.join("::")));
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

    /// Adds paths and `unsafe` in the tokens of a macro, for which syn has no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |index: usize| matches!(tokens.get(index), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let is_path_separator = |index: usize| is_colon(index) && is_colon(index + 1);
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "unsafe" => {
                    self.add(ident.span(), Found::Unsafe)
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
        if let syn::Safety::Unsafe(token) = &signature.safety {
            self.unsafety(Some(token));
        }
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
