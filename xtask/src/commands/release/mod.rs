//! `cargo xtask release`: everything that people download, in one directory, with SHA256SUMS and a list of the linked crates.
//!
//! The files are reproducible: they depend on the commit and the compiler, and contain the commit's time (SOURCE_DATE_EPOCH) and no
//! other. Nothing is uploaded or signed.

mod deb;
mod files;
mod recipes;
mod rpm;
mod sbom;
mod vib;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest, Sha256, Sha512};
use walkdir::WalkDir;

use super::image::{self, description::Description};
use crate::build::{self, Arch, Role, workspace_root};
use crate::machines::qemu::initramfs;
use crate::setup;

/// `cargo xtask release`
#[derive(clap::Args)]
pub struct Args {
    /// Directory for the files [default: target/stowaway/release]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Architectures, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    arch: Vec<Arch>,
    /// Roles to include, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    roles: Vec<Role>,
    /// Address that the files will be downloaded from, for the package recipes [default: a placeholder with the version]
    #[arg(long)]
    url: Option<String>,
}

/// Environment variable with the time of all files, in seconds since 1970 (reproducible-builds.org).
const TIME_VARIABLE: &str = "SOURCE_DATE_EPOCH";
/// Roles that are also built alone. Each file has the name of the program that it replaces.
const ALONE: [Role; 3] = [Role::SFTP_SERVER, Role::NFS, Role::MDNS];
/// File with the sums of all other files. Its presence marks a directory as a release.
const SUMS: &str = "SHA256SUMS";

/// The parameters of a release, the same for all files.
struct Release {
    archs: Vec<Arch>,
    roles: Vec<Role>,
    version: &'static str,
    /// SOURCE_DATE_EPOCH.
    seconds: u32,
    url: String,
}

/// The files of a release by their paths in its directory.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, File>,
}

struct File {
    bytes: Vec<u8>,
    is_executable: bool,
}

/// Makes the release; prints its directory.
pub fn main(args: Args) -> Result<()> {
    let Some(seconds) = env::var_os(TIME_VARIABLE) else {
        return restart_with_time();
    };
    let seconds = seconds.to_string_lossy();
    let seconds = seconds
        .parse()
        .with_context(|| format!("{TIME_VARIABLE}={seconds}: expected seconds since 1970"))?;
    let or_all = |list: Vec<Role>| match list.is_empty() {
        true => Role::all().to_vec(),
        false => list,
    };
    let archs = match args.arch.is_empty() {
        true => Arch::ALL.to_vec(),
        false => args.arch,
    };
    let version = env!("CARGO_PKG_VERSION");
    // RFC 2606 reserves "invalid": a recipe with this address fails visibly.
    let placeholder = || format!("https://stowaway.invalid/{version}");
    let release = Release {
        archs,
        roles: or_all(args.roles),
        version,
        seconds,
        url: args.url.unwrap_or_else(placeholder),
    };
    let out = args
        .out
        .unwrap_or_else(|| workspace_root().join("target/stowaway/release"));
    check_replaceable(&out)?;
    release.make(&out)?;
    println!("{}", out.display());
    Ok(())
}

/// Starts this program again with the time of the last commit in the environment, where cargo and cargo-deb read it (execve).
fn restart_with_time() -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(workspace_root())
        .args(["log", "-1", "--format=%ct"]);
    let time = setup::run_captured(&mut git)
        .with_context(|| format!("cannot read the commit's time from git: set {TIME_VARIABLE}"))?;
    let mut again = Command::new(env::current_exe()?);
    let again = again
        .args(env::args_os().skip(1))
        .env(TIME_VARIABLE, time.trim());
    Err(again.exec()).context("cannot start xtask again")
}

/// Fails if `out` exists and is not an older release, which would be lost.
fn check_replaceable(out: &Path) -> Result<()> {
    let is_empty = fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    ensure!(
        is_empty || out.join(SUMS).exists(),
        "{} has files, but no {SUMS}: name another directory",
        out.display()
    );
    Ok(())
}

