//! Tests of the path backend beyond the conformance tests.

use super::User;
use crate::sys::linux::sandbox;
use crate::vfs::shared::Shared;
use crate::vfs::{Detail, FsError, ObjectType, OpenFlags, SetAttr, Tree};
#[cfg(not(target_arch = "aarch64"))]
use crate::vfs::{FileTime, NewTime};
use core::cell::{RefCell, RefMut};
use core::ops::{ControlFlow, Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::fs::CWD;
use std::path::PathBuf;
use std::rc::Rc;
use syscalls::Sysno;

/// A temporary directory, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let name = format!("stowaway-user-{}-{test}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> Vec<u8> {
        self.0.join(name).to_str().unwrap().as_bytes().to_vec()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A tree with the path backend.
struct Exported {
    tree: Tree,
    user: Rc<RefCell<User>>,
}

impl Exported {
    fn new(pin_count: usize) -> Self {
        Self::of(User::new(pin_count), b"/")
    }

    fn of(user: User, root: &'static [u8]) -> Self {
        let user = Rc::new(RefCell::new(user));
        let mut tree = Tree::default();
        tree.add_paths(Shared::lend(&user), root);
        Self { tree, user }
    }

    fn backend(&self) -> RefMut<'_, User> {
        self.user.borrow_mut()
    }
}

impl Deref for Exported {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl DerefMut for Exported {
    fn deref_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }
}

const READ: OpenFlags = OpenFlags {
    bits: OpenFlags::READ,
    create: None,
};
const WRITE: OpenFlags = OpenFlags {
    bits: OpenFlags::READ | OpenFlags::WRITE | OpenFlags::TRUNCATE,
    create: Some(0o640),
};

#[test]
fn file_is_created_written_and_read_by_path() {
    let scratch = Scratch::new("made");
    let mut user = Exported::new(4);
    let path = scratch.path("new");
    assert_eq!(user.open_at(&path, &READ).unwrap_err(), FsError::NoEntry);
    let pin = user.open_at(&path, &WRITE).unwrap();
    assert_eq!(user.write(&pin, 0, b"hello world"), Ok(()));
    let mut out = [0; 16];
    assert_eq!(user.read(&pin, 6, &mut out), Ok(5));
    assert_eq!(out[..5], *b"world");
    assert_eq!(user.sync(&pin), Ok(()));
    let change = SetAttr {
        mode: Some(0o600),
        size: Some(5),
        ..SetAttr::default()
    };
    assert_eq!(user.set_attr(pin.node(), &change), Ok(()));
    let attr = user.attr(pin.node()).unwrap();
    assert_eq!(
        (attr.kind, attr.mode, attr.size),
        (ObjectType::Regular, 0o600, 5)
    );
    user.unpin(pin);
    let append = OpenFlags {
        bits: OpenFlags::READ | OpenFlags::WRITE | OpenFlags::APPEND,
        ..WRITE
    };
    let pin = user.open_at(&path, &append).unwrap();
    assert_eq!(user.write(&pin, 0, b"!"), Ok(()));
    user.unpin(pin);
    assert_eq!(std::fs::read(scratch.0.join("new")).unwrap(), b"hello!");
}

/// As with OpenSSH's server, which calls chown(2) last.
#[test]
fn set_id_bits_go_with_owner_change() {
    let scratch = Scratch::new("set-id");
    let mut user = Exported::new(4);
    let pin = user.open_at(&scratch.path("file"), &WRITE).unwrap();
    let own = user.attr(pin.node()).unwrap();
    let mode = SetAttr {
        mode: Some(0o6755),
        ..SetAttr::default()
    };
    let owner = SetAttr {
        uid: Some(own.uid),
        gid: Some(own.gid),
        ..mode
    };
    for (change, expect) in [(mode, 0o6755), (owner, 0o755)] {
        assert_eq!(user.set_attr(pin.node(), &change), Ok(()));
        assert_eq!(user.attr(pin.node()).unwrap().mode, expect, "{change:?}");
    }
    user.unpin(pin);
}

