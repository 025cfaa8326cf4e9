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
                // The encoding (raw) marks no ends of frames, so nothing after a malformed one can be decoded.
                Err(DecodeError::Malformed) => bail!("the trace contains a malformed frame"),
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
