//! Properties of the built file: static, no writable code.

use anyhow::{Context as _, Result, ensure};
use object::elf::{PF_R, PF_W, PF_X, PT_LOAD};
use std::fs;
use xtask::build::loader::Headers;
use xtask::build::{Arch, workspace_root};
use xtask::clients::nfs::{Client, How, Set, SetTime, mknoddata3, stable_how};
use xtask::machines::server::binary;

const PAGE: u64 = 4096;
const LOWEST: u64 = 0x20_0000;
const NOBODY: u32 = 65534;

#[test]
fn segments_are_three_and_share_no_page() -> Result<()> {
    for arch in [Arch::X86_64, Arch::I686] {
        let file = fs::read(binary(arch)?)?;
        // Fails for shared pages, writable code, an executable stack, and an interpreter or a dynamic section.
        let headers = Headers::read(&file)?;
        let mapped = headers.check_mapping(PAGE);
        mapped.with_context(|| format!("the file for {arch:?}"))?;
        let loaded: Vec<_> = headers.of_kind(PT_LOAD).collect();
        let flags: Vec<_> = loaded.iter().map(|it| it.flags).collect();
        ensure!(
            flags == [PF_R, PF_R | PF_X, PF_R | PF_W],
            "the loaded segments have the flags {flags:?}"
        );
        let lowest = loaded[0].address;
        ensure!(lowest == LOWEST, "the lowest address is {lowest:#x}");
    }
    Ok(())
}

#[test]
fn file_contains_no_builder_paths() -> Result<()> {
    let home = std::env::var("HOME").unwrap_or_default();
    let project = workspace_root().display().to_string();
    let paths =
        [&home, &project, "/home", "/root", ".cargo", ".rustup"].map(|path| format!("{path}/"));
    for arch in [Arch::X86_64, Arch::I686] {
        let file = fs::read(binary(arch)?)?;
        let text = String::from_utf8_lossy(&file);
        for path in paths.iter().filter(|path| *path != "/") {
            ensure!(
                !text.contains(path),
                "the file for {arch:?} contains {path}"
            );
        }
    }
    Ok(())
}

/// Makes every kind of change in a directory, and removes everything again.
pub(crate) fn change_everything(client: &mut Client, root: &[u8]) -> Result<()> {
    let file = client.create(root, "new", How::Guarded(Set::mode(0o640)))?;
    client.write(&file, 0, stable_how::UNSTABLE, &[7; 100_000])?;
    client.commit(&file, 0, 0)?;
    client.write(&file, 5, stable_how::FILE_SYNC, b"synced")?;
    let set = Set {
        mode: Some(0o600),
        size: Some(10),
        atime: SetTime::Client(1, 2),
        mtime: SetTime::Server,
        ..Set::default()
    };
    client.set_attr(&file, set)?;
    if client.auth.caller().is_some_and(|caller| caller.uid == 0) {
        let gid = Some(NOBODY);
        client.set_attr(
            &file,
            Set {
                gid,
                ..Set::default()
            },
        )?;
    }
    client.link(&file, root, "link to it")?;
    let dir = client.mkdir(root, "new dir", Set::mode(0o755))?;
    client.symlink(&dir, "symlink", "target")?;
    client.mknod(&dir, "fifo", mknoddata3::NF3FIFO(Set::mode(0o600).into()))?;
    client.rename(root, "new", &dir, "renamed")?;
    for name in ["symlink", "fifo", "renamed"] {
        client.remove(&dir, name)?;
    }
    client.remove(root, "link to it")?;
    client.rmdir(root, "new dir")
}
