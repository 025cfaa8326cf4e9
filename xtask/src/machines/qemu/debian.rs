//! An initramfs as Debian's installed and live systems have: made by `mkinitramfs`, in a tree of Debian's packages.
//!
//! The tree is made of what is downloaded, and is gone afterwards; nothing is installed on this machine. Kernel and initramfs
//! stay under target/ until that is cleaned.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{kept, unpack};
use crate::setup::{PrivateApt, quietly};

/// What a machine's file says about its system.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// Where it is kept in target/qemu.
    name: String,
    /// The kernel's meta-package, packages whose scripts are to be in the initramfs, and what making it takes.
    packages: Vec<String>,
}

impl Choice {
    /// The kernel's place and the initramfs; they are made when they are not there.
    pub(super) fn make(&self) -> Result<(PathBuf, Vec<u8>)> {
        let waiting = "making an initramfs of Debian packages (50 MB)";
        let home = kept(&self.name, waiting, |work| {
            let (debs, tree) = (work.join("debs"), work.join("tree"));
            let packages: Vec<&str> = self.packages.iter().map(String::as_str).collect();
            PrivateApt::new(&work.join("apt"))?.download_all(&packages, &debs)?;
            // In it /bin may be a link, which no other package may be faster than.
            let base = file_of(&debs, "base-files_")?;
            quietly(Command::new("dpkg-deb").arg("-x").arg(base).arg(&tree))?;
            unpack(&debs, &tree)?;
            // Links that the packages' own scripts would make.
            for (link, target) in [("usr/bin/awk", "mawk"), ("bin/sh", "dash")] {
                if fs::symlink_metadata(tree.join(link)).is_err() {
                    symlink(target, tree.join(link))?;
                }
            }
            initramfs(&tree)?;
            Ok(tree.join("boot"))
        })?;
        let initramfs = home.join(INITRAMFS);
        let bytes =
            fs::read(&initramfs).with_context(|| format!("cannot read {}", initramfs.display()))?;
        Ok((file_of(&home, "vmlinuz-")?, bytes))
    }
}

const INITRAMFS: &str = "initrd.img";

/// Makes the initramfs of the kernel that is in the tree.
fn initramfs(tree: &Path) -> Result<()> {
    let version = file_of(&tree.join("boot"), "vmlinuz-")?;
    let version = version.file_name().unwrap_or_default().to_string_lossy();
    let version = version.trim_start_matches("vmlinuz-");
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.arg("--mount").args(["sh", "-ec", MAKE, "sh"]);
    unshare.arg(tree).args([version, INITRAMFS]);
    unshare.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    quietly(&mut unshare).context("cannot make an initramfs of Debian's packages")?;
    Ok(())
}

/// With mounts of its own: the tree, the kernel's version, the file to make.
const MAKE: &str = r#"
    mount --rbind /dev "$1/dev"
    mount --rbind /proc "$1/proc"
    chroot "$1" depmod "$2"
    chroot "$1" mkinitramfs -o "/boot/$3" "$2"
"#;

/// The file whose name begins so.
fn file_of(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let what = || format!("{} holds no {prefix}*", directory.display());
    for entry in fs::read_dir(directory).with_context(what)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!(what())
}
