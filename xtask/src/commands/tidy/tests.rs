//! Tests of the rules about imports, circles, heads, lengths and unsafe code, with files that keep or break one of them.

use super::*;

/// The violations in a workspace that consists of these files. The only known exceptions are `exceptions`, (table, name).
fn breaches_except(exceptions: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Vec<String>> {
    let root = tempfile::tempdir()?;
    for part in ["src", "linker", "xtask"] {
        fs::create_dir(root.path().join(part))?;
    }
    let manifest =
        "[dependencies]\nrustix = '1'\nlinux-raw-sys = '0'\nheapless = '0'\ndefmt = '1'\n";
    fs::write(root.path().join("Cargo.toml"), manifest)?;
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().context("no directory")?)?;
        fs::write(path, text)?;
    }
    let mut rules = Rules::parse()?;
    rules.exceptions.clear();
    for (table, name) in exceptions {
        let table = rules.exceptions.entry((*table).to_owned()).or_default();
        table.insert((*name).to_owned(), "known".to_owned());
    }
    check(root.path(), &rules)
}

fn breaches(files: &[(&str, &str)]) -> Result<Vec<String>> {
    breaches_except(&[], files)
}

/// The messages about a file with this text, without its path.
fn messages(path: &str, text: &str) -> Result<Vec<String>> {
    let found = breaches(&[(path, &format!("//! Head.\n{text}"))])?;
    Ok(found
        .into_iter()
        .map(|line| line.replace(&format!("{path}:"), ""))
        .collect())
}

#[test]
fn engine_importing_net_or_rustix_is_a_violation() -> Result<()> {
    for text in [
        "use crate::net::Net;",
        "use crate::{wire::rpc, net::{Socket}};",
        "use super::net as world;",
        "fn f() { crate::net::open(); }",
        "fn f(s: &crate::net::Socket) {}",
        "fn f() { println!(\"{}\", crate::net::NAME); }",
        "mod inner { fn f() { super::super::net::open(); } }",
        "use rustix::fs;",
        "fn f() { let _ = rustix::fs::open(); }",
        "fn f() { ::linux_raw_sys::call(); }",
        "#[derive(defmt::Format)] struct S;",
        "macro_rules! m { () => { $crate::net::open() } }",
        "use crate::vfs::host::Host;",
    ] {
        assert_eq!(messages("src/engine.rs", text)?.len(), 1, "{text}");
    }
    Ok(())
}

#[test]
fn allowed_imports_are_no_violation() -> Result<()> {
    for (path, text) in [
        (
            "src/engine/rpc.rs",
            "use crate::{wire::xdr, vfs::Vfs, time::Instant, config, log, event::Event};",
        ),
        (
            "src/engine/rpc.rs",
            "use heapless::Vec; use core::mem; use super::Cx; fn f(net: u8) -> u8 { net }",
        ),
        (
            "src/vfs/host/mod.rs",
            "use crate::sys; use rustix::fs; use super::Vfs;",
        ),
        (
            "src/role/nfs.rs",
            "use crate::{drive, engine, net, vfs, sys};",
        ),
    ] {
        assert_eq!(messages(path, text)?, [""; 0], "{text}");
    }
    Ok(())
}

#[test]
fn submodule_entry_overrides_its_parent() -> Result<()> {
    let sys = messages("src/vfs/ram.rs", "use crate::sys;")?;
    assert_eq!(sys, ["2: vfs::ram may not import sys"]);
    assert_eq!(
        messages("src/vfs/iso.rs", "use crate::wire::nfs3;")?.len(),
        1
    );
    Ok(())
}

#[test]
fn worker_that_allocates_or_logs_is_refused() -> Result<()> {
    for text in [
        "fn f() { crate::mem::bytes(1); }",
        "use crate::log;",
        "use crate::mem;",
    ] {
        for path in ["src/sys/linux/workers/run.rs", "src/sys/linux/fs/io.rs"] {
            assert_eq!(messages(path, text)?.len(), 1, "{path}: {text}");
        }
    }
    Ok(())
}

#[test]
fn test_code_may_import_everything() -> Result<()> {
    let inline =
        "#[cfg(test)] mod tests { use crate::net::Net; use std::fs; fn f() { unsafe { g() } } }";
    assert_eq!(messages("src/wire/xdr.rs", inline)?, [""; 0]);
    let files = [
        (
            "src/vfs/mod.rs",
            "//! Head.\n#[cfg(test)]\nmod conformance;\n",
        ),
        ("src/vfs/conformance.rs", "//! Head.\nuse std::fs;\n"),
        (
            "src/vfs/conformance/names.rs",
            "//! Head.\nuse crate::net;\n",
        ),
    ];
    assert_eq!(breaches(&files)?, [""; 0]);
    assert_eq!(
        messages(
            "src/wire/xdr.rs",
            "#[cfg(not(test))] mod real { use crate::net::Net; }"
        )?
        .len(),
        1
    );
    Ok(())
}

