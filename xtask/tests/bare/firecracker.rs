//! The boot of Firecracker 1.12 or later, as far as QEMU can repeat it: its boot parameters, memory map, module and command line at
//! its addresses. Firecracker needs KVM and cannot run in these tests.
//!
//! QEMU loads an ELF file that contains stowaway's segments, these data, and a stub as the PVH entry. The stub copies the data to
//! Firecracker's addresses, because QEMU's firmware uses the same memory, and jumps to stowaway's entry. All paths in comments are
//! of github.com/firecracker-microvm/firecracker, in src/vmm/src.

use super::LEASED;
use super::machines::{add_disk, expect_text, expect_writable_ram, small_image};
use anyhow::{Context as _, Result};
use object::elf::{EM_X86_64, FileHeader64, PF_R, PF_W, PF_X, PT_LOAD, PT_NOTE, ProgramHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::write::elf::{FileHeader as Head, ProgramHeader as Part, Writer};
use object::{Endianness, elf};
use std::fs;
use std::path::Path;
use tempfile::NamedTempFile;
use xtask::build::{self, Arch};
use xtask::machines::qemu::bare::{Bare, Options};

/// PVH_INFO_START of arch/x86_64/layout.rs: address of `hvm_start_info`, in EBX at the entry (arch/x86_64/regs.rs, setup_regs).
const INFO: u32 = 0x6000;
/// MODLIST_START of arch/x86_64/layout.rs.
const MODULES: u32 = 0x6040;
/// MEMMAP_START of arch/x86_64/layout.rs.
const MAP: u32 = 0x7000;
/// CMDLINE_START of arch/x86_64/layout.rs.
const LINE: u32 = 0x20000;
/// SYSTEM_MEM_START of arch/x86_64/layout.rs: MP table and ACPI tables, up to RSDP_ADDR.
const SYSTEM: u64 = 0x9fc00;
/// RSDP_ADDR of arch/x86_64/layout.rs.
const RSDP: u64 = 0xe0000;
/// HIMEM_START of arch/x86_64/layout.rs.
const HIGH: u64 = 1 << 20;
/// MMIO32_MEM_START of arch/x86_64/layout.rs: end of the memory below 4 GiB. Also QEMU's, for a microVM.
const MMIO: u64 = 3 << 30;
/// FIRST_ADDR_PAST_32BITS of arch/x86_64/layout.rs.
const PAST_32_BITS: u64 = 1 << 32;
/// PCI_MMCONFIG_START and PCI_MMCONFIG_SIZE of arch/x86_64/layout.rs.
const PCI_CONFIG: (u64, u64) = (0xfec0_0000 - PCI_CONFIG_BYTES, PCI_CONFIG_BYTES);
const PCI_CONFIG_BYTES: u64 = 256 << 20;
/// Memory types (arch/x86_64/mod.rs).
const RAM: u32 = 1;
const RESERVED: u32 = 2;
/// XEN_HVM_START_MAGIC_VALUE of configure_pvh (arch/x86_64/mod.rs).
const MAGIC: u32 = 0x336e_c578;

/// DEFAULT_KERNEL_CMDLINE of vmm_config/boot_source.rs, and the words that build_microvm_for_boot (builder.rs) adds for machines
/// without PCI and with a root disk.
const DEFAULT_WORDS: &str = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce pci=off \
     root=/dev/vda ro";
/// Words of add_virtio_device_to_cmdline (device_manager/mmio.rs), in the format of linux-loader's Cmdline. Firecracker's devices
/// start at 0xc0001000 with interrupt 5; these are QEMU's addresses, of the first device and the second.
const DEVICES: &str = "virtio_mmio.device=4K@0xfeb00e00:12 virtio_mmio.device=4K@0xfeb00c00:11";

/// Address at which QEMU loads the stub, and behind it the data that the stub copies. Neither QEMU's firmware nor stowaway uses it.
const STUB: u32 = 0x40000;
/// Offset of the data.
const DATA: usize = 0x100;

/// The boot parameters of a machine.
struct Boot<'a> {
    memory_bytes: u64,
    /// The command line without the devices.
    words: &'a str,
    module: Option<&'a [u8]>,
}

