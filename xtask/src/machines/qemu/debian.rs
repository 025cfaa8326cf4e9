//! An initramfs as on Debian's installed and live systems, made by `mkinitramfs` in a tree of unpacked Debian packages.
//!
//! The tree is temporary and nothing is installed on this machine. Kernel and initramfs are kept under target/qemu.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{cached_directory, unpack};
use crate::setup::{PrivateApt, run_captured};

/// The `[debian]` section of a machine's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DebianSection {
    /// Directory in target/qemu that holds kernel and initramfs.
    name: String,
    /// The kernel's meta-package, packages whose scripts are to be in the initramfs, and the packages that mkinitramfs needs.
    packages: Vec<String>,
    /// Modules of dracut, which makes the initramfs instead of mkinitramfs. Empty: mkinitramfs does.
    #[serde(default)]
    dracut: String,
}

impl DebianSection {
    /// Returns the kernel's path and the initramfs. The first call makes both; later calls reuse them.
    pub(super) fn build(&self) -> Result<(PathBuf, Vec<u8>)> {
        let waiting = "making an initramfs of Debian packages (50 MB)";
        let home = cached_directory(&self.name, waiting, |work| {
            let (debs, tree) = (work.join("debs"), work.join("tree"));
            let packages: Vec<&str> = self.packages.iter().map(String::as_str).collect();
            PrivateApt::new(&work.join("apt"))?.download_all(&packages, &debs)?;
            // base-files comes first: /bin may be a symbolic link in it, and another package would create a directory there.
            let base = file_of(&debs, "base-files_")?;
            run_captured(Command::new("dpkg-deb").arg("-x").arg(base).arg(&tree))?;
            unpack(&debs, &tree)?;
            // Links that the packages' postinst scripts would create.
            for (link, target) in [("usr/bin/awk", "mawk"), ("bin/sh", "dash")] {
                if fs::symlink_metadata(tree.join(link)).is_err() {
                    symlink(target, tree.join(link))?;
                }
            }
            initramfs(&tree, &self.dracut)?;
            Ok(tree.join("boot"))
        })?;
        let initramfs = home.join(INITRAMFS);
        let bytes =
            fs::read(&initramfs).with_context(|| format!("cannot read {}", initramfs.display()))?;
        Ok((file_of(&home, "vmlinuz-")?, bytes))
    }
}

const INITRAMFS: &str = "initrd.img";

/// Makes the initramfs for the kernel in `tree`.
fn initramfs(tree: &Path, dracut: &str) -> Result<()> {
    let version = file_of(&tree.join("boot"), "vmlinuz-")?;
    let version = version.file_name().unwrap_or_default().to_string_lossy();
    let version = version.trim_start_matches("vmlinuz-");
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.arg("--mount").args(["sh", "-ec", MAKE, "sh"]);
    unshare.arg(tree).args([version, INITRAMFS, dracut]);
    unshare.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    run_captured(&mut unshare)
        .context("no initramfs could be made in the tree of Debian packages")?;
    Ok(())
}

/// A shell script that makes the initramfs; needs its own mount namespace. Arguments: the tree, the kernel version, the name of the
/// file to make in the tree's /boot, and the modules of dracut.
const MAKE: &str = r#"
    mount --rbind /dev "$1/dev"
    mount --rbind /proc "$1/proc"
    chroot "$1" depmod "$2"
    if [ -z "$4" ]; then
        chroot "$1" mkinitramfs -o "/boot/$3" "$2"
    else
        mount --rbind /sys "$1/sys"
        chroot "$1" ldconfig
        chroot "$1" dracut --no-hostonly --no-early-microcode --omit ifcfg --add "$4" "/boot/$3" "$2"
        chmod 644 "$1/boot/$3"
    fi
"#;

/// Finds the file in `directory` whose name starts with `prefix`.
fn file_of(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let missing = || format!("{} contains no {prefix}*", directory.display());
    for entry in fs::read_dir(directory).with_context(missing)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!(missing())
}
