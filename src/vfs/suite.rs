//! The laws of a tree: one function each, run for every backend.

use super::host::{Form, Host};
use super::ram::Ram;
use super::{Detail, FsError, FsResult, Handle, Kind, Name, Node, Right, Vfs};
use core::ops::ControlFlow;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A backend with a small tree in it, and the ways of its owner to change that tree.
///
/// `file` (11 bytes), `dir/inner` (5 bytes), `dir/sub/deep` (4 bytes), `link` to `/etc/passwd`, `many/000` to `many/199`,
/// `fifo`, `sparse` of 5 GiB with "tail" at 4.5 GiB.
trait World {
    fn vfs(&mut self) -> &mut dyn Vfs;
    fn remove(&mut self, path: &str);
    /// The server starts anew.
    fn restart(&mut self) {}
}

const SPARSE_BYTES: u64 = 5 << 30;
const TAIL_OFFSET: u64 = (9 << 30) / 2;

impl World for Ram {
    fn vfs(&mut self) -> &mut dyn Vfs {
        self
    }

    fn remove(&mut self, path: &str) {
        self.remove(path);
    }
}

fn ram() -> Ram {
    let mut ram = Ram::new(b"/export");
    ram.file("file", b"hello world");
    ram.dir("dir");
    ram.file("dir/inner", b"inner");
    ram.dir("dir/sub");
    ram.file("dir/sub/deep", b"deep");
    ram.link("link", b"/etc/passwd");
    ram.dir("many");
    // Handles of the model have one byte for the inode.
    (0..200).for_each(|number| ram.file(&format!("many/{number:03}"), b""));
    ram.fifo("fifo");
    ram.sparse("sparse", SPARSE_BYTES, TAIL_OFFSET, b"tail");
    ram
}

struct OnHost {
    host: Host,
    dir: PathBuf,
    form: Form,
}

impl OnHost {
    fn start(dir: &std::path::Path, form: Form) -> Host {
        let mut host = Host::new(64);
        let key = CString::new(dir.with_extension("key").as_os_str().as_bytes()).unwrap();
        if form == Form::Kernel {
            host.use_kernel_handles(&key).unwrap();
        }
        let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
        host.export(Box::leak(path.into_boxed_c_str()), None)
            .unwrap();
        host
    }

    /// `None` where the host gives no kernel handles to this user.
    fn new(law: &str, form: Form) -> Option<Self> {
        let name = format!("stowaway-{}-{law}-{form:?}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("dir/sub")).unwrap();
        std::fs::create_dir(dir.join("many")).unwrap();
        std::fs::write(dir.join("file"), "hello world").unwrap();
        std::fs::write(dir.join("dir/inner"), "inner").unwrap();
        std::fs::write(dir.join("dir/sub/deep"), "deep").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
        (0..200)
            .for_each(|number| std::fs::write(dir.join(format!("many/{number:03}")), "").unwrap());
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.join("fifo").as_os_str().as_bytes(),
            fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let sparse = std::fs::File::create(dir.join("sparse")).unwrap();
        sparse.set_len(SPARSE_BYTES).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"tail", TAIL_OFFSET).unwrap();
        let privileged = rustix::process::geteuid().is_root();
        if form == Form::Kernel && !privileged {
            return None;
        }
        let host = Self::start(&dir, form);
        Some(Self { host, dir, form })
    }
}

impl Drop for OnHost {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(self.dir.with_extension("key"));
    }
}

impl World for OnHost {
    fn vfs(&mut self) -> &mut dyn Vfs {
        &mut self.host
    }

    fn remove(&mut self, path: &str) {
        std::fs::remove_file(self.dir.join(path)).unwrap();
    }

    fn restart(&mut self) {
        self.host = Self::start(&self.dir, self.form);
    }
}

