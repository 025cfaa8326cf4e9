//! Build script: link flags of the executable and of the unpacker, each with its reason. Also collects and packs the texts of
//! `src`, and makes the table of media types.

mod kinds;
mod pack;
mod texts;

use std::env;
use std::fs;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=linker");
    println!("cargo::rerun-if-env-changed=DEFMT_LOG");
    // If DEFMT_LOG is unset, defmt compiles only `error!`.
    println!(
        "cargo::rustc-env=DEFMT_LOG={}",
        env::var("DEFMT_LOG").unwrap_or_else(|_| "info".into())
    );
    println!("cargo::rerun-if-env-changed=STOWAWAY_COMMIT");
    println!(
        "cargo::rustc-env=STOWAWAY_COMMIT={}",
        env::var("STOWAWAY_COMMIT").unwrap_or_else(|_| "unknown".into())
    );
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if texts::is_bare() {
        println!("cargo::rustc-cfg=bare");
    }
    // All roles that a file of the release has: the compiler reports code that none of them uses.
    if texts::has_feature("default") {
        println!("cargo::rustc-cfg=all_roles");
    }
    link("stowaway", &script(&format!("{root}/linker")));
    link("unpack", &format!("{root}/linker/unpack.ld"));
    collect_texts(&Path::new(&root).join("src"));
    let kinds = env::var("OUT_DIR").unwrap_or_default() + "/kinds.rs";
    let written = fs::write(&kinds, kinds::table(include_str!("kinds.txt")));
    written.unwrap_or_else(|why| panic!("{kinds}: {why}"));
}

/// Writes a copy of the linker script with the functions of order.txt in their order and, for machines without an operating system, with
/// its `/*bare … bare*/` parts enabled.
fn script(directory: &str) -> String {
    let path = env::var("OUT_DIR").unwrap_or_default() + "/stowaway.ld";
    let [mut text, order] = ["stowaway.ld", "order.txt"].map(|name| {
        let path = format!("{directory}/{name}");
        println!("cargo::rerun-if-changed={path}");
        fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"))
    });
    let names = order.lines().filter(|line| !line.starts_with('#'));
    let rows: String = names.map(|name| format!("*(.text*.{name})\n")).collect();
    text = text.replace("/*order*/", &rows);
    if texts::is_bare() {
        text = text.replace("/*bare ", "").replace(" bare*/", "");
    }
    fs::write(&path, text).unwrap_or_else(|why| panic!("{path}: {why}"));
    path
}

/// Writes the packed tables that `src/text` includes. Skips packing, which takes a second, if texts and packer are unchanged.
fn collect_texts(src: &Path) {
    println!("cargo::rerun-if-changed={}", src.display());
    let out_dir = env::var_os("OUT_DIR").unwrap_or_default();
    let out_dir = Path::new(&out_dir);
    let texts = texts::Texts::collect(src);
    let (input, tables) = (out_dir.join("texts"), out_dir.join("texts.rs"));
    let packer = include_str!("pack.rs");
    let found = format!("{:?}{:?}{packer}", texts.rows, texts.absent);
    if !fs::read(&input).is_ok_and(|packed| packed == found.as_bytes()) {
        let written = fs::write(tables, pack::pack(&texts)).and_then(|()| fs::write(input, found));
        written.unwrap_or_else(|why| panic!("{}: {why}", out_dir.display()));
    }
}

fn link(program: &str, script: &str) {
    let arg = |flag: &str| println!("cargo::rustc-link-arg-bin={program}={flag}");
    let script = format!("-T{script}");
    let no_libc = ["-nostartfiles", "-nostdlib"]; // _start is ours; no libc, no crt files.
    let flags = [
        "-static",           // No interpreter, no dynamic section.
        "-no-pie",           // A fixed address needs no relocations.
        "--build-id=fast",   // Eight bytes that match a trace to its debug file.
        "-znorelro",         // Without relocations, nothing needs RELRO.
        "-znoexecstack",     // The stack is not executable.
        "--no-eh-frame-hdr", // Panics do not unwind.
        script.as_str(),     // Segments, symbols, and the defmt table.
    ];
    // x86_64 links through cc; the other architectures call rust-lld directly, which does not accept cc's options.
    let through_cc = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if through_cc {
        no_libc.iter().for_each(|flag| arg(flag));
    }
    for flag in flags {
        match flag {
            "-static" | "-no-pie" => arg(flag),
            _ if through_cc => arg(&format!("-Wl,{flag}")),
            _ => arg(flag),
        }
    }
}
