//! Input from firmware and devices (SMBIOS tables, the clock), and the output port for traces.

use super::LEASED;
use anyhow::{Result, ensure};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use xtask::build::{self, Arch};
use xtask::clients::nfs::{Client, Set};
use xtask::machines::qemu::bare::Bare;
use xtask::machines::wait_for;

/// An SMBIOS system information structure (DSP0134, section 7.2): fields, then the strings manufacturer, product, serial number.
fn tables() -> Vec<u8> {
    let mut tables = vec![1, 27, 0, 1, 1, 2, 0, 3];
    tables.extend(0..16);
    tables.extend(b"\x06\0\0Maker\0Box 3\0S-42\0\0");
    tables.extend(b"\x7f\x04\x01\x01\0\0");
    tables
}

/// The SMBIOS 3.0 entry point (DSP0134, section 5.2.2).
fn anchor(len: usize) -> Vec<u8> {
    let mut anchor = b"_SM3_\0\x18\x03\0\0\x01\0".to_vec();
    anchor.extend((len as u32).to_le_bytes());
    anchor.extend([0; 8]);
    anchor[5] = anchor
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    anchor
}

/// Returns true if `text` occurs in `dump`, a capture of the machine's network.
fn was_sent(dump: &std::path::Path, text: &str) -> Result<bool> {
    let frames = fs::read(dump).unwrap_or_default();
    Ok(frames
        .windows(text.len())
        .any(|part| part == text.as_bytes()))
}

#[test]
fn smbios_identity_is_announced() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    fs::write(path("tables"), tables())?;
    fs::write(path("anchor"), anchor(tables().len()))?;
    let firmware = ["anchor", "tables"].map(|name| {
        format!(
            "name=etc/smbios/smbios-{name},file={}",
            path(name).display()
        )
    });
    let [anchor, tables] = &firmware;
    let firmware = ["-fw_cfg", anchor, "-fw_cfg", tables];
    for (words, firmware, all, none) in [
        (
            "identify",
            &firmware[..],
            &[
                "vendor=Maker",
                "model=Box 3",
                "serial=S-42",
                "uuid=03020100-0504-0706-0809-0a0b0c0d0e0f",
            ][..],
            "serial=S-43",
        ),
        // The serial number is private: announced only with `identify`.
        ("", &firmware, &["model=Box 3"], "serial="),
        (
            "identify hwid=Maker,Other,S-43",
            &firmware,
            &["model=Other", "serial=S-43"],
            "serial=S-42",
        ),
        ("hwid=Maker,Other", &[], &["model=Other"], "serial="),
    ] {
        let dump = path("dump");
        let _ = fs::remove_file(&dump);
        let filter = format!("filter-dump,id=dump,netdev=net,file={}", dump.display());
        let more = [&["-object", &filter], firmware].concat();
        let mut machine = Bare::boot(&format!("export=/ram {words}"), None, &more)?;
        machine.wait_for_line("announced stowaway-123456.local")?;
        for text in all {
            let found = wait_for(Duration::from_secs(60), || {
                Ok(was_sent(&dump, text)?.then_some(()))
            })?;
            ensure!(
                found.is_some(),
                "{words}: {text} was not announced; {}",
                machine.console()
            );
        }
        ensure!(!was_sent(&dump, none)?, "{words}: {none} was announced");
    }
    Ok(())
}

/// Creates a directory in /ram, the files in memory; returns its mtime (seconds since 1970).
fn made_at(machine: &Bare) -> Result<u32> {
    let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, machine.port)))?;
    let root = client.mount("/ram")?;
    let made = client.mkdir(&root, "made", Set::mode(0o755))?;
    Ok(client.attr(&made)?.mtime.seconds)
}

#[test]
fn new_files_have_the_rtc_time() -> Result<()> {
    let clock = ["-rtc", "base=2031-05-06T07:08:09,clock=vm"];
    let mut machine = Bare::boot("export=/ram:rw", None, &clock)?;
    machine.wait_for_line(LEASED)?;
    let (made, base) = (made_at(&machine)?, 1_935_817_689);
    ensure!((base..base + 300).contains(&made), "{made}");
    ensure!(
        !machine.console().contains("no real-time clock"),
        "{}",
        machine.console()
    );
    let mut machine = Bare::boot("export=/ram:rw", None, &["-machine", "rtc=off"])?;
    machine.wait_for_line("no real-time clock")?;
    machine.wait_for_line(LEASED)?;
    let made = made_at(&machine)?;
    ensure!(made < 300, "{made}");
    Ok(())
}

#[test]
fn traces_are_written_to_the_debug_port() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("traces");
    let to = format!("file,id=traces,path={}", path.display());
    let port = "isa-debugcon,iobase=0xe9,chardev=traces";
    let more = ["-chardev", &to, "-device", port];
    let mut machine = Bare::boot("export=/ram trace=-", None, &more)?;
    machine.wait_for_line(LEASED)?;
    // The trace file has the build id, then frames, one of which contains this text.
    let traces = fs::read(&path)?;
    let (id, frames) = traces.split_at_checked(8).unwrap_or_default();
    let file = fs::read(build::build(Arch::X86_64)?)?;
    let is_known = !id.is_empty() && file.windows(8).any(|part| part == id);
    let text = b"exporting /ram";
    let has_text = frames.windows(text.len()).any(|part| part == text);
    ensure!(is_known && has_text, "{traces:?}");
    let mut machine = Bare::boot("export=/ram trace=/traces", None, &[])?;
    machine.wait_for_line("cannot write traces to /traces")?;
    ensure!(machine.wait_for_end()?.code() == Some(3));
    Ok(())
}
