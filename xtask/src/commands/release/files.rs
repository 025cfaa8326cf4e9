//! The files that packages install beside the executable: man pages, completions, systemd unit, samples, licences.
//!
//! `share.tar.gz` has all of them, for package recipes that download.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use walkdir::WalkDir;

use super::{Release, Tree, read, replace_once, template};
use crate::build::workspace_root;

/// A file to install.
pub(super) struct File {
    /// Path without the leading slash.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A changed configuration file survives an update.
    Config,
    Documentation,
    Other,
}

/// Directories of a distribution that differ between package formats.
pub(super) struct Places {
    /// Completions for zsh.
    pub(super) zsh: &'static str,
}

/// The places in `share.tar.gz`, as most distributions have them.
const PLACES: Places = Places {
    zsh: "usr/share/zsh/site-functions",
};

/// Adds the files to the release, each alone and as `share.tar.gz`.
pub(super) fn add(release: &Release, tree: &mut Tree, _: &Path) -> Result<()> {
    for path in man_pages()? {
        let name = path.file_name().unwrap_or_default().display();
        tree.add(format!("man/{name}"), read(&path)?);
    }
    let scripts = workspace_root().join("src/role/completion");
    for (shell, name) in [
        ("bash", "stowaway.bash"),
        ("zsh", "_stowaway"),
        ("fish", "stowaway.fish"),
    ] {
        let script = read(&scripts.join(shell).with_extension("txt"))?;
        tree.add(format!("completions/{name}"), script);
    }
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        tree.add(name.into(), read(&workspace_root().join(name))?);
    }
    tree.add("stowaway.service".into(), unit()?.into_bytes());
    let files = list(tree, &PLACES)?;
    tree.add("share.tar.gz".into(), archive(release, &files)?);
    Ok(())
}

/// The man pages, sorted by name.
fn man_pages() -> Result<Vec<PathBuf>> {
    let dir = workspace_root().join("image/man");
    let pages = WalkDir::new(dir).min_depth(1).sort_by_file_name();
    let pages = pages.into_iter().map(|page| Ok(page?.into_path()));
    pages.collect()
}

/// The files to install, sorted by path.
pub(super) fn list(tree: &Tree, places: &Places) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut add = |path: String, bytes: Vec<u8>, kind| files.push(File { path, bytes, kind });
    for (path, file) in &tree.files {
        if let Some(name) = path.strip_prefix("man/") {
            let (_, section) = name.rsplit_once('.').context("a man page has no section")?;
            let path = format!("usr/share/man/man{section}/{name}.gz");
            add(path, gzip(&file.bytes)?, Kind::Documentation);
        }
    }
    let zsh = format!("{}/_stowaway", places.zsh);
    for (from, to) in [
        (
            "stowaway.bash",
            "usr/share/bash-completion/completions/stowaway",
        ),
        (
            "stowaway.fish",
            "usr/share/fish/vendor_completions.d/stowaway.fish",
        ),
        ("_stowaway", &zsh),
    ] {
        let bytes = tree.get(&format!("completions/{from}"))?.to_vec();
        add(to.to_owned(), bytes, Kind::Other);
    }
    let unit = tree.get("stowaway.service")?.to_vec();
    add(
        "usr/lib/systemd/system/stowaway.service".into(),
        unit,
        Kind::Other,
    );
    let exports = template("exports")?.into_bytes();
    add("etc/stowaway/exports".into(), exports, Kind::Config);
    let doc = |name: &str| format!("usr/share/doc/stowaway/{name}");
    for name in ["stowaway.sysusers", "stowaway.tmpfiles", "fixed-user.conf"] {
        let bytes = template(name)?.into_bytes();
        add(doc(&format!("examples/{name}")), bytes, Kind::Documentation);
    }
    let copyright = template("copyright")?.into_bytes();
    add(doc("copyright"), copyright, Kind::Documentation);
    let changelog = read(&workspace_root().join("image/doc/changelog.md"))?;
    add(doc("changelog.gz"), gzip(&changelog)?, Kind::Documentation);
    add(
        doc("sbom.cdx.json"),
        tree.get("sbom.cdx.json")?.to_vec(),
        Kind::Documentation,
    );
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// The systemd unit of packages: image/stowaway.service, with the package's paths, and exports from a file.
fn unit() -> Result<String> {
    let path = workspace_root().join("image/stowaway.service");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, unit) = text.split_once("\n\n").context("the unit has no head")?;
    let edits = [
        (
            "NFS server for /srv",
            "NFS server\nDocumentation=man:stowaway-nfs(8)",
        ),
        ("RequiresMountsFor=/srv\n", ""),
        (
            "/usr/local/sbin/stowaway nfs --export /srv\n",
            "/usr/bin/stowaway nfs -e /etc/stowaway/exports\n",
        ),
        (
            "Reads /etc/exports again, if ExecStart has no --export. ",
            "Reads the exports again. ",
        ),
    ];
    let mut unit =
        format!("# Not started by the package: systemctl enable --now stowaway\n\n{unit}");
    for (from, to) in edits {
        unit = replace_once(&unit, from, to)?;
    }
    Ok(unit)
}

fn archive(release: &Release, files: &[File]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::from(release.seconds));
        header.set_size(file.bytes.len() as u64);
        archive.append_data(&mut header, &file.path, &*file.bytes)?;
    }
    gzip(&archive.into_inner()?)
}

/// Compresses without name and time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup;
    use std::process::Command;

    #[test]
    fn man_pages_reference_existing_pages_and_pass_mandoc() -> Result<()> {
        let pages = man_pages()?;
        for path in &pages {
            let (place, page) = (path.display(), fs::read_to_string(path)?);
            for reference in page
                .lines()
                .filter_map(|line| line.strip_prefix(".Xr stowaway"))
            {
                let mut words = reference.split(' ');
                let (name, number) = (
                    words.next().unwrap_or_default(),
                    words.next().unwrap_or_default(),
                );
                let name = format!("stowaway{name}.{number}");
                assert!(path.with_file_name(&name).exists(), "{place}: no {name}");
            }
            for section in ["DESCRIPTION", "EXAMPLES", "EXIT STATUS", "SEE ALSO"] {
                let is_there = page.contains(&format!("\n.Sh {section}\n"));
                assert!(is_there, "{place} has no section {section}");
            }
        }
        setup::install_packages(&["mandoc"])?;
        let mandoc = Command::new("mandoc").arg("-Tlint").args(pages).output()?;
        // mandoc also reports references to pages that are not installed on this machine.
        let is_about_machine = |line: &&str| {
            line.contains("referenced manual not found") || line.contains("outdated mandoc.db")
        };
        let printed = [mandoc.stdout, mandoc.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        let complaints: Vec<_> = printed
            .lines()
            .filter(|line| !is_about_machine(line))
            .collect();
        assert_eq!(complaints, [""; 0]);
        Ok(())
    }
}
