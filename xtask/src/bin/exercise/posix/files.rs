//! Laws for files and links of one owner that pjdfstest does not cover: appends, open files that are renamed or removed,
//! descriptors that allow more than the mode, exclusive creation, timestamps.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{
    FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown,
};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::scene::{Scene, describe};

const MODE: Mode = Mode::from_bits_truncate(0o644);

/// O_APPEND: each write goes to the current end of the file, even after another descriptor changed it.
pub fn appending(scene: &Scene) -> Result<()> {
    scene.file("file", b"-")?;
    let path = scene.path("file");
    let open = || File::options().append(true).open(&path);
    let (mut first, mut second) = (open()?, open()?);
    for _ in 0..3 {
        first.write_all(b"a")?;
        second.write_all(b"bb")?;
    }
    scene.print_result("two in turns", fs::read_to_string(&path));
    first.write_all_at(b"c", 0).context("pwrite")?;
    scene.print_result("pwrite at 0 appends", fs::read_to_string(&path));
    first.set_len(2)?;
    second.write_all(b"d")?;
    scene.print_result("after another cut it", fs::read_to_string(&path));
    Ok(())
}

/// An unlinked file stays usable through open descriptors.
pub fn file_without_a_name(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    scene.directory("directory")?;
    scene.file("directory/file", b"content")?;
    let path = scene.path("file");
    let mut file = File::options().read(true).write(true).open(&path)?;
    scene.print_outcome("remove", fs::remove_file(&path));
    scene.print_outcome("find", fs::metadata(&path));
    scene.print_result("links", file.metadata().map(|of| of.nlink()));
    file.write_all_at(b"CON", 0)?;
    let mut content = String::new();
    scene.print_result("read", file.read_to_string(&mut content));
    scene.print_value("content", content);
    scene.print_outcome("truncate", file.set_len(2));
    scene.print_outcome("a new one", File::create_new(&path));
    scene.print_result("the old one", file.metadata().map(|of| of.len()));
    drop(file);
    scene.print_tree("closed");

    let held = File::open(scene.path("directory/file"))?;
    fs::remove_file(scene.path("directory/file"))?;
    scene.print_outcome(
        "remove its directory",
        fs::remove_dir(scene.path("directory")),
    );
    drop(held);
    scene.print_tree("closed as well");
    Ok(())
}

/// An open descriptor follows its file through a rename, and a replaced file stays readable.
pub fn renamed_while_open(scene: &Scene) -> Result<()> {
    scene.file("before", b"content")?;
    scene.file("target", b"the other one")?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(scene.path("before"))?;
    let other = File::open(scene.path("target"))?;
    fs::rename(scene.path("before"), scene.path("target"))?;
    scene.print_outcome("write", file.write_all_at(b"C", 0));
    scene.print_outcome("mode", file.set_permissions(Permissions::from_mode(0o640)));
    scene.print_result("content", fs::read_to_string(scene.path("target")));
    scene.print_result("described", file.metadata().map(|of| describe(&of)));
    let mut seen = [0; 5];
    scene.print_outcome("read the replaced one", other.read_exact_at(&mut seen, 4));
    scene.print_value("it says", seen.escape_ascii());
    drop((file, other));
    scene.print_tree("closed");
    Ok(())
}

/// O_EXCL: the second creation fails, whatever the mode of the existing file.
pub fn exclusive_creation(scene: &Scene) -> Result<()> {
    let new = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
    for mode in [0o644, 0o600, 0o444, 0o000, 0o4755, 0o2755, 0o1777] {
        let name = format!("mode-{mode:o}");
        let made = open(&scene.path(&name), new, Mode::from_bits_truncate(mode));
        if let Some(made) = scene.print_outcome(format!("make {name}"), made) {
            let mut made = File::from(made);
            scene.print_outcome(format!("write {name}"), made.write_all(b"written"));
        }
        scene.stat(&name);
        scene.print_outcome(
            format!("make {name} again"),
            open(&scene.path(&name), new, MODE),
        );
    }
    scene.times("when it is made", &["timed", "."], || {
        open(&scene.path("timed"), new, MODE)
    })?;
    scene.times("when it is there", &["timed", "."], || {
        open(&scene.path("timed"), new, MODE)
    })
}

/// The mode is checked when a file is opened, not at later reads and writes.
pub fn read_only_file_through_its_descriptor(scene: &Scene) -> Result<()> {
    for mode in [0o444, 0o400, 0o000, 0o200] {
        let name = format!("made-{mode:03o}");
        let made = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(scene.path(&name));
        let Some(mut file) = scene.print_outcome(format!("make {name}"), made) else {
            continue;
        };
        scene.print_outcome(format!("write {name}"), file.write_all(b"written"));
        scene.print_outcome(format!("sync {name}"), file.sync_all());
        scene.print_outcome(format!("truncate {name}"), file.set_len(5));
        file.rewind()?;
        let mut content = String::new();
        scene.print_result(format!("read {name}"), file.read_to_string(&mut content));
        scene.print_value(format!("content of {name}"), content);
        drop(file);
        scene.print_outcome(
            format!("open {name} to write"),
            File::options().write(true).open(scene.path(&name)),
        );
        scene.print_outcome(
            format!("open {name} to read"),
            File::open(scene.path(&name)),
        );
        scene.stat(&name);
    }
    scene.file("later", b"before")?;
    let mut writer = File::options().write(true).open(scene.path("later"))?;
    let mut reader = File::open(scene.path("later"))?;
    fs::set_permissions(scene.path("later"), fs::Permissions::from_mode(0o000))?;
    scene.print_outcome(
        "write to what is closed to all",
        writer.write_all(b"behind"),
    );
    scene.print_outcome("sync", writer.sync_all());
    let mut content = String::new();
    scene.print_result("read it", reader.read_to_string(&mut content));
    scene.print_value("content", content);
    Ok(())
}

