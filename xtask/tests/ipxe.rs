//! Debian's iPXE in QEMU: it follows the links of our exports, inside images too, and starts a kernel by them, whose initramfs
//! mounts by klibc's nfsmount.

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use xtask::machines::iso::{ROCK_RIDGE, make};
use xtask::machines::qemu;
use xtask::machines::server::{Server, ServerOptions, public_dir, root_for};
use xtask::setup::{self, Package};

const MACHINE: &str = "diskless";
/// The host as the machine sees it.
const HOST: &str = "10.0.2.2";

/// What iPXE is to find: a path, and that of the file that it leads to. ".." of the top is the top.
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
/// Paths where it is to find nothing.
const NOWHERE: [&str; 3] = ["none", "broken", "sub/none/file"];

/// Makes files, each a script of iPXE that says its own path, and links of every kind.
fn grow(top: &Path, said: &str) -> Result<()> {
    fs::create_dir_all(top.join("sub/deep"))?;
    for file in ["file", "sub/file", "sub/deep/file"] {
        fs::write(
            top.join(file),
            format!("#!ipxe\necho here is {said} {file}\n"),
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
        symlink(target, top.join(link))?;
    }
    Ok(())
}

/// Serves directories on the ports that iPXE asks for, with what is inside images.
fn serve(directories: &[&Path]) -> Result<Server> {
    let export = |directory: &&Path| format!("{}:isos", directory.display());
    Server::start(ServerOptions {
        exports: directories.iter().map(export).collect(),
        port: 2049,
        portmap: true,
        ..ServerOptions::default()
    })
}

#[test]
fn it_follows_links_of_every_kind() -> Result<()> {
    if !root_for("iPXE, which asks port 111") {
        return Ok(());
    }
    setup::need(&[Package::XORRISO])?;
    let directory = public_dir()?;
    let top = directory.path();
    grow(&top.join("plain"), "plain")?;
    let tree = tempfile::tempdir()?;
    grow(tree.path(), "image")?;
    fs::create_dir(top.join("images"))?;
    make(ROCK_RIDGE[0], tree.path(), &top.join("images/image.iso"))?;
    // An absolute one, which begins with what is mounted, as iPXE wants it.
    symlink(top.join("plain/file"), top.join("plain/absolute"))?;
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
        .flat_map(|at| NOWHERE.map(|path| format!("{at}/{path}")))
        .collect();
    let mut script = "#!ipxe\ndhcp || reboot\n".to_owned();
    let all = wanted.iter().map(|(path, _)| path).chain(&nowhere);
    for path in all {
        let url = format!("nfs://{HOST}{}/{path}", top.display());
        script += &format!("echo asked for {path} =\nchain --autofree {url} || echo got nothing\n");
    }
    // What was said last may be lost.
    script += "echo asked for the end\nsleep 1\nreboot\n";
    let server = serve(&[&top.join("plain"), &top.join("images")])?;
    let said = qemu::watch_ipxe(MACHINE, &script)?;
    let said = said.replace('\r', "");
    let answer = |path: &str| {
        let (_, behind) = said.split_once(&format!("asked for {path} =\n"))?;
        Some(behind.split("asked for").next().unwrap_or_default())
    };
    for (path, file) in &wanted {
        let answer = answer(path).context("it was not asked for")?;
        ensure!(
            answer.contains(&format!("here is {file}\n")),
            "{path}:\n{answer}\nthe server said {:#?}",
            server.lines()
        );
    }
    for path in &nowhere {
        let answer = answer(path).context("it was not asked for")?;
        ensure!(answer.contains("got nothing\n"), "{path}:\n{answer}");
    }
    Ok(())
}

/// Kernel and initramfs lie behind links, one of them inside an image; what the kernel mounts then is inside of it too.
#[test]
fn it_starts_a_system_that_mounts_by_nfsmount() -> Result<()> {
    if !root_for("iPXE, which asks port 111") {
        return Ok(());
    }
    setup::need(&[Package::XORRISO])?;
    let directory = public_dir()?;
    let top = directory.path();
    let (kernel, initramfs) = qemu::system(MACHINE)?;
    fs::create_dir_all(top.join("boot/v1"))?;
    fs::copy(kernel, top.join("boot/v1/vmlinuz-1"))?;
    symlink("vmlinuz-1", top.join("boot/v1/vmlinuz"))?;
    symlink("v1", top.join("boot/current"))?;
    let tree = tempfile::tempdir()?;
    fs::create_dir(tree.path().join("live"))?;
    fs::write(tree.path().join("live/initrd-1"), &initramfs)?;
    symlink("live/initrd-1", tree.path().join("initrd"))?;
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(1_000_001)
        .collect();
    fs::write(tree.path().join("live/content"), &content)?;
    let image = top.join("system.iso");
    make(ROCK_RIDGE[0], tree.path(), &image)?;
    let nfs = format!("nfs://{HOST}{}", top.display());
    let script = format!(
        "#!ipxe
dhcp || reboot
kernel {nfs}/boot/current/vmlinuz initrd=initrd console=ttyS0 no_timer_check quiet panic=-1 nfs={HOST}:{image} sum=live/content || reboot
initrd --name initrd {nfs}/system.iso/initrd || reboot
boot || reboot
",
        image = image.display(),
    );
    let server = serve(&[top])?;
    let said = qemu::watch_ipxe(MACHINE, &script)?;
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
            said.contains(&part),
            "no '{part}' in:\n{said}\nthe server said {lines:#?}"
        );
    }
    Ok(())
}
