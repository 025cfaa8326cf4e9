//! `stowaway boot`: the world's TFTP clients fetch files, and machines in QEMU boot from an image beside a DHCP server of others.

mod layouts;

use crate::recipes::Recipe;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use xtask::build::Arch;
use xtask::machines::iso::{ROCK_RIDGE, unpack_package, write_image};
use xtask::machines::qemu;
use xtask::machines::server::{Namespace, Process, binary, ip, public_dir, root_for};
use xtask::setup;

/// Longest time until a line of the server.
const READY_MAX: Duration = Duration::from_secs(20);
/// Longest time until a machine has mounted its root, without KVM.
const BOOT_MAX: Duration = Duration::from_secs(150);
/// The address of the server; the initramfs takes 10.0.2.15.
const HOST: &str = "10.0.2.2";
const OVMF: &str = "/usr/share/OVMF";

/// Starts the server in a namespace with the words of the recipe, for the images in `directory`, and more arguments.
fn serve(host: &Namespace, directory: &Path, arguments: &[&str]) -> Result<Process> {
    let recipe = Recipe::load("boot")?.with("/srv/isos", &directory.display().to_string())?;
    let words = recipe.text().trim().strip_prefix("stowaway ");
    let words = words.context("the recipe has another form")?.split(' ');
    let file = binary(Arch::X86_64)?;
    let mut command = host.command(&file.display().to_string());
    let server = Process::start(command.args(words).args(arguments).arg("--no-mdns"))?;
    server.wait_for_line("machines boot at", READY_MAX)?;
    server.wait_for_line("for NFS and MOUNT", READY_MAX)?;
    Ok(server)
}

/// Each client of others fetches a file of every length, and one inside an image, as it is.
#[test]
fn clients_of_others_fetch_files() -> Result<()> {
    if !root_for("port 69") {
        return Ok(());
    }
    setup::install_packages(&["xorriso", "curl", "busybox-static", "iproute2"])?;
    let atftp = unpack_package("atftp")?.join("usr/bin/atftp");
    let hpa = unpack_package("tftp-hpa")?.join("usr/bin/tftp");
    let directory = public_dir()?;
    let root = directory.path();
    let tree = tempfile::tempdir()?;
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(300_000)
        .collect();
    fs::write(tree.path().join("inner"), &content[..100_000])?;
    write_image(ROCK_RIDGE[0], tree.path(), &root.join("one.iso"))?;
    for len in [0, 511, 512, 1024, 300_000] {
        fs::write(root.join(format!("f{len}")), &content[..len])?;
    }
    let host = Namespace::new()?;
    let server = serve(&host, root, &["--interface", "lo"])?;
    let path = |program: &Path| program.display().to_string();
    let clients = [
        "busybox tftp -g -b 1432 -r NAME -l OUT 127.0.0.1".to_owned(),
        "busybox tftp -g -r NAME -l OUT 127.0.0.1".to_owned(),
        "curl -sf --tftp-blksize 1468 -o OUT tftp://127.0.0.1/NAME".to_owned(),
        "curl -sf --tftp-no-options -o OUT tftp://127.0.0.1/NAME".to_owned(),
        format!("{} -g -r NAME -l OUT 127.0.0.1", path(&atftp)),
        format!(
            "{} --option \"blksize 8192\" --option \"windowsize 8\" -g -r NAME -l OUT 127.0.0.1",
            path(&atftp)
        ),
        format!("{} -m binary 127.0.0.1 -c get NAME OUT", path(&hpa)),
    ];
    let work = tempfile::tempdir()?;
    for client in &clients {
        for (name, len) in [
            ("f0", 0),
            ("f511", 511),
            ("f512", 512),
            ("f1024", 1024),
            ("F300000", 300_000),
            ("one.iso/inner", 100_000),
        ] {
            let out = work.path().join("out");
            let _ = fs::remove_file(&out);
            let line = client
                .replace("NAME", name)
                .replace("OUT", &out.display().to_string());
            let ran = host.command("sh").args(["-c", &line]).output()?;
            let fetched = fs::read(&out).unwrap_or_default();
            ensure!(
                fetched == content[..len],
                "{line}: {} bytes, {ran:?}, {:#?}",
                fetched.len(),
                server.lines()
            );
        }
    }
    Ok(())
}

/// A network with a server, a DHCP server of others, and a place for a machine.
struct Network {
    host: Namespace,
    _other: Namespace,
    _dhcp: Process,
}

