//! Benches of the conformance tests: each backend with the same small tree.

use super::super::Form;
use super::super::host::{Host, Removals};
use super::super::ram::{Ram, TAG};
use super::super::shared::Shared;
use super::super::user::User;
use super::super::{
    Backend, Caller, Client, CreateWhat, ExportRoot, FileTime, FsError, FsResult, Name, NewTime,
    OpenFault, OpenFlags, Peer, Room, Rules, SetAttr, Tree,
};
use crate::config::REMOVED_WORDS;
use crate::sys::linux::sandbox;
use core::cell::RefCell;
use core::sync::atomic::AtomicU32;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use syscalls::Sysno;

/// A backend with a small tree, and functions that change the tree as the owner of the files does, not as a client.
///
/// `file` (11 bytes), `dir/inner` (5 bytes), `dir/sub/deep` (4 bytes), `link` to `/etc/passwd`, `many/000` to `many/199`,
/// `fifo`, `sparse` of 5 GiB with "tail" at 4.5 GiB.
pub(super) trait Bench {
    fn vfs(&mut self) -> &mut Tree;
    fn remove(&mut self, path: &str);
    /// Creates a file with these contents, or replaces its contents.
    fn write_file(&mut self, path: &str, bytes: &[u8]);
    /// Renames a file; replaces the target if it exists.
    fn rename(&mut self, _from: &str, _to: &str) {}
    /// Creates a symbolic link.
    fn create_symlink(&mut self, _path: &str, _target: &str) {}
    /// Returns true if handles survive a rename and a restart.
    fn follows_renames(&self) -> bool {
        true
    }
    /// Restarts the server.
    fn restart(&mut self) {}
    /// Makes the export writable.
    fn make_writable(&mut self);
    /// The path of the tree's root as clients write it, without a trailing "/".
    fn root_path(&self) -> String {
        String::new()
    }
    /// Returns true if the root has nothing above it, and relative paths start there.
    fn is_bounded(&self) -> bool {
        true
    }
    /// Waits until a change gets a later timestamp than earlier changes.
    fn pass_time(&self) {}
    /// Returns true if the server may act as other users and create devices.
    fn is_privileged(&self) -> bool {
        true
    }
}

pub(super) const SPARSE_BYTES: u64 = 5 << 30;
pub(super) const TAIL_OFFSET: u64 = (9 << 30) / 2;

/// The model backend: files in memory.
pub(super) struct OnRam {
    tree: Tree,
    ram: Rc<RefCell<Ram>>,
}

impl OnRam {
    pub(super) fn new() -> Self {
        let ram = Rc::new(RefCell::new(ram()));
        let backends = [Shared::lend(&ram), Shared::lend(&ram)];
        let tree = Tree::of(Backend::Ram, backends, b"/export", TAG);
        Self { tree, ram }
    }

    /// Panics if the tree is inconsistent.
    pub(super) fn check(&self) {
        self.ram.borrow().check();
    }
}

impl Bench for OnRam {
    fn vfs(&mut self) -> &mut Tree {
        &mut self.tree
    }

    fn remove(&mut self, path: &str) {
        self.ram.borrow_mut().unlink(path);
    }

    fn write_file(&mut self, path: &str, bytes: &[u8]) {
        self.ram.borrow_mut().overwrite(path, bytes);
    }

    fn make_writable(&mut self) {
        self.ram.borrow_mut().writable = true;
    }

    fn root_path(&self) -> String {
        "/export".into()
    }
}

fn ram() -> Ram {
    let mut ram = Ram::model(b"/export");
    ram.file("file", b"hello world");
    ram.dir("dir");
    ram.file("dir/inner", b"inner");
    ram.dir("dir/sub");
    ram.file("dir/sub/deep", b"deep");
    ram.symlink("link", b"/etc/passwd");
    ram.dir("many");
    (0..200).for_each(|number| ram.file(&format!("many/{number:03}"), b""));
    ram.fifo("fifo");
    ram.sparse("sparse", SPARSE_BYTES, TAIL_OFFSET, b"tail");
    ram
}

