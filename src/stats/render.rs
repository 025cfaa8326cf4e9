//! The figures as Prometheus' text (exposition format 0.0.4), in lines that can be written piece by piece.

use super::{BUCKET_COUNT, Family, Figure, LIMITS_US, Operation, RESIDENT, Sheet, VERSION};
use crate::config::HAS_STREAMS;
use crate::event::Line;
use crate::mem::{Ends as _, copy_into, letters};
use crate::text::{Text, text};

/// Longest start of a line (bytes) after which a label goes on: a number and a value follow.
const LABEL_END: usize = 460;

/// The next line: a family, and the number of the line in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    family: u8,
    line: u32,
}

/// Passes the path of the export with this number to the given function, and true if it is open. Does nothing after the last.
pub type Exports<'a> = &'a dyn Fn(usize, &mut dyn FnMut(&[u8], bool));

/// The figures to read.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The sheets of the server.
    pub sheets: &'a [Sheet],
    /// The exports.
    pub exports: Exports<'a>,
    /// The monotonic clock (ms).
    pub now_ms: u64,
}

const FIGURES: u8 = PROCESS_ROWS.len() as u8;
const DURATIONS: u8 = FIGURES + Figure::ALL.len() as u8;
const ERRORS: u8 = DURATIONS + 1;
const EXPORTS: u8 = ERRORS + 1;
const END: u8 = EXPORTS + 1;

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Name, help and type of a family.
pub(super) type Heading = (&'static str, Text, Kind);

/// The figures of processes: of each, then of the server, the last three by the names that all exporters use.
const PROCESS_ROWS: [Heading; 6] = [
    (
        "process_start_time_seconds",
        text!("Time at which a process was started, since 1970."),
        Kind::Gauge,
    ),
    (
        "process_restarts_total",
        text!("Times that a process was started again."),
        Kind::Counter,
    ),
    (
        "build_info",
        text!("1; the label has the version."),
        Kind::Gauge,
    ),
    (
        "process_start_time_seconds",
        text!("Time at which the server was started, since 1970."),
        Kind::Gauge,
    ),
    (
        "process_resident_memory_bytes",
        text!("Memory in use, all processes together."),
        Kind::Gauge,
    ),
    (
        "process_open_fds",
        text!("Open file descriptors, all processes together."),
        Kind::Gauge,
    ),
];
const BUILD_INFO: u8 = 2;

/// Writes lines from `place` on, as many as fit into `out`, which has space for a line of 512 bytes. Returns their length (bytes) and
/// the next place, `None` after the last line.
pub fn render(reader: &Reader<'_>, mut place: Place, out: &mut [u8]) -> (usize, Option<Place>) {
    let mut len = 0;
    loop {
        // Without connections there are no calls.
        let end = if HAS_STREAMS { END } else { DURATIONS };
        if place.family >= end {
            return (len, None);
        }
        let mut line = Line::default();
        let is_there = reader.line(place, &mut line);
        let bytes = match line.bytes() {
            [] => &[],
            _ => line.end_line(),
        };
        let space = out.tail_mut(len);
        if bytes.len() > space.len() {
            return (len, Some(place));
        }
        copy_into(space, bytes);
        len += bytes.len();
        place = match is_there {
            true => Place {
                line: place.line + 1,
                ..place
            },
            false => Place {
                family: place.family + 1,
                line: 0,
            },
        };
    }
}

impl Reader<'_> {
    /// Writes the line at `place`, or nothing if it tells nothing. Returns false if the family has ended.
    fn line(&self, place: Place, line: &mut Line) -> bool {
        let Some(at) = place.line.checked_sub(2) else {
            let (_, help, kind) = heading(place.family);
            match place.line {
                0 => begin(line.text("# HELP "), place.family)
                    .text(" ")
                    .say(help),
                _ => begin(line.text("# TYPE "), place.family).text(match kind {
                    Kind::Counter => " counter",
                    Kind::Gauge => " gauge",
                    Kind::Histogram => " histogram",
                }),
            };
            return true;
        };
        let at = at as usize;
        let family = place.family;
        match family {
            ..BUILD_INFO => self.process(family, at, line),
            BUILD_INFO..FIGURES => at == 0 && self.server(family, line),
            DURATIONS.. if !HAS_STREAMS => false,
            DURATIONS => self.duration(at, line),
            ERRORS => self.errors(at, line),
            EXPORTS => self.export(at, line),
            _ => self.figure(family, at, line),
        }
    }

    pub(super) fn sum(&self, value: impl Fn(Sheet) -> u64) -> u64 {
        let values = self.sheets.iter().map(|sheet| value(*sheet));
        values.fold(0, u64::wrapping_add)
    }

    fn process(&self, family: u8, at: usize, line: &mut Line) -> bool {
        let Some(sheet) = self.sheets.get(at) else {
            return false;
        };
        if sheet.pid() != 0 {
            let role = sheet.role();
            begin(line, family);
            label(line, '{', "role", used(&role));
            if family == 0 {
                line.text(",pid=\"").digits(sheet.pid(), 10, 1).text("\"");
            }
            // A number stays when the process is replaced.
            line.text(",number=\"").number(at as u32).text("\"");
            let value = match family {
                0 => sheet.started(),
                _ => sheet.restarts(),
            };
            end(line, value);
        }
        true
    }

    /// A figure of the server. Where the host tells no sizes, it has none.
    fn server(&self, family: u8, line: &mut Line) -> bool {
        let started = self.sheets.iter().map(|sheet| sheet.started());
        let value = match family - BUILD_INFO {
            0 => 1,
            1 => started.filter(|secs| *secs > 0).min().unwrap_or(0),
            size => self.sum(|sheet| sheet.read(RESIDENT + usize::from(size) - 2)),
        };
        if value > 0 {
            begin(line, family);
            if family == BUILD_INFO {
                label(line, '{', "version", VERSION.as_bytes());
                line.byte(b'}');
            }
            line.byte(b' ').digits(value, 10, 1);
        }
        true
    }

    fn figure(&self, family: u8, at: usize, line: &mut Line) -> bool {
        let figure = Figure::ALL.get(usize::from(family - FIGURES));
        let (Some(figure), Some(protocol)) = (figure, Family::ALL.get(at)) else {
            return false;
        };
        begin(line, family);
        label(line, '{', "protocol", protocol.name().as_bytes());
        end(line, self.sum(|sheet| sheet.figure(*protocol, *figure)));
        true
    }

    /// The buckets, the sum and the number of an operation's calls.
    fn duration(&self, at: usize, line: &mut Line) -> bool {
        let Some(operation) = Operation::nth(at / (BUCKET_COUNT + 2)) else {
            return false;
        };
        let bucket = at % (BUCKET_COUNT + 2);
        let calls = |until: usize| {
            self.sum(|sheet| {
                let (buckets, ..) = sheet.calls(operation);
                buckets.iter().take(until).sum()
            })
        };
        if calls(BUCKET_COUNT) == 0 {
            return true;
        }
        begin(line, DURATIONS);
        line.text(match bucket {
            BUCKET_COUNT => "_sum",
            0..BUCKET_COUNT => "_bucket",
            _ => "_count",
        });
        labels_of(line, operation);
        if bucket < BUCKET_COUNT {
            line.text(",le=\"");
            match LIMITS_US.get(bucket) {
                Some(limit) => seconds(line, *limit),
                None => _ = line.text("+Inf"),
            }
            line.text("\"");
        }
        match bucket {
            BUCKET_COUNT => {
                line.text("} ");
                seconds(line, self.sum(|sheet| sheet.calls(operation).1));
            }
            _ => end(line, calls(bucket + 1)),
        }
        true
    }

    fn errors(&self, at: usize, line: &mut Line) -> bool {
        let Some(operation) = Operation::nth(at) else {
            return false;
        };
        let count = self.sum(|sheet| sheet.calls(operation).2);
        if count > 0 {
            begin(line, ERRORS);
            labels_of(line, operation);
            end(line, count);
        }
        true
    }

    fn export(&self, at: usize, line: &mut Line) -> bool {
        // Prometheus keeps a series for each value of a label.
        const EXPORT_COUNT_MAX: usize = 100;
        let mut has_more = false;
        (self.exports)(EXPORT_COUNT_MAX, &mut |_, _| has_more = true);
        if has_more {
            return false;
        }
        let mut is_there = false;
        (self.exports)(at, &mut |path, is_open| {
            is_there = true;
            // An export that is removed at SIGHUP keeps its number.
            if path.is_empty() {
                return;
            }
            begin(line, EXPORTS);
            label(line, '{', "export", path);
            // Paths of which only the end differs have equal labels.
            line.text(",number=\"").number(at as u32).text("\"");
            end(line, is_open.into());
        });
        is_there
    }
}

