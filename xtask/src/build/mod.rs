//! `cargo xtask build`: the finished, minimised file at `target/stowaway/ARCH/stowaway`, and `stowaway.debug` beside
//! it with the symbols, the DWARF and the defmt table of exactly that file.

mod minimise;
#[cfg(feature = "workshop")]
mod pack;
mod prove;
mod steps;
mod toolchain;
mod variant;

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

#[cfg(feature = "workshop")]
pub use pack::build_packed;
pub use steps::{Step, print as print_steps};
pub use toolchain::unit_tests;
pub use variant::{VARIANTS, Variant, bytes_of_copy};

use crate::setup;

/// A processor that stowaway is built for.
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
    /// All that are in the file when nobody says which.
    pub const ALL: [Self; 4] = [Self::X86_64, Self::I686, Self::Aarch64, Self::Armv7];
    /// Those whose programs this machine's own processor runs.
    pub const NATIVE: [Self; 2] = [Self::X86_64, Self::I686];

    /// As on the command line and in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I686 => "i686",
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "armv7",
        }
    }

    /// The compiler's name for it.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::I686 => "i686-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
        }
    }
}

/// What the file can do; each is a feature of the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// NFS server
    Nfs,
    /// Watches over the NFS server
    Serve,
    /// SFTP server
    SftpServer,
    /// What is inside ISO images
    Iso,
    /// What boots images by iPXE
    Ipxe,
    /// Lists and reads what is inside them, by hand
    Ls,
    /// Says whether it serves
    Check,
    /// Announces host and services by multicast DNS
    Mdns,
    /// Prints what others announce
    Browse,
    /// Announces one service or name
    Publish,
    /// Prints the addresses of hosts, and the names of addresses
    Resolve,
    /// A network stack of their own for all of these
    Smol,
    /// The first process of a machine with Linux
    Init,
    /// The start of a machine of its own, without an operating system
    Bare,
}

impl Role {
    /// All that are in the file when nobody says which.
    pub const ALL: [Self; 14] = [
        Self::Nfs,
        Self::Serve,
        Self::SftpServer,
        Self::Iso,
        Self::Ipxe,
        Self::Ls,
        Self::Check,
        Self::Mdns,
        Self::Browse,
        Self::Resolve,
        Self::Publish,
        Self::Smol,
        Self::Bare,
        Self::Init,
    ];

    /// As on the command line and in Cargo.toml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nfs => "nfs",
            Self::Serve => "serve",
            Self::SftpServer => "sftp-server",
            Self::Iso => "iso",
            Self::Ipxe => "ipxe",
            Self::Ls => "ls",
            Self::Check => "check",
            Self::Mdns => "mdns",
            Self::Browse => "browse",
            Self::Publish => "publish",
            Self::Resolve => "resolve",
            Self::Smol => "smol",
            Self::Init => "init",
            Self::Bare => "bare",
        }
    }
}

/// `cargo xtask build`
#[derive(clap::Args)]
pub struct Args {
    /// The processor to build for
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// What it can do, with commas between; everything when absent
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    roles: Vec<Role>,
    /// Also, for PCs, a file of two thirds that unpacks itself in memory, beside the plain one; its path is printed instead
    #[arg(long)]
    packed: bool,
}

impl Args {
    /// Whether a packed file is asked for, too: the workshop makes it.
    pub const fn is_packed(&self) -> bool {
        self.packed
    }
}

/// Builds, prints what each step saved, and last the path.
pub fn main(args: Args) -> Result<()> {
    let roles = if args.roles.is_empty() {
        &Role::ALL
    } else {
        &args.roles[..]
    };
    let made = make(args.arch, roles)?;
    print_steps(&made.steps);
    #[cfg(feature = "workshop")]
    if args.packed {
        println!("{}", build_packed(args.arch, roles)?.display());
        return Ok(());
    }
    println!("{}", made.path.display());
    Ok(())
}

