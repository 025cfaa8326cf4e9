//! The target `boot`: datagrams to the boot server, from several ports and to its sockets, and time that passes.

use std::cell::RefCell;
use std::path::Path;
use stowaway::engine::boot::testing::Bench;
use stowaway::engine::boot::{DHCP_SOCKET, POOL_SOCKET, TFTP_SOCKET};
use stowaway::vfs::ram::Ram;

/// Packets of TFTP, as seeds.
const PACKETS: [&[u8]; 6] = [
    b"\0\x01hello\0octet\0",
    b"\0\x01EFI\\Grub.efi\0netascii\0blksize\x0016\0",
    b"\0\x01big\0octet\0blksize\x001468\0windowsize\x004\0tsize\x000\0timeout\x001\0",
    b"\0\x04\0\x01",
    b"\0\x05\0\0x\0",
    b"\0\x01/boot.ipxe\0octet\0",
];

/// A server of a few files.
fn bench() -> Bench {
    let mut ram = Ram::model(b"/export");
    ram.file("hello", b"hello\r\nworld\n");
    ram.file("big", &[7; 9000]);
    ram.dir("EFI");
    ram.file("EFI/grub.efi", &[1; 700]);
    ram.file("snponly.efi", &[2; 99]);
    Bench::of(ram)
}

thread_local! {
    /// One server for all inputs, because its tables are never freed. It is idle after each input.
    static BENCH: RefCell<Bench> = RefCell::new(bench());
}

/// Plays an input: for each step a byte for socket and port, the length of a datagram, and the datagram. A step without a datagram lets
/// time pass.
pub fn play(input: &[u8]) {
    BENCH.with_borrow_mut(|bench| play_with(bench, input));
}

fn play_with(bench: &mut Bench, mut input: &[u8]) {
    while let [way, len, rest @ ..] = input {
        let (packet, after) = rest.split_at(rest.len().min((*len).into()));
        input = after;
        if packet.is_empty() {
            bench.wait(u32::from(*way) * 20, &mut |_| ());
            continue;
        }
        let port = 1000 + u16::from(way >> 5);
        let socket = match way & 31 {
            0 => TFTP_SOCKET,
            1 => DHCP_SOCKET,
            2 => DHCP_SOCKET + 1,
            3 => DHCP_SOCKET + 2,
            other => POOL_SOCKET + u16::from(other - 4) % 8,
        };
        let from = ([192, 0, 2, 50], port).into();
        if let Some(sent) = bench.pass(from, socket, packet) {
            assert!(sent.len > 0 && sent.len <= bench.out.len());
        }
        for _ in 0..64 {
            if bench.due().is_none() {
                break;
            }
        }
    }
    // Every transfer ends by itself.
    bench.wait(3_000_000, &mut |_| ());
    assert!(bench.is_idle());
}

/// Writes the packets as inputs.
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(super::SEEDS) else {
        return;
    };
    for (number, packet) in PACKETS.iter().enumerate() {
        let input = [
            &[0, packet.len() as u8][..],
            packet,
            b"\x03\x04\0\x04\0\0\x40\0",
        ]
        .concat();
        let path = Path::new(&dir).join(format!("{number}"));
        std::fs::write(path, input).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
