//! The contents of an image over NFS and over SFTP must equal Linux' view of the image in every byte and attribute.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use xtask::build::Arch;
use xtask::clients::inventory::{Object, differences, sum, without_more};
use xtask::clients::sftp::{NameEntry, READ_MAX, Sftp, SftpOptions};
use xtask::machines::server::{Server, ServerOptions};

use crate::images::{CROWD, CROWD_COUNT, crowded};
use crate::world::{World, serving};

/// Compares an image over NFS with Linux' view.
pub fn over_nfs(world: &mut World, image: &str) -> Result<()> {
    let path = world.images.path().join(image);
    let ours = world.list_mounted("ro,nolock,vers=3", &path)?;
    let linux = world.linux(image)?;
    compare(&linux, &ours)
}

/// Compares an image over NFS and SFTP, served by the i686 file, with Linux' view.
pub fn by_i686(world: &mut World, image: &str) -> Result<()> {
    let options = ServerOptions {
        arch: Arch::I686,
        ..serving(world.images.path())
    };
    let server = world.serve(options)?;
    let path = world.images.path().join(image);
    let ours = world.list_mounted(&ports_of(&server), &path)?;
    let linux = world.linux(image)?;
    compare(&linux, &ours)?;
    over_sftp(world, image, Arch::I686)
}

/// Mounts a directory inside an image, and compares it with Linux' view.
pub fn compare_directory(world: &mut World) -> Result<()> {
    let image = "xorriso.iso";
    let linux = world.linux(image)?;
    // Linux' inventory of the whole image has this prefix on the paths in the directory.
    let below = "a/b/c/";
    let strip = |line: &String| line.strip_prefix(below).map(str::to_owned);
    let mut expected: Vec<String> = linux.iter().filter_map(strip).collect();
    let path = world.images.path().join(image).join("a/b/c");
    let mut ours = world.list_mounted("ro,nolock,vers=3", &path)?;
    ours.retain(|line| !line.starts_with('\t'));
    expected.sort();
    ensure!(
        expected.len() > 5,
        "the directory has only {} entries",
        expected.len()
    );
    compare(&expected, &ours)
}

/// A directory of 20,000 files: READDIR, READDIRPLUS and SFTP's READDIR must list each file once.
pub fn compare_crowd(world: &mut World) -> Result<()> {
    let image = world.images.path().join(CROWD);
    let expected: Vec<String> = (0..CROWD_COUNT).map(crowded).collect();
    let check = |protocol: &str, mut names: Vec<String>| {
        names.sort();
        ensure!(
            names == expected,
            "{protocol} lists {} names, or wrong names",
            names.len()
        );
        Ok(())
    };
    for options in ["ro,nolock,vers=3,nordirplus", "ro,nolock,vers=3"] {
        let text = world.in_mount(options, &image, "exercise inventory --names 000")?;
        check(options, text.lines().map(str::to_owned).collect())?;
    }
    let mut client = Sftp::start(&SftpOptions::default())?;
    let entries = client.list(image.join("000").display().to_string())?;
    let names = entries
        .iter()
        .map(|entry| entry.name.escape_ascii().to_string());
    check(
        "sftp",
        names.filter(|name| !name.starts_with('.')).collect(),
    )
}

/// An export that is a single image has the image's contents, and nothing of the directory around it.
pub fn compare_single_image(world: &mut World) -> Result<()> {
    let image = world.images.path().join("xorriso.iso");
    let options = ServerOptions {
        exports: vec![format!("{}:no_root_squash", image.display())],
        ..ServerOptions::default()
    };
    let server = world.serve(options)?;
    let ours = world.list_mounted(&ports_of(&server), &image)?;
    let linux = world.linux("xorriso.iso")?;
    compare(&linux, &ours)
}

fn ports_of(server: &Server) -> String {
    format!(
        "ro,nolock,vers=3,proto=tcp,port={},mountport={}",
        server.nfs_port, server.mount_port
    )
}

