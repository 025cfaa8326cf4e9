//! `cargo xtask image oci`: container images without a container engine, from the built files and image/container.toml; `image
//! initramfs`: what a Linux kernel starts a machine with.
//!
//! An OCI layout for every processor at once, and the same images as an archive for `docker load`. Same files, same bytes:
//! nothing in them tells when, where or by whom they were made.

mod archive;
pub mod description;
pub mod layer;
pub mod layout;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde::Serialize;

use crate::build::{self, Arch, workspace_root};
use crate::machines::qemu;
use crate::setup;
use description::Description;
use layer::Layer;
use layout::{Descriptor, Layout, media_type};

/// `cargo xtask image`
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// An OCI layout and an archive for docker load
    Oci {
        /// The processors, with commas between; all of them when absent
        #[arg(long, value_delimiter = ',', value_name = "LIST")]
        arch: Vec<Arch>,
    },
    /// What a Linux kernel starts a machine with: our file as /init, and nothing else
    Initramfs {
        /// The processor
        #[arg(long, default_value = "x86_64")]
        arch: Arch,
    },
}

/// What an image may weigh beside its compressed file, in bytes: manifest, configuration and what a layer adds.
pub const OVERHEAD_MAX: usize = 1024;

/// Builds the files and the images, and prints what they weigh and where they are.
pub fn main(args: Args) -> Result<()> {
    let archs = match args.kind {
        Kind::Oci { arch } => arch,
        Kind::Initramfs { arch } => return initramfs(arch),
    };
    let archs = if archs.is_empty() {
        Arch::ALL.to_vec()
    } else {
        archs
    };
    let mut files = Vec::new();
    for arch in archs {
        let path = build::build(arch)?;
        let file = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.push((arch, file));
    }
    let places = Places::below(&workspace_root().join("target/stowaway"));
    let images = write(&files, &Description::load()?, &places)?;
    println!("platform          file  compressed  image      over");
    for image in &images {
        println!(
            "{:<14}{:>8}{:>12}{:>7}{:>+10}",
            image.platform.name(),
            image.file_bytes,
            image.compressed_bytes,
            image.bytes(),
            image.overhead()?
        );
    }
    println!("{}", places.archive.display());
    println!("{}", places.layout.display());
    Ok(())
}

/// Writes an initramfs, and prints where it is.
fn initramfs(arch: Arch) -> Result<()> {
    let file = fs::read(build::build(arch)?)?;
    let place = workspace_root().join("target/stowaway/initramfs.cpio");
    fs::write(&place, qemu::initramfs::of_own(&file)?)
        .with_context(|| format!("cannot write {}", place.display()))?;
    println!("{}", place.display());
    Ok(())
}

/// Where images are written.
pub struct Places {
    /// A directory: the OCI layout. `latest` is an index of all platforms; each has a tag of its own, too.
    pub layout: PathBuf,
    /// A file for `docker load`.
    pub archive: PathBuf,
}

impl Places {
    /// `oci` and `docker.tar` in a directory.
    pub fn below(directory: &Path) -> Self {
        Self {
            layout: directory.join("oci"),
            archive: directory.join("docker.tar"),
        }
    }
}

/// Packs each file into an image and writes all of them. Fails when an image weighs more than it may.
pub fn write(
    files: &[(Arch, Vec<u8>)],
    description: &Description,
    places: &Places,
) -> Result<Vec<Image>> {
    let waiting = setup::progress("packing images");
    let mut images = Vec::new();
    for (at, (arch, file)) in files.iter().enumerate() {
        if files[..at].iter().any(|(other, _)| other == arch) {
            bail!("{} is named twice; name each processor once", arch.name());
        }
        waiting.say(format!("packing the image for {}", arch.name()));
        let layer = Layer::of_program(description.file_name()?, file)?;
        let platform = Platform::of(*arch);
        let process = description.process();
        let image = Image::new(
            platform,
            file,
            layer,
            &process,
            &description.manifest_annotations,
        )?;
        let over = image.overhead()?;
        if over > OVERHEAD_MAX as i64 {
            bail!(
                "the image for {} weighs {over} bytes more than its compressed file, and {OVERHEAD_MAX} are the most: \
                 shorten image/container.toml",
                platform.name()
            );
        }
        images.push(image);
    }
    write_layout(&images, &description.index_annotations, &places.layout)?;
    archive::write(&description.name, &images, &places.archive)
        .with_context(|| format!("cannot write {}", places.archive.display()))?;
    Ok(images)
}