/// Creates the small tree in a new directory of the host.
fn fresh(name: &str) -> PathBuf {
    // The server clears its umask as well: modes are the clients' choice.
    rustix::process::umask(rustix::fs::Mode::empty());
    let name = format!("stowaway-{}-{name}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("dir/sub")).unwrap();
    std::fs::create_dir(dir.join("many")).unwrap();
    std::fs::write(dir.join("file"), "hello world").unwrap();
    std::fs::write(dir.join("dir/inner"), "inner").unwrap();
    std::fs::write(dir.join("dir/sub/deep"), "deep").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
    (0..200).for_each(|number| std::fs::write(dir.join(format!("many/{number:03}")), "").unwrap());
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
    dir
}

/// An export of the host.
pub(super) struct Exported {
    pub(super) tree: Tree,
    /// Keeps the backend and its descriptors open.
    _host: Rc<RefCell<Host>>,
}

impl Exported {
    /// Exports the directory or image at `path`.
    pub(super) fn new(host: Host, path: &Path, rules: Rules) -> FsResult<Self> {
        Self::several(host, &[(path, rules)])
    }

    /// Exports several paths, each with its own rules.
    pub(super) fn several(host: Host, exports: &[(&Path, Rules)]) -> FsResult<Self> {
        let host = Rc::new(RefCell::new(host));
        let mut tree = Tree::default();
        tree.add_host(Shared::lend(&host), Default::default());
        tree.reserve(&Room {
            paths: exports.len(),
            entries: exports.len(),
            names: 0,
            bytes: 8 << 10,
        });
        for (path, rules) in exports {
            let path = path.as_os_str().as_bytes();
            tree.add_client(path, &Client::everyone(*rules)).unwrap();
        }
        tree.replace_clients(&mut |_, _, _| ());
        for number in 0..exports.len() {
            let opened = tree.open_export(number);
            opened.map_err(|fault| match fault.errno {
                OpenFault::NO_IMAGE => FsError::Invalid,
                errno => crate::sys::Errno::from_raw_os_error(errno.into()).into(),
            })?;
        }
        Ok(Self { tree, _host: host })
    }
}

pub(super) struct OnHost {
    served: Exported,
    dir: PathBuf,
    form: Form,
    rules: Rules,
}

impl OnHost {
    fn start(dir: &Path, form: Form, rules: Rules) -> Exported {
        let mut host = Host::new(64, 8);
        let words = (0..REMOVED_WORDS).map(|_| AtomicU32::new(0));
        host.removals = Removals(words.collect::<Vec<_>>().leak());
        let key = CString::new(dir.with_extension("key").as_os_str().as_bytes()).unwrap();
        if form == Form::Kernel {
            host.use_kernel_handles(&key).unwrap();
        }
        host.act_as_callers();
        Exported::new(host, dir, rules).unwrap()
    }

    /// Returns `None` if the kernel gives this user no kernel handles.
    pub(super) fn new(test: &str, form: Form) -> Option<Self> {
        if form == Form::Kernel && !rustix::process::geteuid().is_root() {
            return None;
        }
        let dir = fresh(&format!("{test}-{form:?}"));
        let rules = Rules::DEFAULT.with(Rules::ISOS);
        let served = Self::start(&dir, form, rules);
        Some(Self {
            served,
            dir,
            form,
            rules,
        })
    }
}

impl Drop for OnHost {
    fn drop(&mut self) {
        // Return to the server's own user first: the last caller may lack the rights to remove the directory.
        self.served.tree.release_idle();
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(self.dir.with_extension("key"));
    }
}

impl Bench for OnHost {
    fn vfs(&mut self) -> &mut Tree {
        &mut self.served.tree
    }

    fn remove(&mut self, path: &str) {
        std::fs::remove_file(self.dir.join(path)).unwrap();
    }

    fn write_file(&mut self, path: &str, bytes: &[u8]) {
        std::fs::write(self.dir.join(path), bytes).unwrap();
    }

    fn rename(&mut self, from: &str, to: &str) {
        std::fs::rename(self.dir.join(from), self.dir.join(to)).unwrap();
    }

    fn create_symlink(&mut self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.dir.join(path)).unwrap();
    }

    fn restart(&mut self) {
        self.served = Self::start(&self.dir, self.form, self.rules);
    }

    fn make_writable(&mut self) {
        self.rules.set |= Rules::WRITABLE;
        self.restart();
    }

    fn pass_time(&self) {
        // Longer than a clock tick of the slowest kernel.
        std::thread::sleep(core::time::Duration::from_millis(25));
    }

    fn is_privileged(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}

/// The environment in which the path backend runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Surroundings {
    /// The path under which the session sees its jail, if it has one.
    pub(super) jail: Option<&'static str>,
    /// True if the system calls that Linux 4.9 lacks fail.
    pub(super) is_old: bool,
    /// True if /proc is missing.
    pub(super) is_bare: bool,
}

