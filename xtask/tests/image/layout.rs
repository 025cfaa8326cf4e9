//! The OCI layout and the archive, blob by blob, read by the crate oci-spec and by skopeo and umoci.

use super::{files, images, names, oci, unpacked};
use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use xtask::build::Arch;
use xtask::commands::image::description::Description;
use xtask::commands::image::{self, OVERHEAD_MAX, OutputPaths};
use xtask::machines::server::public_dir;
use xtask::setup;

/// The architecture and variant of a build, in the terms of the OCI specification.
fn go_name(arch: Arch) -> (&'static str, Option<&'static str>) {
    match arch {
        Arch::X86_64 => ("amd64", None),
        Arch::I686 => ("386", None),
        Arch::Aarch64 => ("arm64", Some("v8")),
        Arch::Armv7 => ("arm", Some("v7")),
    }
}

/// The tag of a single platform's image.
fn platform_tag(arch: Arch) -> String {
    let (name, variant) = go_name(arch);
    format!("{name}{}", variant.unwrap_or_default())
}

fn sum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Reads the blob that a descriptor refers to, after a check of size and digest. Adds its name to `seen`.
fn blob(layout: &Path, descriptor: &Descriptor, seen: &mut BTreeSet<String>) -> Result<Vec<u8>> {
    let digest = descriptor.digest().to_string();
    let name = digest
        .strip_prefix("sha256:")
        .context("the digest is not SHA-256")?;
    let bytes = fs::read(layout.join("blobs/sha256").join(name))?;
    ensure!(
        bytes.len() as u64 == descriptor.size() && sum(&bytes) == digest,
        "{digest}: size or digest differs from the descriptor"
    );
    seen.insert(name.to_owned());
    Ok(bytes)
}

fn tag(descriptor: &Descriptor) -> Option<&str> {
    let annotations = descriptor.annotations().as_ref()?;
    annotations
        .get("org.opencontainers.image.ref.name")
        .map(String::as_str)
}

/// The size of `file` after gzip -9 by flate2, without our own optimizations.
fn gzip_9(file: &[u8]) -> Result<usize> {
    let mut compressed = Vec::new();
    flate2::read::GzEncoder::new(file, flate2::Compression::best()).read_to_end(&mut compressed)?;
    Ok(compressed.len())
}

#[test]
fn each_platform_image_contains_only_the_built_file() -> Result<()> {
    let layout = images()?.layout;
    let mut seen = BTreeSet::new();
    let layout_index = ImageIndex::from_file(layout.join("index.json"))?;
    let latest = layout_index
        .manifests()
        .iter()
        .find(|descriptor| tag(descriptor) == Some("latest"))
        .context("nothing is tagged latest")?;
    ensure!(latest.media_type() == &MediaType::ImageIndex, "{latest:?}");
    let index = ImageIndex::from_reader(&blob(&layout, latest, &mut seen)?[..])?;
    let annotations = index.annotations().clone().unwrap_or_default();
    for (key, value) in [
        ("org.opencontainers.image.title", "stowaway"),
        (
            "org.opencontainers.image.version",
            env!("CARGO_PKG_VERSION"),
        ),
        ("org.opencontainers.image.licenses", "MIT OR Apache-2.0"),
    ] {
        ensure!(
            annotations.get(key).map(String::as_str) == Some(value),
            "the index's {key} is not {value}: {annotations:?}"
        );
    }
    let files = files()?;
    ensure!(
        index.manifests().len() == files.len(),
        "{} platforms",
        index.manifests().len()
    );
    for ((arch, file), descriptor) in files.iter().zip(index.manifests()) {
        check(&layout, *arch, file, descriptor, &mut seen)
            .with_context(|| format!("the image for {}", arch.name()))?;
        let tagged = layout_index
            .manifests()
            .iter()
            .find(|descriptor| tag(descriptor) == Some(&platform_tag(*arch)));
        ensure!(
            tagged.is_some_and(|tagged| tagged.digest() == descriptor.digest()),
            "{} is not the tag of this platform's image",
            platform_tag(*arch)
        );
    }
    let stored: BTreeSet<String> = names(&layout.join("blobs/sha256"))?.into_iter().collect();
    ensure!(
        stored == seen,
        "blobs without a reference: stored {stored:?}, referenced {seen:?}"
    );
    Ok(())
}