/// Before Linux 2.6.22, without utimensat: times have microseconds, and a time that is not set stays.
#[cfg(not(target_arch = "aarch64"))]
#[test]
fn old_kernel_sets_times_by_futimesat() {
    let scratch = Scratch::new("coarse");
    let path = scratch.path("file");
    let [early, late] = [(1_000_000_000, 123_456_789), (1_500_000_000, 999_999_999)]
        .map(|(secs, nanos)| FileTime { secs, nanos });
    let (now, attrs) = std::thread::spawn(move || {
        sandbox::refuse_calls(&[
            Sysno::utimensat,
            #[cfg(target_pointer_width = "32")]
            Sysno::utimensat_time64,
        ]);
        let mut user = Exported::new(4);
        let pin = user.open_at(&path, &WRITE).unwrap();
        let changes = [
            (NewTime::At(early), NewTime::At(late)),
            (NewTime::Keep, NewTime::At(early)),
            (NewTime::Now, NewTime::Keep),
        ];
        let attrs = changes.map(|(atime, mtime)| {
            let change = SetAttr {
                atime,
                mtime,
                ..SetAttr::default()
            };
            user.set_attr(pin.node(), &change).unwrap();
            user.attr(pin.node()).unwrap()
        });
        user.unpin(pin);
        (crate::sys::linux::wall_clock().0, attrs)
    })
    .join()
    .unwrap();
    let times = attrs.map(|attr| (attr.atime, attr.mtime));
    let [early, late] = [(1_000_000_000, 123_456_000), (1_500_000_000, 999_999_000)]
        .map(|(secs, nanos)| FileTime { secs, nanos });
    assert_eq!(times[..2], [(early, late), (early, early)]);
    assert!((now - times[2].0.secs).abs() <= 2, "{times:?}");
    assert_eq!(times[2].1, early);
}

/// Before Linux 5.1, no 32-bit system call supports times after 2038: setting such a time fails, and it is never stored truncated.
#[cfg(target_pointer_width = "32")]
#[test]
fn old_32_bit_kernel_refuses_times_after_2038() {
    const LAST: i64 = i32::MAX as i64;
    let scratch = Scratch::new("narrow");
    let path = scratch.path("file");
    let (results, clock) = std::thread::spawn(move || {
        sandbox::refuse_calls(&[
            Sysno::statx,
            Sysno::clock_gettime64,
            Sysno::utimensat_time64,
        ]);
        let mut user = Exported::new(4);
        let pin = user.open_at(&path, &WRITE).unwrap();
        let results = [LAST, LAST + 1, 4_102_444_800].map(|secs| {
            let change = SetAttr {
                mtime: NewTime::At(FileTime { secs, nanos: 7 }),
                ..SetAttr::default()
            };
            let done = user.set_attr(pin.node(), &change);
            let mtime = user.attr(pin.node()).unwrap().mtime;
            (done, mtime.secs, mtime.nanos)
        });
        user.unpin(pin);
        (results, crate::sys::wall_clock().0)
    })
    .join()
    .unwrap();
    let refused = (Err(FsError::NotSupported), LAST, 7);
    assert_eq!(results, [(Ok(()), LAST, 7), refused, refused]);
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((now - 60..=now).contains(&clock), "{clock} is not {now}");
}

#[test]
fn path_backend_has_no_extents() {
    let scratch = Scratch::new("extents");
    let mut user = Exported::new(4);
    std::fs::write(scratch.0.join("file"), "hello").unwrap();
    for how in [&READ, &WRITE] {
        let pin = user.open_at(&scratch.path("file"), how).unwrap();
        assert_eq!(user.extent(&pin, 0, 5), None);
        user.unpin(pin);
    }
}