pub(super) struct OfUser {
    tree: Tree,
    /// Keeps the backend and its descriptors open.
    _user: Rc<RefCell<User>>,
    dir: PathBuf,
    around: Surroundings,
}

impl OfUser {
    /// System calls that Linux 4.9 lacks.
    const NEW: &[Sysno] = &[
        Sysno::statx,
        Sysno::openat2,
        Sysno::fchmodat2,
        Sysno::faccessat2,
        Sysno::renameat2,
        // Calls for times after 2038 on 32-bit machines.
        #[cfg(target_pointer_width = "32")]
        Sysno::clock_gettime64,
        #[cfg(target_pointer_width = "32")]
        Sysno::utimensat_time64,
        #[cfg(target_pointer_width = "32")]
        Sysno::ppoll_time64,
    ];

    /// Runs a test on the tree in this environment, on a thread of its own, because the environment is set for one thread only.
    pub(super) fn hold(
        test: &'static str,
        around: Surroundings,
        starts_at_tree: bool,
        check: fn(&mut dyn Bench),
    ) {
        let run = move || {
            sandbox::unshare(around.is_bare);
            if around.is_old {
                sandbox::refuse_calls(Self::NEW);
            }
            let name = format!("{test}-{starts_at_tree}-{around:?}").replace(['/', '"', ' '], "");
            let dir = fresh(&name);
            let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
            let mut user = User::new(64);
            match around.jail {
                Some(at) => user.jail(&path, at.as_bytes()).unwrap(),
                None if starts_at_tree => user.set_start_directory(&path),
                None => {}
            }
            let user = Rc::new(RefCell::new(user));
            let mut tree = Tree::default();
            let shown = around.jail.unwrap_or("/");
            tree.add_paths(Shared::lend(&user), shown.as_bytes());
            // Tests of objects start at the tree's root directory.
            let root = ExportRoot::fixed(Backend::User, 0, false);
            tree.export(b"/", &[Client::everyone(crate::vfs::shared::RULES)], root)
                .unwrap();
            check(&mut Self {
                tree,
                _user: user,
                dir,
                around,
            });
        };
        // The thread prints its own panic message.
        assert!(std::thread::spawn(run).join().is_ok());
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bench for OfUser {
    fn vfs(&mut self) -> &mut Tree {
        &mut self.tree
    }

    fn remove(&mut self, path: &str) {
        std::fs::remove_file(self.dir.join(path)).unwrap();
    }

    fn write_file(&mut self, path: &str, bytes: &[u8]) {
        std::fs::write(self.dir.join(path), bytes).unwrap();
    }

    fn rename(&mut self, from: &str, to: &str) {
        std::fs::rename(self.dir.join(from), self.dir.join(to)).unwrap();
    }

    fn create_symlink(&mut self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.dir.join(path)).unwrap();
    }

    fn make_writable(&mut self) {}

    fn root_path(&self) -> String {
        let root = self.around.jail.map_or(self.dir.as_path(), Path::new);
        let root = root.to_str().unwrap();
        root.strip_suffix('/').unwrap_or(root).into()
    }

    fn is_bounded(&self) -> bool {
        self.around.jail.is_some()
    }

    fn pass_time(&self) {
        std::thread::sleep(core::time::Duration::from_millis(25));
    }

    fn is_privileged(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}

#[test]
fn two_backends_keep_their_own_umask_and_user() {
    let user = Rc::new(RefCell::new(User::new(4)));
    let mut host = OnHost::new("two-trees", Form::Path).unwrap();
    host.make_writable();
    let path = CString::new(host.dir.as_os_str().as_bytes()).unwrap();
    user.borrow_mut().jail(&path, b"/").unwrap();
    user.borrow_mut().set_umask(0o027);
    std::fs::set_permissions(&host.dir, PermissionsExt::from_mode(0o777)).unwrap();
    let is_privileged = host.is_privileged();
    let tree = host.vfs();
    tree.add_paths(Shared::lend(&user), b"/");
    let root = tree.root(0).unwrap();
    let handle = tree.handle(root).unwrap();
    let caller = Caller {
        uid: 1234,
        gid: 1234,
        ..Caller::default()
    };
    let mode = SetAttr {
        mode: Some(0o777),
        ..SetAttr::default()
    };
    let own = rustix::process::geteuid().as_raw();
    for turn in 0..2 {
        let name = |who: &str| format!("{who}{turn}");
        let root = tree.open_as(handle.bytes(), &caller).unwrap();
        let name_of = name("host");
        let name_of = Name::new(name_of.as_bytes()).unwrap();
        let made = tree.create(root, name_of, CreateWhat::File, &mode);
        let made = made.and_then(|made| tree.attr(made)).unwrap();
        let maker = if is_privileged { 1234 } else { own };
        assert_eq!((made.mode, made.uid), (0o777, maker));
        tree.act_as_process(&Peer::NONE);
        let how = OpenFlags {
            bits: OpenFlags::WRITE,
            create: Some(0o777),
        };
        let pin = tree.open_at(name("user").as_bytes(), &how).unwrap();
        let made = tree.attr(pin.node()).unwrap();
        assert_eq!((made.mode, made.uid), (0o750, own));
        assert!(!is_privileged || made.gid == 0);
        tree.unpin(pin);
    }
}

#[test]
fn refused_change_of_size_leaves_the_file_alone() {
    let mut host = OnHost::new("cut", Form::Path).unwrap();
    host.make_writable();
    let mode = PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(host.dir.join("file"), mode).unwrap();
    let is_privileged = host.is_privileged();
    let tree = host.vfs();
    let root = tree.root(0).unwrap();
    let file = tree.lookup(root, Name::new(b"file").unwrap()).unwrap();
    let handle = tree.handle(file).unwrap();
    let cut = SetAttr {
        size: Some(0),
        ..SetAttr::default()
    };
    let stranger = Caller {
        uid: 1234,
        gid: 1234,
        ..Caller::default()
    };
    let file = tree.open_as(handle.bytes(), &stranger).unwrap();
    if is_privileged {
        assert_eq!(tree.set_attr(file, &cut), Err(FsError::Access));
        assert_eq!(tree.attr(file).unwrap().size, 11);
    }
    // A user that may write, but is not the owner, may change nothing but the size.
    let root = tree.root(0).unwrap();
    let file = tree.lookup(root, Name::new(b"file").unwrap()).unwrap();
    let mode = SetAttr {
        mode: Some(0o666),
        ..SetAttr::default()
    };
    tree.set_attr(file, &mode).unwrap();
    let others = [
        SetAttr {
            mode: Some(0o600),
            ..cut
        },
        SetAttr {
            uid: Some(1234),
            ..cut
        },
        SetAttr {
            mtime: NewTime::At(FileTime::default()),
            ..cut
        },
    ];
    for change in others.into_iter().filter(|_| is_privileged) {
        let file = tree.open_as(handle.bytes(), &stranger).unwrap();
        assert_eq!(tree.set_attr(file, &change), Err(FsError::Permission));
        assert_eq!(tree.attr(file).unwrap().size, 11, "{change:?}");
    }
    // Linux' client cuts a file with both, as open(2) with O_TRUNC does.
    let now = SetAttr {
        size: Some(3),
        mtime: NewTime::Now,
        ..SetAttr::default()
    };
    let file = tree.open_as(handle.bytes(), &stranger).unwrap();
    assert_eq!(tree.set_attr(file, &now), Ok(()));
    assert_eq!(tree.attr(file).unwrap().size, 3);
    let root = tree.root(0).unwrap();
    let file = tree.lookup(root, Name::new(b"file").unwrap()).unwrap();
    assert_eq!(tree.set_attr(file, &cut), Ok(()));
    assert_eq!(tree.attr(file).unwrap().size, 0);
}

/// execve(2) of a file that is open for writing fails with ETXTBSY.
#[test]
fn written_file_does_not_stay_open_for_writing() {
    let mut host = OnHost::new("written", Form::Path).unwrap();
    host.make_writable();
    let path = host.dir.join("file");
    let tree = host.vfs();
    let root = tree.root(0).unwrap();
    let file = tree.lookup(root, Name::new(b"file").unwrap()).unwrap();
    let handle = tree.handle(file).unwrap();
    let pin = tree.pin(file, Some(crate::vfs::Access::Write)).unwrap();
    tree.write(&pin, 0, b"#!").unwrap();
    tree.unpin(pin);
    let is_writable = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let mut ours = open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == path));
        ours.any(|fd| {
            let info = Path::new("/proc/self/fdinfo").join(fd.file_name());
            let info = std::fs::read_to_string(info).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            u32::from_str_radix(flags.unwrap().trim(), 8).unwrap() & 3 != 0
        })
    };
    // Until the writer pauses, so that its next WRITE need not open the file again.
    tree.release_idle();
    assert!(is_writable());
    let file = tree.open_as(handle.bytes(), &Caller::default()).unwrap();
    tree.attr(file).unwrap();
    tree.release_idle();
    assert!(!is_writable());
}
