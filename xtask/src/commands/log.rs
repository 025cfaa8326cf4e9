//! `cargo xtask log`: decodes the defmt trace that `stowaway --log` wrote, one line per frame.
//!
//! A frame holds only the number of its message and the arguments; the message texts are in the debug file of the same build. The
//! trace starts with the build ID (8 bytes). A debug file with another ID is refused, because it would yield wrong texts.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use defmt_decoder::{DecodeError, Frame, Locations, Table};
use object::Object as _;

use crate::build::{self, Arch};

/// `cargo xtask log`
#[derive(clap::Args)]
pub struct Args {
    /// The trace file; `-` is standard input, decoded as it arrives
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Architecture of the build that wrote the trace
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
}

/// Length of the build ID, in bytes (linked with --build-id=fast).
const ID_LEN: usize = 8;

/// Decodes the trace to stdout until its end.
pub fn main(args: Args) -> Result<()> {
    let path = build::debug_path(args.arch);
    let elf = fs::read(&path).with_context(|| {
        format!(
            "cannot read {}: run cargo xtask build --arch {} first",
            path.display(),
            args.arch.name()
        )
    })?;
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = fs::File::open(&args.file);
        Box::new(file.with_context(|| format!("cannot open the trace {}", args.file.display()))?)
    };
    match decode(&elf, input, &mut io::stdout().lock()) {
        // EPIPE is not an error: the program that reads our output, such as `head`, has exited.
        Err(why)
            if why
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Writes one line per frame of `trace`, as soon as a frame is complete.
fn decode(elf: &[u8], trace: impl Read, out: &mut impl Write) -> Result<()> {
    let mut trace = BufReader::new(trace);
    let mut id = [0; ID_LEN];
    trace
        .read_exact(&mut id)
        .context("the trace is shorter than a build ID (8 bytes)")?;
    let expected = object::File::parse(elf)?
        .build_id()?
        .context("the debug file has no build ID")?
        .to_vec();
    if expected != id {
        bail!(
            "the trace was written by build {}, but the debug file belongs to build {}: rebuild the version that wrote the trace",
            hex(&id),
            hex(&expected)
        );
    }
    let table = Table::parse(elf)?.context("the debug file has no defmt table")?;
    let places = table.get_locations(elf)?;
    let mut decoder = table.new_stream_decoder();
    loop {
        let bytes = trace.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        decoder.received(bytes);
        let len = bytes.len();
        trace.consume(len);
        loop {
            match decoder.decode() {
                Ok(frame) => writeln!(out, "{}", line(&frame, &places))?,
                Err(DecodeError::UnexpectedEof) => break,
                // Skips a malformed frame: with the encoding rzCOBS, the next frame starts after the next zero byte.
                Err(DecodeError::Malformed) if table.encoding().can_recover() => {
                    writeln!(out, "(malformed)")?
                }
                Err(DecodeError::Malformed) => {
                    bail!(
                        "the trace contains a malformed frame, and its encoding cannot resynchronise"
                    )
                }
            }
        }
    }
}

fn line(frame: &Frame<'_>, places: &Locations) -> String {
    let time = frame
        .display_timestamp()
        .map_or_else(String::new, |time| time.to_string());
    let level = frame.level().map_or("", |level| level.as_str());
    let text = format!("{time} {level:<5} {}", frame.display_message());
    match places.get(&frame.index()) {
        Some(place) => format!("{text}  ({}:{})", place.file.display(), place.line),
        None => text,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write::{Object, Symbol, SymbolSection};
    use object::{
        Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    };

    const ID: &[u8; ID_LEN] = b"abcdefgh";
    /// Output of stowaway's encoder: two frames at 5 µs, message 1 with argument 8 and message 2 with "xyz".
    const FRAMES: &[u8] = b"\0\x01\x05\x08\x3a\x7f\0\x02\x05\x03\x3axyz\x47\0";

    /// A debug file with a build ID and two message texts.
    fn debug_file() -> Result<Vec<u8>> {
        let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let note = elf.add_section(
            Vec::new(),
            b".note.gnu.build-id".to_vec(),
            SectionKind::Note,
        );
        let head = [4u32, ID.len() as u32, object::elf::NT_GNU_BUILD_ID.0].map(u32::to_le_bytes);
        elf.append_section_data(note, &[&head.concat(), &b"GNU\0"[..], ID].concat(), 4);
        let texts = elf.add_section(Vec::new(), b".defmt".to_vec(), SectionKind::ReadOnlyData);
        elf.append_section_data(texts, &[0; 4], 1);
        let text = |tag: &str, data: &str| {
            let of = r#""package":"p","disambiguator":"0","crate_name":"c""#;
            format!(r#"{{{of},"tag":"{tag}","data":"{data}"}}"#)
        };
        let names = [
            text("defmt_timestamp", "{=u32:us}"),
            text("defmt_info", "hello {=u32}"),
            text("defmt_warn", "second {=str}"),
            "_defmt_version_ = 4".to_owned(),
            "_defmt_encoding_ = rzcobs".to_owned(),
        ];
        for (value, name) in (0..).zip(names) {
            elf.add_symbol(Symbol {
                name: name.into_bytes(),
                value,
                size: 1,
                kind: SymbolKind::Data,
                scope: SymbolScope::Linkage,
                weak: false,
                section: SymbolSection::Section(texts),
                flags: SymbolFlags::None,
            });
        }
        Ok(elf.write()?)
    }

    fn lines(trace: &[u8]) -> Result<Vec<String>> {
        let mut out = Vec::new();
        decode(&debug_file()?, trace, &mut out)?;
        Ok(String::from_utf8(out)?.lines().map(str::to_owned).collect())
    }

    #[test]
    fn frames_are_decoded_to_lines() -> Result<()> {
        let lines = lines(&[&ID[..], FRAMES].concat())?;
        assert_eq!(
            lines,
            ["0.000005 info  hello 8", "0.000005 warn  second xyz"]
        );
        Ok(())
    }

    #[test]
    fn malformed_frame_is_skipped() -> Result<()> {
        let lines = lines(&[&ID[..], b"\0kernel says hello\0", FRAMES].concat())?;
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "(malformed)");
        Ok(())
    }

    #[test]
    fn other_build_id_is_refused_with_both_ids() {
        let refused = lines(b"\x01\x02\x03\x04\x05\x06\x07\x08")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("0102030405060708"), "{refused}");
        assert!(refused.contains("6162636465666768"), "{refused}");
        assert!(lines(b"\x01\x02").is_err());
    }
}