#[test]
fn files_of_procfs_are_read_without_a_jail() {
    let mut user = Exported::new(4);
    let pin = user.open_at(b"/proc/sys/kernel/ostype", &READ).unwrap();
    assert_eq!(user.attr(pin.node()).unwrap().size, 0);
    let mut bytes = [0; 9];
    assert_eq!(user.read(&pin, 0, &mut bytes), Ok(6));
    assert_eq!(&bytes[..6], b"Linux\n");
    assert_eq!(user.read(&pin, 6, &mut bytes), Ok(0));
    user.unpin(pin);
    let node = user.resolve(b"/proc/self", true).unwrap();
    let listed = user.readdir(node, 0, Detail::Names, &mut |_| ControlFlow::Break(()));
    assert_eq!(listed, Ok(false));
}

#[test]
fn device_files_open_and_fifos_do_not() {
    let scratch = Scratch::new("devices");
    let mut user = Exported::new(4);
    let over = OpenFlags {
        bits: OpenFlags::WRITE | OpenFlags::TRUNCATE,
        create: Some(0o644),
    };
    let null = user.open_at(b"/dev/null", &over).unwrap();
    assert_eq!(user.write(&null, 1 << 40, b"gone"), Ok(()));
    let zero = user.open_at(b"/dev/zero", &READ).unwrap();
    let mut bytes = [1; 9];
    assert_eq!(user.read(&zero, 7, &mut bytes), Ok(9));
    assert_eq!(bytes, [0; 9]);
    user.unpin(null);
    user.unpin(zero);
    let path = scratch.path("fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(CWD, &*path, kind, mode, 0).unwrap();
    for how in [&READ, &over] {
        assert_eq!(user.open_at(&path, how).unwrap_err(), FsError::Access);
    }
}

/// pread(2) on a terminal fails with ESPIPE; read(2) finds no input yet (EAGAIN).
#[test]
fn terminal_is_read_without_an_offset() {
    let mut user = Exported::new(4);
    let terminal = user.open_at(b"/dev/ptmx", &READ).unwrap();
    let read = user.read(&terminal, 7, &mut [0; 9]);
    assert_eq!(read, Err(FsError::TryLater));
    user.unpin(terminal);
}

#[test]
fn pin_count_is_limited_and_unpin_frees() {
    let scratch = Scratch::new("bounded");
    let mut user = Exported::new(2);
    let path = scratch.path("new");
    let pins = [(); 2].map(|()| user.open_at(&path, &WRITE).unwrap());
    std::fs::write(scratch.0.join("new"), "kept").unwrap();
    assert_eq!(user.open_at(&path, &WRITE).unwrap_err(), FsError::TryLater);
    // The file was not truncated before the request was refused.
    assert_eq!(std::fs::read(scratch.0.join("new")).unwrap(), b"kept");
    let [first, second] = pins;
    user.unpin(first);
    let third = user.open_at(&path, &READ).unwrap();
    user.unpin(second);
    user.unpin(third);
    for _ in 0..70_000 {
        let pin = user.open_at(&path, &READ).unwrap();
        user.unpin(pin);
    }
}

#[test]
fn release_idle_closes_nodes_of_a_request() {
    let mut user = Exported::new(1);
    let top = user.root_dir().unwrap();
    // Resolve a path in more requests than the process can have open files.
    for _ in 0..4000 {
        let node = user.resolve(b"/tmp", true).unwrap();
        assert!(user.attr(node).is_ok() && !user.release_idle());
    }
    assert!(user.attr(top).is_ok());
}

/// A jail in a directory. The files beside and above it must stay unreachable.
fn jailed(scratch: &Scratch, at: &'static [u8]) -> Exported {
    let inside = scratch.0.join("inside");
    std::fs::create_dir_all(inside.join("dir/sub")).unwrap();
    std::fs::write(scratch.0.join("secret"), "secret").unwrap();
    std::fs::write(inside.join("dir/file"), "inside").unwrap();
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, inside.join(name)).unwrap();
    };
    link("../../../../../secret", "dir/out");
    link("/dir/file", "dir/absolute");
    link(&format!("{}/dir/file", inside.display()), "dir/real");
    link(&format!("{}", inside.display()), "dir/top");
    link(&format!("{}", scratch.0.join("secret").display()), "beside");
    link(&format!("{}er", inside.display()), "longer");
    let mut user = User::new(4);
    let dir = std::ffi::CString::new(inside.to_str().unwrap()).unwrap();
    sandbox::unshare(false);
    user.jail(&dir, at).unwrap();
    Exported::of(user, at)
}