fn compare(linux: &[String], ours: &[String]) -> Result<()> {
    ensure!(!linux.is_empty(), "Linux shows nothing");
    ensure!(
        linux == ours,
        "Linux shows {} objects, stowaway {}; {}",
        linux.len(),
        ours.len(),
        differences(linux, ours)
    );
    Ok(())
}

/// Returns the line as SFTP can show the object: without some attributes, and with times in whole seconds.
fn as_over_sftp(line: &str) -> String {
    let line = without_more(line);
    let columns = line.split('\t').enumerate();
    let whole = columns.map(|(index, column)| match index {
        8 | 9 => column.split('.').next().unwrap_or(column),
        _ => column,
    });
    whole.collect::<Vec<_>>().join("\t")
}

/// Compares an image over SFTP with Linux' view, without what SFTP does not have.
pub fn over_sftp(world: &mut World, image: &str, arch: Arch) -> Result<()> {
    let linux = world.linux(image)?;
    let linux: Vec<String> = linux.iter().map(|line| as_over_sftp(line)).collect();
    let mut client = Sftp::start(&SftpOptions::default().with_arch(arch))?;
    let root = world.images.path().join(image);
    compare(&linux, &walk(&mut client, &root)?)
}

fn walk(client: &mut Sftp, root: &Path) -> Result<Vec<String>> {
    let root = format!("{}/", root.display()).into_bytes();
    let attrs = client.lstat(&root)?;
    let mut lines = Vec::new();
    let mut directories = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        let path = [&root[..], &directory].concat();
        for entry in client.list(&path)? {
            let path = match &entry.name[..] {
                b".." => continue,
                // The entry "." stands for the directory itself, because this entry has the directory's link count.
                b"." => directory.clone(),
                name if directory.is_empty() => name.to_vec(),
                name => [&directory[..], b"/", name].concat(),
            };
            let object = object(client, &[&root[..], &path].concat(), &entry)
                .with_context(|| format!("{}", path.escape_ascii()))?;
            if entry.name == b"." {
                lines.push(object.line(&path));
                continue;
            }
            if object.kind == 'd' {
                directories.push(path);
            } else {
                lines.push(object.line(&path));
            }
        }
    }
    ensure!(attrs.mode.is_some(), "the root has no mode");
    lines.sort();
    Ok(lines)
}

fn object(client: &mut Sftp, path: &[u8], entry: &NameEntry) -> Result<Object> {
    let attrs = &entry.attrs;
    let mode = attrs.mode.context("no mode")?;
    let (read, written) = attrs.times.context("no times")?;
    let size = attrs.size.context("no size")?;
    let long_name = String::from_utf8_lossy(&entry.long_name).into_owned();
    let links = long_name.split_whitespace().nth(1).context("no links")?;
    let (kind, content) = match mode >> 12 {
        0o01 => ('p', String::new()),
        0o02 => ('c', String::new()),
        0o04 => ('d', String::new()),
        0o06 => ('b', String::new()),
        0o12 => ('l', client.read_link(path)?.escape_ascii().to_string()),
        0o14 => ('s', String::new()),
        _ if size == 0 => ('f', String::new()),
        _ => ('f', content(client, path, size)?),
    };
    Ok(Object {
        kind,
        mode: mode & 0o7777,
        links: links.parse()?,
        owner: attrs.owner.context("no owner")?,
        size,
        times: [read.to_string(), written.to_string()],
        content,
        more: None,
    })
}

fn content(client: &mut Sftp, path: &[u8], size: u64) -> Result<String> {
    let handle = client.open_read(path)?;
    let sum = sum(size, |mut offset, mut remaining| {
        while !remaining.is_empty() {
            let len = remaining.len().min(READ_MAX as usize);
            let data = client.read(&handle, offset, len as u32)?;
            let data = data.with_context(|| format!("the file ends at {offset}"))?;
            let (filled, after) = remaining.split_at_mut(data.len());
            filled.copy_from_slice(&data);
            remaining = after;
            offset += data.len() as u64;
        }
        Ok(())
    })?;
    ensure!(
        client.read(&handle, size, 1)?.is_none(),
        "the file has data after its size"
    );
    client.close(&handle)?;
    Ok(sum)
}
