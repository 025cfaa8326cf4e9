//! The figures as tables: lines of a terminal, a part of an HTML page, or one JSON object.
//!
//! [`TABLES`] has the columns of all three forms. Rows are written one after another, as many at a time as fit, as
//! by [`render`](super::render()).

use super::render::used;
use super::{
    BUCKET_COUNT, CLIENT_COUNT_MAX, Client, Family, Figure, LIMITS_US, Operation, Reader, Sheet,
};
use crate::event::Line;
use crate::mem::{Ends as _, copy_into, letters, nth, parts};
use core::net::Ipv6Addr;

/// The form of a page, and the byte by which `stowaway status` asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Form {
    /// Lines of at most 80 columns, unless a path is longer.
    Plain = b'p',
    /// An array of objects for each table. Numbers have the unit in their name.
    Json = b'j',
    /// Headings and tables.
    Html = b'h',
}

/// The figures, and how they are written.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    /// The figures.
    pub reader: Reader<'a>,
    /// Seconds since 1970.
    pub wall_secs: u64,
    /// The form.
    pub form: Form,
}

impl Page<'_> {
    /// Writes the calls and the megabytes of the last minute, per second.
    #[inline(never)] // −112 bytes, with escape_html.
    pub fn put_rates(&self, line: &mut Line) {
        let secs = self.reader.now_ms / 1000;
        for (word, unit, name) in [(0, 1, " calls/s, "), (1, 1_000_000, " MB/s")] {
            let rate = self.sum(|sheet| sheet.rates(secs).get(word).copied().unwrap_or(0)) / unit;
            line.digits(rate / 10, 10, 1).byte(b'.');
            line.digits(rate % 10, 10, 1).text(name);
        }
    }
}

/// The row that is written next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RowPlace {
    table: u8,
    /// True once the heading is written.
    is_begun: bool,
    row: u32,
}

/// Name and columns of each table. A column of texts has its width after "/", one of numbers its unit after ":".
const TABLES: [(&str, &str); 6] = [
    ("processes", "role/12 pid uptime:seconds restarts"),
    (
        "protocols",
        "protocol/8 open accepted received:bytes sent:bytes refused evicted duplicates waiting",
    ),
    (
        "calls",
        "program/8 procedure/12 calls share:percent errors mean:us p99:us below_1ms:percent",
    ),
    ("exports", "state/8 path/0"),
    (
        "clients",
        "client/26 open mounts calls received:bytes sent:bytes idle:seconds",
    ),
    ("mdns", "records queries answers conflicts"),
];
const CLIENTS: u8 = 4;

/// Clients in a table, those with the most calls. JSON has all.
const CLIENT_COUNT: usize = 10;
/// Smallest width of a column of numbers.
const WIDTH: usize = 7;
/// Longest start of a row (bytes) after which a text goes on.
const TEXT_END: usize = 440;
/// Age (seconds) up to which a process that replaces another is shown as a failure.
const FAILED_SECS: u64 = 600;
/// Calls of which an error is a failure. Others ask for what may not exist; HTTP has 4xx for that.
const MOVES_DATA: [&str; 6] = ["read", "write", "commit", "close", "get", "head"];
/// A duration above the limits of all buckets.
const ABOVE: u64 = u64::MAX;

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

/// A row under construction.
struct Row {
    form: Form,
    columns: &'static str,
    /// Number of cells that are written.
    count: usize,
    /// True if the row shows a failure.
    fails: bool,
    line: Line,
}

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
}

impl Row {
    fn new(form: Form, columns: &'static str) -> Self {
        Self {
            form,
            columns,
            count: 0,
            fails: false,
            line: Line::default(),
        }
    }

    fn column(&self) -> Option<Column> {
        let mut words = parts(self.columns.as_bytes(), b' ');
        let word = words.nth(self.count)?;
        let is_text = word.contains(&b'/');
        let digits = nth(word, b'/', 1).iter();
        let width = digits.fold(0, |width, digit| width * 10 + usize::from(digit - b'0'));
        Some(Column {
            name: nth(nth(word, b'/', 0), b':', 0),
            unit: nth(word, b':', 1),
            width: is_text.then_some(width),
        })
    }

