//! Makes the packed executable: the unpacker (src/unpack), followed by the plain executable's memory image, compressed with LZMA.
//!
//! Every packed file is verified: it is parsed, unpacked with the unpacker's own code and compared with the plain executable.

#[path = "../../../src/unpack/branch.rs"]
mod branch;
#[path = "../../../src/unpack/lzma.rs"]
mod lzma;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use lzma_rust2::{LzmaOptions, LzmaWriter};
use object::elf::{
    EM_386, EM_X86_64, ET_EXEC, FileFlags, Machine, OsAbi, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_LOAD,
    ProgramFlags,
};
use object::write::elf::{FileHeader, ProgramHeader, Writer};
use object::{Endianness, Object as _, ObjectSymbol as _};

use super::loader::{Headers, Segment};
use super::{Arch, Role, build_roles, is_built, replace_file, run_cargo, toolchain};

/// Builds the plain executable and, beside it, the packed one; returns the path of the packed one.
pub fn build_packed(arch: Arch, roles: &[Role]) -> Result<PathBuf> {
    ensure!(
        Arch::NATIVE.contains(&arch),
        "--packed is not implemented for {}: omit this option",
        arch.name()
    );
    let plain_path = build_roles(arch, roles)?;
    let packed_path = plain_path.with_extension("packed");
    if is_built(&packed_path) {
        return Ok(packed_path);
    }
    let plain =
        fs::read(&plain_path).with_context(|| format!("cannot read {}", plain_path.display()))?;
    let mut cargo = toolchain::for_file(arch)?;
    // cargo also compiles the library, which the unpacker does not use. With only one small role, this takes little time.
    cargo.args(["--bin", "unpack", "--release"]);
    cargo.args(["--no-default-features", "--features", "unpack,check"]);
    let linked = run_cargo(cargo, &format!("the unpacker for {}", arch.name()))?;
    let unpack = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    let packed =
        pack(&plain, &unpack).with_context(|| format!("cannot pack {}", plain_path.display()))?;
    prove(&plain, &packed)
        .with_context(|| format!("{} was packed wrongly", plain_path.display()))?;
    replace_file(&packed_path, &packed)?;
    Ok(packed_path)
}

/// Page size (bytes) of x86 processors.
const PAGE: u64 = 4096;

/// The plain executable as mapped in memory, without the zero-initialised end (.bss).
struct Image {
    machine: Machine,
    /// The three segments, in this order: read-only, executable, writable.
    parts: [Segment; 3],
    /// Contents of memory, starting at the first segment's address.
    bytes: Vec<u8>,
}

impl Image {
    fn load(plain: &[u8]) -> Result<Self> {
        let headers = Headers::read(plain)?;
        headers.check_mapping(PAGE)?;
        // The unpacker reads the first four program headers.
        ensure!(
            headers.segments.len() >= 4
                && headers.segments[..3]
                    .iter()
                    .all(|part| part.kind == PT_LOAD),
            "the plain executable's first three program headers are not PT_LOAD"
        );
        let loaded = headers.of_kind(PT_LOAD).cloned();
        let parts: [Segment; 3] = loaded.collect::<Vec<_>>().try_into().map_err(|parts| {
            anyhow::anyhow!("expected three PT_LOAD segments in the plain executable: {parts:x?}")
        })?;
        ensure!(
            parts.each_ref().map(|part| part.flags) == [PF_R, PF_R | PF_X, PF_R | PF_W]
                && parts[0].offset == 0,
            "expected the segments R, RX, RW in the plain executable: {parts:x?}"
        );
        let [start, end] = [&parts[0], &parts[2]].map(|part| part.address);
        let mut bytes = vec![0; usize::try_from(end + parts[2].in_file - start)?];
        for part in &parts {
            let (at, part) = (usize::try_from(part.address - start)?, part.bytes(plain)?);
            bytes[at..at + part.len()].copy_from_slice(part);
        }
        Ok(Self {
            machine: headers.machine,
            parts,
            bytes,
        })
    }

    fn start(&self) -> u64 {
        self.parts[0].address
    }

    /// Address after the last byte of the memory image, including .bss.
    fn end(&self) -> u64 {
        self.parts[2].address + self.parts[2].in_memory
    }

    /// Converts the operands of calls and jumps in the code segment of `bytes`, a memory image, between relative and absolute.
    /// Absolute operands compress better, because all calls of one function are equal.
    fn convert_branches(&self, bytes: &mut [u8], way: branch::Way) -> Result<()> {
        let code = &self.parts[1];
        let start = usize::try_from(code.address - self.start())?;
        let code = bytes
            .get_mut(start..start + usize::try_from(code.in_file)?)
            .context("the memory image ends before the code segment does")?;
        ensure!(
            [EM_386, EM_X86_64].contains(&self.machine),
            "no branch conversion for e_machine {:?}",
            self.machine
        );
        branch::x86(code, way);
        Ok(())
    }

