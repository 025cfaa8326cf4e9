//! The figures as tables: lines of a terminal, a part of an HTML page, or one JSON object.
//!
//! [`TABLES`] has the columns of all three forms.

use super::form::{Form, put_text};
use super::rows::{ABOVE, Row, Rows};
use crate::event::Line;
use crate::mem::{nth, parts};

/// Name, rows and columns of each table. A column of texts has its width after "/", one of numbers its unit after ":".
pub(super) const TABLES: [(&str, Rows, &str); 8] = [
    (
        "processes",
        Rows::Processes,
        "role/12 pid uptime:seconds restarts",
    ),
    (
        "protocols",
        Rows::Protocols,
        "protocol/8 open accepted received:bytes sent:bytes refused evicted duplicates waiting",
    ),
    (
        "calls",
        Rows::Operations,
        "program/8 procedure/12 calls share:percent errors mean:us p99:us below_1ms:percent",
    ),
    ("exports", Rows::Exports, "state/8 path/0"),
    (
        "clients",
        Rows::Clients,
        "client/26 open mounts calls received:bytes sent:bytes idle:seconds",
    ),
    ("mdns", Rows::Mdns, "records queries answers conflicts"),
    ("nfs4", Rows::Nfs4, "clients opens denying"),
    (
        "machines",
        Rows::Machines,
        "mac/17 step/11 address/15 idle:seconds path/0",
    ),
];

/// Smallest width of a column of numbers.
const WIDTH: usize = 7;

/// Units for people: the first byte of the unit in [`TABLES`], then the smallest, and each larger one with its size in the one
/// before.
const UNITS: [(u8, &[(u64, &str)]); 5] = [
    (0, &[(1, ""), (1_000_000, "M"), (1000, "G")]),
    (
        b'b',
        &[(1, "B"), (1024, "K"), (1024, "M"), (1024, "G"), (1024, "T")],
    ),
    (b's', &[(1, "s"), (60, "m"), (60, "h"), (24, "d")]),
    (b'u', &[(1, "us"), (1000, "ms"), (1000, "s")]),
    (b'p', &[(1, "%")]),
];

/// A column, as [`TABLES`] has it.
struct Column {
    name: &'static [u8],
    unit: &'static [u8],
    /// Width of texts.
    width: Option<usize>,
}

impl Column {
    /// The first byte of the unit; 0: a number without one, or a text.
    fn kind(&self) -> u8 {
        self.unit.first().copied().unwrap_or(0)
    }

    /// Writes the name.
    fn put_name(&self, line: &mut Line) {
        for byte in self.name {
            line.byte(if *byte == b'_' { b' ' } else { *byte });
        }
    }
}

fn columns(columns: &'static str) -> impl Iterator<Item = Column> {
    parts(columns.as_bytes(), b' ').map(|word| {
        let is_text = word.contains(&b'/');
        let digits = nth(word, b'/', 1).iter();
        let width = digits.fold(0, |width, digit| width * 10 + usize::from(digit - b'0'));
        Column {
            name: nth(nth(word, b'/', 0), b':', 0),
            unit: nth(word, b':', 1),
            width: is_text.then_some(width),
        }
    })
}

/// Writes a cell for a terminal: a text to the left, a number to the right.
fn put_padded(line: &mut Line, text: &[u8], at: usize, column: &Column) {
    let space = column.width.unwrap_or(WIDTH.max(column.name.len()));
    let space = space.saturating_sub(text.len());
    let [before, after] = match column.width {
        Some(_) => [0, space],
        None => [space, 0],
    };
    let between = usize::from(at > 0);
    (0..before + between).for_each(|_| _ = line.byte(b' '));
    line.raw(text);
    (0..after).for_each(|_| _ = line.byte(b' '));
}