impl Boot<'_> {
    /// Address of the module, as initrd_load_addr (arch/x86_64/mod.rs) computes it: at the end of the first memory region.
    fn module_address(&self) -> u64 {
        let len = self.module.map_or(0, <[u8]>::len) as u64;
        (self.memory_bytes.min(MMIO) - len) & !0xfff
    }

    /// The `hvm_start_info` of configure_pvh.
    fn info(&self, entry_count: u32) -> Vec<u8> {
        let (module_count, modules) = match self.module {
            Some(_) => (1, MODULES),
            None => (0, 0),
        };
        let mut info = Vec::new();
        // Magic, version, flags, number of modules.
        for word in [MAGIC, 1, 0, module_count] {
            info.extend(word.to_le_bytes());
        }
        // Modules, command line, RSDP (Firecracker does not set it), memory map.
        for word in [modules, LINE, 0, MAP] {
            info.extend(u64::from(word).to_le_bytes());
        }
        info.extend(entry_count.to_le_bytes());
        info.extend([0; 4]);
        info
    }

    /// The memory map of configure_pvh, in its order: memory above 4 GiB precedes the memory that contains the kernel.
    fn map(&self) -> Vec<(u64, u64, u32)> {
        let mut map = vec![
            (0, SYSTEM, RAM),
            (SYSTEM, RSDP - SYSTEM, RESERVED),
            (PCI_CONFIG.0, PCI_CONFIG.1, RESERVED),
        ];
        if self.memory_bytes > MMIO {
            map.push((PAST_32_BITS, self.memory_bytes - MMIO, RAM));
        }
        map.push((HIGH, self.memory_bytes.min(MMIO) - HIGH, RAM));
        map
    }

    /// All data for Firecracker's addresses.
    fn data(&self) -> Vec<(u32, Vec<u8>)> {
        let map = self.map();
        let entries = map.iter().flat_map(|&(address, size, kind)| {
            let words = [address, size, kind.into()];
            words.into_iter().flat_map(u64::to_le_bytes)
        });
        let module = self.module.unwrap_or_default().len() as u64;
        // Address, size, command line, reserved.
        let modules = [self.module_address(), module, 0, 0];
        vec![
            (INFO, self.info(map.len() as u32)),
            (
                MODULES,
                modules.into_iter().flat_map(u64::to_le_bytes).collect(),
            ),
            (MAP, entries.collect()),
            (LINE, format!("{} {DEVICES}\0", self.words).into_bytes()),
        ]
    }

    /// The stub and the data, for [`STUB`]. The stub sets the registers as setup_regs and setup_sregs (arch/x86_64/regs.rs) do:
    /// EBX is the address of `hvm_start_info`, all others are zero; protected mode without paging.
    fn stub(&self, entry: u32) -> Vec<u8> {
        let (mut code, mut data) = (vec![0xfc], Vec::new()); // cld
        let with_number = |opcode: u8, number: u32| {
            let mut bytes = vec![opcode];
            bytes.extend(number.to_le_bytes());
            bytes
        };
        for (to, bytes) in self.data() {
            let from = STUB + (DATA + data.len()) as u32;
            code.extend(with_number(0xbe, from)); // mov esi, from
            code.extend(with_number(0xbf, to)); // mov edi, to
            code.extend(with_number(0xb9, bytes.len() as u32)); // mov ecx, length
            code.extend([0xf3, 0xa4]); // rep movsb
            data.extend(bytes);
        }
        code.extend(with_number(0xb8, 0x11)); // mov eax, 0x11: PE, ET
        code.extend([0x0f, 0x22, 0xc0]); // mov cr0, eax
        code.extend([0x31, 0xc0, 0x0f, 0x22, 0xe0]); // xor eax, eax; mov cr4, eax
        code.extend(with_number(0xbb, INFO)); // mov ebx, INFO
        code.extend([0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff, 0x31, 0xed, 0x31, 0xe4]); // xor edx, esi, edi, ebp, esp
        let next = STUB + code.len() as u32 + 5;
        code.extend(with_number(0xe9, entry.wrapping_sub(next))); // jmp entry
        assert!(code.len() <= DATA);
        code.resize(DATA, 0);
        code.extend(data);
        code
    }

    /// Writes the file for QEMU to `to`: stowaway's segments, the stub and the module.
    fn write_file(&self, stowaway: &Path, to: &Path) -> Result<()> {
        let bytes = fs::read(stowaway)?;
        let bytes = &*bytes;
        let head = FileHeader64::<Endianness>::parse(bytes)?;
        let endian = head.endian()?;
        let headers: &[ProgramHeader64<Endianness>] = head.program_headers(endian, bytes)?;
        let mut parts = Vec::new();
        let mut entry = None;
        for header in headers {
            let data = header.data(endian, bytes).ok().context("a segment")?;
            match header.p_type(endian) {
                PT_LOAD => parts.push(Segment {
                    kind: PT_LOAD,
                    address: header.p_paddr(endian),
                    data,
                    memory_len: header.p_memsz(endian),
                }),
                PT_NOTE => entry = note_entry(data),
                _ => {}
            }
        }
        let stub = self.stub(entry.context("stowaway has no PVH note")?);
        let note = note(STUB);
        let own = [
            (PT_LOAD, STUB.into(), &*stub),
            (
                PT_LOAD,
                self.module_address(),
                self.module.unwrap_or_default(),
            ),
            (PT_NOTE, 0, &note),
        ];
        for (kind, address, data) in own {
            if !data.is_empty() {
                let memory_len = data.len() as u64;
                parts.push(Segment {
                    kind,
                    address,
                    data,
                    memory_len,
                });
            }
        }
        write_elf(&parts, to)
    }
}