fn check(
    layout: &Path,
    arch: Arch,
    file: &[u8],
    descriptor: &Descriptor,
    seen: &mut BTreeSet<String>,
) -> Result<()> {
    let platform = descriptor.platform().as_ref().context("no platform")?;
    ensure!(
        (
            &*platform.architecture().to_string(),
            platform.variant().as_deref()
        ) == go_name(arch)
            && platform.os().to_string() == "linux",
        "the platform is {platform:?}"
    );
    let manifest_bytes = blob(layout, descriptor, seen)?;
    let manifest = ImageManifest::from_reader(&manifest_bytes[..])?;
    ensure!(
        manifest.media_type().as_ref() == Some(&MediaType::ImageManifest)
            && manifest.annotations().is_some(),
        "{manifest:?}"
    );
    let config_bytes = blob(layout, manifest.config(), seen)?;
    let config = ImageConfiguration::from_reader(&config_bytes[..])?;
    ensure!(
        config.architecture() == platform.architecture()
            && config.variant() == platform.variant()
            && config.os() == platform.os()
            && config.created().is_none(),
        "{config:?}"
    );
    let process = config.config().as_ref().context("no process")?;
    ensure!(
        process.user().as_deref() == Some("65534:65534")
            && process.entrypoint().as_deref() == Some(&["/stowaway".to_owned()])
            && process.cmd().as_ref().is_some_and(|cmd| cmd[0] == "serve"),
        "{process:?}"
    );
    let ports = process.exposed_ports().clone().unwrap_or_default();
    ensure!(ports.contains(&"2049/tcp".to_owned()), "{ports:?}");

    let [layer] = &manifest.layers()[..] else {
        anyhow::bail!("{} layers instead of one", manifest.layers().len());
    };
    let compressed = blob(layout, layer, seen)?;
    let mut archive = Vec::new();
    GzDecoder::new(&compressed[..]).read_to_end(&mut archive)?;
    ensure!(
        config.rootfs().diff_ids() == &[sum(&archive)],
        "{:?} is not the digest of the layer",
        config.rootfs()
    );
    let mut entries = 0;
    for entry in tar::Archive::new(&archive[..]).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let header = entry.header();
        ensure!(
            entry.path()? == Path::new("stowaway")
                && content == file
                && header.mode()? == 0o755
                && (header.uid()?, header.gid()?, header.mtime()?) == (0, 0, 0),
            "{header:?} with {} bytes",
            content.len()
        );
        entries += 1;
    }
    ensure!(entries == 1, "the layer has {entries} files instead of one");

    let image_bytes = manifest_bytes.len() + config_bytes.len() + compressed.len();
    let file_bytes = gzip_9(file)?.min(image::layer::compress(file)?.len());
    ensure!(
        image_bytes <= file_bytes + OVERHEAD_MAX,
        "the image has {image_bytes} bytes, the compressed file {file_bytes}"
    );
    Ok(())
}

#[test]
fn same_files_give_identical_images() -> Result<()> {
    let files = files()?;
    let description = Description::load()?;
    let (first, second) = (public_dir()?, public_dir()?);
    let contents = |directory: &Path| -> Result<Vec<(String, String)>> {
        let paths = OutputPaths::in_directory(directory);
        // Both writes use the same directory. The second must replace the files of the first.
        image::write(&files[..1], &description, &paths)?;
        image::write(&files, &description, &paths)?;
        let mut contents = Vec::new();
        for entry in walkdir::WalkDir::new(directory).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(directory)?;
                contents.push((path.display().to_string(), sum(&fs::read(entry.path())?)));
            }
        }
        Ok(contents)
    };
    let (first, second) = (contents(first.path())?, contents(second.path())?);
    ensure!(first == second, "{first:#?}\n{second:#?}");
    // The four other files are oci-layout, index.json, the blob of the index, and docker.tar. Each platform has three blobs.
    ensure!(first.len() == 4 + 3 * files.len(), "{first:#?}");
    Ok(())
}