fn target(user: &mut Exported, path: &[u8]) -> String {
    let mut out = [0; 4096];
    let node = user.resolve(path, false).unwrap();
    let len = user.readlink(node, &mut out).unwrap();
    String::from_utf8_lossy(&out[..len as usize]).into_owned()
}

#[test]
fn jail_hides_everything_outside() {
    let scratch = Scratch::new("jail");
    let mut user = jailed(&scratch, b"/");
    for path in [
        "/secret",
        "../secret",
        "/../secret",
        "dir/../../secret",
        "dir/out",
        "beside",
    ] {
        let path = path.as_bytes();
        assert_eq!(user.attr_at(path, true).unwrap_err(), FsError::NoEntry);
        assert_eq!(user.open_at(path, &READ).unwrap_err(), FsError::NoEntry);
    }
    for path in [
        "/dir/file",
        "dir/absolute",
        "dir/real",
        "/../dir/file",
        "dir/top/../dir/file",
    ] {
        let attr = user.attr_at(path.as_bytes(), true);
        assert_eq!(attr.map(|attr| attr.size), Ok(6), "{path}");
        let pin = user.open_at(path.as_bytes(), &READ).unwrap();
        let mut out = [0; 9];
        assert_eq!(user.read(&pin, 0, &mut out), Ok(6));
        user.unpin(pin);
    }
    // A write through a symbolic link to the outside creates the file inside the jail, or fails.
    assert_eq!(
        user.open_at(b"dir/out", &WRITE).map(|pin| user.unpin(pin)),
        Ok(())
    );
    assert_eq!(std::fs::read(scratch.0.join("secret")).unwrap(), b"secret");
    assert!(scratch.0.join("inside/secret").exists());
    assert_eq!(
        user.open_at(b"beside", &WRITE).unwrap_err(),
        FsError::NoEntry
    );
    assert_eq!(target(&mut user, b"dir/real"), "/dir/file");
    assert_eq!(target(&mut user, b"dir/top"), "/");
    assert_eq!(target(&mut user, b"dir/absolute"), "/dir/file");
    assert!(target(&mut user, b"longer").ends_with("/insideer"));
}

#[test]
fn jail_is_shown_under_another_path() {
    let scratch = Scratch::new("at");
    let mut user = jailed(&scratch, b"/data/");
    let mut out = [0; 64];
    assert_eq!(user.cwd(&mut out), Ok(5));
    assert_eq!(out[..5], *b"/data");
    assert!(user.attr_at(b"/data/dir/file", true).is_ok());
    assert!(user.attr_at(b"/data", true).is_ok());
    for path in ["/dir/file", "/", "/datadir", "dir/absolute"] {
        let path = path.as_bytes();
        assert_eq!(user.attr_at(path, true).unwrap_err(), FsError::NoEntry);
    }
    assert!(user.attr_at(b"dir/real", true).is_ok());
    assert_eq!(target(&mut user, b"dir/real"), "/data/dir/file");
    assert_eq!(target(&mut user, b"dir/top"), "/data");
    assert_eq!(user.chdir(c"dir/file"), Err(FsError::NotDirectory));
    assert_eq!(user.chdir(c"/data/dir"), Ok(()));
    assert_eq!(user.cwd(&mut out), Ok(9));
    assert_eq!(out[..9], *b"/data/dir");
    assert!(user.attr_at(b"file", true).is_ok() && user.attr_at(b"../dir", true).is_ok());
    assert!(user.attr_at(b"../../../dir", true).is_ok());
    assert_eq!(user.chdir(c"none"), Err(FsError::NoEntry));
    assert_eq!(user.chdir(c"/data"), Ok(()));
    assert_eq!(user.cwd(&mut out), Ok(5));
}

