//! `cargo xtask build`: builds the minimised executable `target/stowaway/ARCH/stowaway`, and beside it `stowaway.debug`, the same
//! build with symbols, DWARF and the defmt table.

pub mod loader;
mod minimise;
#[cfg(feature = "workshop")]
mod pack;
#[cfg(feature = "workshop")]
pub mod pieces;
mod steps;
mod toolchain;

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use object::{Object as _, ObjectSymbol as _};

#[cfg(feature = "workshop")]
pub use pack::build_packed;
pub use steps::{Step, print as print_steps};
pub use toolchain::{compiler, unit_tests};

pub use crate::root::workspace_root;
use crate::setup;

/// A processor architecture that stowaway is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// 64-bit PC
    #[value(name = "x86_64")]
    X86_64,
    /// 32-bit PC
    #[value(name = "i686")]
    I686,
    /// 64-bit ARM
    #[value(name = "aarch64")]
    Aarch64,
    /// 32-bit ARM
    #[value(name = "armv7")]
    Armv7,
}

impl Arch {
    /// Every architecture.
    pub const ALL: [Self; 4] = [Self::X86_64, Self::I686, Self::Aarch64, Self::Armv7];
    /// Architectures whose programs the build machine (x86_64) runs without emulation.
    pub const NATIVE: [Self; 2] = [Self::X86_64, Self::I686];

    /// The name of the architecture on the command line and in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I686 => "i686",
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "armv7",
        }
    }

    /// Rust's target triple.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::I686 => "i686-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
        }
    }
}

/// A role or an optional part of the executable: a cargo feature of the package that is in `default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role(&'static str);

impl Role {
    pub const NFS: Self = Self("nfs");
    pub const SFTP_SERVER: Self = Self("sftp-server");
    pub const LS: Self = Self("ls");
    pub const MDNS: Self = Self("mdns");

    /// Every role: the default build.
    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Role>> = LazyLock::new(|| {
            let mut lines = include_str!("../../../Cargo.toml").lines();
            let names = lines.find_map(|line| line.strip_prefix("default = ["));
            let names = names.unwrap_or_default().split('"').skip(1).step_by(2);
            names.map(Role).collect()
        });
        &ALL
    }

    /// The name of the feature in Cargo.toml, and of the role on the command line.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        Self::all()
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0))
    }
}

/// `cargo xtask build`
#[derive(clap::Args)]
pub struct Args {
    /// The architecture to build for
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// Roles to include, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    roles: Vec<Role>,
    /// Also build a packed executable of two thirds the size, which unpacks itself in memory (x86_64 and i686); prints its
    /// path
    #[arg(long)]
    packed: bool,
}

impl Args {
    /// Returns true for `--packed`, which only the program `workshop` implements.
    pub const fn is_packed(&self) -> bool {
        self.packed
    }
}

/// Builds; prints the bytes saved by each step, then the path.
pub fn main(args: Args) -> Result<()> {
    let roles = if args.roles.is_empty() {
        Role::all()
    } else {
        &args.roles[..]
    };
    let made = build_with_steps(args.arch, roles)?;
    print_steps(&made.steps);
    #[cfg(feature = "workshop")]
    if args.packed {
        println!("{}", build_packed(args.arch, roles)?.display());
        return Ok(());
    }
    println!("{}", made.path.display());
    Ok(())
}

/// Path of the executable that [`build`] makes for `arch`.
pub fn path(arch: Arch) -> PathBuf {
    workspace_root()
        .join("target/stowaway")
        .join(arch.name())
        .join("stowaway")
}