    fn packed(&self) -> Result<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        self.convert_branches(&mut bytes, branch::Way::ToAbsolute)?;
        smallest(&bytes)
    }
}

/// Values of LZMA's parameters lc, lp and pb to try (numbers of context bits: previous byte, literal position, position). Each row
/// is the best one for the code of some architecture.
const PARAMETERS: [[u8; 3]; 5] = [[3, 0, 0], [4, 0, 0], [2, 0, 0], [3, 0, 2], [1, 2, 2]];

/// Compresses with each of `PARAMETERS` and returns the shortest result. The first three bytes are the parameters.
fn smallest(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut best: Option<Vec<u8>> = None;
    for parameters in PARAMETERS {
        let mut options = LzmaOptions::with_preset(9);
        [options.lc, options.lp, options.pb] = parameters.map(u32::from);
        options.nice_len = LzmaOptions::NICE_LEN_MAX;
        options.depth_limit = 1000;
        options.dict_size = u32::try_from(bytes.len())?.next_power_of_two();
        let mut writer = LzmaWriter::new_no_header(parameters.to_vec(), &options, true)?;
        writer.write_all(bytes)?;
        let mut packed = writer.finish()?;
        let first = packed.remove(parameters.len());
        ensure!(
            first == 0,
            "the LZMA stream starts with byte {first}, expected 0"
        );
        if best.as_ref().is_none_or(|best| packed.len() < best.len()) {
            best = Some(packed);
        }
    }
    best.context("PARAMETERS is empty")
}

/// Makes the packed executable of `plain`; `unpack` is the linked unpacker.
pub(super) fn pack(plain: &[u8], unpack: &[u8]) -> Result<Vec<u8>> {
    let image = Image::load(plain)?;
    let headers = Headers::read(unpack)?;
    ensure!(
        headers.machine == image.machine,
        "the unpacker is for another architecture than the plain executable"
    );
    let [code, _, scratch, _] = &headers.segments[..] else {
        bail!(
            "expected four segments in the unpacker: {:x?}",
            headers.segments
        );
    };
    let linked = object::File::parse(unpack)?;
    let address = |name: &str| {
        linked
            .symbol_by_name(name)
            .map(|symbol| symbol.address())
            .with_context(|| format!("the unpacker has no symbol {name}"))
    };
    ensure!(
        address("image")? == image.start(),
        "the plain executable is linked at {:x}, but the unpacker unpacks to {:x}",
        image.start(),
        address("image")?
    );
    let packed = image.packed()?;
    let (code_len, packed_len) = (code.in_file, packed.len() as u64);
    let part = |p_flags: ProgramFlags, p_offset, p_vaddr, p_filesz, p_memsz| ProgramHeader {
        p_type: PT_LOAD,
        p_flags,
        p_offset,
        p_vaddr,
        p_paddr: p_vaddr,
        p_filesz,
        p_memsz,
        p_align: PAGE,
    };
    let mut file = Vec::new();
    let mut out = Writer::new(Endianness::Little, linked.is_64(), &mut file);
    out.reserve_file_header();
    out.reserve_program_headers(4);
    out.write_file_header(&FileHeader {
        // EI_OSABI.
        os_abi: OsAbi(unpack[7]),
        abi_version: 0,
        e_type: ET_EXEC,
        e_machine: headers.machine,
        e_entry: headers.entry,
        e_flags: FileFlags(0),
    })?;
    let at = code.address;
    out.write_program_header(&part(PF_R | PF_X, 0, at, code_len, code_len));
    let at = address("packed")?;
    out.write_program_header(&part(PF_R, code_len, at, packed_len, packed_len));
    // p_filesz is 0, so the kernel maps the whole segment as zeros.
    let at = scratch.address;
    out.write_program_header(&part(PF_R | PF_W, 0, at, 0, image.end() - at));
    out.write_program_header(&ProgramHeader {
        p_type: PT_GNU_STACK,
        p_align: 0,
        ..part(PF_R | PF_W, 0, 0, 0, 0)
    });
    let from = out.len();
    file.extend_from_slice(&unpack[usize::try_from(from)?..usize::try_from(code_len)?]);
    file.extend_from_slice(&packed);
    Ok(file)
}

