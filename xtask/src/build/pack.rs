//! Makes a file that unpacks itself out of the one that ships: what unpacks (src/unpack), and behind it the plain file as it
//! lies in memory, packed. Then proves it: read again, unpacked by the same code, and compared with the plain file.

#[path = "../../../src/unpack/branch.rs"]
mod branch;
#[path = "../../../src/unpack/lzma.rs"]
mod lzma;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use lzma_rust2::{LzmaOptions, LzmaWriter};
use object::elf::{EM_386, EM_X86_64, FileHeader32, FileHeader64, PF_R, PF_W, PF_X, PT_LOAD};
use object::read::elf::FileHeader;
use object::write::elf::{FileHeader as Head, ProgramHeader as Part, Writer};
use object::{Endianness, FileKind, Object as _, ObjectSymbol as _};

use super::prove::{PAGE, Segment, segments, sound};
use super::{Arch, Role, build_roles, is_built, put, run_cargo, toolchain};

/// Builds the file and, beside it, one that unpacks itself to it in memory; returns the path of that.
pub fn build_packed(arch: Arch, roles: &[Role]) -> Result<PathBuf> {
    ensure!(
        Arch::NATIVE.contains(&arch),
        "nothing unpacks itself on {} yet: leave out --packed",
        arch.name()
    );
    let place = build_roles(arch, roles)?;
    let packed_place = place.with_extension("packed");
    if is_built(&packed_place) {
        return Ok(packed_place);
    }
    let plain = fs::read(&place).with_context(|| format!("cannot read {}", place.display()))?;
    let mut cargo = toolchain::for_file(arch)?;
    // Cargo compiles the library too, of which it takes nothing: with one small role there is little of it.
    cargo.args(["--bin", "unpack", "--release"]);
    cargo.args(["--no-default-features", "--features", "unpack,check"]);
    let linked = run_cargo(cargo, &format!("what unpacks for {}", arch.name()))?;
    let unpack = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    let packed =
        pack(&plain, &unpack).with_context(|| format!("cannot pack {}", place.display()))?;
    prove(&plain, &packed).with_context(|| format!("{} was packed wrongly", place.display()))?;
    put(&packed_place, &packed)?;
    Ok(packed_place)
}

/// A file that becomes `plain` in memory; `unpack` is what does it, as it was linked.
pub(super) fn pack(plain: &[u8], unpack: &[u8]) -> Result<Vec<u8>> {
    match (FileKind::parse(plain)?, FileKind::parse(unpack)?) {
        (FileKind::Elf64, FileKind::Elf64) => join::<FileHeader64<Endianness>>(plain, unpack),
        (FileKind::Elf32, FileKind::Elf32) => join::<FileHeader32<Endianness>>(plain, unpack),
        (one, other) => bail!("they are {one:?} and {other:?}"),
    }
}

/// Says what is wrong with `packed`, which was made of `plain`.
pub(super) fn prove(plain: &[u8], packed: &[u8]) -> Result<()> {
    match (FileKind::parse(plain)?, FileKind::parse(packed)?) {
        (FileKind::Elf64, FileKind::Elf64) => compare::<FileHeader64<Endianness>>(plain, packed),
        (FileKind::Elf32, FileKind::Elf32) => compare::<FileHeader32<Endianness>>(plain, packed),
        (was, is) => bail!("it is {is:?}, made of {was:?}"),
    }
}

/// The plain file as it lies in memory, up to the last byte that is not zero from the beginning.
struct Image {
    machine: u16,
    /// Read only, run, written.
    parts: [Segment; 3],
    bytes: Vec<u8>,
}