/// Path of the executable for `arch` with only `roles`.
pub fn path_with(arch: Arch, roles: &[Role]) -> PathBuf {
    if roles == Role::all() {
        return path(arch);
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    path(arch).with_file_name(names.join("+")).join("stowaway")
}

/// Path of the debug file: symbols, DWARF and defmt table.
pub fn debug_path(arch: Arch) -> PathBuf {
    path(arch).with_extension("debug")
}

/// Builds the executable with all roles for `arch` and returns its path. Returns quickly if nothing changed since the last build.
pub fn build(arch: Arch) -> Result<PathBuf> {
    build_roles(arch, Role::all())
}

/// Builds the executable with only `roles` and returns its path, which depends on the roles.
pub fn build_roles(arch: Arch, roles: &[Role]) -> Result<PathBuf> {
    let path = path_with(arch, roles);
    if is_built(&path) {
        return Ok(path);
    }
    Ok(build_with_steps(arch, roles)?.path)
}

/// Environment variable with the paths of executables that are already built, separated by colons. `cargo xtask test` sets it for
/// the tests.
pub const BUILT_VARIABLE: &str = "STOWAWAY_BUILT";

/// Returns true if the parent process has built `path` (see `BUILT_VARIABLE`).
fn is_built(path: &Path) -> bool {
    env::var_os(BUILT_VARIABLE)
        .is_some_and(|list| env::split_paths(&list).any(|built| built == path))
}

/// The result of a build.
pub struct Build {
    /// Path of the minimised executable.
    pub path: PathBuf,
    /// The linked executable with symbols; also written to the debug file.
    pub linked: Vec<u8>,
    /// Size of the file after each step of minimising.
    pub steps: Vec<Step>,
}

/// Builds the executable with `roles` and writes it and its debug file.
pub fn build_with_steps(arch: Arch, roles: &[Role]) -> Result<Build> {
    let (linked_path, linked) = link(arch, roles)?;
    let file = minimise::minimise(&linked)
        .with_context(|| format!("cannot minimise {}", linked_path.display()))?;
    loader::check(arch, &linked, &file)
        .and_then(|()| match pvh_entry(&linked)? {
            Some(entry) => loader::check_pvh(&file, entry),
            None => Ok(()),
        })
        .with_context(|| format!("{} was minimised wrongly", linked_path.display()))?;
    if let Some(path) = local_path_in(&file) {
        bail!(
            "the executable for {} contains {path}, a path of this machine: add a --remap-path-prefix",
            arch.name()
        );
    }
    let path = path_with(arch, roles);
    replace_file(&path.with_extension("debug"), &linked)?;
    replace_file(&path, &file)?;
    Ok(Build {
        path,
        steps: steps::list_steps(&linked, &file)?,
        linked,
    })
}

/// Address of the entry point on a machine without an operating system; None if the file does not boot there.
pub fn pvh_entry(linked: &[u8]) -> Result<Option<u64>> {
    let symbol = object::File::parse(linked)?
        .symbol_by_name("_start32")
        .map(|symbol| symbol.address());
    Ok(symbol)
}

/// Compiles and links; returns path and content of the linked executable. cargo writes every choice of roles to the same path, so a
/// lock file serialises the builds.
fn link(arch: Arch, roles: &[Role]) -> Result<(PathBuf, Vec<u8>)> {
    let target = workspace_root().join("target");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let path = target.join("stowaway.lock");
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    let linked_path = compile(arch, roles)?;
    let linked =
        fs::read(&linked_path).with_context(|| format!("cannot read {}", linked_path.display()))?;
    Ok((linked_path, linked))
}

/// Path of the executable that [`program`] makes.
pub fn program_path(name: &str) -> PathBuf {
    workspace_root().join("target/programs").join(name)
}

/// Programs from crates.io that tests run, with their versions. They are not linked into stowaway: the licence of fsx is APSL-2.0,
/// that of pjdfstest BSD-2-Clause.
const CRATES: [(&str, &str); 2] = [("fsx", "0.3.2"), ("pjdfstest", "0.2.2")];

/// Builds a program of xtask or of `CRATES`, strips its symbols and returns its path.
pub fn program(name: &str) -> Result<PathBuf> {
    let stripped = program_path(name);
    if is_built(&stripped) {
        return Ok(stripped);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace_root());
    let linked = match CRATES.iter().find(|(of, _)| *of == name) {
        Some((_, version)) => install(cargo, name, version)?,
        None => {
            cargo.args(["build", "--quiet", "--profile", "tools", "-p", "xtask"]);
            cargo.args(["--features", "workshop", "--bin", name]);
            run_cargo(cargo, name)?
        }
    };
    let dir = stripped.parent().context("no parent directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // The symbols are removed because the program becomes part of an initramfs, which takes up memory of the guest.
    let fresh = tempfile::NamedTempFile::new_in(dir)?;
    setup::run_captured(
        Command::new("strip")
            .arg("-o")
            .arg(fresh.path())
            .arg(&linked),
    )?;
    replace_file(&stripped, &fs::read(fresh.path())?)?;
    Ok(stripped)
}

/// Installs a crate's program once, with the dependency versions of the crate's own Cargo.lock; returns the program's path.
fn install(mut cargo: Command, name: &str, version: &str) -> Result<PathBuf> {
    let all = workspace_root().join("target/programs/crates");
    let root = all.join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        let _waiting = setup::progress(&format!("building {name} {version} from crates.io"));
        cargo.args(["install", "--quiet", "--locked", name, "--version", version]);
        cargo.arg("--root").arg(&root);
        cargo.arg("--target-dir").arg(all.join("build"));
        // Not optimised, so that compiling takes less time: these programs mostly wait for the server.
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        setup::run_captured(&mut cargo)?;
    }
    Ok(program)
}

/// The last commit that changed the compiled files: that of STOWAWAY_COMMIT, which builders of an unpacked archive set, or of git.
pub fn commit() -> String {
    if let Ok(commit) = std::env::var("STOWAWAY_COMMIT") {
        return commit;
    }
    let mut git = Command::new("git");
    git.current_dir(workspace_root());
    git.args(["log", "-1", "--format=%h", "--abbrev=12", "--"]);
    git.args(["src", "linker", "Cargo.toml", "Cargo.lock"]);
    match setup::run_captured(&mut git) {
        Ok(commit) if !commit.is_empty() => commit.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Compiles stowaway with `roles` and returns the path of the linked executable.
fn compile(arch: Arch, roles: &[Role]) -> Result<PathBuf> {
    let mut cargo = toolchain::for_file(arch)?;
    let features: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    cargo.args(["--bin", "stowaway", "--release", "--no-default-features"]);
    cargo.args(["--features", &features.join(",")]);
    cargo.env("STOWAWAY_COMMIT", commit());
    run_cargo(cargo, &format!("stowaway for {}", arch.name()))
}

/// Runs a `cargo build` of one program and returns the path of the linked executable.
fn run_cargo(mut cargo: Command, what: &str) -> Result<PathBuf> {
    let mut child = cargo
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let messages = child.stdout.take().context("cargo has no stdout")?;
    let mut linked = None;
    for line in BufReader::new(messages).lines() {
        let message: serde_json::Value =
            serde_json::from_str(&line?).context("cargo's messages are not JSON")?;
        if let Some(path) = message["executable"].as_str() {
            linked = Some(PathBuf::from(path));
        }
    }
    if !child.wait()?.success() {
        bail!("cargo failed to build {what}; its messages are above");
    }
    linked.with_context(|| format!("cargo reported no executable for {what}"))
}

/// Returns the home directory or the workspace root if `file` contains its path: the executable must not depend on the machine.
fn local_path_in(file: &[u8]) -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    [home, workspace_root().display().to_string()]
        .into_iter()
        .find(|path| {
            let needle = format!("{path}/").into_bytes();
            needle.len() > 1 && file.windows(needle.len()).any(|window| window == needle)
        })
}

/// Replaces a program atomically (rename), because another process may be starting the old one. Does nothing if the bytes are
/// equal.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let dir = path.parent().context("no parent directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let write = || -> Result<()> {
        let fresh = tempfile::NamedTempFile::new_in(dir)?;
        fs::write(fresh.path(), bytes)?;
        fs::set_permissions(fresh.path(), fs::Permissions::from_mode(0o755))?;
        fresh.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