/// Fails unless `packed` unpacks to `plain`.
pub(super) fn prove(plain: &[u8], packed: &[u8]) -> Result<()> {
    let image = Image::load(plain)?;
    let headers = Headers::read(packed)?;
    headers.check_mapping(PAGE)?;
    ensure!(
        headers.machine == image.machine,
        "e_machine differs from the plain executable's"
    );
    let parts = &headers.segments;
    let [code, stream, memory, _] = &parts[..] else {
        bail!("expected four segments: {parts:x?}");
    };
    ensure!(
        [code, stream, memory].map(|part| (part.kind, part.flags))
            == [
                (PT_LOAD, PF_R | PF_X),
                (PT_LOAD, PF_R),
                (PT_LOAD, PF_R | PF_W)
            ],
        "expected the segments code (RX), packed data (R), memory (RW): {parts:x?}"
    );
    ensure!(
        memory.in_file == 0
            && memory.address <= image.start()
            && memory.address + memory.in_memory == image.end(),
        "the memory segment does not cover the plain executable's memory: {memory:x?}"
    );
    ensure!(
        code.offset == 0
            && stream.offset == code.in_file
            && stream.offset + stream.in_file == packed.len() as u64,
        "some bytes of the packed file are not mapped"
    );
    // When the unpacker ends, it unmaps all memory from the packed data up to the image. Neither its own code nor the image may be
    // in that range.
    ensure!(
        code.address + code.in_memory <= stream.address / PAGE * PAGE
            && stream.address + stream.in_memory <= memory.address,
        "the packed data is not between code and memory: {parts:x?}"
    );
    let mut bytes = vec![0; usize::try_from(image.end() - image.start())?];
    let mut chances = Box::new([0; lzma::CHANCES]);
    let stream = &packed[usize::try_from(stream.offset)?..];
    let len = lzma::decode(stream, &mut chances, &mut bytes).context("invalid LZMA stream")?;
    image.convert_branches(&mut bytes, branch::Way::ToRelative)?;
    ensure!(
        bytes[..len] == image.bytes && bytes[len..].iter().all(|byte| *byte == 0),
        "the unpacked bytes differ from the plain executable"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(packed: &[u8], buffer: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; buffer];
        let len = lzma::decode(packed, &mut Box::new([0; lzma::CHANCES]), &mut out)?;
        out.truncate(len);
        Some(out)
    }

    /// Random bytes mixed with copies of earlier bytes, from near and far, some of them overlapping.
    fn sample(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < len {
            let count = random.usize(1..400);
            if random.bool() && !bytes.is_empty() {
                let from = random.usize(..bytes.len());
                for index in from..from + count {
                    bytes.push(bytes[index]);
                }
            } else {
                let letters = random.u8(1..);
                bytes.extend((0..count).map(|_| random.u8(..letters)));
            }
        }
        bytes
    }

    #[test]
    fn packed_bytes_unpack_to_the_original() -> Result<()> {
        let mut random = fastrand::Rng::with_seed(1);
        for len in [0, 1, 2, 300, 20_000, 300_000] {
            let bytes = sample(&mut random, len);
            let packed = smallest(&bytes)?;
            assert!(decode(&packed, bytes.len()) == Some(bytes.clone()), "{len}");
            // A buffer that is longer than the data is no error. With a shorter one, decoding fails.
            assert!(decode(&packed, bytes.len() + 999) == Some(bytes.clone()));
            if let Some(less) = bytes.len().checked_sub(1) {
                assert_eq!(decode(&packed, less), None);
            }
        }
        Ok(())
    }

    #[test]
    fn damaged_stream_is_refused() -> Result<()> {
        let mut random = fastrand::Rng::with_seed(2);
        let bytes = sample(&mut random, 3000);
        let packed = smallest(&bytes)?;
        for len in 0..packed.len() {
            assert_eq!(decode(&packed[..len], 5000), None, "cut to {len}");
        }
        for index in PARAMETERS[0].len()..packed.len() {
            for bit in 0..8 {
                let mut changed = packed.clone();
                changed[index] ^= 1 << bit;
                assert_eq!(decode(&changed, 5000), None, "bit {bit} of byte {index}");
            }
        }
        // With random input, including random parameters, decoding must terminate with an error.
        for _ in 0..2000 {
            let noise: Vec<u8> = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
            assert_eq!(decode(&noise, 5000), None);
        }
        Ok(())
    }

    #[test]
    fn branch_conversion_is_reversible() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..3000 {
            // Random bytes, most of them call and jump opcodes (e8, e9) or parts of operands; opcodes also occur at both ends.
            let len = random.usize(..80);
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                *random.choice(&[0xe8, 0xe9, 0, 0xff, 1, 20]).unwrap_or(&0)
            })
            .take(len)
            .collect();
            let mut turned = bytes.clone();
            branch::x86(&mut turned, branch::Way::ToAbsolute);
            branch::x86(&mut turned, branch::Way::ToRelative);
            assert_eq!(turned, bytes);
        }
        // Two calls of one function from different addresses must get the same operand.
        let mut code = *b"\xe8\x10\0\0\0\xe8\x0b\0\0\0 and what they lead to";
        branch::x86(&mut code, branch::Way::ToAbsolute);
        assert_eq!(code[..10], *b"\xe8\0\0\0\x15\xe8\0\0\0\x15");
    }
}
