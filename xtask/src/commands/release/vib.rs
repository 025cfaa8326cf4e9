//! The VIB, ESXi's package: an ar archive of descriptor.xml, an empty signature, and a payload (tar, compressed with gzip).
//!
//! Its acceptance level is community, which needs no signature. The form is that of VIBs which VMware's vibauthor makes; not tried
//! on ESXi.

use anyhow::Result;
use sha1::{Digest as _, Sha1};

use super::files::gzip;
use super::{Release, hex, sha256, template};

/// Path of the executable on the host. ESXi keeps /opt of installed VIBs over a restart.
const PROGRAM: &str = "opt/stowaway/bin/stowaway";

/// Makes the VIB with the executable `program`.
pub(super) fn make(release: &Release, program: &[u8]) -> Result<Vec<u8>> {
    let tar = payload(release, program)?;
    let compressed = gzip(&tar)?;
    let descriptor = template("descriptor.xml")?
        .replace("@VERSION@", release.version)
        .replace("@URL@", &release.url)
        .replace("@DATE@", &release.date("+%Y-%m-%dT%H:%M:%S")?)
        .replace("@FILE@", PROGRAM)
        .replace("@SIZE@", &compressed.len().to_string())
        .replace("@SHA256@", &sha256(&compressed))
        .replace("@SHA256_TAR@", &sha256(&tar))
        .replace("@SHA1_TAR@", &hex(&Sha1::digest(&tar)));
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("descriptor.xml", descriptor.as_bytes()),
        ("sig.pkcs7", b""),
        ("payload1", &compressed),
    ] {
        let mut header = ar::Header::new(name.into(), bytes.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(u64::from(release.seconds));
        archive.append(&header, bytes)?;
    }
    Ok(archive.into_inner()?)
}

/// The tar archive of the payload, with the directories above the executable.
fn payload(release: &Release, program: &[u8]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let header = |mode, len: usize, kind| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::from(release.seconds));
        header.set_size(len as u64);
        header.set_entry_type(kind);
        header
    };
    for (index, _) in PROGRAM.match_indices('/') {
        let mut directory = header(0o755, 0, tar::EntryType::Directory);
        archive.append_data(&mut directory, &PROGRAM[..=index], &b""[..])?;
    }
    let mut file = header(0o755, program.len(), tar::EntryType::Regular);
    archive.append_data(&mut file, PROGRAM, program)?;
    Ok(archive.into_inner()?)
}