/// Swaps directories and links and moves files in and out of a jail while its client looks them up. System calls in `forgotten`
/// fail.
fn swaps(test: &'static str, forgotten: &'static [Sysno]) {
    let scratch = Scratch::new(test);
    let (inside, outside) = (scratch.0.join("inside"), scratch.0.join("outside"));
    for dir in [&inside.join("door"), &inside.join("deep/er"), &outside] {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("name"), "outside").unwrap();
    }
    for dir in ["", "door", "deep", "deep/er"] {
        std::fs::write(inside.join(dir).join("name"), "inside").unwrap();
    }
    std::fs::write(scratch.0.join("name"), "outside").unwrap();
    std::os::unix::fs::symlink("../outside", inside.join("trap")).unwrap();
    std::fs::write(inside.join("face"), "inside").unwrap();
    std::os::unix::fs::symlink("../outside/name", inside.join("mask")).unwrap();
    let path = std::ffi::CString::new(inside.to_str().unwrap()).unwrap();
    let done = AtomicBool::new(false);
    let (mut read, mut made) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pairs = [["door", "trap"], ["face", "mask"]].map(|pair| {
                pair.map(|name| inside.join(name).into_os_string().into_encoded_bytes())
            });
            let (deep, moved) = (inside.join("deep/er"), outside.join("er"));
            while !done.load(Ordering::Relaxed) {
                for [one, other] in &pairs {
                    let swap = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, &one[..], CWD, &other[..], swap).unwrap();
                }
                std::fs::rename(&deep, &moved).unwrap();
                std::fs::rename(&moved, &deep).unwrap();
            }
        });
        let client = scope.spawn(|| {
            let mut out = [0; 16];
            if !forgotten.is_empty() {
                sandbox::refuse_calls(forgotten);
            }
            sandbox::unshare(false);
            let mut user = Exported::new(4);
            user.backend().jail(&path, b"/").unwrap();
            // Repeat until enough lookups met a swap; on a busy machine this takes longer.
            for number in 0..40_000 {
                if number >= 1500 && made > 40 {
                    break;
                }
                for path in [
                    "face",
                    "door/name",
                    "door/../name",
                    "deep/er/name",
                    "deep/er/../../name",
                    "deep/er/../name",
                ] {
                    if let Ok(pin) = user.open_at(path.as_bytes(), &READ) {
                        assert_eq!(user.read(&pin, 0, &mut out), Ok(6), "{path}");
                        assert_eq!(out[..6], *b"inside", "{path}");
                        user.unpin(pin);
                        read += 1;
                    }
                }
                let name = format!("door/{number}");
                if let Ok(pin) = user.open_at(name.as_bytes(), &WRITE) {
                    user.unpin(pin);
                    made += 1;
                }
                user.release_idle();
            }
        });
        let ended = client.join();
        done.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    // Most operations succeeded, and none reached the outside.
    assert!(read > 1500 && made > 40, "{read} {made}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    let count = |dir: &str| std::fs::read_dir(inside.join(dir)).unwrap().count();
    let within = if inside.join("door").is_symlink() {
        "trap"
    } else {
        "door"
    };
    assert_eq!(count(within), made + 1);
}

#[test]
fn swapped_directories_do_not_escape_the_jail() {
    swaps("swap", &[]);
}

#[test]
fn swapped_directories_do_not_escape_on_old_kernel() {
    swaps("swap-old", &[Sysno::openat2]);
}