/// rename(2) of a name onto itself or onto another name of the same file does nothing.
pub fn onto_itself(scene: &Scene) -> Result<()> {
    scene.file("file", b"content")?;
    fs::hard_link(scene.path("file"), scene.path("link"))?;
    scene.directory("other")?;
    fs::hard_link(scene.path("file"), scene.path("other/link"))?;
    scene.symlink("nowhere", "symlink")?;
    for name in ["file", "other", "symlink", "missing"] {
        let same = scene.path(name);
        scene.print_outcome(format!("{name} onto itself"), fs::rename(&same, &same));
    }
    scene.print_outcome(
        "onto its link",
        fs::rename(scene.path("file"), scene.path("link")),
    );
    scene.print_outcome(
        "onto its link elsewhere",
        fs::rename(scene.path("file"), scene.path("other/link")),
    );
    for name in ["file", "link", "other/link"] {
        scene.stat(name);
    }
    Ok(())
}

/// Prints which calls advance mtime and ctime.
pub fn times(scene: &Scene) -> Result<()> {
    scene.file("file", b"0123456789")?;
    let path = scene.path("file");
    let file = File::options().read(true).write(true).open(&path)?;
    let look = &["file", "."];
    scene.times("write", look, || file.write_all_at(b"x", 3))?;
    scene.times("write nothing", look, || file.write_at(b"", 3).map(drop))?;
    scene.times("write past the end", look, || file.write_all_at(b"x", 30))?;
    scene.times("read", look, || file.read_exact_at(&mut [0; 4], 0))?;
    scene.times("sync", look, || file.sync_all())?;
    let mut map = map(&file)?;
    scene.times("write through a mapping", look, || {
        map[..5].copy_from_slice(b"fresh");
        map.flush()
    })?;
    scene.times("chmod to the same", look, || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
    })?;
    let of = fs::metadata(&path)?;
    scene.times("chown to the same", look, || {
        lchown(&path, Some(of.uid()), Some(of.gid()))
    })
}

/// Sets the latest mtime of which an NFSv3 client keeps the nanoseconds. In the next second, u32::MAX, the client drops them.
pub fn last_second(scene: &Scene) -> Result<()> {
    let file = File::create_new(scene.path("file"))?;
    let last = UNIX_EPOCH + Duration::new((u32::MAX - 1).into(), 999_999_999);
    scene.print_outcome("set", file.set_times(FileTimes::new().set_modified(last)));
    let of = fs::metadata(scene.path("file"))?;
    scene.print_value("then", format!("{}.{:09}", of.mtime(), of.mtime_nsec()));
    Ok(())
}

/// Creates symbolic links with longer and longer targets, up to and above the maximum length.
pub fn targets(scene: &Scene) -> Result<()> {
    for len in [1, 59, 60, 255, 1023, 1024, 4094, 4095, 4096] {
        let name = format!("of-{len}");
        let link = std::os::unix::fs::symlink("x".repeat(len), scene.path(&name));
        scene.print_outcome(format!("{len} bytes"), link);
        let target = fs::read_link(scene.path(&name));
        let read = target.map(|target| target.as_os_str().len());
        scene.print_result(format!("read {len} bytes"), read);
        scene.stat(&name);
    }
    Ok(())
}

/// Creates device files with small and large major and minor numbers, and reads the numbers back.
pub fn devices(scene: &Scene) -> Result<()> {
    for (name, kind, major, minor) in [
        ("character", SFlag::S_IFCHR, 1, 3),
        ("block", SFlag::S_IFBLK, 7, 200),
        ("large numbers", SFlag::S_IFCHR, 4000, 70_000),
    ] {
        let number = makedev(major, minor);
        let made = mknod(&scene.path(name), kind, MODE, number);
        scene.print_outcome(format!("make {name}"), made);
        let seen = fs::symlink_metadata(scene.path(name)).map(|of| of.rdev());
        scene.print_result(format!("number of {name}"), seen);
    }
    Ok(())
}

/// Maps the whole file into memory (MAP_SHARED).
#[allow(unsafe_code)]
fn map(file: &File) -> Result<memmap2::MmapMut> {
    // SAFETY: no other process opens the file, and this law writes to it only through the mapping while that exists.
    unsafe { memmap2::MmapMut::map_mut(file) }.context("cannot map the file")
}
