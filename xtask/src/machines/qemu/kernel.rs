//! A Debian kernel for guests: downloaded and unpacked under target/, never installed.
//!
//! It stays there until target/ is cleaned. Modules are found with all that they need by what they say of themselves,
//! because the package has no modules.dep: that is made when a kernel is installed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};
use walkdir::WalkDir;

use crate::build::workspace_root;
use crate::setup;

/// An unpacked kernel package.
pub struct Kernel {
    /// What QEMU starts.
    pub image: PathBuf,
    modules: HashMap<String, PathBuf>,
}

/// The kernel that the meta-package `package` depends on.
pub fn fetch(package: &str) -> Result<Kernel> {
    let all = workspace_root().join("target/qemu");
    let home = all.join(package);
    if !home.exists() {
        let _waiting = setup::progress(&format!("downloading {package} (27 MB)"));
        fs::create_dir_all(&all).with_context(|| format!("cannot make {}", all.display()))?;
        let work = tempfile::tempdir_in(&all)
            .with_context(|| format!("cannot make a directory in {}", all.display()))?;
        download(package, work.path())?;
        // Whole or not at all; when another process was faster, its kernel is as good as ours.
        if let Err(error) = fs::rename(work.path().join("tree"), &home) {
            fs::metadata(&home).with_context(|| {
                format!("cannot move the kernel to {} ({error})", home.display())
            })?;
        }
    }
    Kernel::in_tree(&home)
}

/// Unpacks the real package behind `package` into `work`/tree.
fn download(package: &str, work: &Path) -> Result<()> {
    if try_download(package, work).is_err() {
        // The mirror's list of packages is missing or old.
        let update = run(Command::new("apt-get").args(["-q", "update"]));
        try_download(package, work).with_context(|| match update {
            Ok(()) => "cannot download a kernel for the guest".into(),
            Err(error) => format!(
                "cannot download a kernel for the guest. Type: sudo apt-get update ({error})"
            ),
        })?;
    }
    let archive = fs::read_dir(work)?
        .next()
        .context("apt-get download left no file")??
        .path();
    run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(&archive)
        .arg(work.join("tree")))
}

fn try_download(package: &str, work: &Path) -> Result<()> {
    let name = real_name(package)?;
    run(Command::new("apt-get")
        .args(["-q", "download", &name])
        .current_dir(work))
}

/// The first package that `package` depends on.
fn real_name(package: &str) -> Result<String> {
    let output = Command::new("apt-cache")
        .args(["depends", package])
        .output()
        .context("cannot start apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let name = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(name
        .with_context(|| format!("apt-cache knows no kernel behind {package}"))?
        .to_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

impl Kernel {
    fn in_tree(home: &Path) -> Result<Self> {
        let mut image = None;
        let mut modules = HashMap::new();
        for entry in WalkDir::new(home) {
            let path = entry?.into_path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("vmlinuz-") {
                image = Some(path);
            } else if let Some(module) = name.strip_suffix(".ko") {
                modules.insert(module.replace('-', "_"), path);
            }
        }
        let image = image.with_context(|| {
            format!(
                "{0} holds no kernel: remove it and try again",
                home.display()
            )
        })?;
        Ok(Self { image, modules })
    }

    /// The files of `wanted` and of all that they depend on, in the order of loading.
    pub fn modules(&self, wanted: &[String]) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in wanted {
            self.add(name, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<()> {
        let path = self.modules.get(&name.replace('-', "_"));
        let path = path
            .with_context(|| format!("{} comes without a module '{name}'", self.image.display()))?;
        if order.contains(path) {
            return Ok(());
        }
        for needed in dependencies(path)? {
            self.add(&needed, order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

/// The `depends=` of a module file.
fn dependencies(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let info = object::File::parse(&*bytes)
        .ok()
        .and_then(|file| {
            file.section_by_name(".modinfo")?
                .uncompressed_data()
                .ok()
                .map(|data| data.into_owned())
        })
        .with_context(|| format!("{} is not a kernel module", path.display()))?;
    let info = String::from_utf8_lossy(&info);
    let depends = info
        .split('\0')
        .find_map(|field| field.strip_prefix("depends="));
    Ok(depends
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}
