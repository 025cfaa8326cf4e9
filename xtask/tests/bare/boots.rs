//! Boot modules and disks, boot arguments, console output, and the end of the machine.

use super::{LEASED, compare, read};
use crate::mdns::world::Process;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::process::Command;
use xtask::build::{self, Arch};
use xtask::machines::iso::{ROCK_RIDGE, image, sample};
use xtask::machines::qemu::bare::Bare;
use xtask::machines::server::Namespace;
use xtask::setup;

#[test]
fn process_file_boots_and_exports_its_module() -> Result<()> {
    let file = build::build(Arch::X86_64)?;
    let before = fs::read(&file)?;
    let version = Command::new(&file).arg("--version").output()?;
    ensure!(version.stdout.starts_with(b"stowaway "), "{version:?}");
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let mut machine = Bare::boot("", Some(&iso), &[])?;
    // Without export arguments, the module and all disks are exported read-only.
    machine.wait_for_line("exporting /initrd: read-only")?;
    machine.wait_for_line(LEASED)?;
    compare(&machine, "/initrd", tree.path())?;
    machine.wait_for_line("announced stowaway-123456.local")?;
    for part in [
        "MiB",
        "MHz",
        "found /initrd, ",
        "for NFS and MOUNT",
        "mounted /initrd",
    ] {
        machine.wait_for_line(part)?;
    }
    // Each line starts with the seconds since the start, in brackets.
    for line in machine.console().lines() {
        let (time, _) = line.split_once("] stowaway: ").context(line.to_owned())?;
        time.trim_start_matches('[')
            .parse::<f64>()
            .context(line.to_owned())?;
    }
    ensure!(
        fs::read(&file)? == before,
        "{} changed during the boot",
        file.display()
    );
    Ok(())
}

#[test]
fn disk_is_read_over_legacy_and_modern_virtio() -> Result<()> {
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let drive = format!(
        "if=none,id=disk,format=raw,readonly=on,file={}",
        iso.display()
    );
    for (legacy, words, address) in [
        ("true", "export=/vda quiet", LEASED),
        (
            "false",
            "export=/vda name=box ip=10.0.2.15/25 gw=10.0.2.2 quiet",
            "address 10.0.2.15/25",
        ),
    ] {
        let version = format!("virtio-mmio.force-legacy={legacy}");
        let disk = ["-drive", &drive, "-device", "virtio-blk-device,drive=disk"];
        let more = [&["-global", &version], &disk[..]].concat();
        let mut machine = Bare::boot(words, None, &more)?;
        machine.wait_for_line("unknown boot argument quiet")?;
        machine.wait_for_line(address)?;
        compare(&machine, "/vda", tree.path())?;
        if words.contains("name=") {
            machine.wait_for_line("announced box.local")?;
        }
    }
    Ok(())
}

/// The script that is shipped: with KVM where it works, else with emulation.
#[test]
fn sample_script_boots() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    for name in ["machines", "x86_64"] {
        fs::create_dir(path(name))?;
    }
    let script = build::workspace_root().join("image/machines/qemu.sh");
    fs::copy(script, path("machines/qemu.sh"))?;
    fs::copy(build::build(Arch::X86_64)?, path("x86_64/stowaway"))?;
    let host = Namespace::new()?;
    let tree = sample(1, 1)?;
    let (_directory, image) = image(ROCK_RIDGE[0], tree.path())?;
    let image = image.display().to_string();
    for (words, line) in [
        (
            &["export=/ram:rw"][..],
            "listening on [::]:2049 for NFS and MOUNT",
        ),
        (
            &["boot", &image],
            "machines boot at eth0: http://10.0.2.15/boot.ipxe",
        ),
    ] {
        let mut command = host.command("sh");
        command.arg(path("machines/qemu.sh")).args(words);
        let machine = Process::printing(command)?;
        machine.wait_for(line)?;
        machine.kill()?;
    }
    Ok(())
}

