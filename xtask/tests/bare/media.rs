//! Disks in numbers, sizes of sectors and states that people have: good, empty, damaged, slow, out of reach; and boot modules of
//! several archives.

use super::machines::{
    Kind, MICROVM, MICROVM_WITHOUT_ACPI, Q35, add_disk, boot, connect, expect_text, small_image,
    start,
};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;
use xtask::clients::nfs::Client;
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::nbd::Disk;
use xtask::machines::qemu::bare::{Bare, Options};
use xtask::setup;

/// Device options of a disk with sectors of 4,096 bytes.
const LARGE_SECTORS: &str = ",logical_block_size=4096,physical_block_size=4096";

/// A file with these bytes.
fn file(bytes: &[u8]) -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    Ok(file)
}

/// Path of the disk with this index, as exported.
fn export(index: usize) -> String {
    format!("/vd{}", char::from(b'a' + index as u8))
}

/// Boots a machine with `count` disks, every third with sectors of 4,096 bytes, and reads each.
fn serves_disks(kind: Kind, count: usize) -> Result<()> {
    let mut disks = Vec::new();
    let mut images = Vec::new();
    for index in 0..count {
        let (directory, path) = small_image(&format!("disk {index}"))?;
        let options = if index % 3 == 1 { LARGE_SECTORS } else { "" };
        add_disk(&mut disks, kind.block, &path, options);
        images.push(directory);
    }
    let machine = boot(kind.hardware, "", &disks)?;
    for index in 0..count {
        expect_text(&machine, &export(index), &format!("disk {index}"))?;
    }
    Ok(())
}

#[test]
fn microvm_serves_twelve_disks() -> Result<()> {
    serves_disks(MICROVM, 12)
}

#[test]
fn microvm_without_acpi_serves_three_disks() -> Result<()> {
    serves_disks(MICROVM_WITHOUT_ACPI, 3)
}

#[test]
fn q35_serves_twenty_four_disks() -> Result<()> {
    serves_disks(Q35, 24)
}

#[test]
fn disk_with_large_sectors_is_read_completely() -> Result<()> {
    let tree = sample(1, 1)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let image = fs::File::options().write(true).open(&iso)?;
    image.set_len(image.metadata()?.len().next_multiple_of(4096))?;
    for kind in [MICROVM, Q35] {
        let mut disk = Vec::new();
        add_disk(&mut disk, kind.block, &iso, LARGE_SECTORS);
        boot(kind.hardware, "export=/vda", &disk)
            .and_then(|machine| super::compare(&machine, "/vda", tree.path()))
            .context(kind.hardware)?;
    }
    Ok(())
}

#[test]
fn damaged_disks_are_reported_and_others_served() -> Result<()> {
    let (_directory, good) = small_image("good")?;
    let image = fs::read(&good)?;
    let mut damaged = image.clone();
    // The root directory's record in the volume descriptor (ECMA-119, 8.4.18) points beyond the end of the disk.
    damaged[16 * 2048 + 156 + 2..][..8].fill(0x7f);
    let garbage: Vec<u8> = (0..1_u32 << 18)
        .map(|number| (number.wrapping_mul(number) >> 5) as u8)
        .collect();
    let bad = [
        file(&[0; 1 << 18])?,
        file(&garbage)?,
        file(image.get(..17 * 2048 - 512).context("a small image")?)?,
        file(&damaged)?,
        // Smaller than the volume descriptor's offset.
        file(&[0; 512])?,
    ];
    for kind in [MICROVM, Q35] {
        let mut disks = Vec::new();
        for bad in &bad {
            add_disk(&mut disks, kind.block, bad.path(), "");
        }
        add_disk(&mut disks, kind.block, &good, "");
        let row = || {
            let mut machine = boot(kind.hardware, "", &disks)?;
            for index in 0..bad.len() {
                machine.wait_for_line(&format!("cannot export {}", export(index)))?;
            }
            expect_text(&machine, &export(bad.len()), "good")
        };
        row().context(kind.hardware)?;
    }
    Ok(())
}

#[test]
fn named_export_of_empty_disk_stops_nothing() -> Result<()> {
    let (empty, (_directory, good)) = (file(&[0; 1 << 18])?, small_image("good")?);
    let mut disks = Vec::new();
    for path in [empty.path(), &good] {
        add_disk(&mut disks, MICROVM.block, path, "");
    }
    let machine = boot(MICROVM.hardware, "export=/vda export=/vdb:rw", &disks)?;
    let console = machine.console();
    ensure!(console.contains("cannot export /vda"), "{console}");
    // A disk is never writable, and is not said to be.
    ensure!(
        console.contains("exporting /vdb: read-only") && !console.contains("may write"),
        "{console}"
    );
    expect_text(&machine, "/vdb", "good")
}

