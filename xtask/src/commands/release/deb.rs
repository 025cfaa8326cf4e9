//! The .deb packages, made by cargo-deb's library from a manifest that this module writes to a temporary directory.
//!
//! cargo-deb reads SOURCE_DATE_EPOCH, writes md5sums and the scripts of the systemd unit. The unit is neither enabled nor started.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cargo_deb::compress::{CompressConfig, Format};
use cargo_deb::config::{BuildOptions, DebugSymbolOptions};
use cargo_deb::listener::NoOpListener;
use cargo_deb::{CargoDeb, OutputPath};
use toml::{Table, Value};

use super::files::{self, Kind, Places};
use super::{Release, Tree, read, template};
use crate::build::Arch;

const PLACES: Places = Places {
    zsh: "usr/share/zsh/vendor-completions",
};
/// Number of this package among those of one version.
const REVISION: &str = "1";
const MAINTAINER: &str = "The stowaway authors <stowaway@stowaway.invalid>";
const DESCRIPTION: &str = "NFS, SFTP, HTTP and mDNS server in one static file";
const LONG_DESCRIPTION: &str = "\
Serves directories over NFS version 3, also the contents of ISO images, and
over SFTP for sshd and dropbear, and over HTTP to read. Announces hosts and
services by multicast DNS, and lists announced ones. Needs no C library and
no other file.

The systemd unit is not started: edit /etc/stowaway/exports first.";
/// Path of the unit, which cargo-deb installs itself.
const UNIT: &str = "usr/lib/systemd/system/stowaway.service";

/// Debian's name of an architecture.
pub(super) const fn architecture(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "amd64",
        Arch::I686 => "i386",
        Arch::Aarch64 => "arm64",
        Arch::Armv7 => "armhf",
    }
}

/// Adds a package for each architecture.
pub(super) fn add(release: &Release, tree: &mut Tree, _: &Path) -> Result<()> {
    for &arch in &release.archs {
        let dir = tempfile::tempdir()?;
        stage(release, tree, arch, dir.path())?;
        let name = format!(
            "stowaway_{}-{REVISION}_{}.deb",
            release.version,
            architecture(arch)
        );
        let path = dir.path().join(&name);
        let deb = CargoDeb {
            options: BuildOptions {
                manifest_path: Some(&dir.path().join("Cargo.toml")),
                rust_target_triples: vec![arch.triple()],
                debug: DebugSymbolOptions {
                    generate_dbgsym_package: Some(false),
                    separate_debug_symbols: Some(false),
                    compress_debug_symbols: None,
                    strip_override: Some(false),
                },
                ..BuildOptions::default()
            },
            no_build: true,
            verbose_cargo_build: false,
            verbose: false,
            compress_config: CompressConfig {
                fast: false,
                compress_type: Format::Gzip,
                compress_system: false,
                rsyncable: false,
            },
            deb_output: Some(OutputPath {
                path: &path,
                is_dir: false,
            }),
            install: (false, false),
        };
        deb.process(&NoOpListener)
            .with_context(|| format!("cargo-deb cannot make {name}"))?;
        tree.add(format!("packages/{name}"), read(&path)?);
    }
    Ok(())
}

/// Writes the manifest and all files that it names to `dir`.
fn stage(release: &Release, tree: &Tree, arch: Arch, dir: &Path) -> Result<()> {
    let mut assets = Vec::new();
    let mut conf_files = Vec::new();
    let write = |path: &str, bytes: &[u8]| -> Result<()> {
        let place = dir.join(path);
        fs::create_dir_all(place.parent().context("no directory")?)?;
        fs::write(place, bytes)?;
        Ok(())
    };
    let mut asset = |path: &str, mode: &str| {
        let row = [format!("root/{path}"), path.to_owned(), mode.to_owned()];
        assets.push(Value::from(row.map(Value::from).to_vec()));
    };
    write("root/usr/bin/stowaway", tree.program(arch)?)?;
    asset("usr/bin/stowaway", "755");
    let overrides = "usr/share/lintian/overrides/stowaway";
    write(
        &format!("root/{overrides}"),
        template("lintian-overrides")?.as_bytes(),
    )?;
    asset(overrides, "644");
    let mut has_unit = false;
    for file in files::list(tree, &PLACES)? {
        if file.path == UNIT {
            write("scripts/service", &file.bytes)?;
            has_unit = true;
            continue;
        }
        write(&format!("root/{}", file.path), &file.bytes)?;
        asset(&file.path, "644");
        if file.kind == Kind::Config {
            conf_files.push(Value::from(format!("/{}", file.path)));
        }
    }
    ensure!(has_unit, "no unit {UNIT}");
    write("scripts/postrm", template("postrm")?.as_bytes())?;
    let changelog = format!(
        "stowaway ({}-{REVISION}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {}\n",
        release.version,
        release.date("+%a, %d %b %Y %H:%M:%S %z")?
    );
    write("changelog", changelog.as_bytes())?;
    write("lib.rs", b"")?;
    let unit = Table::from_iter([
        ("unit-scripts".into(), "scripts".into()),
        ("enable".into(), false.into()),
        ("start".into(), false.into()),
        ("stop-on-upgrade".into(), false.into()),
    ]);
    let deb = Table::from_iter([
        ("maintainer".into(), MAINTAINER.into()),
        // For the scripts of the unit. cargo-deb would write an empty field for no dependency, which lintian refuses.
        ("depends".into(), "init-system-helpers (>= 1.52)".into()),
        ("section".into(), "net".into()),
        ("priority".into(), "optional".into()),
        ("revision".into(), REVISION.into()),
        ("extended-description".into(), LONG_DESCRIPTION.into()),
        ("changelog".into(), "changelog".into()),
        ("conf-files".into(), Value::Array(conf_files)),
        ("maintainer-scripts".into(), "scripts".into()),
        ("systemd-units".into(), Value::Table(unit)),
        ("assets".into(), Value::Array(assets)),
    ]);
    let package = Table::from_iter([
        ("name".into(), "stowaway".into()),
        ("version".into(), release.version.into()),
        ("edition".into(), "2024".into()),
        ("license".into(), env!("CARGO_PKG_LICENSE").into()),
        ("description".into(), DESCRIPTION.into()),
        (
            "metadata".into(),
            Table::from_iter([("deb".into(), Value::Table(deb))]).into(),
        ),
    ]);
    let library = Table::from_iter([("path".into(), "lib.rs".into())]);
    let manifest = Table::from_iter([
        ("package".into(), Value::Table(package)),
        ("lib".into(), Value::Table(library)),
        ("workspace".into(), Value::Table(Table::new())),
    ]);
    write("Cargo.toml", toml::to_string(&manifest)?.as_bytes())
}