    /// Begins the next cell, of a share as a bar. Returns its column.
    fn begin(&mut self, value: u64) -> Option<Column> {
        let column = self.column()?;
        let line = &mut self.line;
        match self.form {
            Form::Plain if self.count > 0 => _ = line.byte(b' '),
            Form::Plain => {}
            Form::Html if column.width.is_some() => _ = line.text("<td>"),
            Form::Html => {
                // The name is shown where a narrow screen has no headings.
                put_name(line.text("<td data-l=\""), &column);
                line.text("\" class=n");
                if column.kind() == b'p' {
                    line.text("><i style=background-size:").digits(value, 10, 1);
                    line.text("%></i");
                }
                line.byte(b'>');
            }
            Form::Json => {
                line.byte(if self.count == 0 { b'{' } else { b',' });
                line.byte(b'"').raw(column.name);
                if !column.unit.is_empty() {
                    line.byte(b'_').raw(column.unit);
                }
                line.text("\":");
            }
        }
        self.count += 1;
        Some(column)
    }

    /// Writes a cell for people: a text to the left, a number to the right.
    fn put(&mut self, text: &[u8], column: &Column) {
        let space = match column.width {
            Some(width) => width,
            None => WIDTH.max(column.name.len()),
        };
        let space = space.saturating_sub(text.len());
        if self.form == Form::Html {
            self.line.raw(text);
            return;
        }
        let [before, after] = match column.width {
            Some(_) => [0, space],
            None => [space, 0],
        };
        (0..before).for_each(|_| _ = self.line.byte(b' '));
        self.line.raw(text);
        (0..after).for_each(|_| _ = self.line.byte(b' '));
    }

    /// Writes a cell with a text, whose bytes are escaped.
    fn text(&mut self, text: &[u8]) -> &mut Self {
        let Some(column) = self.begin(0) else {
            return self;
        };
        let mut escaped = Line::default();
        for (letter, is_printable) in letters(text) {
            if self.line.bytes().len() + escaped.bytes().len() > TEXT_END {
                break;
            }
            match (self.form, letter) {
                (Form::Html, [byte @ (b'&' | b'<' | b'>')]) => {
                    escaped.text("&#").number((*byte).into()).byte(b';')
                }
                (Form::Json, b"\"" | b"\\") => escaped.byte(b'\\').raw(letter),
                _ if is_printable => escaped.raw(letter),
                (Form::Json, _) => escaped.byte(b'\\').code(letter),
                _ => escaped.code(letter),
            };
        }
        match self.form {
            Form::Json => _ = self.line.byte(b'"').raw(escaped.bytes()).byte(b'"'),
            _ => self.put(escaped.bytes(), &column),
        }
        self
    }

    /// Writes a cell with a number.
    fn value(&mut self, value: u64) -> &mut Self {
        let Some(column) = self.begin(value) else {
            return self;
        };
        match self.form {
            Form::Json if value == ABOVE => _ = self.line.text("null"),
            Form::Json => _ = self.line.digits(value, 10, 1),
            _ => {
                let mut text = Line::default();
                measure(&mut text, column.kind(), value);
                self.put(text.bytes(), &column);
            }
        }
        self
    }

    /// Writes the names of all columns.
    fn head(&mut self) {
        while let Some(column) = self.column() {
            let mut name = Line::default();
            put_name(&mut name, &column);
            if self.form == Form::Html {
                self.line.text(match column.width {
                    Some(_) => "<th>",
                    None => "<th class=n>",
                });
            } else if self.count > 0 {
                self.line.byte(b' ');
            }
            self.count += 1;
            self.put(name.bytes(), &column);
        }
    }
}

