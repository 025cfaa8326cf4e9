//! Disks with unreadable sectors, disks that are shorter than their file system, and disks that are removed.

use super::{LEASED, compare};
use anyhow::{Context as _, Result, bail, ensure};

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use xtask::clients::nfs::{Call, Client, Outcome, data, nfsstat3, outcome, record};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::Bare;

const DISK: [&str; 2] = ["-device", "virtio-blk-device,drive=disk"];

/// Boots a machine that exports this disk as /vda.
fn boot(option: &str, disk: &str) -> Result<Bare> {
    let more = [&[option, disk], &DISK[..]].concat();
    let mut machine = Bare::boot("export=/vda", None, &more)?;
    machine.wait_for_line(LEASED)?;
    Ok(machine)
}

fn connect(machine: &Bare) -> Result<Client> {
    Client::connect(([127, 0, 0, 1], machine.port).into())
}

/// Offset of the contents of `file` in the image.
fn offset_of(image: &Path, file: &Path) -> Result<usize> {
    const SECTOR: usize = 2048;
    let (image, file) = (fs::read(image)?, fs::read(file)?);
    let mut starts = (0..image.len()).step_by(SECTOR);
    let start = starts.find(|start| image[*start..].starts_with(&file));
    start.context("the image has no such file")
}

/// READs at `offset` must fail with NFS3ERR_IO. For a READ of 1 MiB the server may close the connection instead, because it may
/// have sent the head of the reply already; repeated on a new connection, the READ must fail with NFS3ERR_IO.
fn ensure_fails(machine: &Bare, file: &[u8], offset: u64) -> Result<()> {
    for (size, may_close) in [(4096, false), (1 << 20, true), (1 << 20, false)] {
        let mut client = connect(machine)?;
        match client.status(&Call::read(file, offset, size)) {
            Ok(status) => ensure!(
                status == nfsstat3::NFS3ERR_IO,
                "{size} at {offset}: {status:?}"
            ),
            Err(_) if may_close => {}
            Err(error) => return Err(error.context(format!("READ of {size} at {offset}"))),
        }
    }
    Ok(())
}

#[test]
fn unreadable_sector_fails_only_its_reads() -> Result<()> {
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let large = offset_of(&iso, &tree.path().join("large"))?;
    // One sector is unreadable, in the second MiB of the file.
    let bad = (1 << 20) + (300 << 10);
    let sector = (large + bad) / 512;
    let disk = format!(
        "driver=raw,node-name=disk,read-only=on,file.driver=blkdebug,file.image.driver=file,file.image.filename={},\
         file.inject-error.0.event=read_aio,file.inject-error.0.errno=5,file.inject-error.0.sector={sector}",
        iso.display()
    );
    let machine = boot("-blockdev", &disk)?;
    let mut client = connect(&machine)?;
    let root = client.mount("/vda")?;
    let file = client.lookup(&root, "large")?;
    ensure_fails(&machine, &file, bad as u64)?;
    let expected = fs::read(tree.path().join("large"))?;
    for offset in [0, bad - (8 << 10), bad + (8 << 10)] {
        let (bytes, _) = client.read(&file, offset as u64, 4096)?;
        ensure!(
            bytes == &expected[offset..offset + 4096],
            "wrong bytes at {offset}"
        );
    }
    for name in ["hello.txt", "Two Words And Capitals.TXT"] {
        let file = client.lookup(&root, name)?;
        let (bytes, _) = client.read(&file, 0, 4096)?;
        ensure!(bytes == fs::read(tree.path().join(name))?, "{name}");
    }
    Ok(())
}

#[test]
fn truncated_disk_serves_only_complete_files() -> Result<()> {
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let large = offset_of(&iso, &tree.path().join("large"))?;
    let end = 1 << 20;
    File::options()
        .write(true)
        .open(&iso)?
        .set_len((large + end) as u64)?;
    let disk = format!(
        "if=none,id=disk,format=raw,readonly=on,file={}",
        iso.display()
    );
    let machine = boot("-drive", &disk)?;
    let mut client = connect(&machine)?;
    let root = client.mount("/vda")?;
    let file = client.lookup(&root, "large")?;
    // The disk lacks the end of the file, so every READ in the file fails, also of bytes that are on the disk.
    for offset in [0, end as u64] {
        ensure_fails(&machine, &file, offset)?;
    }
    let file = client.lookup(&root, "hello.txt")?;
    let (bytes, _) = client.read(&file, 0, 4096)?;
    ensure!(bytes == b"hello\n", "{bytes:?}");
    Ok(())
}

