//! Chooses compiler, linker and flags that build stowaway and its unit tests for an architecture.
//!
//! x86_64 is the host target. For the other targets, rustup adds the standard library. If rustup is missing or cannot download,
//! Debian's `rustc-web` is unpacked under target/toolchain (not installed) and builds the standard library from source.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{Arch, workspace_root};
use crate::setup;

/// Shell script that starts Debian's compiler from the directory where it was unpacked. Sets LD_LIBRARY_PATH because the dynamic
/// linker does not search that directory for the compiler's libraries.
const WRAPPER: &str = r#"#!/bin/sh
root=$(dirname "$0")
libraries=lib/x86_64-linux-gnu
LD_LIBRARY_PATH=$root/usr/$libraries:$root/$libraries exec "$root/usr/bin/rustc" "$@"
"#;

/// A `cargo build` command for stowaway, with target, compiler, linker and flags set.
pub(super) fn for_file(arch: Arch) -> Result<Command> {
    let toolchain = Toolchain::find(arch)?;
    let mut flags = toolchain.remaps()?;
    // The executable is linked at a fixed address: without this flag, rustc generates position-independent code.
    flags.push("-Crelocation-model=static".into());
    // A jump table costs eight bytes a case, a comparison three to five. Saves 1.3 % of the executable.
    flags.push("-Cjump-tables=no".into());
    let mut arguments = vec![
        // Recomputing a value is shorter than keeping it in a register from before a loop or from an earlier use. Saves 1.2 %.
        "disable-machine-licm",
        "disable-machine-cse",
        "disable-licm-promotion",
        // Orders basic blocks for few jumps (ext-TSP). By default, LLVM does this only when it optimises for speed. Saves 0.5 %.
        "apply-ext-tsp-for-size",
        // Inline slightly more: LLVM underestimates the size of a call at opt-level z. Saves 1.5 %.
        "inline-threshold=12",
        "inline-call-penalty=30",
        "inline-memaccess-cost=3",
    ];
    if Arch::NATIVE.contains(&arch) {
        // A function that uses the red zone cannot use push/pop, which load a small constant in three bytes instead of ten.
        flags.push("-Cno-redzone=yes".into());
        // Interprocedural register allocation: a caller saves only the registers that its callee changes. Saves 1.8 %.
        arguments.push("enable-ipra");
    }
    flags.extend(
        arguments
            .iter()
            .map(|argument| format!("-Cllvm-args=-{argument}")),
    );
    // The software SHA-256 as a loop instead of 64 unrolled rounds. Saves 9,700 bytes.
    flags.push("--cfg=sha2_backend_soft=\"compact\"".into());
    if arch == Arch::Aarch64 {
        // Software SHA-256 only: sha2's detection of the CPU extension calls a C library.
        flags.push("--cfg=sha2_256_backend=\"soft\"".into());
        // Inline atomics: the outlined ones detect LSE instructions through a C library.
        flags.push("-Ctarget-feature=-outline-atomics".into());
    }
    if toolchain.debian.is_none() {
        // rust-lld contains LLVM and optimises the whole program once more. Only after our panic handler has been inlined into
        // core's panic functions does LLVM see that the panic messages are unused. Saves 12,000 bytes of smoltcp's messages and
        // core::fmt.
        flags.push("-Clinker-plugin-lto".into());
        let mut to_linker = vec![
            // Run the LTO passes twice. Between them remove checks that inlining has made redundant, and move equal instructions of
            // several branches behind these (gvn-sink). Saves 1.6 %.
            "--lto-newpm-passes=lto<Oz>,function(constraint-elimination,correlated-propagation,gvn-sink,simplifycfg),lto<Oz>".into(),
        ];
        for argument in arguments {
            to_linker.extend(["-mllvm".into(), format!("-{argument}")]);
        }
        for argument in to_linker {
            // x86_64 links through cc, which passes arguments on with -Xlinker.
            if arch == Arch::X86_64 {
                flags.push("-Clink-arg=-Xlinker".into());
            }
            flags.push(format!("-Clink-arg={argument}"));
        }
    }
    let mut cargo = toolchain.cargo("build", "-Zbuild-std=core,alloc");
    if arch != Arch::X86_64 {
        // The executable has no libc and no crt files, so rust-lld links it without a cross gcc.
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

/// `cargo test --lib` of stowaway for `arch`, which must be one of `Arch::NATIVE`.
pub fn unit_tests(arch: Arch) -> Result<Command> {
    if arch == Arch::I686 {
        setup::install_packages(&["gcc-multilib"])?;
    }
    let mut cargo = Toolchain::find(arch)?.cargo("test", "-Zbuild-std=std,panic_unwind,test");
    // cargo ignores the profile's panic setting for tests, but not for a core built from source: without this, two versions of core
    // would be linked.
    cargo.arg("--lib").env("CARGO_PROFILE_DEV_PANIC", "unwind");
    Ok(cargo)
}

/// Version of the compiler that builds for `arch`, such as `1.95.0 (59807616e 2026-04-14)`.
pub fn compiler(arch: Arch) -> Result<String> {
    let mut compiler = match Toolchain::find(arch)?.debian {
        Some(debian) => Command::new(debian.join("rustc")),
        None => rustc(),
    };
    let printed = setup::run_captured(compiler.arg("--version"))?;
    let version = printed.trim().strip_prefix("rustc ");
    Ok(version.unwrap_or(&printed).to_owned())
}

struct Toolchain {
    arch: Arch,
    /// Directory of the unpacked Debian compiler. None if the default toolchain is used.
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

    /// `cargo COMMAND -p stowaway` for the target, run in the workspace root.
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
            // RUSTC_BOOTSTRAP allows -Z options with a stable compiler.
            cargo
                .env("RUSTC", debian.join("rustc"))
                .env("RUSTC_BOOTSTRAP", "1")
                .arg(build_std);
        }
        cargo
    }

    /// `--remap-path-prefix` flags that keep this machine's paths out of the executable. They also shorten the paths of panic
    /// locations.
    fn remaps(&self) -> Result<Vec<String>> {
        let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
        let registry = env::var_os("CARGO_HOME")
            .map_or_else(|| home.join(".cargo"), PathBuf::from)
            .join("registry/src");
        let mut remaps = vec![(home, "~"), (workspace_root(), "")];
        for index in fs::read_dir(&registry).into_iter().flatten() {
            let index = index?.path();
            // cargo passes paths to rustc with symbolic links resolved, so the resolved path must be remapped.
            let real = fs::canonicalize(&index)?;
            remaps.extend([(index, ""), (real, "")]);
        }
        if let Some(debian) = &self.debian {
            remaps.push((debian.join("usr/lib/rustlib/src/rust/library"), ""));
        }
        // rustc applies the last prefix that matches, so the home directory comes first. A home directory of "/" is left out,
        // because it would match everything.
        let remaps = remaps.iter().filter(|(from, _)| from.parent().is_some());
        Ok(remaps
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

/// Directory of the compiler's libraries for `arch`.
fn target_libdir(arch: Arch) -> Result<PathBuf> {
    let printed =
        setup::run_captured(rustc().args(["--print", "target-libdir", "--target", arch.triple()]))?;
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
            "the compiler has no {}: install Rust with rustup, which includes rust-lld",
            path.display()
        );
    }
    Ok(path)
}

/// Runs `rustup target add`. Returns false if rustup is missing or the download fails.
fn rustup_adds(arch: Arch) -> bool {
    let _waiting = setup::progress(&format!("asking rustup for {}", arch.triple()));
    Command::new("rustup")
        .args(["target", "add", arch.triple()])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Downloads and unpacks Debian's compiler to `dir` on first use.
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
            "rustup cannot add {}, and Debian's rustc-web cannot be unpacked instead",
            arch.triple()
        )
    })?;
    // The wrapper is written last, because its existence means that unpacking is complete.
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
    // The names of two packages contain a version: libstd-rust-web-1.96, for example, and its libllvm. So they are looked up as
    // dependencies.
    let library = apt.dependency("libstd-rust-web-dev", "libstd-rust-web-")?;
    let llvm = apt.dependency(&library, "libllvm")?;
    apt.download(
        &["rustc-web", "libstd-rust-web-dev", "rust-web-src", &library],
        &debs,
    )?;
    // A bare Debian has only some of LLVM's own dependencies.
    apt.download_all(&[&llvm], &debs)?;
    waiting.set_message("unpacking Debian's rustc-web");
    for deb in fs::read_dir(&debs)? {
        let deb = deb?;
        let name = deb.file_name();
        // Programs run with this machine's dynamic linker, which needs the C library of its own build.
        let is_libc = name.as_encoded_bytes().starts_with(b"libc6_");
        if deb.path().extension().is_some_and(|it| it == "deb") && !is_libc {
            setup::run_captured(Command::new("dpkg").arg("-x").arg(deb.path()).arg(dir))?;
        }
    }
    fs::remove_dir_all(&debs)?;
    Ok(())
}
