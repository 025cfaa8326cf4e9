//! The .rpm packages, made by the crate rpm. The unit is neither enabled nor started.

use std::path::Path;

use anyhow::Result;
use rpm::{BuildConfig, CompressionWithLevel, FileOptions, PackageBuilder};

use super::files::{self, Kind, Places};
use super::{Release, Tree, template};
use crate::build::Arch;

const PLACES: Places = Places {
    zsh: "usr/share/zsh/site-functions",
};
/// Number of this package among those of one version.
const REVISION: &str = "1";
/// Best compression of gzip.
const GZIP_LEVEL: u32 = 9;

/// Fedora's name of an architecture.
const fn architecture(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64",
        Arch::I686 => "i686",
        Arch::Aarch64 => "aarch64",
        Arch::Armv7 => "armv7hl",
    }
}

/// Adds a package for each architecture.
pub(super) fn add(release: &Release, tree: &mut Tree, _: &Path) -> Result<()> {
    for &arch in &release.archs {
        let name = architecture(arch);
        let mut builder = PackageBuilder::new(
            "stowaway",
            release.version,
            env!("CARGO_PKG_LICENSE"),
            name,
            "NFS, SFTP and mDNS server in one static file",
        );
        // RPM version 4: Debian 12 and RHEL 9 cannot read version 6. The build host's name would differ from run to run.
        builder
            .using_config(
                BuildConfig::v4()
                    .source_date(release.seconds)
                    .compression(CompressionWithLevel::Gzip(GZIP_LEVEL)),
            )
            .release(REVISION)
            .build_host("localhost")
            .vendor("The stowaway authors")
            .url(&release.url)
            .description(
                "Serves directories over NFS version 3, also the contents of ISO images, and over SFTP for sshd and\n\
                 dropbear, and over HTTP to read. Announces hosts and services by multicast DNS. Needs no C library and\n\
                 no other file.",
            )
            .pre_uninstall_script(template("preun")?)
            .with_file_contents(
                tree.program(arch)?,
                FileOptions::new("/usr/bin/stowaway").permissions(0o755),
            )?;
        for file in files::list(tree, &PLACES)? {
            let options = FileOptions::new(format!("/{}", file.path)).permissions(0o644);
            let options = match file.kind {
                Kind::Config => options.config().noreplace(),
                Kind::Documentation => options.doc(),
                Kind::Other => options,
            };
            builder.with_file_contents(file.bytes, options)?;
        }
        let mut bytes = Vec::new();
        builder.build()?.write(&mut bytes)?;
        let path = format!(
            "packages/stowaway-{}-{REVISION}.{name}.rpm",
            release.version
        );
        tree.add(path, bytes);
    }
    Ok(())
}