/// A part of a release, with the name for the progress display.
type Part = (&'static str, fn(&Release, &mut Tree, &Path) -> Result<()>);

impl Release {
    /// The parts in the order in which they are made: later parts use files of earlier ones.
    const PARTS: [Part; 8] = [
        ("executables", Self::add_executables),
        ("container images", Self::add_images),
        ("machines", Self::add_machines),
        ("linked crates", sbom::add),
        ("man pages, completions, samples", files::add),
        (".deb packages", deb::add),
        (".rpm packages", rpm::add),
        ("recipes and the .vib", Self::add_recipes),
    ];

    /// Makes all files in a temporary directory beside `out`, and moves that directory to `out`.
    fn make(&self, out: &Path) -> Result<()> {
        let parent = out.parent().context("--out needs a directory's name")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let fresh = tempfile::Builder::new()
            .prefix(".release-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            })?;
        let mut tree = Tree::default();
        for (index, (name, part)) in Self::PARTS.iter().enumerate() {
            let started_at = Instant::now();
            let count = Self::PARTS.len();
            let waiting = setup::progress(&format!("{} of {count}: {name}", index + 1));
            part(self, &mut tree, fresh.path())
                .with_context(|| format!("cannot make the {name}"))?;
            let seconds = started_at.elapsed().as_secs_f32();
            waiting.println(&format!("{} of {count}: {name}: {seconds:.1} s", index + 1));
        }
        tree.write(fresh.path())?;
        fs::write(fresh.path().join(SUMS), sums(fresh.path())?)?;
        if out.exists() {
            fs::remove_dir_all(out)?;
        }
        fs::rename(fresh.keep(), out).with_context(|| format!("cannot rename to {}", out.display()))
    }

    /// Builds each executable once, plain and with its debug file; packed ones for PCs.
    fn add_executables(&self, tree: &mut Tree, _: &Path) -> Result<()> {
        for &arch in &self.archs {
            let alone = ALONE.into_iter().filter(|role| self.roles.contains(role));
            let alone = alone.map(|role| (role.name(), vec![role]));
            let all = std::iter::once(("stowaway", self.roles.clone()));
            for (name, roles) in all.chain(alone) {
                let _waiting = setup::progress(&format!("building {name} for {}", arch.name()));
                let path = build::build_roles(arch, &roles)?;
                let debug = path.with_extension("debug");
                tree.add(format!("{}/{name}", arch.name()), read(&path)?);
                tree.add(format!("debug/{}/{name}.debug", arch.name()), read(&debug)?);
                tree.allow_execution(&format!("{}/{name}", arch.name()));
            }
            if Arch::NATIVE.contains(&arch) {
                let path = build::build_packed(arch, &self.roles)?;
                let name = format!("{}/stowaway.packed", arch.name());
                tree.add(name.clone(), read(&path)?);
                tree.allow_execution(&name);
            }
        }
        Ok(())
    }

    fn add_images(&self, tree: &mut Tree, out: &Path) -> Result<()> {
        let mut executables = Vec::new();
        for &arch in &self.archs {
            executables.push((arch, tree.program(arch)?.to_vec()));
        }
        let paths = image::OutputPaths::in_directory(out);
        image::write(&executables, &Description::load()?, &paths)?;
        Ok(())
    }

    /// Adds image/machines, and the initramfs. The microVM modes exist for x86_64 only.
    fn add_machines(&self, tree: &mut Tree, _: &Path) -> Result<()> {
        if !self.archs.contains(&Arch::X86_64) {
            return Ok(());
        }
        for name in ["qemu.sh", "libvirt.xml", "firecracker.json"] {
            let bytes = read(&workspace_root().join("image/machines").join(name))?;
            tree.add(format!("machines/{name}"), bytes);
        }
        tree.allow_execution("machines/qemu.sh");
        let initramfs = initramfs::of_own(tree.program(Arch::X86_64)?)?;
        tree.add("machines/initramfs.cpio".into(), initramfs);
        Ok(())
    }

    fn add_recipes(&self, tree: &mut Tree, _: &Path) -> Result<()> {
        if self.archs.contains(&Arch::X86_64) {
            let vib = vib::make(self, tree.program(Arch::X86_64)?)?;
            tree.add("packages/stowaway.vib".into(), vib);
        }
        recipes::add(self, tree)
    }

    /// The time of all files, formatted by date(1) in UTC.
    fn date(&self, format: &str) -> Result<String> {
        let mut date = Command::new("date");
        date.args(["-u", "-d", &format!("@{}", self.seconds), format])
            .env("LC_ALL", "C");
        Ok(setup::run_captured(&mut date)?.trim().to_owned())
    }
}

impl Tree {
    fn add(&mut self, path: String, bytes: Vec<u8>) {
        let file = File {
            bytes,
            is_executable: false,
        };
        self.files.insert(path, file);
    }

    fn allow_execution(&mut self, path: &str) {
        if let Some(file) = self.files.get_mut(path) {
            file.is_executable = true;
        }
    }

    fn get(&self, path: &str) -> Result<&[u8]> {
        let file = self.files.get(path);
        Ok(&file
            .with_context(|| format!("the release has no {path}"))?
            .bytes)
    }

    /// The executable with all roles of the release.
    fn program(&self, arch: Arch) -> Result<&[u8]> {
        self.get(&format!("{}/stowaway", arch.name()))
    }

    fn write(&self, out: &Path) -> Result<()> {
        for (path, file) in &self.files {
            let path = out.join(path);
            let dir = path.parent().context("no directory")?;
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            fs::write(&path, &file.bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
            let mode = if file.is_executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// The lines of SHA256SUMS for `sha256sum --check`, one for each file below `dir`.
fn sums(dir: &Path) -> Result<String> {
    let mut lines = String::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.context("cannot list the release")?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(dir)?;
            lines += &format!("{}  {}\n", sha256(&read(entry.path())?), path.display());
        }
    }
    Ok(lines)
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn sha512(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a text of image/packages.
fn template(name: &str) -> Result<String> {
    let path = workspace_root().join("image/packages").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Replaces `from`, which must occur exactly once.
fn replace_once(text: &str, from: &str, to: &str) -> Result<String> {
    match text.matches(from).count() {
        1 => Ok(text.replace(from, to)),
        count => bail!("{from:?} occurs {count} times, once was expected"),
    }
}