/// An OCI layout of these images in place of what was there: all of them as `latest`, and each as its platform's name.
pub fn write_layout(
    images: &[Image],
    annotations: &description::Words,
    place: &Path,
) -> Result<()> {
    let write = || -> Result<()> {
        let layout = Layout::new(place)?;
        let mut manifests = Vec::new();
        for image in images {
            layout.put(media_type::CONFIG, &image.config)?;
            layout.put(media_type::LAYER, &image.layer.compressed)?;
            let manifest = layout.put(media_type::MANIFEST, &image.manifest)?;
            manifests.push(manifest.on(image.platform));
        }
        let all = layout::index(manifests.clone(), annotations)?;
        let mut tagged = vec![layout.put(media_type::INDEX, &all)?.tagged("latest")];
        for (manifest, image) in manifests.into_iter().zip(images) {
            tagged.push(manifest.tagged(&image.platform.name()));
        }
        layout.finish(tagged)
    };
    write().with_context(|| format!("cannot write {}", place.display()))
}

/// For which machines an image is, in the words of Go and therefore of OCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// `GOARCH`.
    pub architecture: &'static str,
    /// Always Linux.
    pub os: &'static str,
    /// Which of several processors that share a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<&'static str>,
}

impl Platform {
    /// That of a processor.
    pub const fn of(arch: Arch) -> Self {
        let (architecture, variant) = match arch {
            Arch::X86_64 => ("amd64", None),
            Arch::I686 => ("386", None),
            Arch::Aarch64 => ("arm64", Some("v8")),
            Arch::Armv7 => ("arm", Some("v7")),
        };
        Self {
            architecture,
            os: "linux",
            variant,
        }
    }

    /// As a tag: `amd64`, `armv7`.
    pub fn name(self) -> String {
        format!("{}{}", self.architecture, self.variant.unwrap_or_default())
    }
}

/// An image for one platform.
pub struct Image {
    /// For which.
    pub platform: Platform,
    /// The blob that the layers' digests and the process's arguments are in.
    pub config: Vec<u8>,
    /// The only layer.
    pub layer: Layer,
    /// The blob that names the others.
    pub manifest: Vec<u8>,
    /// What the file weighs.
    pub file_bytes: usize,
    /// What it weighs compressed by itself.
    pub compressed_bytes: usize,
}

impl Image {
    /// Packs a layer that has `file` in it.
    pub fn new(
        platform: Platform,
        file: &[u8],
        layer: Layer,
        process: &description::Process,
        annotations: &description::Words,
    ) -> Result<Self> {
        let config = serde_json::to_vec(&Config {
            platform,
            config: process,
            rootfs: RootFs {
                kind: "layers",
                diff_ids: [&layer.diff_id],
            },
        })?;
        let manifest = serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST,
            config: Descriptor::of(media_type::CONFIG, &config),
            layers: [Descriptor::of(media_type::LAYER, &layer.compressed)],
            annotations,
        })?;
        Ok(Self {
            platform,
            config,
            layer,
            manifest,
            file_bytes: file.len(),
            compressed_bytes: layer::compress(file)?.len(),
        })
    }

    /// What a registry keeps and a client fetches: manifest, configuration and layer.
    pub fn bytes(&self) -> usize {
        self.manifest.len() + self.config.len() + self.layer.compressed.len()
    }

    /// How much more that is than the compressed file.
    pub fn overhead(&self) -> Result<i64> {
        Ok(i64::try_from(self.bytes())? - i64::try_from(self.compressed_bytes)?)
    }
}

#[derive(Serialize)]
struct Config<'a> {
    #[serde(flatten)]
    platform: Platform,
    config: &'a description::Process,
    rootfs: RootFs<'a>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [&'a str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    #[serde(skip_serializing_if = "description::Words::is_empty")]
    annotations: &'a description::Words,
}
