//! Programs that copy whole trees get a folder with links and an image, and the inside of the image, with few descriptors and with
//! many: each copy equals its source.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::http::HttpServer;
use xtask::machines::iso::{ROCK_RIDGE, write_image};
use xtask::machines::port::Port;
use xtask::machines::qemu::bare::Bare;
use xtask::machines::server::{public_dir, runnable};
use xtask::setup;
use xtask::testing::{is_full_run, pattern};

/// A program that copies files. The shell command runs in an empty directory, in which it makes the directory `copy`. `$URL` is the
/// URL of the source, with a slash at its end; `$CUT` is the number of directories in the URL.
struct Tool {
    package: &'static str,
    line: &'static str,
    extent: Extent,
}

/// The files that a tool copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All files; its exit status is 0.
    Tree,
    /// All files; the exit status says nothing.
    TreeWithoutStatus,
    /// The files of [`FEW`].
    Few,
}

/// Files of both sources that tools for single files copy.
const FEW: [&str; 4] = ["large.bin", "link.bin", "link/inner.txt", "many/name-42"];

const WGET: Tool = Tool {
    package: "wget",
    line: "wget -nv -m -np -nH --cut-dirs=$CUT -e robots=off -R 'index.html*' -P copy $URL",
    extent: Extent::Tree,
};
const RCLONE: Tool = Tool {
    package: "rclone",
    line: "rclone --config /dev/null --retries 1 copy \":http,url='$URL':\" copy",
    extent: Extent::Tree,
};
const LFTP: Tool = Tool {
    package: "lftp",
    line: "lftp -c \"set net:max-retries 1; mirror $URL copy\"",
    extent: Extent::Tree,
};
const HTTRACK: Tool = Tool {
    package: "httrack",
    // The copy is in HOST_PORT/PATH. Without -%! httrack waits between files.
    line: "httrack -q $URL -O got -s0 -%c0 -c8 -A0 -%! -I0 -K0 -%v0; rest=${URL#http://*/}; mv got/127*/$rest copy",
    extent: Extent::TreeWithoutStatus,
};
const CURL: Tool = Tool {
    package: "curl",
    line: "for file in $FEW; do curl -fsS --create-dirs -o copy/$file $URL$file; done",
    extent: Extent::Few,
};
const ARIA2: Tool = Tool {
    package: "aria2",
    line: "for file in $FEW; do echo $URL$file; echo \" out=$file\"; done >list
        aria2c -q -i list -d copy -x8 -s8 -k1M -j8 --file-allocation=none",
    extent: Extent::Few,
};

/// Limits of descriptors of the server.
const LIMITS: [u32; 3] = [256, 1024, 4096];
/// The path of the folder in a URL is `/` (--http-root), or its whole path.
const IS_ROOT: [bool; 2] = [true, false];
/// A folder with an image, or the inside of the image.
const SOURCES: [&str; 2] = ["", "x.iso/"];

/// Runs of the short form: of each two of tool, limit, root and source, most pairs. The long form has all.
const SHORT: [(&Tool, u32, bool, &str); 10] = [
    (&WGET, 256, false, SOURCES[0]),
    (&WGET, 1024, true, SOURCES[1]),
    (&RCLONE, 4096, true, SOURCES[0]),
    (&RCLONE, 256, true, SOURCES[1]),
    (&LFTP, 1024, false, SOURCES[0]),
    (&HTTRACK, 256, true, SOURCES[0]),
    (&CURL, 256, true, SOURCES[1]),
    (&CURL, 4096, false, SOURCES[0]),
    (&ARIA2, 1024, true, SOURCES[0]),
    (&ARIA2, 4096, false, SOURCES[1]),
];

/// The folder that is served, and the tree in its image.
struct Sources {
    folder: TempDir,
    inside: TempDir,
}

impl Sources {
    /// `inside_count`: number of names in a directory of the image.
    fn new(inside_count: u64) -> Result<Self> {
        let (folder, inside) = (public_dir()?, public_dir()?);
        fill(folder.path(), 3000)?;
        fill(inside.path(), inside_count)?;
        let image = folder.path().join("x.iso");
        write_image(ROCK_RIDGE[0], inside.path(), &image)?;
        Ok(Self { folder, inside })
    }

    fn path(&self, source: &str) -> &Path {
        let is_folder = source.is_empty();
        let directory = if is_folder {
            &self.folder
        } else {
            &self.inside
        };
        directory.path()
    }

    /// Starts a server of the folder with a limit of descriptors.
    fn serve(&self, limit: u32, is_root: bool) -> Result<HttpServer> {
        let port = Port::reserve()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={limit}"))
            .arg(runnable(Arch::X86_64)?)
            .args(["http", "--http", &address.to_string(), "--export"])
            .arg(format!("{}:isos", self.folder.path().display()))
            .args(is_root.then_some("--http-root"));
        Ok(HttpServer::spawn(&mut command, address)?.holding(port))
    }
}

