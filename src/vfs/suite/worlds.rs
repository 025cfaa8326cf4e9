//! What the laws hold for: each backend with the same small tree in it.

use super::super::Vfs;
use super::super::host::{Form, Host, Rules};
use super::super::ram::Ram;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A backend with a small tree in it, and the ways of its owner to change that tree.
///
/// `file` (11 bytes), `dir/inner` (5 bytes), `dir/sub/deep` (4 bytes), `link` to `/etc/passwd`, `many/000` to `many/199`,
/// `fifo`, `sparse` of 5 GiB with "tail" at 4.5 GiB.
pub(super) trait World {
    fn vfs(&mut self) -> &mut dyn Vfs;
    fn remove(&mut self, path: &str);
    /// Makes this all that a file has in it, or makes the file.
    fn put(&mut self, path: &str, bytes: &[u8]);
    /// The server starts anew.
    fn restart(&mut self) {}
    /// Clients may change the tree from now on.
    fn make_writable(&mut self);
    /// Waits until what changes next has other times than what changed before.
    fn pass_time(&self) {}
    /// Whether the host lets the server act as others, and make devices.
    fn is_privileged(&self) -> bool {
        true
    }
}

pub(super) const SPARSE_BYTES: u64 = 5 << 30;
pub(super) const TAIL_OFFSET: u64 = (9 << 30) / 2;

impl World for Ram {
    fn vfs(&mut self) -> &mut dyn Vfs {
        self
    }

    fn remove(&mut self, path: &str) {
        self.unlink(path);
    }

    fn put(&mut self, path: &str, bytes: &[u8]) {
        self.overwrite(path, bytes);
    }

    fn make_writable(&mut self) {
        self.writable = true;
    }
}

pub(super) fn ram() -> Ram {
    let mut ram = Ram::new(b"/export");
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

pub(super) struct OnHost {
    host: Host,
    dir: PathBuf,
    form: Form,
    rules: Rules,
}

impl OnHost {
    fn start(dir: &std::path::Path, form: Form, rules: Rules) -> Host {
        let mut host = Host::new(64);
        let key = CString::new(dir.with_extension("key").as_os_str().as_bytes()).unwrap();
        if form == Form::Kernel {
            host.use_kernel_handles(&key).unwrap();
        }
        let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
        host.export(Box::leak(path.into_boxed_c_str()), rules)
            .unwrap();
        host.act_as_callers();
        host
    }

    /// `None` where the host gives no kernel handles to this user.
    pub(super) fn new(law: &str, form: Form) -> Option<Self> {
        if form == Form::Kernel && !rustix::process::geteuid().is_root() {
            return None;
        }
        // As the server has it: modes are the clients' business.
        rustix::process::umask(rustix::fs::Mode::empty());
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
        let rules = Rules::default();
        let host = Self::start(&dir, form, rules);
        Some(Self {
            host,
            dir,
            form,
            rules,
        })
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

    fn put(&mut self, path: &str, bytes: &[u8]) {
        std::fs::write(self.dir.join(path), bytes).unwrap();
    }

    fn restart(&mut self) {
        self.host = Self::start(&self.dir, self.form, self.rules);
    }

    fn make_writable(&mut self) {
        self.rules.writable = true;
        self.restart();
    }

    fn pass_time(&self) {
        // Longer than a tick of the slowest kernel's clock.
        std::thread::sleep(core::time::Duration::from_millis(25));
    }

    fn is_privileged(&self) -> bool {
        rustix::process::geteuid().is_root()
    }
}
