//! An image layer: a tar archive of one program, compressed with gzip by zopfli. Owner is root, mtime 0, so builds are
//! reproducible.

use anyhow::{Context as _, Result};
use tar::{EntryType, Header};

use super::layout::digest;

/// A compressed layer.
pub struct Layer {
    /// The archive, compressed with gzip, which every image reader supports.
    pub compressed: Vec<u8>,
    /// Digest of the uncompressed archive (OCI's `diff_ids`).
    pub diff_id: String,
}

impl Layer {
    /// A layer with one file, executable by everyone (mode 0755).
    pub fn of_program(name: &str, content: &[u8]) -> Result<Self> {
        let mut header = Header::new_ustar();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(EntryType::Regular);
        Self::new(header, name, content)
    }

    /// As [`Self::of_program`], but with the smallest possible archive: a V7 tar header (1979), and numbers without padding.
    pub fn of_tiny_program(name: &str, content: &[u8]) -> Result<Self> {
        let mut header = Header::new_old();
        let fields = header.as_old_mut();
        fields.mode[..3].copy_from_slice(b"755");
        for number in [&mut fields.uid[..], &mut fields.gid, &mut fields.mtime] {
            number[0] = b'0';
        }
        let size = format!("{:o}", content.len());
        fields
            .size
            .get_mut(..size.len())
            .context("the program's size does not fit into the tar header")?
            .copy_from_slice(size.as_bytes());
        Self::new(header, name, content)
    }

    fn new(mut header: Header, name: &str, content: &[u8]) -> Result<Self> {
        let archive = archive(&mut header, name, content)
            .with_context(|| format!("cannot write {name} to a tar archive"))?;
        Ok(Self {
            compressed: compress(&archive)?,
            diff_id: digest(&archive),
        })
    }
}

/// A tar archive of one file, with the two zero blocks that end it.
fn archive(header: &mut Header, name: &str, content: &[u8]) -> Result<Vec<u8>> {
    header.set_path(name)?;
    if header.size().ok() != Some(content.len() as u64) {
        header.set_size(content.len() as u64);
    }
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(header, content)?;
    Ok(archive.into_inner()?)
}

/// Compresses `bytes` to the smallest possible gzip file (by zopfli), without file name and timestamp.
pub fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = Vec::new();
    zopfli::compress(
        zopfli::Options::default(),
        zopfli::Format::Gzip,
        bytes,
        &mut compressed,
    )
    .context("zopfli failed")?;
    Ok(compressed)
}