/// Writes files, links to a file and to a directory, and a directory of `count` files.
fn fill(directory: &Path, count: u64) -> Result<()> {
    let path = |name: &str| directory.join(name);
    fs::create_dir(path("sub"))?;
    fs::create_dir(path("many"))?;
    fs::write(path("large.bin"), pattern(7, 0, 3_000_001))?;
    fs::write(path("sub/inner.txt"), "inner\n")?;
    symlink("large.bin", path("link.bin"))?;
    symlink("sub", path("link"))?;
    for number in 0..count {
        fs::write(path(&format!("many/name-{number}")), number.to_string())?;
    }
    Ok(())
}

/// All files below a directory, also by links to directories, by path. Pages of listings are left out.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let names = fs::read_dir(directory.join(&below));
        for entry in names.with_context(|| format!("cannot list {}", below.display()))? {
            let path = below.join(entry?.file_name());
            let full = directory.join(&path);
            if full.is_dir() {
                left.push(path);
            } else if !path.ends_with("index.html") {
                found.insert(path, fs::read(full)?);
            }
        }
    }
    Ok(found)
}

/// Copies `url`, and fails unless the copy equals the files in `source`.
fn copy(tool: &Tool, url: &str, source: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let directories = url.trim_end_matches('/').matches('/').count() - 2;
    let output = Command::new("timeout")
        .args(["300", "sh", "-c", tool.line])
        .envs([("URL", url), ("CUT", &directories.to_string())])
        .env("FEW", FEW.join(" "))
        .env("HOME", work.path())
        .current_dir(work.path())
        .output()?;
    let said = || {
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    };
    let may_fail = tool.extent == Extent::TreeWithoutStatus;
    ensure!(
        may_fail || output.status.success(),
        "{}: {}",
        output.status,
        said()
    );
    let mut wanted = files(source)?;
    if tool.extent == Extent::Few {
        wanted.retain(|path, _| FEW.iter().any(|few| path == Path::new(few)));
    }
    let mut got = files(&work.path().join("copy")).with_context(said)?;
    let mut wrong = Vec::new();
    for (path, bytes) in wanted {
        match got.remove(&path) {
            None => wrong.push(format!("{} is missing", path.display())),
            Some(copy) if copy != bytes => {
                let lens = (copy.len(), bytes.len());
                wrong.push(format!("{} differs, lengths {lens:?}", path.display()));
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        got.keys()
            .map(|path| format!("{} is no file of the source", path.display())),
    );
    let first = wrong.iter().take(5).collect::<Vec<_>>();
    ensure!(
        wrong.is_empty(),
        "{} files: {first:#?}\n{}",
        wrong.len(),
        said()
    );
    Ok(())
}

/// All combinations, or those of [`SHORT`].
fn runs() -> Vec<(&'static Tool, u32, bool, &'static str)> {
    if !is_full_run() {
        return SHORT.into();
    }
    let tools = [&WGET, &RCLONE, &LFTP, &HTTRACK, &CURL, &ARIA2].into_iter();
    let tools = tools.flat_map(|tool| LIMITS.map(|limit| (tool, limit)));
    let served = tools.flat_map(|(tool, limit)| IS_ROOT.map(|is_root| (tool, limit, is_root)));
    served
        .flat_map(|(tool, limit, is_root)| SOURCES.map(|source| (tool, limit, is_root, source)))
        .collect()
}

#[test]
fn copies_equal_their_sources() -> Result<()> {
    let sources = Sources::new(5000)?;
    for (tool, limit, is_root, source) in runs() {
        setup::install_packages(&[tool.package])?;
        let server = sources.serve(limit, is_root)?;
        let folder = sources.folder.path().display();
        let path = if is_root {
            "/".to_owned()
        } else {
            format!("{folder}/")
        };
        let url = server.url(&format!("{path}{source}"));
        copy(tool, &url, sources.path(source)).with_context(|| {
            let lines = server.lines();
            format!(
                "{} of {url}, {limit} descriptors; server: {lines:#?}",
                tool.package
            )
        })?;
    }
    Ok(())
}

/// The machine serves the inside of the image, which is its memory module.
#[test]
fn copy_of_a_bare_machine_equals_its_image() -> Result<()> {
    setup::install_packages(&[WGET.package])?;
    // Emulation takes 8 ms for a file of 5,000.
    let sources = Sources::new(if is_full_run() { 5000 } else { 500 })?;
    let image = sources.folder.path().join("x.iso");
    // The port of SFTP is forwarded.
    let mut machine = Bare::boot("export=/initrd http=2222", Some(&image), &[])?;
    machine.wait_for_line("for HTTP")?;
    machine.wait_for_line("address 10.0.2.15/24")?;
    let url = format!("http://127.0.0.1:{}/initrd/", machine.sftp_port()?);
    copy(&WGET, &url, sources.inside.path())
        .with_context(|| format!("console:\n{}", machine.console()))
}
