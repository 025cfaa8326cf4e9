//! Other servers that are found on this machine, and what they weigh: their file, and every library that it needs.
//!
//! Libraries are found as ld.so finds them: beside the program when it says so, then in the directories of ld.so.conf.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader32, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind};

/// Name, what it does, where it may be; then what it opens while it runs, without which it does nothing.
type Known = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const KNOWN: [Known; 9] = [
    (
        "OpenSSH's sftp-server",
        "SFTP",
        &[
            "/usr/lib/openssh/sftp-server",
            "/usr/libexec/sftp-server",
            "/usr/lib/ssh/sftp-server",
        ],
        &[],
    ),
    (
        "unfsd",
        "NFS 3",
        &["/usr/sbin/unfsd", "/usr/bin/unfsd"],
        &[],
    ),
    (
        "nfs-ganesha",
        "NFS 3 and 4",
        &["/usr/bin/ganesha.nfsd", "/usr/sbin/ganesha.nfsd"],
        &[
            "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so",
            "/usr/lib64/ganesha/libfsalvfs.so",
        ],
    ),
    (
        "rpc.mountd",
        "of the kernel's NFS server: MOUNT alone",
        &["/usr/sbin/rpc.mountd"],
        &[],
    ),
    (
        "rpcbind",
        "portmapper alone",
        &["/usr/sbin/rpcbind", "/sbin/rpcbind"],
        &[],
    ),
    (
        "avahi-daemon",
        "announcements",
        &["/usr/sbin/avahi-daemon"],
        &[],
    ),
    ("dropbear", "SSH without SFTP", &["/usr/sbin/dropbear"], &[]),
    (
        "busybox",
        "tools, no NFS, no SFTP",
        &["/usr/bin/busybox", "/bin/busybox"],
        &[],
    ),
    (
        "rclone",
        "SFTP, NFS and much else",
        &["/usr/bin/rclone"],
        &[],
    ),
];

/// A server on this machine.
pub(crate) struct Peer {
    pub name: &'static str,
    pub what: &'static str,
    /// Bytes of its own file.
    pub file: u64,
    /// Bytes of that and all that it needs.
    pub all: u64,
    /// How many libraries that are.
    pub libraries: usize,
}

/// Those that are here; the smallest first.
pub(super) fn found() -> Result<Vec<Peer>> {
    let directories = library_directories(Path::new("/etc/ld.so.conf"));
    let mut peers = Vec::new();
    for (name, what, places, opened) in KNOWN {
        let Some(path) = places.iter().map(Path::new).find(|path| path.is_file()) else {
            continue;
        };
        let opened = opened
            .iter()
            .map(PathBuf::from)
            .filter(|path| path.is_file());
        peers.push(
            weigh(name, what, path, opened, &directories)
                .with_context(|| format!("cannot weigh {}", path.display()))?,
        );
    }
    peers.sort_by_key(|peer| peer.all);
    Ok(peers)
}

/// What a program weighs that opens nothing while it runs.
pub(crate) fn weight(path: &Path) -> Result<Peer> {
    let directories = library_directories(Path::new("/etc/ld.so.conf"));
    weigh("", "", path, std::iter::empty(), &directories)
        .with_context(|| format!("cannot weigh {}", path.display()))
}

fn weigh(
    name: &'static str,
    what: &'static str,
    path: &Path,
    opened: impl Iterator<Item = PathBuf>,
    directories: &[PathBuf],
) -> Result<Peer> {
    let program = fs::canonicalize(path)?;
    let file = fs::metadata(&program)?.len();
    let mut counted = BTreeSet::new();
    let mut waiting = vec![program];
    for path in opened {
        waiting.push(fs::canonicalize(path)?);
    }
    let mut all = 0;
    while let Some(path) = waiting.pop() {
        if !counted.insert(path.clone()) {
            continue;
        }
        let elf = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        all += elf.len() as u64;
        let needs = Needs::of(&elf).with_context(|| format!("cannot read {}", path.display()))?;
        for library in &needs.libraries {
            let place = needs.place(library, &path, directories).with_context(|| {
                format!("{} needs {library}, and it is not found", path.display())
            })?;
            waiting.push(place);
        }
    }
    let libraries = counted.len() - 1;
    Ok(Peer {
        name,
        what,
        file,
        all,
        libraries,
    })
}

/// What a file says that it needs.
#[derive(Default)]
struct Needs {
    /// Names, or the path of the program that links it.
    libraries: Vec<String>,
    /// Directories of its own.
    run_path: Vec<String>,
    kind: Option<FileKind>,
}