#[test]
fn only_an_empty_disk_ends_the_machine() -> Result<()> {
    let empty = file(&[0; 1 << 18])?;
    let mut disks = Vec::new();
    add_disk(&mut disks, MICROVM.block, empty.path(), "");
    disks.extend(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"].map(str::to_owned));
    let mut machine = start(MICROVM.hardware, "", &disks)?;
    machine.wait_for_line("cannot export /vda")?;
    ensure!(machine.wait_for_end()?.code() == Some(3));
    Ok(())
}

/// Writes a cpio archive of a directory with one file to `to`.
fn append_archive(to: &Path, name: &str) -> Result<()> {
    setup::install_packages(&["busybox-static"])?;
    let tree = tempfile::tempdir()?;
    fs::write(tree.path().join(name), name)?;
    let command = format!(
        "find . | busybox cpio -o -H newc 2>/dev/null >>'{}'",
        to.display()
    );
    let mut shell = Command::new("sh");
    setup::run_captured(shell.args(["-c", &command]).current_dir(tree.path()))?;
    Ok(())
}

#[test]
fn all_archives_of_a_module_are_exported() -> Result<()> {
    let archive = NamedTempFile::new()?;
    for name in ["one", "two", "three"] {
        append_archive(archive.path(), name)?;
        // Boot loaders pad each archive with zeros.
        let len = fs::metadata(archive.path())?.len();
        archive.as_file().set_len(len.next_multiple_of(4096))?;
    }
    let mut machine = Bare::start(Options {
        module: Some(archive.path()),
        hardware: Some(MICROVM.hardware),
        ..Options::default()
    })?;
    machine.wait_for_line(super::LEASED)?;
    for name in ["one", "two", "three"] {
        let text = super::read(&machine, &format!("/initrd/{name}"))?;
        ensure!(text == name.as_bytes(), "{name}: {text:?}");
    }
    Ok(())
}

/// GETATTRs of `object`, one after the other until `end`. Each must be answered within 2 s: sooner than a stalled disk
/// answers, and than a slow disk reads for another client.
fn expect_prompt_replies(client: &mut Client, object: &[u8], end: Instant) -> Result<()> {
    while Instant::now() < end {
        let asked_at = Instant::now();
        client.attr(object)?;
        let waited = asked_at.elapsed();
        ensure!(waited < Duration::from_secs(2), "waited {waited:?}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Opens `large` in /vda, calls `before`, reads the file while `during` runs, and compares it with the file in `tree`. `during`
/// gets another connection and the root of /ram.
fn read_during(
    machine: &Bare,
    tree: &Path,
    before: impl FnOnce(),
    during: impl FnOnce(&mut Client, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut reader = connect(machine)?;
    let timeout = Some(Duration::from_secs(90));
    reader.stream().set_read_timeout(timeout)?;
    let root = reader.mount("/vda")?;
    let file = reader.lookup(&root, "large")?;
    let mut other = connect(machine)?;
    let ram = other.mount("/ram")?;
    before();
    let (read, done) = thread::scope(|scope| {
        let read = scope.spawn(|| {
            // Not at the start, which the server may have read already.
            let (bytes, _) = reader.read(&file, 1 << 20, 256 << 10)?;
            Ok::<_, anyhow::Error>(bytes.to_vec())
        });
        // Time for the READ to reach the disk.
        thread::sleep(Duration::from_millis(300));
        let done = during(&mut other, &ram);
        (read.join(), done)
    });
    done.with_context(|| format!("console:\n{}", machine.console()))?;
    let read = read.map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    let read = read.with_context(|| format!("READ; console:\n{}", machine.console()))?;
    let all = fs::read(tree.join("large"))?;
    let same = !read.is_empty() && all[1 << 20..].starts_with(&read);
    ensure!(same, "the READ returned other bytes");
    Ok(())
}

/// Serves a disk by NBD, and stalls it for 32 s while /ram is read. The READ that waits must succeed afterwards.
fn stalled_disk_delays_only_its_reads(kind: Kind) -> Result<()> {
    /// Longer than the 30 s after which a driver may give a request up.
    const STALL: Duration = Duration::from_secs(32);
    let tree = sample(1, 1)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let disk = Disk::serve(fs::read(iso)?)?;
    let node = format!(
        "driver=nbd,node-name=disk,read-only=on,server.type=unix,server.path={}",
        disk.socket().display()
    );
    let device = format!("{},drive=disk", kind.block);
    let more = ["-blockdev", &node, "-device", &device].map(str::to_owned);
    let machine = boot(kind.hardware, "export=/vda export=/ram:rw", &more)?;
    let during = |other: &mut Client, ram: &[u8]| {
        let replies = expect_prompt_replies(other, ram, Instant::now() + STALL);
        disk.resume();
        replies
    };
    read_during(&machine, tree.path(), || disk.stall(), during)?;
    // The disk is usable again, and its stall was reported once.
    super::compare(&machine, "/vda", tree.path())?;
    let console = machine.console();
    let about: Vec<_> = console
        .lines()
        .filter(|line| line.contains("/vda") && line.contains("stall"))
        .collect();
    ensure!(about.len() == 1, "{console}");
    Ok(())
}

#[test]
fn stalled_mmio_disk_delays_only_its_reads() -> Result<()> {
    stalled_disk_delays_only_its_reads(MICROVM)
}

#[test]
fn stalled_pci_disk_delays_only_its_reads() -> Result<()> {
    stalled_disk_delays_only_its_reads(Q35)
}

#[test]
fn slow_disk_delays_only_its_reads() -> Result<()> {
    let tree = sample(1, 1)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let drive = format!(
        "if=none,id=disk,format=raw,readonly=on,throttling.bps-total=100000,file={}",
        iso.display()
    );
    let device = format!("{},drive=disk", MICROVM.block);
    let more = ["-drive", &drive, "-device", &device].map(str::to_owned);
    let machine = boot(MICROVM.hardware, "export=/vda export=/ram:rw", &more)?;
    let during = |other: &mut Client, ram: &[u8]| {
        expect_prompt_replies(other, ram, Instant::now() + Duration::from_secs(8))
    };
    read_during(&machine, tree.path(), || (), during)
}
