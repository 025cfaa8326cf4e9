//! Listings of directories, and README's pictures, as Chromium shows them.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xtask::build::workspace_root;
use xtask::setup;

use super::World;

/// The picture of the listing is kept in target/http for a person to look at.
#[test]
fn chromium_shows_a_listing() -> Result<()> {
    setup::install_packages(&["chromium-headless-shell"])?;
    let world = World::new()?;
    let pictures = workspace_root().join("target/http");
    fs::create_dir_all(&pictures)?;
    for (name, size) in [("wide", "1000,600"), ("phone", "390,700")] {
        let picture = pictures.join(name).with_extension("png");
        let dom = world.run(&format!(
            "HOME=. chromium-headless-shell --no-sandbox --disable-gpu --hide-scrollbars --window-size={size} \
             --dump-dom --screenshot={} $URL/",
            picture.display()
        ))?;
        for name in ["a b", "big", "x.iso"] {
            ensure!(dom.contains(name), "no {name} in {dom}");
        }
        let len = fs::metadata(&picture).context("no picture")?.len();
        ensure!(len > 5000, "the picture has {len} bytes");
    }
    Ok(())
}

/// README's pictures are kept in target/http, too.
#[test]
fn chromium_shows_readmes_pictures() -> Result<()> {
    setup::install_packages(&["chromium-headless-shell"])?;
    let (root, home) = (workspace_root(), tempfile::tempdir()?);
    fs::create_dir_all(root.join("target/http"))?;
    for name in ["compare", "terminal"] {
        let picture = root.join("target/http").join(name).with_extension("png");
        let image = root.join("image").join(name).with_extension("svg");
        let mut browser = Command::new("chromium-headless-shell");
        browser
            .args(["--no-sandbox", "--disable-gpu", "--window-size=880,820"])
            .args(["--hide-scrollbars", "--dump-dom"])
            .arg(format!("--screenshot={}", picture.display()))
            .arg(format!("file://{}", image.display()))
            .env("HOME", home.path());
        let dom = setup::run_captured(&mut browser)?;
        let is_shown = dom.contains("stowaway") && !dom.contains("parsererror");
        ensure!(is_shown, "{name}: {dom}");
        let len = fs::metadata(&picture).context("no picture")?.len();
        ensure!(len > 20_000, "the picture {name} has {len} bytes");
    }
    Ok(())
}