#[test]
fn skopeo_and_umoci_read_every_platform() -> Result<()> {
    setup::install_packages(&["skopeo", "umoci"])?;
    let layout = images()?.layout;
    let directory = public_dir()?;
    for (arch, file) in files()? {
        let (name, variant) = go_name(arch);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--override-arch", name]);
        if let Some(variant) = variant {
            skopeo.args(["--override-variant", variant]);
        }
        skopeo.args(["inspect", "--config"]);
        let seen = setup::run_captured(skopeo.arg(oci(&layout, "latest")))?;
        let seen: serde_json::Value = serde_json::from_str(&seen)?;
        ensure!(
            seen["architecture"] == name
                && seen["config"]["User"] == "65534:65534"
                && seen["config"]["Entrypoint"][0] == "/stowaway",
            "skopeo sees {seen}"
        );
        let root = unpacked(&layout, &platform_tag(arch), directory.path())?;
        ensure!(
            names(&root)? == ["stowaway"] && fs::read(root.join("stowaway"))? == file,
            "umoci unpacked other files for {name}"
        );
    }
    // Copies all platforms at once, as to a registry.
    let copy = oci(&directory.path().join("copy"), "latest");
    let source = oci(&layout, "latest");
    setup::run_captured(Command::new("skopeo").args(["copy", "--quiet", "--all", &source, &copy]))?;
    let raw =
        |image: &str| setup::run_captured(Command::new("skopeo").args(["inspect", "--raw", image]));
    ensure!(
        raw(&copy)? == raw(&source)?,
        "the copy differs from the source"
    );
    Ok(())
}

#[test]
fn archive_and_layout_contain_the_same_images() -> Result<()> {
    setup::install_packages(&["skopeo"])?;
    let paths = images()?;
    let mut owners = BTreeSet::new();
    for entry in tar::Archive::new(File::open(&paths.archive)?).entries()? {
        let header = entry?.header().clone();
        owners.insert((
            header.uid()?,
            header.gid()?,
            header.mtime()?,
            header.mode()?,
        ));
    }
    ensure!(owners == BTreeSet::from([(0, 0, 0, 0o644)]), "{owners:?}");
    let config = |image: String| {
        setup::run_captured(Command::new("skopeo").args(["inspect", "--raw", "--config", &image]))
    };
    let archived = |tag: &str| {
        config(format!(
            "docker-archive:{}:stowaway:{tag}",
            paths.archive.display()
        ))
    };
    for arch in Arch::ALL {
        let name = platform_tag(arch);
        ensure!(
            archived(&name)? == config(oci(&paths.layout, &name))?,
            "{name} differs"
        );
    }
    ensure!(
        archived("latest")? == archived(&platform_tag(Arch::X86_64))?,
        "latest is not the image of x86_64"
    );
    Ok(())
}

#[test]
fn oversized_or_duplicate_platform_is_refused() -> Result<()> {
    let files = files()?;
    let directory = public_dir()?;
    let paths = OutputPaths::in_directory(directory.path());
    let mut description = Description::load()?;
    let twice = [files[0].clone(), files[0].clone()];
    let error = image::write(&twice, &description, &paths).err();
    let error = error
        .context("two images of one platform were accepted")?
        .to_string();
    ensure!(error.contains("x86_64 is listed twice"), "{error}");

    let long = "x".repeat(OVERHEAD_MAX);
    let annotations = &mut description.manifest_annotations;
    annotations.insert("org.example.long".to_owned(), long);
    let error = image::write(&files[..1], &description, &paths).err();
    let error = error
        .context("an image over the size limit was accepted")?
        .to_string();
    ensure!(error.contains("shorten image/container.toml"), "{error}");
    ensure!(
        names(directory.path())?.is_empty(),
        "a rejected image was written"
    );
    Ok(())
}
