//! The session in the terminal picture of README.md, `image/doc/terminal.txt`: compared with a run, with a guest as client.

use super::{LISTENING, Recipe, Running};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::build::workspace_root;
use xtask::machines::iso;
use xtask::machines::qemu::Guest;
use xtask::machines::server::message;
use xtask::pictures::terminal::{comparable, draw};
use xtask::setup::run_captured;

const MOUNT: &str = "mount it with: ";
/// The part of README's block that builds the file.
const BUILD: &str = "cargo xtask build && ";

/// Plays the four scenes with `guest` on a TAP interface that is configured as in the recipe `tap`, and compares them with the file.
pub fn ensure_current(directory: &Path, guest: &mut Guest) -> Result<()> {
    make_files(directory)?;
    let recipe = Recipe::load("fleet-host")?;
    let mut server = recipe.start(directory)?;
    server.wait_for("announced box.local")?;
    server.wait_for(LISTENING)?;
    let mut session = scene("1. Serve a directory", "box", recipe.text());
    for line in server.output()?.lines() {
        session += message(line);
        session += "\n";
    }

    let mount = server.wait_for(MOUNT)?;
    let (_, mount) = mount.split_once(MOUNT).context("no command")?;
    session += &scene("2. Paste the line on a client", "client", mount);
    session += &guest.run_ok(mount)?;
    for command in ["ls /mnt", "cat /mnt/hello.txt"] {
        session += &format!("client# {command}\n{}", guest.run_ok(command)?);
    }
    server.stop()?;

    let list = "stowaway ls /srv/debian.iso/";
    session += &scene("3. Look into an ISO image without a mount", "box", list);
    session += &run_captured(Command::new("sh").args(["-c", list]))?;

    let boot = Recipe::load("readme-microvm")?
        .with(BUILD, "")?
        .with("target/stowaway/x86_64/stowaway", "/usr/sbin/stowaway")?;
    session += &scene(
        "4. Boot the same file as a microVM, without an operating system",
        "box",
        boot.text(),
    );
    session += &console(boot.start(directory)?)?;

    let session = session.trim_start();
    let root = workspace_root();
    let kept = fs::read_to_string(root.join("image/doc/terminal.txt")).unwrap_or_default();
    if comparable(&kept) != comparable(session) {
        fs::write(root.join("target/terminal.txt"), session)?;
        fs::write(root.join("target/terminal.svg"), draw(session))?;
    }
    ensure!(
        comparable(&kept) == comparable(session),
        "image/doc/terminal.txt differs from the run: cp target/terminal.txt image/doc/; cp target/terminal.svg image/\n{session}"
    );
    Ok(())
}

/// Fills /srv. The files in the image are from a day more than six months ago, for which `ls` always prints the year.
fn make_files(directory: &Path) -> Result<()> {
    let tree = directory.join("debian");
    fs::create_dir_all(tree.join("install.amd"))?;
    fs::create_dir_all(tree.join("pool"))?;
    fs::write(tree.join("README.txt"), "Debian GNU/Linux\n")?;
    fs::write(tree.join("install.amd/vmlinuz"), [0; 4096])?;
    fs::create_dir("/srv/photos")?;
    fs::write("/srv/hello.txt", "hello\n")?;
    touch(&tree)?;
    iso::write_image(iso::ROCK_RIDGE[0], &tree, Path::new("/srv/debian.iso"))
}

/// Sets the times of a directory and of its entries.
fn touch(directory: &Path) -> Result<()> {
    let mut find = Command::new("find");
    find.arg(directory)
        .args(["-exec", "touch", "-d", "2026-01-02T08:00:00Z", "{}", "+"]);
    run_captured(&mut find).map(drop)
}

/// Head of a scene with its first command.
fn scene(title: &str, host: &str, command: &str) -> String {
    format!("\n## {title}\n{host}# {}\n", command.trim_end())
}

/// The lines of a machine's console up to its mount command; ends the machine.
fn console(mut machine: Running) -> Result<String> {
    machine.wait_for(MOUNT)?;
    let output = machine.output()?;
    machine.stop()?;
    let end = output.find(MOUNT).context("no mount command")?;
    let rest = output[end..].find('\n').unwrap_or(output.len() - end);
    // The name is announced before that command or after it.
    let is_shown = |line: &&str| !line.contains("announced");
    let lines = output[..end + rest].lines().filter(is_shown);
    Ok(lines.map(|line| format!("{line}\n")).collect())
}