#[test]
fn unsafe_code_outside_sys_and_entry_is_refused() -> Result<()> {
    for text in ["#![allow(unsafe_code)]", "#[expect(unsafe_code)] fn f() {}"] {
        for path in ["src/drive/mod.rs", "src/unpack/lzma.rs"] {
            assert_eq!(messages(path, text)?.len(), 1, "{path}: {text}");
        }
        for path in ["src/sys/start.rs", "src/unpack/main.rs", "src/main.rs"] {
            assert_eq!(messages(path, text)?, [""; 0], "{path}: {text}");
        }
    }
    Ok(())
}

#[test]
fn missing_long_head_and_unlisted_module_are_refused() -> Result<()> {
    assert_eq!(breaches(&[("xtask/a.rs", "fn f() {}\n")])?.len(), 1);
    assert_eq!(
        breaches(&[("xtask/a.rs", &"//! Line.\n".repeat(9))])?.len(),
        1
    );
    assert_eq!(
        messages("src/helpers.rs", "")?,
        ["1: module helpers is not in the import table"]
    );
    Ok(())
}

#[test]
fn import_cycles_between_siblings_are_refused() -> Result<()> {
    let circle = [
        ("src/vfs/a.rs", "//! Head.\nuse super::b::B;\n"),
        (
            "src/vfs/b/mod.rs",
            "//! Head.\nuse crate::vfs::{c, Name};\n",
        ),
        ("src/vfs/b/inner.rs", "//! Head.\nuse super::super::b;\n"),
        ("src/vfs/c.rs", "//! Head.\nfn f() { super::a::g() }\n"),
    ];
    assert_eq!(
        breaches(&circle)?,
        [
            "src/vfs: import cycle: a imports b (src/vfs/a.rs:2), b imports c (src/vfs/b/mod.rs:2), \
             c imports a (src/vfs/c.rs:2)"
        ]
    );
    assert_eq!(breaches(&circle[..3])?, [""; 0]);
    // Methods of type B do not excuse the import of B.
    let methods = [
        ("src/vfs/a.rs", "//! Head.\nuse super::b::B; impl B {}\n"),
        ("src/vfs/b.rs", "//! Head.\nuse super::a::A;\n"),
    ];
    assert_eq!(breaches(&methods)?.len(), 1);
    // Imports between a module and its parent are not checked.
    let nested = [
        ("src/vfs/mod.rs", "//! Head.\nuse a::A; mod a;\n"),
        ("src/vfs/a.rs", "//! Head.\nuse super::Vfs;\n"),
    ];
    assert_eq!(breaches(&nested)?, [""; 0]);
    Ok(())
}

#[test]
fn reexports_are_followed() -> Result<()> {
    let host = "//! Head.\npub use crate::sys::linux::daemon;\npub use crate::time::Instant;\n";
    let facade = "//! Head.\npub use linux::Errno;\n";
    for (importer, text, refused) in [
        ("src/role/nfs.rs", "use crate::drive::host::daemon;", 1),
        (
            "src/role/nfs.rs",
            "use crate::drive::host;\nfn f() { host::daemon::start() }",
            1,
        ),
        (
            "src/role/nfs.rs",
            "use crate::drive as d;\nfn f() { d::host::daemon::start() }",
            1,
        ),
        ("src/drive/names.rs", "use super::host::daemon::start;", 1),
        (
            "src/role/nfs.rs",
            "use crate::drive::host::{Instant, Host};",
            0,
        ),
        (
            "src/drive/platform/x.rs",
            "use crate::drive::host::daemon;",
            0,
        ),
        ("src/role/nfs.rs", "use crate::sys::Errno;", 0),
    ] {
        let files = [
            ("src/drive/platform/host.rs", host),
            (
                "src/drive/mod.rs",
                "//! Head.\nmod platform;\nuse platform::host;\n",
            ),
            ("src/sys/mod.rs", facade),
            (
                "src/sys/linux/mod.rs",
                "//! Head.\npub use rustix::io::Errno;\n",
            ),
            (importer, &format!("//! Head.\n{text}\n")),
        ];
        let found = breaches(&files)?;
        assert_eq!(found.len(), refused, "{text}: {found:?}");
    }
    Ok(())
}

