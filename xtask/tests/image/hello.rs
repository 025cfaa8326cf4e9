//! The programs of `cargo xtask hello` and their images: size limits, and output on this host and in a container.

use super::podman::Podman;
use super::{names, oci, unpacked};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::process::Command;
use xtask::commands::hello::{self, ARCHS, IMAGE_BYTES_MAX, MESSAGE};
use xtask::commands::image::Image;
use xtask::machines::server::{public_dir, root_for};
use xtask::setup;

#[test]
fn images_are_within_size_limit_and_print_hello() -> Result<()> {
    setup::install_packages(&["skopeo", "umoci"])?;
    let directory = public_dir()?;
    let layout = directory.path().join("oci");
    let images = hello::write_images(&layout)?;
    // The total size of the blobs on disk, without the index that lists the images, must equal the sum of the images' sizes.
    let index = fs::read(layout.join("index.json"))?;
    let index: serde_json::Value = serde_json::from_slice(&index)?;
    let index_bytes = index["manifests"][0]["size"].as_u64().context("no index")?;
    let mut blob_bytes = 0;
    for blob in names(&layout.join("blobs/sha256"))? {
        blob_bytes += fs::metadata(layout.join("blobs/sha256").join(blob))?.len();
    }
    let sum: usize = images.iter().map(Image::bytes).sum();
    ensure!(
        blob_bytes - index_bytes == sum as u64 && images.len() == ARCHS.len(),
        "blobs have {blob_bytes} bytes, the index {index_bytes}, the images {sum}"
    );
    let podman = if root_for("hello in a container") {
        Some(Podman::new(None)?)
    } else {
        None
    };
    for image in images {
        let tag = image.platform.name();
        ensure!(
            image.bytes() <= IMAGE_BYTES_MAX,
            "{} bytes for {tag}",
            image.bytes()
        );
        let seen =
            setup::run_captured(Command::new("skopeo").args(["inspect", &oci(&layout, &tag)]))?;
        let seen: serde_json::Value = serde_json::from_str(&seen)?;
        ensure!(
            seen["Architecture"] == tag && seen["Os"] == "linux",
            "skopeo sees {seen}"
        );
        let root = unpacked(&layout, &tag, directory.path())?;
        ensure!(names(&root)? == ["hello"], "{:?}", names(&root)?);
        let program = root.join("hello");
        let full = File::create("/dev/full")?;
        let failed = Command::new(&program).stdout(full).status()?;
        ensure!(
            failed.code().is_some_and(|code| code != 0),
            "{tag}, status with a full disk: {failed}"
        );
        let stdout = setup::run_captured(&mut Command::new(program))?;
        ensure!(
            stdout == MESSAGE,
            "the program that umoci unpacked prints {stdout:?}"
        );
        if let Some(podman) = &podman {
            let image = podman.pull(&layout, &tag, &[])?;
            let stdout = podman.run(&["--rm", &image])?;
            ensure!(
                stdout == MESSAGE,
                "the container of {tag} prints {stdout:?}"
            );
        }
    }
    Ok(())
}