impl Needs {
    fn of(elf: &[u8]) -> Result<Self> {
        let kind = FileKind::parse(elf)?;
        let mut needs = match kind {
            FileKind::Elf32 => Self::read::<FileHeader32<Endianness>>(elf)?,
            FileKind::Elf64 => Self::read::<FileHeader64<Endianness>>(elf)?,
            other => anyhow::bail!("it is {other:?}, not an ELF file"),
        };
        needs.kind = Some(kind);
        Ok(needs)
    }

    fn read<H: FileHeader<Endian = Endianness>>(elf: &[u8]) -> Result<Self> {
        let header = H::parse(elf)?;
        let endian = header.endian()?;
        let mut needs = Self::default();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .trim_end_matches('\0')
                .to_owned()
        };
        for segment in header.program_headers(endian, elf)? {
            if segment.p_type(endian) == PT_INTERP
                && let Ok(path) = segment.data(endian, elf)
            {
                needs.libraries.push(text(path));
            }
        }
        let sections = header.sections(endian, elf)?;
        let Some((entries, strings)) = sections.dynamic(endian, elf)? else {
            return Ok(needs);
        };
        let strings = sections.strings(endian, elf, strings)?;
        for entry in entries {
            let tag: u64 = entry.d_tag(endian).into();
            let word = || Ok::<_, object::Error>(text(entry.string(endian, strings)?));
            match u32::try_from(tag) {
                Ok(DT_NEEDED) => needs.libraries.push(word()?),
                Ok(DT_RPATH | DT_RUNPATH) => {
                    needs.run_path.extend(word()?.split(':').map(str::to_owned));
                }
                _ => {}
            }
        }
        Ok(needs)
    }

    /// Where a library is that the file at `path` needs.
    fn place(&self, library: &str, path: &Path, directories: &[PathBuf]) -> Option<PathBuf> {
        let origin = path
            .parent()
            .map_or_else(String::new, |dir| dir.display().to_string());
        let own = self.run_path.iter().map(|dir| {
            PathBuf::from(
                dir.replace("${ORIGIN}", &origin)
                    .replace("$ORIGIN", &origin),
            )
        });
        // A path stays what it is, whatever it is joined to.
        own.chain(directories.iter().cloned())
            .map(|dir| dir.join(library))
            .find(|place| {
                let head = fs::read(place).ok();
                head.and_then(|elf| FileKind::parse(&*elf).ok()) == self.kind
            })
            .and_then(|place| fs::canonicalize(place).ok())
    }
}

/// The directories that a file like /etc/ld.so.conf names, then those that ld.so always looks into.
fn library_directories(conf: &Path) -> Vec<PathBuf> {
    let mut directories = named(conf);
    directories.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
    directories
}

fn named(conf: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(conf).unwrap_or_default();
    let mut directories = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(pattern) = line.strip_prefix("include ") else {
            directories.extend((!line.is_empty()).then(|| PathBuf::from(line)));
            continue;
        };
        // In practice always DIR/*.conf.
        let mut files: Vec<PathBuf> = Path::new(pattern.trim())
            .parent()
            .into_iter()
            .flat_map(|dir| fs::read_dir(dir).into_iter().flatten())
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "conf")
            })
            .collect();
        files.sort();
        directories.extend(files.iter().flat_map(|file| named(file)));
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_weighed_with_its_libraries_each_once() -> Result<()> {
        let directories = library_directories(Path::new("/etc/ld.so.conf"));
        let shell = fs::canonicalize("/bin/sh")?;
        let alone = fs::metadata(&shell)?.len();
        let peer = weigh("sh", "", &shell, std::iter::empty(), &directories)?;
        assert_eq!(peer.file, alone);
        // The C library and what links it.
        assert!(peer.libraries >= 2 && peer.all > alone + 1_000_000);
        let twice = weigh(
            "sh",
            "",
            &shell,
            std::iter::once(shell.clone()),
            &directories,
        )?;
        assert_eq!((twice.all, twice.libraries), (peer.all, peer.libraries));
        Ok(())
    }

    #[test]
    fn a_library_that_is_not_there_is_told() {
        let shell = Path::new("/bin/sh");
        let why = weigh("sh", "", shell, std::iter::empty(), &[]).err();
        let why = why.map(|why| why.to_string()).unwrap_or_default();
        assert!(why.contains("is not found"), "{why}");
    }

    #[test]
    fn directories_are_read_as_ld_so_reads_them() -> Result<()> {
        let room = tempfile::tempdir()?;
        let at = |name: &str| room.path().join(name);
        fs::write(at("b.conf"), "/two # not /three\n")?;
        fs::write(at("a.conf"), "# nothing\n\n/one\n")?;
        fs::write(at("c.txt"), "/four\n")?;
        let conf = at("main");
        fs::write(
            &conf,
            format!("include {}/*.conf\n/five\n", room.path().display()),
        )?;
        let expect = ["/one", "/two", "/five"].map(PathBuf::from);
        assert_eq!(named(&conf), expect);
        Ok(())
    }
}