fn heading(family: u8) -> Heading {
    const NOTHING: Heading = ("", Text::NOTHING, Kind::Gauge);
    match family {
        ..FIGURES => {
            let row = PROCESS_ROWS.get(usize::from(family));
            row.copied().unwrap_or(NOTHING)
        }
        DURATIONS.. if !HAS_STREAMS => NOTHING,
        DURATIONS => (
            "call_duration_seconds",
            text!("Time from the arrival of a call to its reply."),
            Kind::Histogram,
        ),
        ERRORS => (
            "call_errors_total",
            text!("Calls that were answered by an error."),
            Kind::Counter,
        ),
        EXPORTS => (
            "export_open",
            text!("1 if an export is served, 0 if its directory is missing."),
            Kind::Gauge,
        ),
        _ => {
            let figure = Figure::ALL.get(usize::from(family - FIGURES));
            figure.map_or(NOTHING, |figure| {
                let kind = match figure.is_state() {
                    true => Kind::Gauge,
                    false => Kind::Counter,
                };
                (figure.name(), help(*figure), kind)
            })
        }
    }
}

/// The help of a figure.
const fn help(figure: Figure) -> Text {
    match figure {
        Figure::Accepted => text!("Connections accepted."),
        Figure::ClientErrors => {
            text!(
                "Requests for what does not exist, is not allowed or not understood: 4xx of HTTP."
            )
        }
        Figure::Refused => text!("Connections, mounts and messages that were refused."),
        Figure::Evicted => {
            text!("Connections that the server closed: idle, too slow, or for want of room.")
        }
        Figure::Received => text!("Bytes received."),
        Figure::Sent => text!("Bytes sent."),
        Figure::Duplicates => text!("Repeated calls that were answered from the cache."),
        Figure::Queries => text!("Queries received."),
        Figure::Responses => text!("Messages sent: answers, announcements and probes."),
        Figure::Conflicts => text!("Names that another host had."),
        Figure::Open => text!("Open connections."),
        Figure::Waiting => text!("Connections that wait for a disk."),
        Figure::Records => text!("Records announced."),
    }
}