impl Image {
    fn load<H: FileHeader<Endian = Endianness>>(plain: &[u8]) -> Result<Self> {
        let header = H::parse(plain)?;
        let endian = header.endian()?;
        let all = sound(header, plain)?;
        // What unpacks finds the program headers there, and reads the first four.
        ensure!(
            header.e_phoff(endian).into() == size_of::<H>() as u64
                && all.len() >= 4
                && all[..3].iter().all(|part| part.kind == PT_LOAD),
            "the plain file has not the headers of its three segments right behind its own"
        );
        let loaded = all.into_iter().filter(|part| part.kind == PT_LOAD);
        let parts: [Segment; 3] = loaded
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|parts| anyhow::anyhow!("the plain file has the segments {parts:x?}"))?;
        ensure!(
            parts.each_ref().map(|part| part.flags) == [PF_R, PF_R | PF_X, PF_R | PF_W]
                && parts.is_sorted_by_key(|part| part.address)
                && parts[0].offset == 0,
            "the plain file has other segments than R, RX, RW: {parts:x?}"
        );
        let start = parts[0].address;
        let mut bytes = vec![0; usize::try_from(parts[2].address + parts[2].in_file - start)?];
        for part in &parts {
            let range = |at: u64| -> Result<_> {
                Ok(usize::try_from(at)?..usize::try_from(at + part.in_file)?)
            };
            bytes[range(part.address - start)?].copy_from_slice(&plain[range(part.offset)?]);
        }
        Ok(Self {
            machine: header.e_machine(endian),
            parts,
            bytes,
        })
    }

    fn start(&self) -> u64 {
        self.parts[0].address
    }

    /// Behind all that it uses.
    fn end(&self) -> u64 {
        self.parts[2].address + self.parts[2].in_memory
    }

    /// Turns the calls in `bytes`, which are these or become them.
    fn turn(&self, bytes: &mut [u8], way: branch::Way) -> Result<()> {
        let code = &self.parts[1];
        let at = usize::try_from(code.address - self.start())?;
        let code = bytes
            .get_mut(at..at + usize::try_from(code.in_file)?)
            .context("the code is missing")?;
        match self.machine {
            EM_386 | EM_X86_64 => branch::x86(code, way),
            other => bail!("there is no code to unpack for processor {other}"),
        }
        Ok(())
    }

    fn packed(&self) -> Result<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        self.turn(&mut bytes, branch::Way::ToPlaces)?;
        smallest(&bytes)
    }
}

/// Bits of the byte before, of a literal's place and of any place: those that code of some processor packs best with.
const PARAMETERS: [[u8; 3]; 5] = [[3, 0, 0], [4, 0, 0], [2, 0, 0], [3, 0, 2], [1, 2, 2]];

/// Packs by all parameters that may be the best.
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
        ensure!(first == 0, "this is not LZMA: it begins with {first}");
        if best.as_ref().is_none_or(|best| packed.len() < best.len()) {
            best = Some(packed);
        }
    }
    best.context("nothing was tried")
}

