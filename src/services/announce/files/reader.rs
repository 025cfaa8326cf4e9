//! Reads one service file: a file of avahi's, or a unit of systemd's with its drop-ins, `UNIT.d/*.conf`.

use super::super::REASONS;
use super::{Dirs, advice};
use crate::console::reasons;
use crate::event::{self, Line, Sink};
use crate::os::files::Directory;
use crate::os::source::{self, Memory};
use crate::os::watch::Watch;
use crate::sys::Errno;
use crate::text::{Text, text};
use crate::wire::announce::{self, Draft, FileError, Flaw, Service};
use core::ops::ControlFlow;

/// Limit of a unit's drop-ins.
const DROP_IN_COUNT_MAX: usize = 256;

/// The parts that all files share.
pub(super) struct Reader<'a, 'd> {
    pub dirs: &'a Dirs<'a>,
    pub memory: &'a mut Memory,
    pub watch: &'a mut Watch,
    pub sink: &'a mut dyn Sink,
    pub draft: &'a mut Draft<'d>,
}

impl Reader<'_, '_> {
    /// Passes the services of a file of avahi's to `each`. If the file is malformed, appends the line to its path `about`.
    pub(super) fn read_group(
        &mut self,
        dir: &Directory,
        name: &[u8],
        about: &mut Line,
        each: &mut dyn FnMut(&Service<'_>, &[u8]),
    ) -> Result<(), Text> {
        let file = source::read(dir, name, self.memory).map_err(reason)?;
        if file.is_empty() {
            return Ok(());
        }
        // Parses twice: services are passed on only after the whole file was found to be valid.
        announce::parse_avahi(file, self.draft, &mut |_| {}).map_err(|wrong| at(about, wrong))?;
        let _ = announce::parse_avahi(file, self.draft, &mut |service| {
            each(service, about.bytes());
        });
        Ok(())
    }

    /// Passes the service of a unit to `each`. If the unit or a drop-in is malformed, `about` becomes its path and line.
    pub(super) fn read_unit(
        &mut self,
        dir: &Directory,
        name: &[u8],
        about: &mut Line,
        each: &mut dyn FnMut(&Service<'_>, &[u8]),
    ) -> Result<(), Text> {
        self.draft.forget();
        let file = source::read(dir, name, self.memory);
        if file == Ok(b"") {
            return Ok(());
        }
        add(file, about, self.draft, self.sink)?;
        let mut below = Line::default();
        below.raw(name).text(".d");
        let mut last = Line::default();
        for number in 0..DROP_IN_COUNT_MAX {
            // The next drop-in in the order of names, in the first directory that has it.
            let (mut next, mut found) = (Line::default(), None);
            for (path, dir) in self.dirs {
                let mut about = Line::default();
                about.raw(path.to_bytes()).byte(b'/').raw(below.bytes());
                if number == 0 {
                    self.watch.add(about.bytes());
                }
                let Ok(dir) = dir.directory(below.bytes(), true) else {
                    continue;
                };
                let mut is_here = false;
                let _ = dir.list(&mut |name| {
                    let name = name.to_bytes();
                    let is_next = next.bytes().is_empty() || name < next.bytes();
                    if is_next && name.ends_with(b".conf") && name > last.bytes() {
                        next = Line::default();
                        next.raw(name);
                        is_here = true;
                    }
                    ControlFlow::Continue(())
                });
                if is_here {
                    found = Some((dir, about));
                }
            }
            let Some((dir, mut part)) = found else {
                break;
            };
            part.byte(b'/').raw(next.bytes());
            let file = source::read(&dir, next.bytes(), self.memory);
            let done = add(file, &mut part, self.draft, self.sink);
            if done.is_err() {
                *about = part;
            }
            done?;
            last = next;
        }
        self.draft
            .hand_out(&mut |service| each(service, about.bytes()))
            .map_err(advice)
    }
}

/// Adds a unit or drop-in to the draft. If it is malformed, appends the line to its path `about`.
fn add(
    file: Result<&[u8], Errno>,
    about: &mut Line,
    draft: &mut Draft<'_>,
    sink: &mut dyn Sink,
) -> Result<(), Text> {
    let Err(wrong) = announce::parse_unit(file.map_err(reason)?, draft) else {
        return Ok(());
    };
    let mut place = Line::default();
    place.raw(about.bytes());
    let why = at(&mut place, wrong);
    if wrong.flaw != Flaw::Unknown {
        *about = place;
        return Err(why);
    }
    event::report(sink, text!("ignored").warn(), place.bytes(), why);
    Ok(())
}

/// Appends the error's line to the file's path, and returns the reason.
fn at(about: &mut Line, wrong: FileError) -> Text {
    about.byte(b':').number(wrong.line);
    advice(wrong.flaw)
}

/// Returns the reason why a file cannot be read.
fn reason(errno: Errno) -> Text {
    reasons::of(errno, &REASONS)
}
