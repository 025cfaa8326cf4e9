//! `cargo xtask image oci`: builds container images from the executables and image/container.toml, without a container engine.
//! `cargo xtask image initramfs`: builds an initramfs with stowaway as /init.
//!
//! `oci` writes an OCI layout with an index of all platforms, and the same images as an archive for `docker load`. The output is
//! reproducible: it contains no time, path or user of the build.

mod archive;
pub mod description;
pub mod layer;
pub mod layout;
#[cfg(feature = "workshop")]
pub mod modules;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde::Serialize;

use crate::build::{self, Arch, workspace_root};
use crate::setup;
use description::Description;
use layer::Layer;
use layout::{Descriptor, Layout, media_type};

/// `cargo xtask image`
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    format: Format,
}

#[derive(Subcommand)]
enum Format {
    /// An OCI layout and an archive for docker load
    Oci {
        /// Architectures, separated by commas [default: all]
        #[arg(long, value_delimiter = ',', value_name = "LIST")]
        arch: Vec<Arch>,
    },
    /// An initramfs with stowaway as /init
    #[cfg(feature = "workshop")]
    Initramfs {
        /// The architecture
        #[arg(long, default_value = "x86_64")]
        arch: Arch,
        /// Directory of the kernel's modules, /lib/modules/VERSION: adds virtio_net, virtio_blk and virtio_pci with the modules that
        /// they need, ext4 and isofs
        #[arg(long, value_name = "DIR")]
        modules: Option<PathBuf>,
    },
}

/// Size limit of an image beyond its compressed executable, in bytes: manifest, configuration and the layer's tar overhead.
pub const OVERHEAD_MAX: usize = 1088;

/// Builds executables and images; prints sizes and paths.
pub fn main(args: Args) -> Result<()> {
    let archs = match args.format {
        Format::Oci { arch } => arch,
        #[cfg(feature = "workshop")]
        Format::Initramfs { arch, modules } => return initramfs(arch, modules.as_deref()),
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
    let paths = OutputPaths::in_directory(&workspace_root().join("target/stowaway"));
    let images = write(&files, &Description::load()?, &paths)?;
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
    println!("{}", paths.archive.display());
    println!("{}", paths.layout.display());
    Ok(())
}

/// Writes an initramfs, with kernel modules of the directory `modules`, and prints its path.
#[cfg(feature = "workshop")]
fn initramfs(arch: Arch, modules: Option<&Path>) -> Result<()> {
    use crate::machines::qemu::initramfs;
    let modules = modules.map(modules::in_load_order).transpose()?;
    let mut archive = initramfs::of_own(&fs::read(build::build(arch)?)?)?;
    if let Some(modules) = modules {
        initramfs::append(&mut archive, &initramfs::of_modules(&modules)?);
    }
    let path = workspace_root().join("target/stowaway/initramfs.cpio");
    fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// Output paths of the images.
pub struct OutputPaths {
    /// Directory of the OCI layout. The tag `latest` is an index of all platforms; each platform also has its own tag.
    pub layout: PathBuf,
    /// Archive for `docker load`.
    pub archive: PathBuf,
}

impl OutputPaths {
    /// Paths of the layout (`oci`) and of the archive (`docker.tar`) in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            layout: directory.join("oci"),
            archive: directory.join("docker.tar"),
        }
    }
}

/// Packs each executable into an image and writes layout and archive. Fails if an image exceeds its size limit.
pub fn write(
    files: &[(Arch, Vec<u8>)],
    description: &Description,
    paths: &OutputPaths,
) -> Result<Vec<Image>> {
    let waiting = setup::progress("packing images");
    let mut images = Vec::new();
    for (index, (arch, file)) in files.iter().enumerate() {
        if files[..index].iter().any(|(other, _)| other == arch) {
            bail!(
                "{} is listed twice: list each architecture once",
                arch.name()
            );
        }
        waiting.set_message(format!("packing the image for {}", arch.name()));
        let layer = Layer::of_program(description.file_name()?, file)?;
        let platform = Platform::for_arch(*arch);
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
                "the image for {} is {over} bytes larger than its compressed executable; the limit is {OVERHEAD_MAX}: \
                 shorten image/container.toml",
                platform.name()
            );
        }
        images.push(image);
    }
    write_layout(&images, &description.index_annotations, &paths.layout)?;
    archive::write(&description.name, &images, &paths.archive)
        .with_context(|| format!("cannot write {}", paths.archive.display()))?;
    Ok(images)
}

/// Writes an OCI layout of `images`, replacing an older one: tag `latest` for all, and a tag per platform.
pub fn write_layout(
    images: &[Image],
    annotations: &description::Annotations,
    path: &Path,
) -> Result<()> {
    let write = || -> Result<()> {
        let layout = Layout::new(path)?;
        let mut manifests = Vec::new();
        for image in images {
            layout.write_blob(media_type::CONFIG, &image.config)?;
            layout.write_blob(media_type::LAYER, &image.layer.compressed)?;
            let manifest = layout.write_blob(media_type::MANIFEST, &image.manifest)?;
            manifests.push(manifest.with_platform(image.platform));
        }
        let all = layout::index(manifests.clone(), annotations)?;
        let mut tagged = vec![
            layout
                .write_blob(media_type::INDEX, &all)?
                .with_tag("latest"),
        ];
        for (manifest, image) in manifests.into_iter().zip(images) {
            tagged.push(manifest.with_tag(&image.platform.name()));
        }
        layout.finish(tagged)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The platform of an image. OCI uses Go's names (GOARCH, GOOS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Processor architecture: a value of `GOARCH`.
    pub architecture: &'static str,
    /// Operating system: a value of `GOOS`, always `linux`.
    pub os: &'static str,
    /// Variant of the architecture: `v7`, `v8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<&'static str>,
}

impl Platform {
    /// The platform of an architecture.
    pub const fn for_arch(arch: Arch) -> Self {
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

    /// The platform's tag: `amd64`, `armv7`.
    pub fn name(self) -> String {
        format!("{}{}", self.architecture, self.variant.unwrap_or_default())
    }
}

/// An image for one platform.
pub struct Image {
    /// Platform that the image runs on.
    pub platform: Platform,
    /// The image configuration, a blob: the layer's digest and the process's arguments.
    pub config: Vec<u8>,
    /// The only layer.
    pub layer: Layer,
    /// The manifest, a blob that references configuration and layer.
    pub manifest: Vec<u8>,
    /// Size of the executable in bytes.
    pub file_bytes: usize,
    /// Size of the executable in bytes after compression with gzip.
    pub compressed_bytes: usize,
}

impl Image {
    /// Makes an image of `layer`, which contains the executable `file`.
    pub fn new(
        platform: Platform,
        file: &[u8],
        layer: Layer,
        process: &description::Process,
        annotations: &description::Annotations,
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
            config: Descriptor::for_blob(media_type::CONFIG, &config),
            layers: [Descriptor::for_blob(media_type::LAYER, &layer.compressed)],
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

    /// Size of the blobs that a client downloads: manifest, configuration and layer.
    pub fn bytes(&self) -> usize {
        self.manifest.len() + self.config.len() + self.layer.compressed.len()
    }

    /// Bytes by which the image exceeds the compressed executable.
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
    #[serde(skip_serializing_if = "description::Annotations::is_empty")]
    annotations: &'a description::Annotations,
}
