//! Firmware and boot loaders by URL: iPXE, SeaBIOS with QEMU's block driver, OVMF without and with Secure Boot.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use xtask::machines::http::HttpServer;
use xtask::machines::iso::{ROCK_RIDGE, unpack_package, write_image};
use xtask::machines::server::{Namespace, Process, ip, public_dir, root_for};
use xtask::machines::{qemu, wait_for};
use xtask::setup;

/// Longest time until a machine prints what a test waits for.
const BOOT_MAX: Duration = Duration::from_secs(120);
/// The address of the server for OVMF, and the directory of its firmware.
const HOST: &str = "192.0.2.1";
const OVMF: &str = "/usr/share/OVMF";

/// Starts QEMU by `command`, and waits until the serial console shows `part`.
fn wait_for_console(mut command: Command, part: &str) -> Result<()> {
    let directory = public_dir()?;
    let path = directory.path().join("console");
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .arg("-serial")
        .arg(format!("file:{}", path.display()));
    let mut qemu = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let read = || {
        let bytes = fs::read(&path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let found = wait_for(BOOT_MAX, || {
        let found = read().contains(part);
        Ok((found || !qemu.is_alive()?).then_some(found))
    })?;
    // OVMF rewrites a line for each percent of a download.
    let console: String = read().chars().rev().take(4000).collect();
    let console: String = console.chars().rev().collect();
    ensure!(
        found == Some(true),
        "no {part:?} on the console; QEMU: {:#?}\n{console}",
        qemu.lines()
    );
    Ok(())
}

/// A kernel of the tree and an initramfs inside an image boot by iPXE.
#[test]
fn ipxe_boots_kernel_and_initramfs_of_an_image() -> Result<()> {
    let directory = public_dir()?;
    let root = directory.path();
    let (kernel, initramfs) = qemu::system("diskless")?;
    fs::copy(kernel, root.join("vmlinuz"))?;
    let tree = tempfile::tempdir()?;
    fs::write(tree.path().join("initrd.img"), &initramfs)?;
    write_image(ROCK_RIDGE[0], tree.path(), &root.join("system.iso"))?;
    let server = HttpServer::start("http", [root])?;
    let url = format!("http://10.0.2.2:{}", server.address().port());
    let script = format!(
        "#!ipxe
dhcp || reboot
kernel {url}/vmlinuz initrd=initrd.img console=ttyS0 no_timer_check quiet panic=-1 || reboot
initrd {url}/system.iso/initrd.img || reboot
boot || reboot
"
    );
    let console = qemu::watch_ipxe("diskless", &script)?;
    // The initramfs prints this before it ends, because there is nothing to mount.
    let booted = console.contains("diskless: ");
    ensure!(booted, "{console}\nserver: {:#?}", server.lines());
    Ok(())
}

/// SeaBIOS boots iPXE from an image that QEMU reads by HTTP.
#[test]
fn qemu_boots_an_image_by_url() -> Result<()> {
    setup::install_packages(&["qemu-system-x86", "qemu-block-extra"])?;
    let images = unpack_package("ipxe")?.join("usr/lib/ipxe");
    let server = HttpServer::start("http", [&images])?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-machine",
            "q35,graphics=off,accel=tcg",
            "-m",
            "256",
            "-cdrom",
        ])
        .arg(server.url("/ipxe.iso"));
    wait_for_console(command, "iPXE initialising devices")
        .with_context(|| format!("server: {:#?}", server.lines()))
}

/// Writes `boot.iso` with Debian's signed shim and GRUB: as the boot image, whose GRUB reads the image's configuration, and in the
/// directory `net`, where shim asks the server for GRUB.
fn write_boot_image(directory: &Path) -> Result<()> {
    setup::install_packages(&["mtools", "shim-signed", "grub-efi-amd64-signed", "xorriso"])?;
    let script = r#"
        set -e
        shim=/usr/lib/shim/shimx64.efi.signed grub=/usr/lib/grub/x86_64-efi-signed
        mkdir -p tree/.disk tree/boot/grub tree/net
        : >tree/.disk/info
        echo 'echo "booted by URL, lockdown=$lockdown."; sleep 600' >tree/boot/grub/grub.cfg
        truncate -s 6M tree/efi.img
        mformat -i tree/efi.img -v EFI ::
        mmd -i tree/efi.img ::/EFI ::/EFI/BOOT
        mcopy -i tree/efi.img $shim ::/EFI/BOOT/BOOTX64.EFI
        mcopy -i tree/efi.img $grub/gcdx64.efi.signed ::/EFI/BOOT/grubx64.efi
        cp $shim tree/net/BOOTX64.EFI
        cp $grub/grubnetx64.efi.signed tree/net/grubx64.efi
        xorriso -as mkisofs -quiet -R -e efi.img -no-emul-boot -o boot.iso tree
    "#;
    setup::run_captured(
        Command::new("sh")
            .args(["-c", script])
            .current_dir(directory),
    )?;
    Ok(())
}

