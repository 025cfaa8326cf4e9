//! `stowaway boot`: the world's TFTP clients fetch files, machines in QEMU boot from images beside DHCP servers of others.

mod assign;
mod faults;
mod layouts;
mod live;
mod machines;
mod offers;

use crate::recipes::Recipe;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;
use xtask::build::Arch;
use xtask::machines::iso::{ROCK_RIDGE, unpack_package, write_image};
use xtask::machines::server::{Namespace, Process, binary, public_dir, root_for};
use xtask::setup;

/// Longest time until a line of the server.
const READY_MAX: Duration = Duration::from_secs(20);

/// Starts the server in a namespace with the words of the recipe, for the images in `directory`, and more arguments.
fn serve(host: &Namespace, directory: &Path, arguments: &[&str]) -> Result<Process> {
    let recipe = Recipe::load("boot")?.with("/srv/isos", &directory.display().to_string())?;
    let words = recipe.text().trim().strip_prefix("stowaway ");
    let words = words.context("the recipe has another form")?.split(' ');
    let file = binary(Arch::X86_64)?;
    let mut command = host.command(&file.display().to_string());
    let server = Process::start(command.args(words).args(arguments).arg("--no-mdns"))?;
    server.wait_for_line("machines boot at", READY_MAX)?;
    server.wait_for_line("for NFS and MOUNT", READY_MAX)?;
    Ok(server)
}

/// Each client of others fetches a file of every length, and one inside an image, as it is.
#[test]
fn clients_of_others_fetch_files() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    setup::install_packages(&["xorriso", "curl", "busybox-static", "iproute2"])?;
    let atftp = unpack_package("atftp")?.join("usr/bin/atftp");
    let hpa = unpack_package("tftp-hpa")?.join("usr/bin/tftp");
    let directory = public_dir()?;
    let root = directory.path();
    let tree = tempfile::tempdir()?;
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(300_000)
        .collect();
    fs::write(tree.path().join("inner"), &content[..100_000])?;
    write_image(ROCK_RIDGE[0], tree.path(), &root.join("one.iso"))?;
    for len in [0, 511, 512, 1024, 300_000] {
        fs::write(root.join(format!("f{len}")), &content[..len])?;
    }
    let host = Namespace::new()?;
    let server = serve(&host, root, &["--interface", "lo"])?;
    let path = |program: &Path| program.display().to_string();
    let clients = [
        "busybox tftp -g -b 1432 -r NAME -l OUT 127.0.0.1".to_owned(),
        "busybox tftp -g -r NAME -l OUT 127.0.0.1".to_owned(),
        "curl -sf --tftp-blksize 1468 -o OUT tftp://127.0.0.1/NAME".to_owned(),
        "curl -sf --tftp-no-options -o OUT tftp://127.0.0.1/NAME".to_owned(),
        format!("{} -g -r NAME -l OUT 127.0.0.1", path(&atftp)),
        format!(
            "{} --option \"blksize 8192\" --option \"windowsize 8\" -g -r NAME -l OUT 127.0.0.1",
            path(&atftp)
        ),
        format!("{} -m binary 127.0.0.1 -c get NAME OUT", path(&hpa)),
    ];
    let work = tempfile::tempdir()?;
    for client in &clients {
        for (name, len) in [
            ("f0", 0),
            ("f511", 511),
            ("f512", 512),
            ("f1024", 1024),
            ("F300000", 300_000),
            ("one.iso/inner", 100_000),
        ] {
            let out = work.path().join("out");
            let _ = fs::remove_file(&out);
            let line = client
                .replace("NAME", name)
                .replace("OUT", &out.display().to_string());
            let ran = host.command("sh").args(["-c", &line]).output()?;
            let fetched = fs::read(&out).unwrap_or_default();
            ensure!(
                fetched == content[..len],
                "{line}: {} bytes, {ran:?}, {:#?}",
                fetched.len(),
                server.lines()
            );
        }
    }
    Ok(())
}
