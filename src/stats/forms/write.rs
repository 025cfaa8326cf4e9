//! The figures in a form, written piece by piece: [`page`] has the tables for people and JSON, [`prometheus`] the families.

use super::form::Form;
use super::page::TABLES;
use super::rows::{Reader, Row};
use super::{page, prometheus};
use crate::event::Line;
use crate::mem::{Ends as _, copy_into};

/// The row that is written next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Number of the table or family.
    table: u8,
    /// The part of it that is written.
    written: Written,
    row: u32,
}

/// The part of a table that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Written {
    #[default]
    Nothing,
    Heading,
    Rows,
}

impl Reader<'_> {
    /// Writes rows from `place` on, as many as fit into `out`, which has space for 512 bytes. Returns their length (bytes) and the
    /// next place, `None` after the last row.
    pub fn write(&self, form: Form, mut place: Place, out: &mut [u8]) -> (usize, Option<Place>) {
        let mut len = 0;
        loop {
            let (mut line, mut row) = (Line::default(), Row::default());
            let at = place.row as usize;
            let is_new = place.written == Written::Nothing;
            let (filled, is_heading);
            if form == Form::Prometheus {
                let Some(family) = prometheus::family(place.table) else {
                    return (len, None);
                };
                filled = self.put_sample(&family, at, &mut row, &mut line);
                is_heading = is_new && !line.bytes().is_empty();
                if is_heading {
                    line = Line::default();
                    family.begin(&mut line);
                }
            } else {
                let Some((name, rows, columns)) = TABLES.get(usize::from(place.table)) else {
                    return (len, None);
                };
                filled = self.fill(*rows, form, at, &mut row);
                let has_row = row.is_there && !page::is_idle(*rows, &row);
                is_heading = is_new && (has_row || filled.is_none() && form == Form::Json);
                if is_heading {
                    page::begin(form, place.table, name, columns, &mut line);
                } else if has_row {
                    let is_first = place.written == Written::Heading;
                    page::put_row(form, columns, &row, is_first, &mut line);
                } else if filled.is_none() && !is_new {
                    page::end(form, place.table, &mut line);
                }
            }
            let (space, line) = (out.tail_mut(len), line.bytes());
            if line.len() > space.len() {
                return (len, Some(place));
            }
            copy_into(space, line);
            len += line.len();
            if is_heading {
                place.written = Written::Heading;
            } else if filled.is_some() {
                place.row += 1;
                if !line.is_empty() {
                    place.written = Written::Rows;
                }
            } else {
                place = Place {
                    table: place.table + 1,
                    ..Place::default()
                };
            }
        }
    }
}