/// Begins a table.
pub(super) fn begin(form: Form, table: u8, name: &str, names: &'static str, line: &mut Line) {
    match form {
        Form::Json => {
            line.text(if table == 0 { "{\"" } else { ",\"" });
            line.text(name).text("\":[");
            return;
        }
        Form::Html => _ = line.text("<h2>").text(name).text("</h2><table><tr>"),
        _ if table > 0 => _ = line.byte(b'\n'),
        _ => {}
    }
    for (at, column) in columns(names).enumerate() {
        let mut name = Line::default();
        column.put_name(&mut name);
        if form == Form::Html {
            line.text(match column.width {
                Some(_) => "<th>",
                None => "<th class=n>",
            });
            line.raw(name.bytes());
        } else {
            put_padded(line, name.bytes(), at, &column);
        }
    }
    line.byte(b'\n');
}

/// Ends a table.
pub(super) fn end(form: Form, table: u8, line: &mut Line) {
    match form {
        Form::Json if usize::from(table) + 1 == TABLES.len() => _ = line.text("]}\n"),
        Form::Json => _ = line.byte(b']'),
        Form::Html => _ = line.text("</table>\n"),
        _ => {}
    }
}

/// True if a protocol has had neither connections nor bytes, or neither queries nor messages.
pub(super) fn is_idle(rows: Rows, row: &Row<'_>) -> bool {
    matches!(rows, Rows::Protocols | Rows::Mdns) && matches!(row.numbers, [_, 0, 0, ..])
}

/// Writes a row.
pub(super) fn put_row(
    form: Form,
    names: &'static str,
    row: &Row<'_>,
    is_first: bool,
    line: &mut Line,
) {
    line.text(match form {
        Form::Html if row.fails => "<tr class=x>",
        Form::Html => "<tr>",
        Form::Json if is_first => "\n{",
        Form::Json => ",\n{",
        _ => "",
    });
    let texts = row.texts();
    let (mut texts, mut numbers) = (texts.iter(), row.numbers.iter());
    for (at, column) in columns(names).enumerate() {
        if form == Form::Json {
            line.text(if at == 0 { "\"" } else { ",\"" })
                .raw(column.name);
            if !column.unit.is_empty() {
                line.byte(b'_').raw(column.unit);
            }
            line.text("\":");
        }
        let mut text = Line::default();
        match column.width {
            Some(_) => _ = put_text(form, texts.next().unwrap_or(&&b""[..]), &mut text),
            None => put_number(
                form,
                column.kind(),
                *numbers.next().unwrap_or(&0),
                &mut text,
            ),
        }
        match form {
            Form::Json if column.width.is_some() => {
                _ = line.byte(b'"').raw(text.bytes()).byte(b'"')
            }
            Form::Json => _ = line.raw(text.bytes()),
            Form::Html if column.width.is_some() => _ = line.text("<td>").raw(text.bytes()),
            // The name is shown where a narrow screen has no headings.
            Form::Html => {
                column.put_name(line.text("<td data-l=\""));
                line.text("\" class=n").raw(text.bytes());
            }
            _ => put_padded(line, text.bytes(), at, &column),
        }
    }
    line.byte(if form == Form::Json { b'}' } else { b'\n' });
}

/// Writes a number, in HTML that of a share after a bar.
fn put_number(form: Form, kind: u8, number: u64, line: &mut Line) {
    match form {
        Form::Json if number == ABOVE => _ = line.text("null"),
        Form::Json => _ = line.digits(number, 10, 1),
        _ => {
            if form == Form::Html {
                if kind == b'p' {
                    line.text("><i style=background-size:")
                        .digits(number, 10, 1);
                    line.text("%></i");
                }
                line.byte(b'>');
            }
            measure(line, kind, number);
        }
    }
}

/// Writes a number for people: in the largest unit of which there are ten, or a whole number.
fn measure(line: &mut Line, kind: u8, value: u64) {
    if value == ABOVE {
        line.text(">10s");
        return;
    }
    let units = UNITS.iter().find(|(of, _)| *of == kind);
    let mut units = units.map_or(&[][..], |(_, units)| units).iter();
    let (mut rest, mut unit) = (value, units.next());
    while let Some(next) = units.next()
        && (rest >= 10 * next.0 || rest >= next.0 && rest.is_multiple_of(next.0))
    {
        (rest, unit) = (rest / next.0, Some(next));
    }
    line.digits(rest, 10, 1)
        .text(unit.map_or("", |(_, name)| name));
}
