//! /metrics and /status over HTTP: access, files of the same names, and the look of the page.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use xtask::build::workspace_root;
use xtask::clients::http::{Client, get, request};
use xtask::machines::http::HttpServer;
use xtask::machines::server::public_dir;
use xtask::setup::{install_packages, run_captured};

use super::World;

/// The status of a path for the client with this address.
fn status_for(server: &HttpServer, source: Ipv4Addr, path: &str) -> Result<u16> {
    let mut client = Client::connect_from(source, server.address())?;
    Ok(client.get(path)?.head.status)
}

#[test]
fn export_named_metrics_wins() -> Result<()> {
    let directory = public_dir()?;
    fs::write(directory.path().join("status"), "a file")?;
    let path = directory.path().display().to_string();
    let server = HttpServer::start("http", [&path])?;
    ensure!(get(server.address(), "/status")?.body == b"a file");
    ensure!(get(server.address(), "/metrics")?.head.status == 200);
    let mut client = Client::connect(server.address())?;
    client.send(request("HEAD", "/metrics", "").as_bytes())?;
    ensure!(client.receive_head()?.status == 200);
    Ok(())
}

#[test]
fn networks_are_let_in() -> Result<()> {
    let namespace = xtask::machines::server::Namespace::new()?;
    namespace.run(|| {
        for address in ["192.0.2.1/32", "192.0.2.2/32", "198.51.100.1/32"] {
            xtask::machines::server::ip(&format!("address add {address} dev lo"))?;
        }
        let directory = public_dir()?;
        let path = directory.path().display().to_string();
        let at = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 8000));
        let from = "--metrics-from=192.0.2.0/24,2001:db8::/32";
        let server = HttpServer::start_at(at, "http", [&path, from])?;
        for (last, status) in [([192, 0, 2, 2], 200), ([198, 51, 100, 1], 404)] {
            for page in ["/metrics", "/status"] {
                let found = status_for(&server, last.into(), page)?;
                ensure!(found == status, "{page} for {last:?}: {found}");
            }
            ensure!(status_for(&server, last.into(), "/healthz")? == 200);
        }
        Ok(())
    })
}

#[test]
fn own_port_has_no_files() -> Result<()> {
    let world = World::new("serve", "", None)?;
    let path = world.directory.path().display().to_string();
    ensure!(get(world.metrics, &path)?.head.status == 404, "{path}");
    // A request for what does not exist is not an error of the server.
    let samples = world.samples()?;
    let errors = "stowaway_client_errors_total\t[('protocol', 'http')]";
    ensure!(samples.get(errors) == Some(&1.0), "{samples:#?}");
    let is_error = |name: &String| name.starts_with("stowaway_call_errors_total");
    ensure!(!samples.keys().any(is_error), "{samples:#?}");
    for name in ["resident_memory_bytes", "open_fds", "start_time_seconds"] {
        let value = samples.get(&format!("process_{name}\t[]"));
        ensure!(value.is_some_and(|value| *value > 0.0), "{name}: {value:?}");
    }
    let version = format!("[('version', '{}')]", env!("CARGO_PKG_VERSION"));
    ensure!(samples.contains_key(&format!("stowaway_build_info\t{version}")));
    let page = String::from_utf8(get(world.metrics, "/")?.body)?;
    for word in [
        "href=/metrics",
        "href=/healthz",
        " calls/s, ",
        " MB/s",
        " GMT",
    ] {
        ensure!(page.contains(word), "no {word} in {page}");
    }
    for path in ["/metrics", "/status", "/healthz"] {
        ensure!(get(world.metrics, path)?.head.status == 200, "{path}");
    }
    Ok(())
}

/// The pictures are kept in target/status for a person to look at.
#[test]
fn chromium_shows_the_page() -> Result<()> {
    install_packages(&["chromium-headless-shell"])?;
    let world = World::new("serve", "--loops 2", None)?;
    world.work()?;
    let (pictures, work) = (workspace_root().join("target/status"), public_dir()?);
    fs::create_dir_all(&pictures)?;
    for (name, size, scheme) in [
        ("light", "900,800", "light"),
        ("dark", "900,800", "dark"),
        ("phone", "360,1600", "light"),
    ] {
        let picture = pictures.join(name).with_extension("png");
        let dark = match scheme {
            "dark" => "--blink-settings=preferredColorScheme=0",
            _ => "--blink-settings=preferredColorScheme=1",
        };
        let dom = run_captured(
            Command::new("timeout")
                .args([
                    "60",
                    "chromium-headless-shell",
                    "--no-sandbox",
                    "--disable-gpu",
                ])
                .args(["--hide-scrollbars", "--dump-dom", dark])
                .args([
                    format!("--window-size={size}"),
                    format!("--screenshot={}", picture.display()),
                ])
                .arg(format!("http://{}/status", world.metrics))
                .env("HOME", work.path()),
        )?;
        for word in ["getattr", "127.0.0.1", "background-size", "uptime"] {
            ensure!(dom.contains(word), "no {word} in {dom}");
        }
        ensure!(fs::metadata(&picture).context("no picture")?.len() > 5000);
    }
    Ok(())
}

/// The scrape configuration of recipes.md, in the eyes of Prometheus.
#[test]
fn recipe_is_a_configuration() -> Result<()> {
    install_packages(&["prometheus"])?;
    let recipes = fs::read_to_string(workspace_root().join("image/doc/recipes.md"))?;
    let (_, after) = recipes
        .split_once("with this `prometheus.yml`:\n\n")
        .context("no prometheus.yml")?;
    let lines = after.lines().map_while(|line| line.strip_prefix("    "));
    let directory = public_dir()?;
    let file = directory.path().join("prometheus.yml");
    fs::write(
        &file,
        lines.map(|line| format!("{line}\n")).collect::<String>(),
    )?;
    run_captured(
        Command::new("promtool")
            .args(["check", "config"])
            .arg(&file),
    )?;
    Ok(())
}
