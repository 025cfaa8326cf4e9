//! The kernel modules of an initramfs: drivers of virtio and file systems, with the modules that they need according to the file
//! modules.dep of depmod(8).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// A module that an initramfs contains if `Needed::Always`, or if the directory has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Always,
    IfThere,
}

/// The modules in the order in which /init loads them. virtio_pci makes the devices appear; ext4 computes checksums with crc32c,
/// which modules.dep does not list.
const WANTED: [(&str, Needed); 6] = [
    ("virtio_net", Needed::Always),
    ("virtio_blk", Needed::Always),
    ("virtio_pci", Needed::Always),
    ("crc32c_generic", Needed::IfThere),
    ("ext4", Needed::IfThere),
    ("isofs", Needed::IfThere),
];

/// Suffixes of compressed modules, and the program that unpacks them.
const COMPRESSED: [(&str, &str); 3] = [(".xz", "xz -d"), (".zst", "zstd -d"), (".gz", "gzip -d")];

/// Returns the paths of the module files of `directory`, /lib/modules/VERSION, in the order in which they are loaded: each after
/// those that it needs. Modules that are part of the kernel need no file.
pub fn in_load_order(directory: &Path) -> Result<Vec<PathBuf>> {
    let path = directory.join("modules.dep");
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}: name the directory /lib/modules/VERSION of the kernel; depmod VERSION makes the file",
            path.display()
        )
    })?;
    let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    let builtin: Vec<String> = builtin.lines().map(name).collect();
    let modules = parse(&text).with_context(|| path.display().to_string())?;
    let mut order = Vec::new();
    for (wanted, needed) in WANTED {
        if modules.contains_key(wanted) {
            add(&modules, wanted, &mut order).with_context(|| path.display().to_string())?;
        } else if needed == Needed::Always && !builtin.iter().any(|name| name == wanted) {
            bail!(
                "{} has no module {wanted}, neither in modules.dep nor in modules.builtin",
                directory.display()
            );
        }
    }
    Ok(order.iter().map(|file| directory.join(file)).collect())
}

/// A module's file, and the files of the modules that it needs.
type Modules<'t> = HashMap<String, (&'t str, Vec<&'t str>)>;

/// Parses modules.dep: lines `FILE: FILE…`. Keys are the names of modules.
fn parse(text: &str) -> Result<Modules<'_>> {
    let mut modules = Modules::new();
    for (number, line) in (1..).zip(text.lines()) {
        let parsed = line.split_once(':').and_then(|(file, needs)| {
            let needs: Vec<&str> = needs.split_whitespace().collect();
            let is_right = is_module(file) && needs.iter().all(|file| is_module(file));
            is_right.then_some((file, needs))
        });
        let (file, needs) = parsed.with_context(|| {
            format!("line {number} is not `FILE.ko: FILE.ko …`: run depmod again")
        })?;
        let former = modules.insert(name(file), (file, needs));
        ensure!(
            former.is_none(),
            "line {number} lists {file} again: run depmod again"
        );
    }
    Ok(modules)
}

/// Returns true if `file` is the path of a module, compressed or not, below the directory.
fn is_module(file: &str) -> bool {
    let is_below = !file.starts_with('/') && file.split('/').all(|part| part != "..");
    is_below && !file.contains(char::is_whitespace) && uncompressed(file).0.ends_with(".ko")
}

/// Splits a file name into the name of the uncompressed file and the program that unpacks it.
fn uncompressed(file: &str) -> (&str, Option<&'static str>) {
    let strip = |(suffix, program)| Some((file.strip_suffix(suffix)?, Some(program)));
    COMPRESSED
        .into_iter()
        .find_map(strip)
        .unwrap_or((file, None))
}

/// The name of a module by its file. The kernel uses `_` where file names may have `-`.
fn name(file: &str) -> String {
    let (file, _) = uncompressed(file);
    let base = file.rsplit('/').next().unwrap_or_default();
    base.trim_end_matches(".ko").replace('-', "_")
}

