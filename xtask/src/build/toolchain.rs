//! Which compiler, linker and flags build stowaway and its unit tests for an architecture.
//!
//! x86_64 is what cargo has anyway. The others come from rustup; where rustup is not or may not fetch, from Debian's
//! `rustc-web`, unpacked under target/toolchain and never installed: it builds the standard library from its source.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{Arch, workspace_root};
use crate::setup;

/// Starts Debian's compiler from wherever it was unpacked: its libraries lie where no linker looks for them.
const WRAPPER: &str = r#"#!/bin/sh
usr=$(dirname "$0")/usr
LD_LIBRARY_PATH=$usr/lib/x86_64-linux-gnu exec "$usr/bin/rustc" "$@"
"#;

/// The linker, which has the compiler's optimizer, goes over the whole program once more. Only when our panic handler has become
/// part of the functions of core that panic is it seen that nothing looks at their messages: smoltcp brings 12,000 bytes of them,
/// with core::fmt.
pub(super) const LINKER_OPTIMIZES: &str = "-Clinker-plugin-lto";

/// `cargo build` of the file itself. Target, compiler, linker and flags are set.
pub(super) fn for_file(arch: Arch) -> Result<Command> {
    let toolchain = Toolchain::find(arch)?;
    let mut flags = toolchain.remaps()?;
    // The file is linked at one address: without this, code is made for any.
    flags.push("-Crelocation-model=static".into());
    // A jump table costs eight bytes a case, a comparison three to five: 1.3 % of the file.
    flags.push("-Cjump-tables=no".into());
    let mut arguments = vec![
        // What is computed again where it is needed is shorter than what is kept from a loop's beginning or from an earlier
        // place: 1.2 %.
        "disable-machine-licm",
        "disable-machine-cse",
        "disable-licm-promotion",
        // Blocks in an order that needs few jumps, also where size is all that counts: 0.5 %.
        "apply-ext-tsp-for-size",
        // What is small enough to be no larger inlined than called is a little more than the compiler thinks, and a call
        // costs more than it thinks: 1.5 %.
        "inline-threshold=12",
        "inline-call-penalty=30",
        "inline-memaccess-cost=3",
        // Loops with fewer registers rather than fewer instructions, and values that are moved to memory where that is
        // short rather than where it is quick: 0.2 %.
        "lsr-insns-cost=false",
        "split-spill-mode=size",
        // Two conditions that lead to one place stay two jumps, and few values are chosen without one: 0.2 %.
        "simplifycfg-branch-fold-threshold=0",
        "phi-node-folding-threshold=0",
        // What was loaded once is loaded again where it may have to be, not on the way there. Registers are kept at a
        // function's beginning, where the code that gives them back can be shared. 0.2 %.
        "enable-load-pre=false",
        "enable-shrink-wrap=false",
        "enable-gvn-hoist",
        // Ends of blocks that are alike stand once, however short and however many: 0.1 %.
        "tail-merge-threshold=1000",
        "tail-merge-size=2",
        // Instructions in the order that needs fewest registers: 0.1 %.
        "pre-RA-sched=list-burr",
    ];
    if Arch::NATIVE.contains(&arch) {
        // Where a function keeps what it needs below its stack, it may not push: small numbers then take ten bytes, not three.
        flags.push("-Cno-redzone=yes".into());
        // A function that knows which registers those it calls leave alone keeps less on the stack: 1.8 %.
        arguments.push("enable-ipra");
    }
    flags.extend(arguments.iter().map(|it| format!("-Cllvm-args=-{it}")));
    // SHA-256 as a loop of its rounds, not as all of them, where the processor does not do it itself: 9,700 bytes.
    flags.push("--cfg=sha2_backend_soft=\"compact\"".into());
    if arch == Arch::Aarch64 {
        // Else it asks a C library whether the processor does it.
        flags.push("--cfg=sha2_256_backend=\"soft\"".into());
        // And which instructions it has for atomic operations.
        flags.push("-Ctarget-feature=-outline-atomics".into());
    }
    if toolchain.debian.is_none() {
        flags.push(LINKER_OPTIMIZES.into());
        let mut to_linker = vec![
            // Twice more: 1.4 %.
            "--lto-newpm-passes=lto<Oz>,lto<Oz>".into(),
            // Functions that are alike only when they are compiled stand once: 0.1 %.
            "--icf=all".into(),
        ];
        for argument in arguments {
            to_linker.extend(["-mllvm".into(), format!("-{argument}")]);
        }
        for argument in to_linker {
            // x86_64 links through cc.
            if arch == Arch::X86_64 {
                flags.push("-Clink-arg=-Xlinker".into());
            }
            flags.push(format!("-Clink-arg={argument}"));
        }
    }
    let mut cargo = toolchain.cargo("build", "-Zbuild-std=core,alloc");
    if arch != Arch::X86_64 {
        // No libc and no crt files, so no cross gcc: the linker alone will do.
        flags.push("-Clinker-flavor=ld.lld".into());
        let name = format!(
            "CARGO_TARGET_{}_LINKER",
            arch.triple().replace('-', "_").to_uppercase()
        );
        cargo.env(name, rust_lld()?);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(cargo)
}

/// Makes a build for x86_64 one by Debian's compiler, with core and alloc from their source; returns the flags for that.
pub(super) fn from_source(cargo: &mut Command) -> Result<Vec<String>> {
    let debian = debian(
        &workspace_root().join("target/toolchain/debian"),
        Arch::X86_64,
    )?;
    let library = debian.join("usr/lib/rustlib/src/rust/library");
    cargo
        .env("RUSTC", debian.join("rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .arg("-Zbuild-std=core,alloc");
    // By the linker that rustup's compiler takes.
    let linker = rust_lld()?.with_file_name("gcc-ld");
    Ok(vec![
        format!("--remap-path-prefix={}/=", library.display()),
        format!("-Clink-arg=-B{}", linker.display()),
        "-Clink-arg=-fuse-ld=lld".into(),
    ])
}

/// `cargo test --lib` of stowaway as `arch`, which runs on this machine.
pub fn unit_tests(arch: Arch) -> Result<Command> {
    if arch == Arch::I686 {
        setup::need(&[setup::Package::GCC_MULTILIB])?;
    }
    let mut cargo = Toolchain::find(arch)?.cargo("test", "-Zbuild-std=std,panic_unwind,test");
    // Tests unwind whatever the profile says; a core built from source must be told, or there would be two of them.
    cargo.arg("--lib").env("CARGO_PROFILE_DEV_PANIC", "unwind");
    Ok(cargo)
}

struct Toolchain {
    arch: Arch,
    /// Where Debian's packages are unpacked, when it is theirs.
    debian: Option<PathBuf>,
}

impl Toolchain {
    fn find(arch: Arch) -> Result<Self> {
        let unpacked = workspace_root().join("target/toolchain/debian");
        let debian = if has_target(arch)? {
            None
        } else if unpacked.join("rustc").exists() || !rustup_adds(arch) {
            Some(debian(&unpacked, arch)?)
        } else {
            None
        };
        Ok(Self { arch, debian })
    }

    /// `cargo COMMAND -p stowaway` for the target. The directory is fixed: cargo reads the workspace from it.
    fn cargo(&self, command: &str, build_std: &str) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace_root()).args([
            command,
            "-p",
            "stowaway",
            "--target",
            self.arch.triple(),
        ]);
        if let Some(debian) = &self.debian {
            // -Z is for nightly compilers, unless the caller insists.
            cargo
                .env("RUSTC", debian.join("rustc"))
                .env("RUSTC_BOOTSTRAP", "1")
                .arg(build_std);
        }
        cargo
    }

    /// Flags that keep this machine's paths out of the file; the places of panics get shorter, too.
    fn remaps(&self) -> Result<Vec<String>> {
        let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
        let registry = env::var_os("CARGO_HOME")
            .map_or_else(|| home.join(".cargo"), PathBuf::from)
            .join("registry/src");
        let mut places = vec![(home, "~"), (workspace_root(), "")];
        for index in fs::read_dir(&registry).into_iter().flatten() {
            let index = index?.path();
            // Cargo follows links on the way there.
            let real = fs::canonicalize(&index)?;
            places.extend([(index, ""), (real, "")]);
        }
        if let Some(debian) = &self.debian {
            places.push((debian.join("usr/lib/rustlib/src/rust/library"), ""));
        }
        // The last one that fits is taken.
        let places = places.iter().filter(|(from, _)| from.parent().is_some());
        Ok(places
            .map(|(from, to)| match *to {
                "" => format!("--remap-path-prefix={}/=", from.display()),
                to => format!("--remap-path-prefix={}={to}", from.display()),
            })
            .collect())
    }
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// What a compiler prints about `arch`'s libraries.
fn target_libdir(arch: Arch) -> Result<PathBuf> {
    let printed =
        setup::quietly(rustc().args(["--print", "target-libdir", "--target", arch.triple()]))?;
    Ok(PathBuf::from(printed.trim_end()))
}

fn has_target(arch: Arch) -> Result<bool> {
    Ok(target_libdir(arch)?.exists())
}

fn rust_lld() -> Result<PathBuf> {
    let path = target_libdir(Arch::X86_64)?
        .with_file_name("bin")
        .join("rust-lld");
    if !path.exists() {
        bail!(
            "this compiler has no {}: use rustup's, which brings its linker",
            path.display()
        );
    }
    Ok(path)
}

/// Whether rustup is here and can fetch the target's standard library.
fn rustup_adds(arch: Arch) -> bool {
    let _waiting = setup::progress(&format!("asking rustup for {}", arch.triple()));
    Command::new("rustup")
        .args(["target", "add", arch.triple()])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Debian's compiler in `dir`, fetched and unpacked when it is not there yet.
fn debian(dir: &Path, arch: Arch) -> Result<PathBuf> {
    let wrapper = dir.join("rustc");
    if wrapper.exists() {
        return Ok(dir.to_path_buf());
    }
    let waiting = setup::progress(&format!(
        "fetching Debian's rustc-web (137 MB) for {}",
        arch.name()
    ));
    unpack(dir, &waiting).with_context(|| {
        format!(
            "rustup cannot add {}, and Debian's rustc-web could not be unpacked instead",
            arch.triple()
        )
    })?;
    // Written last: it says that the rest is complete.
    let fresh = dir.join("rustc.new");
    fs::write(&fresh, WRAPPER)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, &wrapper)?;
    Ok(dir.to_path_buf())
}

fn unpack(dir: &Path, waiting: &setup::Progress) -> Result<()> {
    let debs = dir.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("cannot make {}", debs.display()))?;
    let apt = setup::PrivateApt::new(&dir.join("apt"))?;
    // Two names carry a version: libstd-rust-web-1.96, for example, and the LLVM that it wants.
    let library = apt.dependency("libstd-rust-web-dev", "libstd-rust-web-")?;
    let llvm = apt.dependency(&library, "libllvm")?;
    apt.download(
        &[
            "rustc-web",
            "libstd-rust-web-dev",
            "rust-web-src",
            &library,
            &llvm,
        ],
        &debs,
    )?;
    waiting.say("unpacking Debian's rustc-web");
    for deb in fs::read_dir(&debs)? {
        setup::quietly(Command::new("dpkg").arg("-x").arg(deb?.path()).arg(dir))?;
    }
    fs::remove_dir_all(&debs)?;
    Ok(())
}
