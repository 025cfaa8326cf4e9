//! Debian's iPXE in QEMU: follows symbolic links in exports, also inside ISO images, boots a kernel over NFS, whose initramfs
//! mounts an export by klibc's nfsmount.

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use xtask::machines::iso::{ROCK_RIDGE, write_image};
use xtask::machines::qemu;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for};
use xtask::setup;

const MACHINE: &str = "diskless";
/// The address at which the machine reaches the host.
const HOST: &str = "10.0.2.2";

/// Paths that iPXE requests, each with the file that it resolves to. In the root directory, ".." is the root itself.
const PATHS: [(&str, &str); 13] = [
    ("file", "file"),
    ("same", "file"),
    ("dot", "file"),
    ("twice", "file"),
    ("sub/up", "file"),
    ("sub/dots", "file"),
    ("sub/above", "file"),
    ("sub/deep/file", "sub/deep/file"),
    ("sub/down", "sub/deep/file"),
    ("sub/current/file", "sub/deep/file"),
    ("sub/current/back", "sub/file"),
    ("through/deep/file", "sub/deep/file"),
    ("through/current/back", "sub/file"),
];
/// Paths that do not exist.
const NOWHERE: [&str; 3] = ["none", "broken", "sub/none/file"];

/// Creates iPXE scripts that print `label` and their own path, and symbolic links of every kind.
fn create_scripts(root: &Path, label: &str) -> Result<()> {
    fs::create_dir_all(root.join("sub/deep"))?;
    for file in ["file", "sub/file", "sub/deep/file"] {
        fs::write(
            root.join(file),
            format!("#!ipxe\necho here is {label} {file}\n"),
        )?;
    }
    for (link, target) in [
        ("same", "file"),
        ("dot", "./file"),
        ("twice", "dot"),
        ("sub/up", "../file"),
        ("sub/dots", "./deep/../../file"),
        ("sub/above", "../../../../../../../../../../../../file"),
        ("sub/down", "deep/file"),
        ("sub/current", "deep"),
        ("sub/deep/back", "../file"),
        ("through", "sub"),
        ("broken", "nowhere"),
    ] {
        symlink(target, root.join(link))?;
    }
    Ok(())
}

/// Exports directories, with the option `isos`, on the ports that iPXE expects.
fn serve(directories: &[&Path]) -> Result<Server> {
    let export = |directory: &&Path| format!("{}:isos", directory.display());
    Server::start(ServerOptions {
        exports: directories.iter().map(export).collect(),
        port: 2049,
        portmap: true,
        ..ServerOptions::default()
    })
}

/// EPIPE of iPXE: it sends MNT while its GETPORT for NFS is under way, and fails if the reply to MNT, on another connection, is first.
/// QEMU's user network may deliver them so; then iPXE closes the connection without a call to NFS.
const MNT_RACE: &str = "Error 0x420e2001";

