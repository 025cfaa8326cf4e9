//! A layer: an archive of one program, compressed as well as gzip can. It has no owner but root and no time but 0.

use anyhow::{Context as _, Result};
use tar::{EntryType, Header};

use super::layout::digest;

/// An archive, and how it is named before and after compression.
pub struct Layer {
    /// The archive, by gzip: every reader of images knows that.
    pub compressed: Vec<u8>,
    /// The digest of the archive itself.
    pub diff_id: String,
}

impl Layer {
    /// One file that everybody may run.
    pub fn of_program(name: &str, content: &[u8]) -> Result<Self> {
        let mut header = Header::new_ustar();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(EntryType::Regular);
        Self::new(header, name, content)
    }

    /// The same in the fewest bytes: the header of 1979, and each number as short as it is.
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
            .context("the program is not tiny")?
            .copy_from_slice(size.as_bytes());
        Self::new(header, name, content)
    }

    fn new(mut header: Header, name: &str, content: &[u8]) -> Result<Self> {
        let archive = archive(&mut header, name, content)
            .with_context(|| format!("cannot put {name} into an archive"))?;
        Ok(Self {
            compressed: compress(&archive)?,
            diff_id: digest(&archive),
        })
    }
}

/// An archive of one file, with the two empty blocks that end it.
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

/// By gzip, in the fewest bytes, without a name and a time.
pub fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = Vec::new();
    zopfli::compress(
        zopfli::Options::default(),
        zopfli::Format::Gzip,
        bytes,
        &mut compressed,
    )
    .context("cannot compress")?;
    Ok(compressed)
}