/// A misspelt `export=` must not export all disks.
#[test]
fn wrong_boot_arguments_are_named() -> Result<()> {
    for (words, lines) in [
        (
            "exprot=/ram:rw",
            &[
                "unknown boot argument exprot=/ram:rw",
                "did you mean export",
            ][..],
        ),
        (
            "export=/ram http metrics-from=10.0.2.0/24",
            &["listening on [::]:80 for HTTP", LEASED],
        ),
    ] {
        let mut machine = Bare::boot(words, None, &[])?;
        for line in lines {
            machine.wait_for_line(line)?;
        }
    }
    Ok(())
}

#[test]
fn files_in_memory_are_writable() -> Result<()> {
    setup::install_packages(&["libnfs-utils"])?;
    // The processor has no RDRAND, so the machine reads its entropy from virtio-rng.
    let entropy = ["-cpu", "qemu64", "-device", "virtio-rng-device"];
    let mut machine = Bare::boot("export=/ram:rw", None, &entropy)?;
    machine.wait_for_line(LEASED)?;
    let directory = tempfile::tempdir()?;
    let local = directory.path().join("file");
    let bytes: Vec<u8> = (0..5_000_000_u32)
        .map(|number| (number.wrapping_mul(number) >> 9) as u8)
        .collect();
    fs::write(&local, &bytes)?;
    let copy = Command::new("nfs-cp")
        .arg(&local)
        .arg(machine.url("/ram/file"))
        .output()?;
    ensure!(copy.status.success(), "{copy:?}");
    ensure!(
        read(&machine, "/ram/file")? == bytes,
        "/ram/file differs from the written file"
    );
    Ok(())
}

#[test]
fn without_entropy_writable_export_is_refused() -> Result<()> {
    let mut machine = Bare::boot("export=/ram:rw", None, &["-cpu", "qemu64"])?;
    machine.wait_for_line("no random numbers")?;
    machine.wait_for_line("cannot export for writing /ram: no random numbers")?;
    // isa-debug-exit turns status 1 into exit code 3 (2 * 1 + 1) of QEMU.
    ensure!(machine.wait_for_end()?.code() == Some(3));
    Ok(())
}

#[test]
fn missing_memory_or_export_is_reported() -> Result<()> {
    for (more, words, message) in [
        (&["-m", "3"][..], "", "too little memory; add 2 MiB"),
        (&[], "", "nothing to export: add a disk or a module"),
        (
            &[],
            "export=/ram export=/ram:rw",
            "cannot export /ram: the path is given twice",
        ),
    ] {
        let mut machine = Bare::boot(words, None, more)?;
        machine.wait_for_line(message)?;
        ensure!(machine.wait_for_end()?.code() == Some(3));
    }
    Ok(())
}

#[test]
fn six_mib_are_enough_for_nfs() -> Result<()> {
    setup::install_packages(&["libnfs-utils"])?;
    let tree = sample(20, 50)?;
    let (_directory, iso) = image(ROCK_RIDGE[0], tree.path())?;
    let drive = format!(
        "if=none,id=disk,format=raw,readonly=on,file={}",
        iso.display()
    );
    let disk = ["-drive", &drive, "-device", "virtio-blk-device,drive=disk"];
    let more = [&["-m", "6"], &disk[..]].concat();
    let mut machine = Bare::boot("ip=10.0.2.15/24", None, &more)?;
    machine.wait_for_line("announced stowaway-123456.local")?;
    let list = Command::new("nfs-ls").arg(machine.url("/vda")).output()?;
    ensure!(
        String::from_utf8_lossy(&list.stdout).contains("hello.txt"),
        "{list:?}"
    );
    compare(&machine, "/vda", tree.path())?;
    // With a RAM of 6 MiB, the machine still has memory for files.
    let mut machine = Bare::boot("export=/ram:rw", None, &["-m", "6"])?;
    machine.wait_for_line(LEASED)?;
    let directory = tempfile::tempdir()?;
    let local = directory.path().join("file");
    fs::write(&local, "small")?;
    let copy = Command::new("nfs-cp")
        .arg(&local)
        .arg(machine.url("/ram/file"))
        .output()?;
    ensure!(copy.status.success(), "{copy:?}");
    ensure!(read(&machine, "/ram/file")? == b"small");
    Ok(())
}