macro_rules! laws {
    ($($law:ident)*) => {
        mod on_ram {
            $(#[test] fn $law() { super::$law(&mut super::ram()); })*
        }
        mod on_host_with_trails {
            $(#[test] fn $law() { super::$law(&mut super::OnHost::new(stringify!($law), super::Form::Trail).unwrap()); })*
        }
        mod on_host_with_kernel_handles {
            $(#[test] fn $law() {
                if let Some(mut world) = super::OnHost::new(stringify!($law), super::Form::Kernel) {
                    super::$law(&mut world);
                }
            })*
        }
    };
}

laws! {
    attributes_tell_what_an_object_is
    names_are_found_one_by_one
    what_is_no_directory_has_no_names
    reads_end_where_the_file_ends
    reads_reach_beyond_four_gibibytes
    only_regular_files_are_read
    links_are_read_and_never_followed
    a_listing_is_complete_from_any_cookie
    listed_handles_are_those_of_lookup
    handles_outlive_a_restart
    a_removed_object_is_stale
    strange_handles_are_refused
    rights_are_those_of_the_server
    a_pin_outlives_rest
}

fn walk(vfs: &mut dyn Vfs, path: &str) -> FsResult<Node> {
    let root = vfs.root(0)?;
    path.split('/')
        .filter(|name| !name.is_empty())
        .try_fold(root, |dir, name| {
            vfs.lookup(dir, Name::new(name.as_bytes())?)
        })
}

fn list(vfs: &mut dyn Vfs, dir: Node, from: u64, page: usize) -> (Vec<(Vec<u8>, u64)>, bool) {
    let mut names = Vec::new();
    let end = vfs.readdir(dir, from, Detail::Names, &mut |entry| {
        if names.len() == page {
            return ControlFlow::Break(());
        }
        names.push((entry.name.to_vec(), entry.cookie));
        ControlFlow::Continue(())
    });
    (names, end.unwrap())
}

fn attributes_tell_what_an_object_is(world: &mut dyn World) {
    let vfs = world.vfs();
    for (path, kind, size) in [
        ("", Kind::Directory, None),
        ("file", Kind::Regular, Some(11)),
        ("dir", Kind::Directory, None),
        ("dir/inner", Kind::Regular, Some(5)),
        ("link", Kind::SymbolicLink, Some(11)),
        ("fifo", Kind::Fifo, Some(0)),
        ("sparse", Kind::Regular, Some(SPARSE_BYTES)),
    ] {
        let node = walk(vfs, path).unwrap();
        let attr = vfs.attr(node).unwrap();
        assert_eq!(attr.kind, kind, "{path}");
        assert!(size.is_none_or(|size| size == attr.size), "{path}");
        assert!(attr.mode & !0o7777 == 0 && attr.mtime.nanos < 1_000_000_000);
    }
}

fn names_are_found_one_by_one(world: &mut dyn World) {
    let vfs = world.vfs();
    assert!(walk(vfs, "dir/sub/deep").is_ok());
    assert_eq!(walk(vfs, "dir/none"), Err(FsError::NoEntry));
    let first = walk(vfs, "dir/inner").unwrap();
    let attr = vfs.attr(first).unwrap();
    let again = walk(vfs, "dir/inner").unwrap();
    assert_eq!(vfs.attr(again).unwrap(), attr);
}

fn what_is_no_directory_has_no_names(world: &mut dyn World) {
    let vfs = world.vfs();
    for path in ["file/x", "link/x", "fifo/x"] {
        assert_eq!(walk(vfs, path), Err(FsError::NotDirectory), "{path}");
    }
    let file = walk(vfs, "file").unwrap();
    let listed = vfs.readdir(file, 0, Detail::Names, &mut |_| ControlFlow::Continue(()));
    assert_eq!(listed, Err(FsError::NotDirectory));
}

fn reads_end_where_the_file_ends(world: &mut dyn World) {
    let vfs = world.vfs();
    let file = walk(vfs, "file").unwrap();
    let mut out = [0; 32];
    assert_eq!(vfs.read(file, 0, &mut out), Ok(11));
    assert_eq!(&out[..11], b"hello world");
    assert_eq!(vfs.read(file, 6, &mut out[..3]), Ok(3));
    assert_eq!(&out[..3], b"wor");
    assert_eq!(vfs.read(file, 11, &mut out), Ok(0));
    assert_eq!(vfs.read(file, 1 << 40, &mut out), Ok(0));
}

fn reads_reach_beyond_four_gibibytes(world: &mut dyn World) {
    let vfs = world.vfs();
    let file = walk(vfs, "sparse").unwrap();
    let mut out = [1; 8];
    assert_eq!(vfs.read(file, TAIL_OFFSET - 2, &mut out), Ok(8));
    assert_eq!(&out, b"\0\0tail\0\0");
    assert_eq!(vfs.read(file, SPARSE_BYTES - 3, &mut out), Ok(3));
}

fn only_regular_files_are_read(world: &mut dyn World) {
    let vfs = world.vfs();
    for path in ["", "dir", "link", "fifo"] {
        let node = walk(vfs, path).unwrap();
        assert!(vfs.read(node, 0, &mut [0; 8]).is_err(), "{path}");
        assert_eq!(vfs.pin(node).map(drop), Err(FsError::Invalid), "{path}");
    }
}

fn links_are_read_and_never_followed(world: &mut dyn World) {
    let vfs = world.vfs();
    let link = walk(vfs, "link").unwrap();
    let mut out = [0; 32];
    assert_eq!(vfs.readlink(link, &mut out), Ok(11));
    assert_eq!(&out[..11], b"/etc/passwd");
    assert_eq!(vfs.readlink(link, &mut out[..4]), Ok(4));
    let file = walk(vfs, "file").unwrap();
    assert_eq!(vfs.readlink(file, &mut out), Err(FsError::Invalid));
}

fn a_listing_is_complete_from_any_cookie(world: &mut dyn World) {
    let vfs = world.vfs();
    let many = walk(vfs, "many").unwrap();
    let (whole, end) = list(vfs, many, 0, usize::MAX);
    assert!(end);
    let mut names: Vec<_> = whole.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    let mut expect: Vec<_> = (0..200)
        .map(|number| format!("{number:03}").into_bytes())
        .collect();
    expect.extend([b".".to_vec(), b"..".to_vec()]);
    expect.sort();
    assert_eq!(names, expect);
    for page in [1, 7, 100] {
        let (mut paged, mut from, mut end) = (Vec::new(), 0, false);
        while !end {
            let (names, last) = list(vfs, many, from, page);
            assert!(last || names.len() == page);
            from = names.last().map_or(from, |(_, cookie)| *cookie);
            paged.extend(names);
            end = last;
        }
        assert_eq!(paged, whole, "{page} at a time");
    }
}

fn listed_handles_are_those_of_lookup(world: &mut dyn World) {
    let vfs = world.vfs();
    for path in ["", "dir", "dir/sub"] {
        let dir = walk(vfs, path).unwrap();
        let mut listed: Vec<(Vec<u8>, Option<Handle>, u64)> = Vec::new();
        vfs.readdir(dir, 0, Detail::Objects, &mut |entry| {
            listed.push((
                entry.name.to_vec(),
                entry.object.map(|(_, handle)| *handle),
                entry.inode,
            ));
            ControlFlow::Continue(())
        })
        .unwrap();
        for (name, handle, inode) in listed {
            let Ok(name) = Name::new(&name) else {
                assert!(handle.is_none());
                continue;
            };
            let node = vfs.lookup(dir, name).unwrap();
            assert!(vfs.handle(node).unwrap() == handle.unwrap());
            assert_eq!(vfs.attr(node).unwrap().inode, inode);
        }
    }
}

fn handles_outlive_a_restart(world: &mut dyn World) {
    let paths = ["", "file", "dir", "dir/sub/deep", "many/150", "link"];
    let vfs = world.vfs();
    let before = paths.map(|path| {
        let node = walk(vfs, path).unwrap();
        (vfs.handle(node).unwrap(), vfs.attr(node).unwrap().inode)
    });
    world.restart();
    let vfs = world.vfs();
    for ((handle, inode), path) in before.iter().zip(paths) {
        let node = vfs.open(handle.bytes()).unwrap();
        assert_eq!(vfs.attr(node).unwrap().inode, *inode, "{path}");
        let looked_up = walk(vfs, path).unwrap();
        assert!(vfs.handle(looked_up).unwrap() == *handle, "{path}");
    }
    let mut out = [0; 8];
    let deep = vfs.open(before[3].0.bytes()).unwrap();
    assert_eq!(vfs.read(deep, 0, &mut out), Ok(4));
    assert_eq!(&out[..4], b"deep");
}

fn a_removed_object_is_stale(world: &mut dyn World) {
    let vfs = world.vfs();
    let node = walk(vfs, "dir/inner").unwrap();
    let handle = vfs.handle(node).unwrap();
    world.remove("dir/inner");
    world.restart();
    let vfs = world.vfs();
    assert_eq!(vfs.open(handle.bytes()), Err(FsError::Stale));
    assert_eq!(walk(vfs, "dir/inner"), Err(FsError::NoEntry));
}

fn strange_handles_are_refused(world: &mut dyn World) {
    let vfs = world.vfs();
    let node = walk(vfs, "dir/inner").unwrap();
    let handle = vfs.handle(node).unwrap();
    for len in [0, 1, 63, 64, 65] {
        assert!(vfs.open(&vec![1; len]).is_err());
    }
    for end in 0..handle.bytes().len() {
        assert!(vfs.open(&handle.bytes()[..end]).is_err());
    }
    for bit in 0..handle.bytes().len() * 8 {
        let mut flipped = handle.bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // The model's handles have no MAC: another inode's is one bit away, but never the same inode's.
        let same = vfs
            .open(&flipped)
            .is_ok_and(|other| vfs.attr(other).unwrap() == vfs.attr(node).unwrap());
        assert!(!same, "bit {bit}");
    }
}

fn rights_are_those_of_the_server(world: &mut dyn World) {
    let vfs = world.vfs();
    let (file, dir) = (walk(vfs, "file").unwrap(), walk(vfs, "dir").unwrap());
    assert_eq!(vfs.allows(file, Right::Read), Ok(true));
    assert_eq!(vfs.allows(file, Right::Execute), Ok(false));
    assert_eq!(vfs.allows(dir, Right::Execute), Ok(true));
}

fn a_pin_outlives_rest(world: &mut dyn World) {
    let vfs = world.vfs();
    let node = walk(vfs, "file").unwrap();
    let pin = vfs.pin(node).unwrap();
    while vfs.rest() {}
    let mut out = [0; 16];
    assert_eq!(vfs.read(pin.node(), 0, &mut out), Ok(11));
    vfs.unpin(pin);
    while vfs.rest() {}
    assert!(walk(vfs, "file").is_ok());
}
