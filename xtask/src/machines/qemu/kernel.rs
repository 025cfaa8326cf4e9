//! A Debian kernel for guests: downloaded and unpacked under target/qemu, never installed.
//!
//! Module dependencies are read from the `.modinfo` sections, because the package has no modules.dep; that file is made when a
//! kernel is installed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};
use walkdir::WalkDir;

use super::{cached_directory, unpack};
use crate::setup::PrivateApt;

pub struct Kernel {
    /// The compressed kernel, for QEMU's -kernel.
    pub image: PathBuf,
    modules: HashMap<String, PathBuf>,
}

/// Fetches the kernel package on which the meta-package `package` depends.
pub fn fetch(package: &str) -> Result<Kernel> {
    let waiting = format!("downloading {package} (27 MB)");
    let home = cached_directory(package, &waiting, |work| {
        let (debs, tree) = (work.join("debs"), work.join("tree"));
        fs::create_dir(&debs)?;
        let apt = PrivateApt::new(&work.join("apt"))?;
        apt.download(&[&apt.dependency(package, "linux-image-")?], &debs)?;
        unpack(&debs, &tree)?;
        Ok(tree)
    })?;
    Kernel::in_tree(&home)
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
                "{0} contains no kernel: remove the directory and try again",
                home.display()
            )
        })?;
        Ok(Self { image, modules })
    }

    /// The module files of `wanted` and of their dependencies, in load order.
    pub fn modules(&self, wanted: &[String]) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in wanted {
            self.add(name, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<()> {
        let path = self.modules.get(&name.replace('-', "_"));
        let path = path.with_context(|| {
            format!("the kernel {} has no module '{name}'", self.image.display())
        })?;
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

/// The `depends=` entry of a module file.
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