#[test]
fn ipxe_follows_every_kind_of_link() -> Result<()> {
    if !root_for("iPXE, which asks port 111") {
        return Ok(());
    }
    setup::install_packages(&["xorriso"])?;
    let directory = public_dir()?;
    let root = directory.path();
    create_scripts(&root.join("plain"), "plain")?;
    let tree = tempfile::tempdir()?;
    create_scripts(tree.path(), "image")?;
    fs::create_dir(root.join("images"))?;
    write_image(ROCK_RIDGE[0], tree.path(), &root.join("images/image.iso"))?;
    // iPXE follows an absolute link only if the target starts with the mounted path.
    symlink(root.join("plain/file"), root.join("plain/absolute"))?;
    let paths = PATHS.iter().copied();
    let wanted: Vec<(String, String)> = paths
        .clone()
        .chain([("absolute", "file")])
        .map(|(path, file)| (format!("plain/{path}"), format!("plain {file}")))
        .chain(
            paths.map(|(path, file)| (format!("images/image.iso/{path}"), format!("image {file}"))),
        )
        .collect();
    let nowhere: Vec<String> = ["plain", "images/image.iso"]
        .iter()
        .flat_map(|directory| NOWHERE.map(|path| format!("{directory}/{path}")))
        .collect();
    let mut script = "#!ipxe\ndhcp || reboot\n".to_owned();
    let url = |path: &str| format!("nfs://{HOST}{}/{path}", root.display());
    for (path, _) in &wanted {
        let chain = format!("chain --autofree {}", url(path));
        script += &format!("echo asked for {path} =\n{chain} || {chain} || echo got nothing\n");
    }
    for path in &nowhere {
        let url = url(path);
        script += &format!("echo asked for {path} =\nchain --autofree {url} || echo got nothing\n");
    }
    // The last output before a reboot may be lost, so the script waits.
    script += "echo asked for the end\nsleep 1\nreboot\n";
    let server = serve(&[&root.join("plain"), &root.join("images")])?;
    let console = qemu::watch_ipxe(MACHINE, &script)?;
    let console = console.replace('\r', "");
    let answer = |path: &str| {
        let (_, after) = console.split_once(&format!("asked for {path} =\n"))?;
        Some(after.split("asked for").next().unwrap_or_default())
    };
    for (path, file) in &wanted {
        let answer = answer(path).context("iPXE did not try the path")?;
        ensure!(
            answer.contains(&format!("here is {file}\n")),
            "{path}:\n{answer}\nserver {:#?}",
            server.lines()
        );
        // iPXE wraps the line.
        let line = answer.replace('\n', "");
        let (errors, races) = (line.matches("Error 0x"), line.matches(MNT_RACE));
        ensure!(errors.count() == races.count(), "{path}:\n{answer}");
    }
    for path in &nowhere {
        let answer = answer(path).context("iPXE did not try the path")?;
        ensure!(answer.contains("got nothing\n"), "{path}:\n{answer}");
    }
    Ok(())
}

/// iPXE loads kernel and initramfs by symbolic links; the initramfs is inside an ISO image. The booted system mounts that image by
/// nfsmount.
#[test]
fn ipxe_boots_a_system_that_uses_nfsmount() -> Result<()> {
    if !root_for("iPXE, which asks port 111") {
        return Ok(());
    }
    setup::install_packages(&["xorriso"])?;
    let directory = public_dir()?;
    let root = directory.path();
    let (kernel, initramfs) = qemu::system(MACHINE)?;
    fs::create_dir_all(root.join("boot/v1"))?;
    fs::copy(kernel, root.join("boot/v1/vmlinuz-1"))?;
    symlink("vmlinuz-1", root.join("boot/v1/vmlinuz"))?;
    symlink("v1", root.join("boot/current"))?;
    let tree = tempfile::tempdir()?;
    fs::create_dir(tree.path().join("live"))?;
    fs::write(tree.path().join("live/initrd-1"), &initramfs)?;
    symlink("live/initrd-1", tree.path().join("initrd"))?;
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(1_000_001)
        .collect();
    fs::write(tree.path().join("live/content"), &content)?;
    let image = root.join("system.iso");
    write_image(ROCK_RIDGE[0], tree.path(), &image)?;
    let nfs = format!("nfs://{HOST}{}", root.display());
    let script = format!(
        "#!ipxe
dhcp || reboot
kernel {nfs}/boot/current/vmlinuz initrd=initrd console=ttyS0 no_timer_check quiet panic=-1 nfs={HOST}:{image} sum=live/content || reboot
initrd --name initrd {nfs}/system.iso/initrd || reboot
boot || reboot
",
        image = image.display(),
    );
    let server = serve(&[root])?;
    let console = qemu::watch_ipxe(MACHINE, &script)?;
    let sum: String = Sha256::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for part in [
        format!("diskless: {HOST}:{} /mnt nfs ro,", image.display()),
        format!("diskless: {sum}  /mnt/live/content"),
    ] {
        let lines = server.lines();
        ensure!(
            console.contains(&part),
            "no '{part}' in:\n{console}\nserver: {lines:#?}"
        );
    }
    Ok(())
}