/// A segment of an ELF file.
struct Segment<'a> {
    kind: elf::ProgramType,
    address: u64,
    data: &'a [u8],
    memory_len: u64,
}

/// Type of the note with the entry (XEN_ELFNOTE_PHYS32_ENTRY of Xen's elfnote.h).
const PHYS32_ENTRY: u32 = 18;

/// A note with the entry `address`.
fn note(address: u32) -> Vec<u8> {
    let mut note = Vec::new();
    // Lengths of name and address, type.
    for word in [4, 4, PHYS32_ENTRY] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(address.to_le_bytes());
    // QEMU reads eight bytes.
    note.extend([0; 4]);
    note
}

/// The entry in stowaway's notes, which has this note only.
fn note_entry(notes: &[u8]) -> Option<u32> {
    let (head, address) = notes.split_at_checked(16)?;
    let is_known = note(0).starts_with(head);
    let address = address
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes));
    address.filter(|_| is_known)
}

fn write_elf(segments: &[Segment<'_>], to: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Endianness::Little, true, &mut bytes);
    writer.reserve_file_header();
    writer.reserve_program_headers(segments.len() as u32);
    let offsets: Vec<_> = segments
        .iter()
        .map(|segment| writer.reserve(segment.data.len() as u64, 16))
        .collect();
    writer.write_file_header(&Head {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: EM_X86_64,
        e_entry: STUB.into(),
        e_flags: elf::FileFlags(0),
    })?;
    writer.write_align_program_headers();
    for (segment, offset) in segments.iter().zip(&offsets) {
        writer.write_program_header(&Part {
            p_type: segment.kind,
            p_flags: PF_R | PF_W | PF_X,
            p_offset: *offset,
            p_vaddr: segment.address,
            p_paddr: segment.address,
            p_filesz: segment.data.len() as u64,
            p_memsz: segment.memory_len,
            p_align: 4,
        });
    }
    for segment in segments {
        writer.write_align(16);
        writer.write(segment.data);
    }
    fs::write(to, bytes)?;
    Ok(())
}

/// Boots with these parameters and the devices of [`DEVICES`]: a disk, then a card. Returns also the file, which QEMU reads at its
/// start.
fn start(boot: &Boot<'_>, disk: &Path) -> Result<(Bare, NamedTempFile)> {
    let file = NamedTempFile::new()?;
    boot.write_file(&build::build(Arch::X86_64)?, file.path())?;
    let hardware = format!(
        "-M microvm,acpi=off,pit=off,pic=off,rtc=off,x-option-roms=off,auto-kernel-cmdline=off -cpu max -m {}M",
        boot.memory_bytes >> 20
    );
    let mut more = Vec::new();
    add_disk(&mut more, "virtio-blk-device", disk, "");
    more.extend(["-device", "virtio-net-device,netdev=net"].map(str::to_owned));
    let more: Vec<_> = more.iter().map(String::as_str).collect();
    // Firecracker's devices are of virtio 1 (VIRTIO_F_VERSION_1 in devices/virtio).
    let modern = ["-global", "virtio-mmio.force-legacy=false"];
    let machine = Bare::start(Options {
        file: Some(file.path()),
        hardware: Some(&hardware),
        more: &[&modern, &more[..]].concat(),
        ..Options::default()
    })?;
    Ok((machine, file))
}

#[test]
fn default_arguments_serve_module_and_disk() -> Result<()> {
    let (_directory, disk) = small_image("disk")?;
    let (_other_directory, module) = small_image("module")?;
    let (mut machine, _file) = start(
        &Boot {
            memory_bytes: 128 << 20,
            words: DEFAULT_WORDS,
            module: Some(&fs::read(module)?),
        },
        &disk,
    )?;
    machine.wait_for_line(LEASED)?;
    expect_text(&machine, "/initrd", "module")?;
    expect_text(&machine, "/vda", "disk")
}

#[test]
fn module_is_served_from_high_memory() -> Result<()> {
    let (_directory, disk) = small_image("disk")?;
    let (_other_directory, module) = small_image("module")?;
    let (mut machine, _file) = start(
        &Boot {
            memory_bytes: 4 << 30,
            words: "console=ttyS0 reboot=k panic=1 pci=off export=/initrd export=/ram:rw ip=10.0.2.15/24 gw=10.0.2.2",
            module: Some(&fs::read(module)?),
        },
        &disk,
    )?;
    machine.wait_for_line(LEASED)?;
    expect_text(&machine, "/initrd", "module")?;
    expect_writable_ram(&machine)
}

#[test]
fn machine_without_module_serves_its_disk() -> Result<()> {
    let (_directory, disk) = small_image("disk")?;
    let (mut machine, _file) = start(
        &Boot {
            memory_bytes: 16 << 20,
            words: "console=ttyS0 reboot=k panic=1 pci=off ip=10.0.2.15/24",
            module: None,
        },
        &disk,
    )?;
    machine.wait_for_line(LEASED)?;
    expect_text(&machine, "/vda", "disk")
}