#[test]
fn removed_disk_gives_errors_and_machine_continues() -> Result<()> {
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let disk = format!(
        "if=none,id=disk,format=raw,readonly=on,file={}",
        iso.display()
    );
    let more = [&["-drive", &disk], &DISK[..]].concat();
    let mut machine = Bare::boot("export=/vda export=/ram:rw", None, &more)?;
    machine.wait_for_line(LEASED)?;
    compare(&machine, "/vda", tree.path())?;
    let mut client = connect(&machine)?;
    let root = client.mount("/vda")?;
    let file = client.lookup(&root, "large")?;
    machine.monitor("drive_del disk")?;
    ensure_fails(&machine, &file, 1 << 20)?;
    // Files in memory are still served.
    let ram = client.mount("/ram")?;
    client.attr(&ram).map(drop)
}

/// With 8 MiB, one partial request and one unsent reply can be stored. A call that waits for the disk is not closed for want of a
/// block.
#[test]
fn sixteen_clients_read_slow_disk_in_eight_mib() -> Result<()> {
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let file = iso.display();
    let disk = format!("if=none,id=disk,format=raw,readonly=on,iops=400,file={file}");
    let more = [&["-m", "8", "-drive", &disk], &DISK[..]].concat();
    let mut machine = Bare::boot("export=/vda", None, &more)?;
    machine.wait_for_line(LEASED)?;
    let bytes = fs::read(tree.path().join("large"))?;
    let read_all = |number: usize| -> Result<()> {
        let mut client = connect(&machine)?;
        let root = client.mount("/vda")?;
        let file = client.lookup(&root, "large")?;
        let offsets = (number * 60_000..).step_by(SIZE).take(24);
        // Four calls at a time, as the clients of kernels read ahead.
        for batch in offsets.collect::<Vec<_>>().chunks(4) {
            let calls = batch
                .iter()
                .map(|at| Call::read(&file, *at as u64, SIZE as u32));
            let calls: Vec<_> = calls
                .zip(1..)
                .map(|(call, xid)| record(&call.message(xid, &client.auth)))
                .collect();
            client.send(&calls.concat())?;
            for (at, xid) in batch.iter().zip(1..) {
                let reply = client
                    .receive()?
                    .context(format!("client {number} was disconnected"))?;
                let (answered, Outcome::Success(results)) = outcome(reply)? else {
                    bail!("no success")
                };
                let same = data(results)?.0 == &bytes[*at..*at + SIZE];
                ensure!(
                    answered == xid && same,
                    "client {number}: wrong bytes at {at}"
                );
            }
        }
        Ok(())
    };
    const SIZE: usize = 16 << 10;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|number| {
                scope.spawn({
                    let read_all = &read_all;
                    move || read_all(number)
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client panicked"))
    })
    .with_context(|| machine.console())
}

#[test]
fn udf_disk_is_served() -> Result<()> {
    let tree = sample(20, 50)?;
    let udf = ["genisoimage", "-quiet", "-udf", "-D"];
    let hidden = ["-hide", "hello.txt", "-hide", "large", "-hide", "many"];
    let (_directory, image) = image(&[&udf[..], &hidden].concat(), tree.path())?;
    let disk = format!(
        "if=none,id=disk,format=raw,readonly=on,file={}",
        image.display()
    );
    let machine = boot("-drive", &disk)?;
    let mut client = connect(&machine)?;
    let root = client.mount("/vda")?;
    for name in ["hello.txt", "large"] {
        let file = client.lookup(&root, name)?;
        let expected = fs::read(tree.path().join(name))?;
        let (bytes, _) = client.read(&file, 0, 1 << 20)?;
        ensure!(
            !bytes.is_empty() && expected.starts_with(bytes),
            "wrong bytes of {name}"
        );
    }
    Ok(())
}