/// The directory of the whole project.
///
/// Asked at run time, not compiled in: a checkout that was copied with its target directory builds itself. Cargo says where xtask
/// lies in CARGO_MANIFEST_DIR; a program that was started by itself lies in the project's target directory.
pub fn workspace_root() -> PathBuf {
    let started =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(env::current_exe, |dir| Ok(dir.into()));
    started
        .iter()
        .flat_map(|path| path.ancestors())
        // Opened, as some tests refuse the calls that std looks for files by.
        .find(|dir| fs::File::open(dir.join("xtask/Cargo.toml")).is_ok())
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Where `build` leaves the file of `arch`.
pub fn path(arch: Arch) -> PathBuf {
    workspace_root()
        .join("target/stowaway")
        .join(arch.name())
        .join("stowaway")
}

/// The same for the file that can do no more than `roles`.
pub fn path_with(arch: Arch, roles: &[Role]) -> PathBuf {
    if roles == Role::ALL {
        return path(arch);
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    path(arch).with_file_name(names.join("+")).join("stowaway")
}

/// Where `build` leaves its symbols, DWARF and defmt table.
pub fn debug_path(arch: Arch) -> PathBuf {
    path(arch).with_extension("debug")
}

/// Builds the finished file for `arch` and returns its path. Quick when nothing changed.
pub fn build(arch: Arch) -> Result<PathBuf> {
    build_roles(arch, &Role::ALL)
}

/// The same, able to do no more than `roles`: what can do less than everything lies in a directory of its own.
pub fn build_roles(arch: Arch, roles: &[Role]) -> Result<PathBuf> {
    let path = path_with(arch, roles);
    if is_built(&path) {
        return Ok(path);
    }
    Ok(make(arch, roles)?.path)
}

/// Names the files that were built already and need not be built again: a list of paths, as PATH is one.
pub const BUILT_VARIABLE: &str = "STOWAWAY_BUILT";

/// Whether somebody who started us has just built this file.
fn is_built(path: &Path) -> bool {
    env::var_os(BUILT_VARIABLE)
        .is_some_and(|list| env::split_paths(&list).any(|built| built == path))
}

/// The finished file, and what it was made of.
pub struct Made {
    /// Where it lies.
    pub path: PathBuf,
    /// What was linked, with its symbols; it lies beside the file.
    pub linked: Vec<u8>,
    /// What each step saved.
    pub steps: Vec<Step>,
}

/// Builds, and keeps what lies between the steps.
pub fn make(arch: Arch, roles: &[Role]) -> Result<Made> {
    let (place, linked) = link(arch, roles)?;
    let file = minimise::minimise(&linked)
        .with_context(|| format!("cannot minimise {}", place.display()))?;
    prove::prove(&linked, &file)
        .with_context(|| format!("{} was minimised wrongly", place.display()))?;
    if let Some(place) = builders_place(&file) {
        bail!(
            "the file for {} names {place}, a place of this machine: remap it",
            arch.name()
        );
    }
    let place = path_with(arch, roles);
    put(&place.with_extension("debug"), &linked)?;
    put(&place, &file)?;
    Ok(Made {
        path: place,
        steps: steps::of(&linked, &file)?,
        linked,
    })
}

/// Compiles and links: where, and what it is. cargo puts all choices of roles to the same place, so one waits for the other.
fn link(arch: Arch, roles: &[Role]) -> Result<(PathBuf, Vec<u8>)> {
    let target = workspace_root().join("target");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let path = target.join("stowaway.lock");
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    lock.lock().context("cannot wait for another build")?;
    let place = compile(arch, roles)?;
    let linked = fs::read(&place).with_context(|| format!("cannot read {}", place.display()))?;
    Ok((place, linked))
}

/// Where `program` leaves a program.
pub fn program_path(name: &str) -> PathBuf {
    workspace_root().join("target/programs").join(name)
}

/// Programs of crates.io that tests run, with their versions. They are tools, linked into nothing of ours: fsx comes under
/// APSL-2.0, pjdfstest under BSD-2-Clause.
const CRATES: [(&str, &str); 2] = [("fsx", "0.3.2"), ("pjdfstest", "0.2.2")];

/// Builds a program of xtask's own or of one of `CRATES`, without its symbols, and returns its path.
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
    let place = stripped.parent().context("no directory")?;
    fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    // With symbols it would fill a guest's memory.
    let fresh = tempfile::NamedTempFile::new_in(place)?;
    setup::quietly(
        Command::new("strip")
            .arg("-o")
            .arg(fresh.path())
            .arg(&linked),
    )?;
    put(&stripped, &fs::read(fresh.path())?)?;
    Ok(stripped)
}

/// Builds the only program of a crate once, with the crates that its author tested it with; returns its path.
fn install(mut cargo: Command, name: &str, version: &str) -> Result<PathBuf> {
    let all = workspace_root().join("target/programs/crates");
    let root = all.join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        let _waiting = setup::progress(&format!("building {name} {version} of crates.io"));
        cargo.args(["install", "--quiet", "--locked", name, "--version", version]);
        cargo.arg("--root").arg(&root);
        cargo.arg("--target-dir").arg(all.join("build"));
        setup::quietly(&mut cargo)?;
    }
    Ok(program)
}

/// Runs cargo and returns the file that the linker wrote.
fn compile(arch: Arch, roles: &[Role]) -> Result<PathBuf> {
    let mut cargo = toolchain::for_file(arch)?;
    let features: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    cargo.args(["--bin", "stowaway", "--release", "--no-default-features"]);
    cargo.args(["--features", &features.join(",")]);
    run_cargo(cargo, &format!("stowaway for {}", arch.name()))
}

/// Runs a `cargo build` of one program and returns the file that the linker wrote.
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
        bail!("cargo could not build {what}; its messages are above");
    }
    linked.with_context(|| format!("cargo built no file for {what}"))
}

/// The home directory or the project's, when the bytes contain it.
fn builders_place(file: &[u8]) -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    [home, workspace_root().display().to_string()]
        .into_iter()
        .find(|place| {
            let needle = format!("{place}/").into_bytes();
            needle.len() > 1 && file.windows(needle.len()).any(|window| window == needle)
        })
}

/// Replaces a program in one step, because another test may be starting the old one. Leaves an equal one alone.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let dir = path.parent().context("no directory")?;
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