/// Writes the name of a column.
fn put_name(line: &mut Line, column: &Column) {
    for byte in column.name {
        line.byte(if *byte == b'_' { b' ' } else { *byte });
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

impl Page<'_> {
    /// Writes rows from `place` on, as many as fit into `out`, which has space for 1,024 bytes. Returns their length (bytes) and the next
    /// place, `None` after the last row.
    pub fn write(&self, mut place: RowPlace, out: &mut [u8]) -> (usize, Option<RowPlace>) {
        let mut len = 0;
        while let Some((name, columns)) = TABLES.get(usize::from(place.table)) {
            let (mut head, mut row) = (Line::default(), Row::new(self.form, columns));
            let is_there = self.row(place, &mut row);
            let has_row = row.count > 0;
            let begins = !place.is_begun && (has_row || !is_there && self.form == Form::Json);
            if begins {
                self.begin(place.table, name, columns, &mut head);
            }
            if has_row {
                self.end_row(&mut row, !place.is_begun);
            }
            if !is_there && (begins || place.is_begun) {
                self.end(place.table, &mut row.line);
            }
            let space = out.tail_mut(len);
            let lines = [head.bytes(), row.line.bytes()];
            if lines.iter().map(|line| line.len()).sum::<usize>() > space.len() {
                return (len, Some(place));
            }
            for line in lines {
                copy_into(out.tail_mut(len), line);
                len += line.len();
            }
            place = match is_there {
                true => RowPlace {
                    is_begun: place.is_begun || begins,
                    row: place.row + 1,
                    ..place
                },
                false => RowPlace {
                    table: place.table + 1,
                    ..RowPlace::default()
                },
            };
        }
        (len, None)
    }

    /// Begins a table.
    fn begin(&self, table: u8, name: &str, columns: &'static str, line: &mut Line) {
        match self.form {
            Form::Json => {
                line.text(if table == 0 { "{\"" } else { ",\"" });
                line.text(name).text("\":[");
                return;
            }
            Form::Html => _ = line.text("<h2>").text(name).text("</h2><table><tr>"),
            Form::Plain if table > 0 => _ = line.byte(b'\n'),
            Form::Plain => {}
        }
        let mut head = Row::new(self.form, columns);
        head.head();
        line.raw(head.line.bytes().trim_ascii_end()).byte(b'\n');
    }

    /// Completes a row.
    fn end_row(&self, Row { line, fails, .. }: &mut Row, is_first: bool) {
        let mut row = Line::default();
        match self.form {
            Form::Json => {
                row.text(if is_first { "\n" } else { ",\n" });
                row.raw(line.bytes()).byte(b'}');
            }
            Form::Html => {
                row.text(if *fails { "<tr class=x>" } else { "<tr>" });
                row.raw(line.bytes()).byte(b'\n');
            }
            Form::Plain => _ = row.raw(line.bytes().trim_ascii_end()).byte(b'\n'),
        }
        *line = row;
    }

    /// Ends a table.
    fn end(&self, table: u8, line: &mut Line) {
        match self.form {
            Form::Json => {
                line.byte(b']');
                if usize::from(table) + 1 == TABLES.len() {
                    line.text("}\n");
                }
            }
            Form::Html => _ = line.text("</table>\n"),
            Form::Plain => {}
        }
    }

    /// Writes the row at `place`, or nothing if it tells nothing. Returns false if the table has ended.
    fn row(&self, place: RowPlace, row: &mut Row) -> bool {
        let at = place.row as usize;
        match place.table {
            0 => self.process(at, row),
            1 => self.protocol(at, row),
            2 => self.operation(at, row),
            3 => self.export(at, row),
            CLIENTS => self.client(at, row),
            _ => self.mdns(at, row),
        }
    }

    fn sum(&self, value: impl Fn(Sheet) -> u64) -> u64 {
        self.reader.sum(value)
    }

    fn process(&self, at: usize, row: &mut Row) -> bool {
        let Some(sheet) = self.reader.sheets.get(at) else {
            return false;
        };
        if sheet.pid() != 0 {
            let uptime = self.wall_secs.saturating_sub(sheet.started());
            row.text(used(&sheet.role())).value(sheet.pid());
            row.value(uptime);
            row.value(sheet.restarts());
            row.fails = sheet.restarts() > 0 && uptime < FAILED_SECS;
        }
        true
    }

    fn protocol(&self, at: usize, row: &mut Row) -> bool {
        let Some(protocol) = Family::ALL.get(at) else {
            return false;
        };
        let figure = |figure| self.sum(|sheet| sheet.figure(*protocol, figure));
        if figure(Figure::Accepted) + figure(Figure::Received) + figure(Figure::Refused) > 0 {
            row.text(protocol.name().as_bytes());
            for shown in [
                Figure::Open,
                Figure::Accepted,
                Figure::Received,
                Figure::Sent,
                Figure::Refused,
                Figure::Evicted,
                Figure::Duplicates,
                Figure::Waiting,
            ] {
                row.value(figure(shown));
            }
        }
        true
    }

    fn operation(&self, at: usize, row: &mut Row) -> bool {
        let Some(operation) = Operation::nth(at) else {
            return false;
        };
        let count = |operation| self.sum(|sheet| sheet.calls(operation).0.iter().sum());
        let calls = count(operation);
        if calls == 0 {
            return true;
        }
        let is_below_1ms = |limit: &&u64| **limit <= 1000;
        let below_1ms = LIMITS_US.iter().take_while(is_below_1ms).count();
        let below =
            |buckets: usize| self.sum(|sheet| sheet.calls(operation).0.iter().take(buckets).sum());
        let is_p99 = |buckets: &usize| below(*buckets) * 100 >= calls * 99;
        let p99 = (1..BUCKET_COUNT).find(is_p99);
        let limit = |buckets: usize| LIMITS_US.get(buckets - 1).copied();
        let of = |all: u64, part: u64| (part * 100).checked_div(all).unwrap_or(0);
        row.text(operation.family().as_bytes());
        row.text(operation.name().as_bytes()).value(calls);
        row.value(of(Operation::all().map(count).sum(), calls));
        let errors = self.sum(|sheet| sheet.calls(operation).2);
        row.fails = errors > 0 && MOVES_DATA.contains(&operation.name());
        row.value(errors);
        row.value(self.sum(|sheet| sheet.calls(operation).1) / calls);
        row.value(p99.and_then(limit).unwrap_or(ABOVE));
        row.value(of(calls, below(below_1ms)));
        true
    }

    fn export(&self, at: usize, row: &mut Row) -> bool {
        let mut is_there = false;
        (self.reader.exports)(at, &mut |path, is_open| {
            is_there = true;
            if path.is_empty() {
                return;
            }
            row.fails = !is_open;
            let state: &[u8] = if is_open { b"open" } else { b"MISSING" };
            row.text(state).text(path);
        });
        is_there
    }

    fn client(&self, at: usize, row: &mut Row) -> bool {
        let found = match self.form {
            Form::Json => self.client_at(at),
            _ => self.top_clients().get(at).copied().flatten().map(Some),
        };
        let Some(client) = found else {
            return false;
        };
        let Some(Client { address, .. }) = client else {
            return true;
        };
        let client = self.whole(address);
        row.text(Line::default().address(address).bytes());
        row.value(client.open).value(client.mounts);
        row.value(client.calls).value(client.received);
        row.value(client.sent);
        row.value(self.reader.now_ms.saturating_sub(client.seen_ms) / 1000);
        true
    }

    /// The client at a place, all sheets' one after another; `Some(None)`: none, or the client of a sheet before. `None`: no such place.
    fn client_at(&self, at: usize) -> Option<Option<Client>> {
        let number = at / CLIENT_COUNT_MAX;
        let client = self
            .reader
            .sheets
            .get(number)?
            .client(at % CLIENT_COUNT_MAX);
        let before = self.reader.sheets.iter().take(number);
        let mut known = before.flat_map(|sheet| sheet.clients());
        Some(client.filter(|client| known.all(|known| known.address != client.address)))
    }

    /// The clients with the most calls. One that several processes know counts with the calls of the first of them.
    fn top_clients(&self) -> [Option<Client>; CLIENT_COUNT] {
        let mut top = [None::<Client>; CLIENT_COUNT];
        for client in self.reader.sheets.iter().flat_map(|sheet| sheet.clients()) {
            let mut known = top.iter().flatten();
            if known.any(|known| known.address == client.address) {
                continue;
            }
            let mut next = Some(client);
            for place in &mut top {
                if place.map(|client| client.calls) < next.map(|client| client.calls) {
                    core::mem::swap(place, &mut next);
                }
            }
        }
        top
    }

    /// The work of a client for all processes.
    fn whole(&self, address: Ipv6Addr) -> Client {
        let mut whole = Client {
            address,
            seen_ms: 0,
            open: 0,
            mounts: 0,
            calls: 0,
            received: 0,
            sent: 0,
        };
        for client in self.reader.sheets.iter().flat_map(|sheet| sheet.clients()) {
            if client.address == address {
                whole.seen_ms = whole.seen_ms.max(client.seen_ms);
                whole.open += client.open;
                whole.mounts += client.mounts;
                whole.calls += client.calls;
                whole.received += client.received;
                whole.sent += client.sent;
            }
        }
        whole
    }

    fn mdns(&self, at: usize, row: &mut Row) -> bool {
        let figure = |figure| self.sum(|sheet| sheet.figure(Family::Mdns, figure));
        if at == 0 && figure(Figure::Records) + figure(Figure::Responses) > 0 {
            for shown in [
                Figure::Records,
                Figure::Queries,
                Figure::Responses,
                Figure::Conflicts,
            ] {
                row.value(figure(shown));
            }
        }
        at == 0
    }
}