fn join<H: FileHeader<Endian = Endianness>>(plain: &[u8], unpack: &[u8]) -> Result<Vec<u8>> {
    let image = Image::load::<H>(plain)?;
    let header = H::parse(unpack)?;
    let endian = header.endian()?;
    let parts = segments(header, unpack)?;
    let [code, _, scratch, _] = &parts[..] else {
        bail!("what unpacks has the segments {parts:x?}");
    };
    let linked = object::File::parse(unpack)?;
    let place = |name: &str| {
        linked
            .symbol_by_name(name)
            .map(|symbol| symbol.address())
            .with_context(|| format!("what unpacks has no symbol {name}"))
    };
    ensure!(
        place("image")? == image.start(),
        "the plain file lies at {:x}, not where it will be unpacked",
        image.start()
    );
    let packed = image.packed()?;
    let (code_len, packed_len) = (code.in_file, packed.len() as u64);
    let part = |p_flags, p_offset, p_vaddr, p_filesz, p_memsz| Part {
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
    let mut out = Writer::new(Endianness::Little, header.is_class_64(), &mut file);
    out.reserve_file_header();
    out.reserve_program_headers(4);
    out.write_file_header(&Head {
        os_abi: header.e_ident().os_abi,
        abi_version: 0,
        e_type: header.e_type(endian),
        e_machine: header.e_machine(endian),
        e_entry: header.e_entry(endian).into(),
        e_flags: header.e_flags(endian),
    })?;
    out.write_program_header(&part(PF_R | PF_X, 0, code.address, code_len, code_len));
    let at = place("packed")?;
    out.write_program_header(&part(PF_R, code_len, at, packed_len, packed_len));
    // The kernel lays this as zeros, all of it.
    let memory = image.end() - scratch.address;
    out.write_program_header(&part(PF_R | PF_W, 0, scratch.address, 0, memory));
    out.write_program_header(&Part {
        p_type: object::elf::PT_GNU_STACK,
        p_align: 0,
        ..part(PF_R | PF_W, 0, 0, 0, 0)
    });
    let from = out.len();
    file.extend_from_slice(&unpack[from..usize::try_from(code_len)?]);
    file.extend_from_slice(&packed);
    Ok(file)
}

fn compare<H: FileHeader<Endian = Endianness>>(plain: &[u8], packed: &[u8]) -> Result<()> {
    let image = Image::load::<H>(plain)?;
    let header = H::parse(packed)?;
    let endian = header.endian()?;
    ensure!(
        header.e_machine(endian) == image.machine,
        "it is for another processor"
    );
    let parts = sound(header, packed)?;
    ensure!(
        header.e_phoff(endian).into() == size_of::<H>() as u64 && header.e_shnum(endian) == 0,
        "it has something between its header and its segments"
    );
    let [code, stream, memory, _] = &parts[..] else {
        bail!("it has other segments than four: {parts:x?}");
    };
    ensure!(
        [code, stream, memory].map(|part| (part.kind, part.flags))
            == [
                (PT_LOAD, PF_R | PF_X),
                (PT_LOAD, PF_R),
                (PT_LOAD, PF_R | PF_W)
            ],
        "its segments are not code, what is packed, and memory: {parts:x?}"
    );
    ensure!(
        memory.in_file == 0
            && memory.address <= image.start()
            && memory.address + memory.in_memory == image.end(),
        "its memory is not the plain file's: {memory:x?}"
    );
    ensure!(
        code.offset == 0
            && stream.offset == code.in_file
            && stream.offset + stream.in_file == packed.len() as u64,
        "something in it is never mapped"
    );
    // Between these two all is given back.
    ensure!(
        code.address + code.in_memory <= stream.address / PAGE * PAGE
            && stream.address + stream.in_memory <= memory.address,
        "what is packed does not lie between the code and the memory: {parts:x?}"
    );
    let mut bytes = vec![0; usize::try_from(image.end() - image.start())?];
    let mut chances = Box::new([0; lzma::CHANCES]);
    let stream = &packed[usize::try_from(stream.offset)?..];
    let len = lzma::decode(stream, &mut chances, &mut bytes).context("it is damaged")?;
    image.turn(&mut bytes, branch::Way::ToDistances)?;
    ensure!(
        bytes[..len] == image.bytes && bytes[len..].iter().all(|byte| *byte == 0),
        "other bytes come out than went in"
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

    /// Much that comes again, near and far, in whole and in part, and much that does not.
    fn sample(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < len {
            let count = random.usize(1..400);
            if random.bool() && !bytes.is_empty() {
                let from = random.usize(..bytes.len());
                for at in from..from + count {
                    bytes.push(bytes[at]);
                }
            } else {
                let letters = random.u8(1..);
                bytes.extend((0..count).map(|_| random.u8(..letters)));
            }
        }
        bytes
    }

    #[test]
    fn what_was_packed_comes_out() -> Result<()> {
        let mut random = fastrand::Rng::with_seed(1);
        for len in [0, 1, 2, 300, 20_000, 300_000] {
            let bytes = sample(&mut random, len);
            let packed = smallest(&bytes)?;
            assert!(decode(&packed, bytes.len()) == Some(bytes.clone()), "{len}");
            // A longer buffer is left alone, and a shorter one is an end.
            assert!(decode(&packed, bytes.len() + 999) == Some(bytes.clone()));
            if let Some(less) = bytes.len().checked_sub(1) {
                assert_eq!(decode(&packed, less), None);
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_damaged_is_told() -> Result<()> {
        let mut random = fastrand::Rng::with_seed(2);
        let bytes = sample(&mut random, 3000);
        let packed = smallest(&bytes)?;
        for len in 0..packed.len() {
            assert_eq!(decode(&packed[..len], 5000), None, "cut to {len}");
        }
        for at in PARAMETERS[0].len()..packed.len() {
            for bit in 0..8 {
                let mut changed = packed.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(decode(&changed, 5000), None, "bit {bit} of byte {at}");
            }
        }
        // Whatever comes, it ends; with any parameters, too.
        for _ in 0..2000 {
            let noise: Vec<u8> = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
            assert_eq!(decode(&noise, 5000), None);
        }
        Ok(())
    }

    #[test]
    fn calls_become_places_and_distances_again() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..3000 {
            // Full of what looks like calls, at both ends too.
            let len = random.usize(..80);
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                *random.choice(&[0xe8, 0xe9, 0, 0xff, 1, 20]).unwrap_or(&0)
            })
            .take(len)
            .collect();
            let mut turned = bytes.clone();
            branch::x86(&mut turned, branch::Way::ToPlaces);
            branch::x86(&mut turned, branch::Way::ToDistances);
            assert_eq!(turned, bytes);
        }
        // Two calls of one place are two times the same.
        let mut code = *b"\xe8\x10\0\0\0\xe8\x0b\0\0\0 and what they lead to";
        branch::x86(&mut code, branch::Way::ToPlaces);
        assert_eq!(code[..10], *b"\xe8\0\0\0\x15\xe8\0\0\0\x15");
    }
}
