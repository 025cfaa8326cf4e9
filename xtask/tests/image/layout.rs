//! The OCI layout and the archive: sizes and digests of all blobs, and what skopeo and umoci read.

use super::{files, images, names, oci, unpacked};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
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

/// Checks size and digest of each blob that a document refers to, and of those that these refer to. Adds their names to `seen`.
fn check_blobs(layout: &Path, document: &Value, seen: &mut BTreeSet<String>) -> Result<()> {
    let parts: Vec<&Value> = match document {
        Value::Array(parts) => parts.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    for part in parts {
        check_blobs(layout, part, seen)?;
    }
    let digest = document["digest"].as_str().unwrap_or_default();
    if let Some(name) = digest.strip_prefix("sha256:") {
        let bytes = fs::read(layout.join("blobs/sha256").join(name))?;
        ensure!(
            document["size"] == bytes.len() && sum(&bytes) == digest,
            "size or digest differs: {document}"
        );
        seen.insert(name.to_owned());
        if let Ok(inner) = serde_json::from_slice(&bytes) {
            check_blobs(layout, &inner, seen)?;
        }
    }
    Ok(())
}

#[test]
fn every_blob_has_a_matching_reference() -> Result<()> {
    let layout = images()?.layout;
    let index = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let mut seen = BTreeSet::new();
    check_blobs(&layout, &index, &mut seen)?;
    let stored: BTreeSet<String> = names(&layout.join("blobs/sha256"))?.into_iter().collect();
    // The index of all platforms; a manifest, a configuration and a layer of each.
    ensure!(
        stored == seen && seen.len() == 1 + 3 * Arch::ALL.len(),
        "stored {stored:?}, referenced {seen:?}"
    );
    Ok(())
}

/// Stand-ins for the built files: their compression takes no time.
fn small_files() -> Vec<(Arch, Vec<u8>)> {
    Arch::ALL
        .map(|arch| (arch, arch.name().repeat(5000).into_bytes()))
        .to_vec()
}

#[test]
fn same_files_give_identical_images() -> Result<()> {
    let files = small_files();
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
    let inspect = |image: &str| -> Result<Value> {
        let mut skopeo = Command::new("skopeo");
        let printed = setup::run_captured(skopeo.args(["inspect", "--raw", image]))?;
        Ok(serde_json::from_str(&printed)?)
    };
    let source = oci(&layout, "latest");
    let index = inspect(&source)?;
    for (key, value) in [
        ("title", "stowaway"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", "MIT OR Apache-2.0"),
    ] {
        let key = format!("org.opencontainers.image.{key}");
        ensure!(index["annotations"][key] == value, "{index}");
    }
    for (number, (arch, file)) in files()?.into_iter().enumerate() {
        let (name, variant) = go_name(arch);
        let tag = platform_tag(arch);
        let described = &index["manifests"][number];
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--override-arch", name]);
        if let Some(variant) = variant {
            skopeo.args(["--override-variant", variant]);
        }
        skopeo.args(["inspect", "--config"]);
        let seen = setup::run_captured(skopeo.arg(&source))?;
        let seen: Value = serde_json::from_str(&seen)?;
        for about in [&described["platform"], &seen] {
            ensure!(
                about["architecture"] == name
                    && about["os"] == "linux"
                    && about["variant"].as_str() == variant,
                "{about}"
            );
        }
        let process = &seen["config"];
        ensure!(
            process["User"] == "65534:65534"
                && process["Entrypoint"][0] == "/stowaway"
                && process["Cmd"][0] == "serve"
                && process["ExposedPorts"]["2049/tcp"].is_object()
                && seen["created"].is_null(),
            "skopeo sees {seen}"
        );
        let tagged = setup::run_captured(Command::new("skopeo").args([
            "inspect",
            "--raw",
            &oci(&layout, &tag),
        ]))?;
        ensure!(
            sum(tagged.as_bytes()) == *described["digest"].as_str().unwrap_or_default(),
            "{tag} is not the tag of this platform's image"
        );
        // umoci compares the layer with the configuration's diff_ids.
        let root = unpacked(&layout, &tag, directory.path())?;
        let program = root.join("stowaway");
        let metadata = fs::metadata(&program)?;
        ensure!(
            names(&root)? == ["stowaway"] && fs::read(program)? == file,
            "umoci unpacked other files for {name}"
        );
        let attributes = (metadata.mode() & 0o7777, metadata.mtime());
        ensure!(attributes == (0o755, 0), "{tag}: {attributes:?}");
    }
    // Copies all platforms at once, as to a registry.
    let copy = oci(&directory.path().join("copy"), "latest");
    setup::run_captured(Command::new("skopeo").args(["copy", "--quiet", "--all", &source, &copy]))?;
    ensure!(inspect(&copy)? == index, "the copy differs from the source");
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
    let files = small_files();
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