fn begin(line: &mut Line, family: u8) -> &mut Line {
    let (name, ..) = heading(family);
    if !(BUILD_INFO + 1..FIGURES).contains(&family) {
        line.text("stowaway_");
    }
    line.text(name)
}

fn end(line: &mut Line, value: u64) {
    line.text("} ").digits(value, 10, 1);
}

fn labels_of(line: &mut Line, operation: Operation) {
    label(line, '{', "program", operation.family().as_bytes());
    label(line, ',', "procedure", operation.name().as_bytes());
}

/// Microseconds as seconds.
fn seconds(line: &mut Line, us: u64) {
    line.digits(us / 1_000_000, 10, 1);
    line.text(".").digits(us % 1_000_000, 10, 6);
}

/// The bytes before the first zero.
pub(super) fn used(name: &[u8; 8]) -> &[u8] {
    name.split(|byte| *byte == 0).next().unwrap_or(name)
}

/// Writes a label after `before`. The value is UTF-8: bytes that cannot be printed become `\\NNN`.
fn label(line: &mut Line, before: char, name: &str, value: &[u8]) {
    line.byte(before as u8).text(name).text("=\"");
    for (letter, is_printable) in letters(value) {
        if line.bytes().len() > LABEL_END {
            break;
        }
        match letter {
            b"\"" | b"\\" => line.byte(b'\\').raw(letter),
            _ if is_printable => line.raw(letter),
            _ => line.byte(b'\\').code(letter),
        };
    }
    line.text("\"");
}
