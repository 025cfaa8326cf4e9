//! Listings of directories: Chromium's view of the HTML, names as JSON and as text.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::build::workspace_root;
use xtask::clients::http::{Client, request};
use xtask::setup;

use super::World;

/// Names in the root directory, in order.
const NAMES: [&str; 5] = ["a b", "big", "empty", "sub", "x.iso"];

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

#[test]
fn listings_are_json_or_text_if_asked() -> Result<()> {
    let world = World::new()?;
    let get = |accept: &str, path: &str| {
        let mut client = Client::connect(world.server.address())?;
        client.send(request("GET", path, &format!("Accept: {accept}\r\n")).as_bytes())?;
        let reply = client.receive()?;
        let kind = reply
            .head
            .field("Content-Type")
            .unwrap_or_default()
            .to_owned();
        anyhow::Ok((kind, String::from_utf8(reply.body)?))
    };
    let (kind, text) = get("text/plain", "/")?;
    let names: Vec<_> = text
        .lines()
        .map(|name| name.trim_end_matches('/'))
        .collect();
    ensure!(
        kind.starts_with("text/plain") && names == NAMES,
        "{kind}: {text}"
    );
    let (kind, text) = get("application/json", "/")?;
    let listing: Value = serde_json::from_str(&text).context(text)?;
    ensure!(kind.starts_with("application/json"), "{kind}");
    ensure!(
        NAMES.iter().all(|name| listing.to_string().contains(name)),
        "{listing}"
    );
    let (kind, text) = get("*/*", "/x.iso/")?;
    ensure!(
        kind.starts_with("text/html") && text.contains("href="),
        "{kind}: {text}"
    );
    Ok(())
}