#[test]
fn driver_imports_no_protocol() -> Result<()> {
    for (path, import, refused) in [
        ("src/drive/service/mod.rs", "engine::service::Service", 0),
        ("src/drive/service/mod.rs", "engine::nfs::Nfs", 1),
        ("src/drive/platform/host/stdio.rs", "engine::sftp::Sftp", 1),
        ("src/drive/endpoint.rs", "engine::mdns::Responder", 0),
        ("src/drive/endpoint.rs", "engine::nfs::Nfs", 1),
    ] {
        let found = messages(path, &format!("use crate::{import};"))?;
        assert_eq!(found.len(), refused, "{path}: {import}");
    }
    Ok(())
}

#[test]
fn circles_of_methods_are_refused() -> Result<()> {
    let file = |body: &str| format!("//! Head.\nimpl S {{ {body} }}\n");
    let send = file("fn send(&self) { self.keep(); Self::own() } fn own() {}");
    let found = "src/net/s: circle of methods of S: keep calls send (send: src/net/s/keep.rs:2), \
                 send calls keep (keep: src/net/s/send.rs:2)";
    for (keep, circles) in [
        ("fn keep(&self) { self.send() }", 1),
        ("fn keep(&self) { S::send(self) }", 1),
        ("fn keep(&self) { m!(self.send()) }", 1),
        ("fn keep(&self) { self.peer.send(); T::send() }", 0),
        (
            "fn keep(&self) {} #[cfg(test)] fn test(&self) { self.send() }",
            0,
        ),
    ] {
        let keep = file(keep);
        let files = [
            (
                "src/net/s/mod.rs",
                "//! Head.\nstruct S;\nimpl S { fn f(&self) { self.send(); } }\n",
            ),
            ("src/net/s/send.rs", &send),
            ("src/net/s/keep.rs", &keep),
        ];
        assert_eq!(breaches(&files)?, vec![found; circles], "{keep}");
        // An exception is accepted while it is needed.
        let known = breaches_except(&[("method_circles", "net::s")], &files)?;
        assert_eq!(known.len(), 1 - circles, "{known:?}");
    }
    Ok(())
}

#[test]
fn long_functions_are_refused() -> Result<()> {
    let function = |lines: usize| format!("fn f() {{\n{}}}", "g();\n".repeat(lines - 2));
    assert_eq!(messages("src/vfs/a.rs", &function(70))?, [""; 0]);
    assert_eq!(
        messages(
            "src/vfs/a.rs",
            &format!("struct S; impl S {{ {} }}", function(71))
        )?,
        ["2: vfs::a::f has 71 lines; the limit is 70"]
    );
    assert_eq!(
        messages(
            "src/vfs/a.rs",
            &format!("#[cfg(test)] mod tests {{ {} }}", function(71))
        )?,
        [""; 0]
    );
    Ok(())
}

#[test]
fn lines_naming_features_are_limited() -> Result<()> {
    for (count, breach_count) in [(FEATURE_LINES_MAX, 0), (FEATURE_LINES_MAX + 1, 1)] {
        let gates = "#[cfg(feature = \"nfs\")]\nuse core::fmt;\n".repeat(count);
        assert_eq!(messages("src/time.rs", &gates)?.len(), breach_count);
    }
    Ok(())
}

#[test]
fn public_field_that_the_caller_sets_is_a_violation() -> Result<()> {
    for (text, is_violation) in [
        (
            "struct A {\n    /// The peer. The caller sets it.\n    pub peer: u8,\n}",
            true,
        ),
        (
            "struct A {\n    /// The peer; set by\n    /// the caller.\n    #[a]\n    pub(super) peer: u8,\n}",
            true,
        ),
        (
            "struct A {\n    /// Used since this was set to false.\n    pub is_used: bool,\n}",
            true,
        ),
        (
            "struct A {\n    /// The peer. The caller sets it.\n    peer: u8,\n    pub b: u8,\n}",
            false,
        ),
        (
            "struct A {\n    /// The peer of the caller.\n    pub peer: u8,\n}",
            false,
        ),
        (
            "/// The caller sets the peer.\npub fn f(a: u8, peer: u8) {}",
            false,
        ),
    ] {
        let found = messages("src/mem.rs", text)?;
        assert_eq!(found.len(), usize::from(is_violation), "{text}: {found:?}");
    }
    Ok(())
}