impl Network {
    fn new() -> Result<Self> {
        let (host, other) = Namespace::pair()?;
        for (namespace, words) in [
            (&host, "addr flush dev eth0"),
            (&host, "link add br0 type bridge"),
            (&host, "addr add 10.0.2.2/24 dev br0"),
            (&host, "link set eth0 master br0"),
            (&host, "tuntap add tap0 mode tap"),
            (&host, "link set tap0 master br0 up"),
            (&host, "link set br0 up"),
            (&other, "addr flush dev eth0"),
            (&other, "addr add 10.0.2.3/24 dev eth0"),
        ] {
            ip(&format!("-n {} {words}", namespace.name()))?;
        }
        let mut dhcp = other.command("dnsmasq");
        dhcp.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--no-ping",
            "--pid-file",
            "--leasefile-ro",
            "--dhcp-range=10.0.2.100,10.0.2.120",
            "--log-facility=-",
        ]);
        Ok(Self {
            host,
            _other: other,
            _dhcp: Process::start(&mut dhcp)?,
        })
    }

    /// Starts a machine. `rom` is an option of its network card.
    fn start(&self, rom: &str, arguments: &[String]) -> Result<Process> {
        let mut command = self.host.command("qemu-system-x86_64");
        command
            .args(["-machine", "pc,accel=tcg", "-cpu", "max", "-m", "512"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-netdev", &format!("{},id=net", qemu::tap("tap0"))])
            .args(["-boot", "n", "-device"])
            .arg(format!("virtio-net-pci,netdev=net{rom}"))
            .args(["-device", "virtio-rng-pci"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Process::start(&mut command)
    }
}

/// Machines with BIOS and UEFI get a loader or the menu, and boot the kernel of an image, whose initramfs mounts the image.
#[test]
fn machines_boot_beside_a_dhcp_server() -> Result<()> {
    if !root_for("a network namespace") {
        return Ok(());
    }
    setup::install_packages(&[
        "qemu-system-x86",
        "ovmf",
        "dnsmasq-base",
        "iproute2",
        "xorriso",
    ])?;
    let directory: TempDir = public_dir()?;
    let root = directory.path();
    let (kernel, initramfs) = qemu::system("diskless")?;
    let tree = tempfile::tempdir()?;
    let folder = tree.path().join("casper");
    fs::create_dir(&folder)?;
    fs::copy(kernel, folder.join("vmlinuz-linux"))?;
    fs::write(folder.join("initrd-linux.img"), initramfs)?;
    // Two other pairs do not boot; their RAM disks come first by name.
    for other in ["linux-lts", "linux-zen"] {
        fs::write(folder.join(format!("vmlinuz-{other}")), "")?;
        fs::write(folder.join(format!("initrd-{other}.img")), "")?;
    }
    write_image(ROCK_RIDGE[0], tree.path(), &root.join("live.iso"))?;
    let loaders = unpack_package("ipxe")?.join("usr/lib/ipxe");
    fs::copy(loaders.join("snponly.efi"), root.join("snponly.efi"))?;
    let network = Network::new()?;
    let server = serve(&network.host, root, &["--default", "live.iso"])?;
    let variables = root.join("variables");
    fs::copy(Path::new(OVMF).join("OVMF_VARS_4M.fd"), &variables)?;
    let flash = |words: &str| ["-drive".to_owned(), format!("if=pflash,format=raw,{words}")];
    let uefi = [
        flash(&format!("unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.fd")),
        flash(&format!("unit=1,file={}", variables.display())),
    ]
    .concat();
    let mounted = format!("10.0.2.15 mounted {}", root.join("live.iso").display());
    let url = format!("http://{HOST}/boot.ipxe");
    for (rom, arguments, steps) in [
        ("", vec![], vec!["fetches by HTTP /boot.ipxe"]),
        (
            ",romfile=",
            uefi,
            vec!["is offered snponly.efi", "got by TFTP", "/snponly.efi"],
        ),
    ] {
        let before = server.lines().len();
        let machine = network.start(rom, &arguments)?;
        let lines = || server.lines().split_off(before);
        let booted = xtask::machines::wait_for(BOOT_MAX, || {
            let is_mounted = lines().iter().any(|line| line.contains(&mounted));
            Ok(is_mounted.then_some(()))
        })?;
        let all = lines().join("\n");
        ensure!(booted.is_some(), "{all}\nQEMU: {:#?}", machine.lines());
        for step in steps
            .into_iter()
            .chain([&*url, "/live.iso/casper/vmlinuz-linux"])
        {
            ensure!(all.contains(step), "no {step:?} in:\n{all}");
        }
    }
    Ok(())
}