#[test]
fn cpio_archive_is_exported_as_a_tree() -> Result<()> {
    setup::install_packages(&["busybox-static", "libnfs-utils"])?;
    let tree = sample(20, 50)?;
    fs::hard_link(tree.path().join("large"), tree.path().join("same"))?;
    let directory = tempfile::tempdir()?;
    let archive = directory.path().join("test.cpio");
    let find = format!(
        "find . | busybox cpio -o -H newc 2>/dev/null >'{}'",
        archive.display()
    );
    setup::run_captured(
        Command::new("sh")
            .args(["-c", &find])
            .current_dir(tree.path()),
    )?;
    let mut machine = Bare::boot("export=/initrd export=/ram:rw", Some(&archive), &[])?;
    machine.wait_for_line(LEASED)?;
    compare(&machine, "/initrd", tree.path())?;
    let same = fs::read(tree.path().join("same"))?;
    ensure!(read(&machine, "/initrd/same")? == same);
    let list = Command::new("nfs-ls")
        .arg(machine.url("/initrd"))
        .output()?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    ensure!(list.contains("Two Words And Capitals.TXT"), "{list}");
    // Files in memory are writable; the archive is not.
    for (path, can) in [("/ram/file", true), ("/initrd/file", false)] {
        let local = tree.path().join("hello.txt");
        let copy = Command::new("nfs-cp")
            .arg(local)
            .arg(machine.url(path))
            .output()?;
        ensure!(copy.status.success() == can, "{path}: {copy:?}");
    }
    // With a truncated archive, the machine reports the damage and ends.
    let bytes = fs::read(&archive)?;
    fs::write(
        &archive,
        bytes
            .get(..100_000)
            .context("the archive has less than 100,000 bytes")?,
    )?;
    let mut machine = Bare::boot("", Some(&archive), &[])?;
    machine.wait_for_line("cannot export /initrd: the archive is damaged")?;
    ensure!(machine.wait_for_end()?.code() == Some(3));
    Ok(())
}

/// Faults: name, machine code, and part of the console line that reports the fault.
const FAULTS: [(&str, &[u8], &str); 5] = [
    (
        "mov eax, 39; syscall",
        &[0xb8, 39, 0, 0, 0, 0x0f, 0x05],
        "system call 39, and there is no system, by the code at ",
    ),
    (
        "xor ecx, ecx; div ecx",
        &[0x31, 0xc9, 0xf7, 0xf1],
        "division by zero, by the code at ",
    ),
    (
        "mov al, [0x10]",
        &[0x8a, 0x04, 0x25, 0x10, 0, 0, 0],
        "page fault at 10, by the code at ",
    ),
    (
        "lea rcx, [rip]; mov [rcx], eax",
        &[0x48, 0x8d, 0x0d, 0, 0, 0, 0, 0x89, 0x01],
        "page fault at 2",
    ),
    (
        "push rax, in a loop",
        &[0x50, 0xeb, 0xfd],
        "stack overflow, by the code at ",
    ),
];

#[test]
fn exception_prints_one_line_and_ends_the_machine() -> Result<()> {
    for (code, bytes, message) in FAULTS {
        let mut machine = Bare::boot("export=/ram", None, &[])?;
        machine.wait_for_line(LEASED)?;
        machine.plant(bytes)?;
        let status = machine.wait_for_end()?;
        let console = machine.console();
        let last = console.lines().last().unwrap_or_default();
        ensure!(last.contains(message), "{code}: {console}");
        ensure!(status.code() == Some(2 * 101 + 1), "{code}: {status}");
    }
    Ok(())
}