/// Appends the files of the module `wanted` and of those that it needs to `order`, each after those that it needs itself.
fn add<'t>(modules: &Modules<'t>, wanted: &str, order: &mut Vec<&'t str>) -> Result<()> {
    // modules.dep lists all that a module needs, also indirectly, so the rank of a module is the length of its list.
    let (file, needs) = modules
        .get(wanted)
        .with_context(|| format!("{wanted} is not listed: run depmod again"))?;
    let mut files = vec![(needs.len(), *file)];
    for needed in needs {
        let own = modules.get(&name(needed));
        let (_, own) = own.with_context(|| {
            format!("{needed}, which {file} needs, is not listed: run depmod again")
        })?;
        files.push((own.len(), needed));
    }
    files.sort_by_key(|(rank, _)| *rank);
    for (_, file) in files {
        if let (_, Some(program)) = uncompressed(file) {
            bail!(
                "{file} is compressed, which /init does not load: unpack the directory's modules with `{program}`, and run depmod again"
            );
        }
        if !order.contains(&file) {
            order.push(file);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
k/net/virtio_net.ko: k/net/net_failover.ko k/virtio/virtio.ko k/net/failover.ko k/virtio/virtio_ring.ko
k/net/net_failover.ko: k/net/failover.ko
k/net/failover.ko:
k/virtio/virtio.ko: k/virtio/virtio_ring.ko
k/virtio/virtio_ring.ko:
k/block/virtio_blk.ko: k/virtio/virtio.ko k/virtio/virtio_ring.ko
k/fs/isofs.ko:
";

    /// Returns the names in load order, or the error, for a directory with these files.
    fn order(dep: Option<&str>, builtin: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        if let Some(dep) = dep {
            fs::write(directory.path().join("modules.dep"), dep).unwrap();
        }
        fs::write(directory.path().join("modules.builtin"), builtin).unwrap();
        let order = in_load_order(directory.path()).map_err(|error| format!("{error:#}"))?;
        Ok(order
            .iter()
            .map(|file| name(&file.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn modules_follow_those_that_they_need() {
        assert_eq!(
            order(Some(GOOD), "k/virtio/virtio-pci.ko\n").unwrap(),
            "failover virtio_ring net_failover virtio virtio_net virtio_blk isofs"
        );
    }

    #[test]
    fn damaged_lists_are_refused() {
        let pci = "k/virtio/virtio-pci.ko\n";
        for (dep, builtin, part) in [
            (None, pci, "depmod VERSION makes the file"),
            (Some(String::new()), pci, "has no module virtio_net"),
            (Some(GOOD.into()), "", "has no module virtio_pci"),
            (
                Some(GOOD.replace(".ko:", ".ko")),
                pci,
                "line 1 is not `FILE.ko: FILE.ko …`",
            ),
            (Some(GOOD.replace("k/fs/", "../")), pci, "line 7 is not"),
            (Some(GOOD.replace("k/fs/", "/")), pci, "line 7 is not"),
            (
                Some(GOOD.replace("isofs.ko", "isofs")),
                pci,
                "line 7 is not",
            ),
            (
                Some(GOOD.replace("isofs", "failover")),
                pci,
                "line 7 lists k/fs/failover.ko again",
            ),
            (
                Some(GOOD.replace("k/net/failover.ko:\n", "")),
                pci,
                "failover.ko, which k/net/virtio_net.ko needs, is not listed",
            ),
            (
                Some(GOOD.replace(".ko", ".ko.xz")),
                pci,
                "k/net/failover.ko.xz is compressed, which /init does not load: unpack the directory's modules with `xz -d`",
            ),
            (
                Some(GOOD.replace("virtio_blk.ko", "virtio_blk.ko.zst")),
                pci,
                "virtio_blk.ko.zst is compressed",
            ),
        ] {
            let error = order(dep.as_deref(), builtin).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
