//! Downloaders, Python's Requests and QEMU's block driver: whole files, the rest of a file, ranges, copies of a tree.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use xtask::setup;

use super::{FILES, IMAGE_FILES, World};

/// A program that downloads a file.
struct Downloader {
    package: &'static str,
    /// Shell command to which the URL is appended. The file is named `got`.
    whole: &'static str,
    /// Options with which the program fetches the rest of `got`. Empty: it cannot.
    rest: &'static str,
}

const DOWNLOADERS: [Downloader; 6] = [
    Downloader {
        package: "curl",
        whole: "curl -sS -o got",
        rest: "-C -",
    },
    Downloader {
        package: "curl",
        whole: "curl -fsS --http1.0 -o got",
        rest: "",
    },
    Downloader {
        package: "wget",
        whole: "wget -q -O got",
        rest: "-c",
    },
    Downloader {
        package: "busybox-static",
        whole: "busybox wget -q -O got",
        rest: "-c",
    },
    Downloader {
        package: "aria2",
        whole: "aria2c -q -x4 -s4 -k1M --file-allocation=none -o got",
        rest: "-c",
    },
    Downloader {
        package: "python3-requests",
        whole: "python3 -c 'import requests, sys
reply = requests.get(sys.argv[1])
reply.raise_for_status()
open(\"got\", \"wb\").write(reply.content)'",
        rest: "",
    },
];

#[test]
fn downloaders_fetch_whole_files() -> Result<()> {
    let world = World::new()?;
    for Downloader { package, whole, .. } in &DOWNLOADERS {
        setup::install_packages(&[package])?;
        for (url, name) in FILES.into_iter().chain(IMAGE_FILES) {
            world.run(&format!("rm -f got; {whole} $URL{url}"))?;
            let same = world.ensure_same("got", name);
            same.with_context(|| format!("{whole} {url}"))?;
        }
    }
    Ok(())
}

#[test]
fn downloaders_fetch_the_rest_of_a_file() -> Result<()> {
    /// Number of bytes that a client already has.
    const HAVE: usize = 1_234_567;
    let world = World::new()?;
    let mut wanted = fs::read(world.tree.path().join("big"))?;
    // A client that fetches the whole file overwrites these bytes.
    wanted[..4].copy_from_slice(b"mark");
    for Downloader {
        package,
        whole,
        rest,
    } in &DOWNLOADERS
    {
        setup::install_packages(&[package])?;
        for url in ["/big", "/x.iso/big"]
            .into_iter()
            .filter(|_| !rest.is_empty())
        {
            let ensure_whole = || {
                let got = fs::read(world.got("got"))?;
                ensure!(got == wanted, "{whole} {rest} {url}: {} bytes", got.len());
                Ok(())
            };
            fs::write(world.got("got"), &wanted[..HAVE])?;
            world.run(&format!("{whole} {rest} $URL{url}"))?;
            ensure_whole()?;
            // Nothing is left, so the server answers 416: an error for some clients.
            world.run(&format!("{whole} {rest} $URL{url} || true"))?;
            ensure_whole()?;
        }
    }
    Ok(())
}

/// zsync asks for up to 20 ranges in a request.
#[test]
fn zsync_fetches_changed_blocks() -> Result<()> {
    setup::install_packages(&["zsync"])?;
    let world = World::new()?;
    let mut old = fs::read(world.tree.path().join("big"))?;
    for at in (0..old.len()).step_by(100_000) {
        old[at] ^= 1;
    }
    fs::write(world.got("old"), old)?;
    for url in ["/big", "/x.iso/big"] {
        let list = world.tree.path().join("list.zsync");
        let (big, list) = (world.tree.path().join("big"), list.display());
        let make = format!("zsyncmake -u $URL{url} -o {list} {}", big.display());
        world.run(&format!("rm -f got; {make}"))?;
        let log = world.run("zsync -i old -o got $URL/list.zsync 2>&1")?;
        ensure!(log.contains("used 4"), "{log}");
        world.ensure_same("got", "big")?;
    }
    Ok(())
}

#[test]
fn path_below_a_file_does_not_exist() -> Result<()> {
    setup::install_packages(&["curl"])?;
    let world = World::new()?;
    for url in ["/big/x", "/big/", "/x.iso/big/x", "/x.iso/big/", "/x.iso/x"] {
        let status = world.run(&format!("curl -s -o got -w '%{{http_code}}' $URL{url}"))?;
        ensure!(status == "404", "{url}: {status}");
    }
    Ok(())
}

#[test]
fn curl_gets_ranges() -> Result<()> {
    setup::install_packages(&["curl"])?;
    let world = World::new()?;
    let big = fs::read(world.tree.path().join("big"))?;
    let last = big.len() - 7;
    for (range, wanted) in [
        ("0-0", &big[..1]),
        ("1000-2000999", &big[1000..2_001_000]),
        ("-7", &big[last..]),
        (&format!("{last}-"), &big[last..]),
    ] {
        for url in ["/big", "/x.iso/big"] {
            world.run(&format!("curl -fsS -r {range} -o got $URL{url}"))?;
            let got = fs::read(world.got("got"))?;
            ensure!(got == wanted, "{range} of {url}: {} bytes", got.len());
        }
    }
    Ok(())
}

#[test]
fn wget_copies_the_tree_and_updates_the_copy() -> Result<()> {
    setup::install_packages(&["wget"])?;
    let world = World::new()?;
    let copy = "wget -nv -r -np -nH -e robots=off -R 'index.html*' --restrict-file-names=nocontrol -P copy";
    world.run(&format!("{copy} $URL/"))?;
    for (_, name) in FILES {
        let name = if name == "big" { "sub/link" } else { name };
        world.ensure_same(&format!("copy/{name}"), name)?;
    }
    // -N fetches a file only if it has changed: the first time, the mark stays. Last-Modified has whole seconds.
    let file = fs::File::open(world.tree.path().join("big"))?;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))?;
    let mark = "printf mark | dd of=big conv=notrunc status=none; touch -r reference big";
    let update = format!("wget -nv -N $URL/big; cp -p big reference; {mark}; wget -nv -N $URL/big");
    world.run(&update)?;
    ensure!(fs::read(world.got("big"))?.starts_with(b"mark"));
    file.set_modified(SystemTime::now())?;
    world.run("wget -nv -N $URL/big")?;
    world.ensure_same("big", "big")
}

#[test]
fn qemu_reads_an_image_by_url() -> Result<()> {
    setup::install_packages(&["qemu-utils", "qemu-block-extra"])?;
    let world = World::new()?;
    // With several requests in flight (without -m 1), qemu-img 7.2 loses a completion and hangs, also with nginx as the server.
    world.run("qemu-img convert -m 1 -O raw $URL/x.iso got")?;
    world.ensure_same("got", "x.iso")?;
    let compared = world.run("qemu-img compare -f raw -F raw $URL/x.iso got")?;
    ensure!(compared.contains("identical"), "{compared}");
    world.run("qemu-io -r -f raw -c 'read 32768 2048' -c 'read 1000 1000000' $URL/x.iso")?;
    Ok(())
}