/// Boots OVMF, which gets `url` by DHCP, and waits until the console shows `part`.
fn boot_ovmf(secure_boot: SecureBoot, path: &str, part: &str) -> Result<()> {
    setup::install_packages(&["qemu-system-x86", "ovmf", "dnsmasq-base", "iproute2"])?;
    let directory: TempDir = public_dir()?;
    write_boot_image(directory.path())?;
    let host = Namespace::new()?;
    for words in [
        "tuntap add tap0 mode tap",
        "addr add 192.0.2.1/24 dev tap0",
        "link set tap0 up",
    ] {
        ip(&format!("-n {} {words}", host.name()))?;
    }
    let address = format!("{HOST}:80").parse()?;
    let server = host.run(|| HttpServer::start_at(address, "http", [directory.path()]))?;
    let mut dhcp = host.command("dnsmasq");
    dhcp.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
    ])
    .args([
        "--interface=tap0",
        "--bind-interfaces",
        "--no-ping",
        "--pid-file",
        "--leasefile-ro",
    ])
    .args(["--dhcp-range=192.0.2.10,192.0.2.20", "--log-facility=-"])
    // The answer to firmware that asks for HTTP boot must have the same class.
    .args([
        "--dhcp-match=set:http,60,HTTPClient",
        "--dhcp-option-force=tag:http,60,HTTPClient",
    ])
    .arg(format!("--dhcp-boot=tag:http,{}", server.url(path)));
    let _dhcp = Process::start(&mut dhcp)?;

    let variables = directory.path().join("variables");
    let (machine, code, from) = match secure_boot {
        SecureBoot::Off => ("q35,accel=tcg", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
        SecureBoot::On => (
            "q35,accel=tcg,smm=on",
            "OVMF_CODE_4M.secboot.fd",
            "OVMF_VARS_4M.ms.fd",
        ),
    };
    fs::copy(Path::new(OVMF).join(from), &variables)?;
    let mut command = host.command("qemu-system-x86_64");
    command
        .args(["-machine", machine, "-cpu", "max", "-m", "1024"])
        .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
        .arg("-drive")
        .arg(format!(
            "if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/{code}"
        ))
        .arg("-drive")
        .arg(format!(
            "if=pflash,format=raw,unit=1,file={}",
            variables.display()
        ))
        .args(["-netdev", &format!("{},id=net", qemu::tap("tap0"))])
        .args([
            "-device",
            "virtio-net-pci,netdev=net,romfile=",
            "-device",
            "virtio-rng-pci",
        ]);
    // PXE comes before HTTP, and waits a minute for an answer.
    for option in ["IPv4PXESupport", "IPv6PXESupport"] {
        command.args([
            "-fw_cfg",
            &format!("name=opt/org.tianocore/{option},string=n"),
        ]);
    }
    wait_for_console(command, part).with_context(|| format!("server: {:#?}", server.lines()))
}

/// The firmware's keys: none, or Microsoft's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecureBoot {
    Off,
    On,
}

#[test]
fn ovmf_boots_an_image_by_url() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    boot_ovmf(SecureBoot::Off, "/boot.iso", "booted by URL, lockdown=.")
}

/// GRUB sets `lockdown` if the firmware checks signatures.
#[test]
fn ovmf_boots_by_url_with_secure_boot() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    boot_ovmf(SecureBoot::On, "/boot.iso", "booted by URL, lockdown=y.")
}

/// The server reads both programs inside the image; shim asks for GRUB with two slashes in the path.
#[test]
fn ovmf_boots_shim_inside_an_image() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    boot_ovmf(
        SecureBoot::On,
        "/boot.iso/net/BOOTX64.EFI",
        "Welcome to GRUB!",
    )
}
