//! A Debian kernel for guests: downloaded and unpacked under target/, never installed.
//!
//! It stays there until target/ is cleaned. Modules are found with all that they need by what they say of themselves,
//! because the package has no modules.dep: that is made when a kernel is installed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};
use walkdir::WalkDir;

use super::{kept, unpack};
use crate::setup::PrivateApt;

/// An unpacked kernel package.
pub struct Kernel {
    /// What QEMU starts.
    pub image: PathBuf,
    modules: HashMap<String, PathBuf>,
}

/// The kernel that the meta-package `package` depends on.
pub fn fetch(package: &str) -> Result<Kernel> {
    let waiting = format!("downloading {package} (27 MB)");
    let home = kept(package, &waiting, |work| {
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
