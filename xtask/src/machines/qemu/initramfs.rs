//! The initramfs of a guest, a cpio archive: programs of this host with their libraries, kernel modules and /init.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _};

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

/// Makes an archive of `files` (path on this host, path in the archive), their shared libraries at the paths they have on this
/// host, `modules` in /modules with names in load order, and `init` as /init.
pub fn archive(files: &[(PathBuf, PathBuf)], modules: &[PathBuf], init: &str) -> Result<Vec<u8>> {
    // Sorted, so that a directory precedes its entries.
    let mut entries = BTreeMap::new();
    for (file, place) in files {
        insert(&mut entries, place.clone(), read(file)?);
        for library in libraries(file)? {
            let entry = read(&library)?;
            insert(&mut entries, library, entry);
        }
    }
    for (index, module) in modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        insert(
            &mut entries,
            format!("/modules/{index:02}-{name}").into(),
            read(module)?,
        );
    }
    let init = init.trim_start().as_bytes().to_vec();
    insert(&mut entries, "/init".into(), (REGULAR | 0o755, init));
    pack(&entries)
}

/// Makes an archive that contains only `file`, a stowaway executable, as /init. The archive is reproducible.
pub fn of_own(file: &[u8]) -> Result<Vec<u8>> {
    of_program("/init", file)
}

/// Makes an archive that contains only a program at `path`.
pub fn of_program(path: &str, file: &[u8]) -> Result<Vec<u8>> {
    pack(&BTreeMap::from([(
        path.into(),
        (REGULAR | 0o755, file.to_vec()),
    )]))
}

/// Makes an archive of kernel modules and of modules.load, the list from which stowaway as /init loads them.
pub fn of_modules(modules: &[PathBuf]) -> Result<Vec<u8>> {
    let (mut entries, mut list) = (BTreeMap::new(), String::new());
    let place = Path::new("/lib/modules");
    for module in modules {
        let name = module.file_name().unwrap_or_default();
        insert(&mut entries, place.join(name), read(module)?);
        list += &format!("{}\n", name.display());
    }
    let list = (REGULAR | 0o644, list.into_bytes());
    insert(&mut entries, place.join("modules.load"), list);
    pack(&entries)
}

/// Appends an archive to another one. The kernel unpacks both; a file of the second replaces one of the same path.
pub fn append(archive: &mut Vec<u8>, other: &[u8]) {
    // The kernel expects an archive to begin at a multiple of four bytes.
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(other);
}

fn pack(entries: &BTreeMap<PathBuf, FileEntry>) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (number, (path, (mode, bytes))) in (1..).zip(entries) {
        let name = path
            .strip_prefix("/")
            .unwrap_or(path)
            .to_str()
            .context("the path of a file for the guest is not UTF-8")?;
        let header = cpio::NewcBuilder::new(name).ino(number).mode(*mode);
        let mut writer = header.write(
            archive,
            bytes
                .len()
                .try_into()
                .context("a file for the guest has 4 GiB or more")?,
        );
        writer.write_all(bytes)?;
        archive = writer.finish()?;
    }
    Ok(cpio::newc::trailer(archive)?)
}

/// Mode and contents of a file.
type FileEntry = (u32, Vec<u8>);

fn read(path: &Path) -> Result<FileEntry> {
    let error = || format!("cannot read {}", path.display());
    let mode = fs::metadata(path).with_context(error)?.permissions().mode();
    Ok((
        REGULAR | (mode & 0o777),
        fs::read(path).with_context(error)?,
    ))
}

/// Adds a file and its parent directories.
fn insert(entries: &mut BTreeMap<PathBuf, FileEntry>, path: PathBuf, entry: FileEntry) {
    for parent in path
        .ancestors()
        .skip(1)
        .filter(|parent| *parent != Path::new("/"))
    {
        entries.insert(parent.to_owned(), (DIRECTORY, Vec::new()));
    }
    entries.insert(path, entry);
}

/// The shared libraries and the loader of `path`. Empty if it is a static executable or not an executable.
fn libraries(path: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(path)
        .output()
        .context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // ldd prints "name => /path (address)" or "/path (address)".
    let listed = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(listed.map(PathBuf::from).chain(loader(path)?).collect())
}

/// The ELF interpreter of an executable. ldd does not list it for klibc programs, whose interpreter is their only library.
fn loader(path: &Path) -> Result<Option<PathBuf>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(object::File::parse(&*bytes).ok().and_then(|file| {
        let section = file.section_by_name(".interp")?;
        let loader = section.data().ok()?.strip_suffix(b"\0")?;
        Some(str::from_utf8(loader).ok()?.into())
    }))
}
