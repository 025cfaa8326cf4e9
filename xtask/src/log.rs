//! `cargo xtask log`: turns the defmt frames that `stowaway --log` wrote into lines.
//!
//! The frames hold numbers; their texts are in the debug file of the very build that wrote them. A trace begins with
//! that build's eight bytes of id, and another build's debug file is refused: it would give wrong texts, silently.

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
    /// The trace; `-` reads standard input as it comes
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Which build wrote it
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
}

const ID_LEN: usize = 8;

/// Decodes to stdout until the trace ends.
pub fn main(args: Args) -> Result<()> {
    let path = build::debug_path(args.arch);
    let elf = fs::read(&path)
        .with_context(|| format!("cannot read {}; build it: cargo xtask build --arch {}", path.display(), args.arch.name()))?;
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = fs::File::open(&args.file);
        Box::new(file.with_context(|| format!("cannot open the trace {}", args.file.display()))?)
    };
    match decode(&elf, input, &mut io::stdout().lock()) {
        // The reader of our output has seen enough.
        Err(why) if why.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => Ok(()),
        other => other,
    }
}

/// Writes one line for each frame of `trace`, as they come.
fn decode(elf: &[u8], trace: impl Read, out: &mut impl Write) -> Result<()> {
    let mut trace = BufReader::new(trace);
    let mut id = [0; ID_LEN];
    trace.read_exact(&mut id).context("the trace ends before the build's id")?;
    let ours = object::File::parse(elf)?.build_id()?.context("the debug file has no build id")?.to_vec();
    if ours != id {
        bail!("the trace was written by build {}, the debug file is of build {}: build that version again", hex(&id), hex(&ours));
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
                // The next frame starts after the next zero.
                Err(DecodeError::Malformed) if table.encoding().can_recover() => writeln!(out, "(malformed)")?,
                Err(DecodeError::Malformed) => bail!("the trace is damaged, and its encoding cannot recover"),
            }
        }
    }
}

fn line(frame: &Frame<'_>, places: &Locations) -> String {
    let time = frame.display_timestamp().map_or_else(String::new, |time| time.to_string());
    let level = frame.level().map_or("", |level| level.as_str());
    let place = places.get(&frame.index()).map_or_else(String::new, |place| format!("{}:{}", place.file.display(), place.line));
    format!("{time} {level:<5} {}  ({place})", frame.display_message())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
