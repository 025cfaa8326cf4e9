//! The sessions of `mdns`, `browse` and `resolve`, on a link with another host.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use simple_dns::rdata::RData;

use super::fault::Disturbance;
use super::process::{Program, watch_idle};
use super::session::{Dirs, Notes};
use crate::build::Arch;
use crate::clients::dns::{Message, Querier, TYPE, query};
use crate::machines::server::{Namespace, binary, ip};
use crate::machines::wait_for;

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Time limit for an answer; the query is repeated meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const SERVICE: &str = "Files,_sftp-ssh._tcp,22";
const SERVICE_TYPE: &str = "_sftp-ssh._tcp.local";

fn command(dirs: &Dirs, words: &[&str]) -> Result<Vec<String>> {
    let mut command = dirs.wrapper()?;
    command.push(binary(Arch::X86_64)?.display().to_string());
    command.extend(words.iter().map(|&word| word.to_owned()));
    Ok(command)
}

/// The surroundings of a worker's sessions: two hosts on a link. The worker's thread is on the first one.
pub(super) struct Place {
    // The responder ends before its namespace is removed.
    _responder: Option<Program>,
    pub(super) ours: Namespace,
    theirs: Namespace,
}

impl Place {
    /// Prepares the surroundings, with a responder on the other host for `browse` and `resolve`.
    pub(super) fn new(has_responder: bool) -> Result<Self> {
        let (ours, theirs) = Namespace::pair()?;
        // A client of multicast DNS needs a route to the group.
        ip(&format!(
            "-n {} route add 224.0.0.0/4 dev eth0",
            theirs.name()
        ))?;
        Ok(Self {
            _responder: has_responder
                .then(|| start_responder(&theirs))
                .transpose()?,
            ours,
            theirs,
        })
    }
}

fn start_responder(host: &Namespace) -> Result<Program> {
    let mut words = host.enter();
    words.push(binary(Arch::X86_64)?.display().to_string());
    words.extend(["mdns", "--name", "box", "--service", SERVICE].map(Into::into));
    let responder = Program::start(&words)?;
    let is_announced = wait_for(Duration::from_secs(20), || {
        let lines = responder.lines();
        Ok(lines
            .iter()
            .any(|line| line.contains("announced"))
            .then_some(()))
    })?;
    is_announced.context("the responder on the other host announced nothing")?;
    Ok(responder)
}

/// The session of `mdns`: its announcement is heard, and three queries are answered.
pub(super) fn announce(place: &Place, disturbance: Option<&Disturbance>) -> Result<Notes> {
    let dirs = Dirs::new(disturbance)?;
    let listener = place.theirs.run(|| Querier::with_mdns_port(THEIRS))?;
    let querier = place.theirs.run(|| Querier::one_shot(THEIRS))?;
    let words = ["mdns", "--name", "faulty", "--service", SERVICE];
    let mut program = Program::start(&command(&dirs, &words)?)?;
    let mut notes = Notes::default();
    let announces =
        |message: &Message| message.is_response && message.find(SERVICE_TYPE, TYPE::PTR).is_some();
    let heard = wait_alive(&mut program, || {
        Ok(listener
            .wait_for(Duration::from_millis(100), announces)?
            .map(drop))
    })?;
    if heard.is_none() {
        notes.reduced.push("the announcement was not heard".into());
    }
    let names = [
        ("faulty.local", TYPE::A),
        (SERVICE_TYPE, TYPE::PTR),
        ("Files._sftp-ssh._tcp.local", TYPE::SRV),
    ];
    for (name, kind) in names {
        let answer = wait_alive(&mut program, || {
            querier.send(&query(7, &[(name, kind)]))?;
            let is_answer = |message: &Message| message.find(name, kind).is_some();
            querier.wait_for(Duration::from_millis(400), is_answer)
        })?;
        match answer {
            Some((message, _)) if kind == TYPE::A => {
                let address = u32::from(OURS);
                let is_right = message
                    .records
                    .iter()
                    .any(|record| matches!(&record.rdata, RData::A(a) if a.address == address));
                notes.check("the address", is_right);
            }
            Some(_) => {}
            None => {
                let list = if program.is_alive()? {
                    &mut notes.unanswered
                } else {
                    &mut notes.cut
                };
                list.push(format!("{kind:?} of {name}"));
                break;
            }
        }
    }
    if program.is_alive()? {
        program.signal(Signal::SIGHUP)?;
        notes.spun.extend(watch_idle(program.pid()));
    }
    program.stop(&mut notes)?;
    notes.trace = dirs.trace();
    Ok(notes)
}

/// Calls `ask` until it returns a value, the program ends or the time limit has passed.
fn wait_alive<T>(
    program: &mut Program,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let end = Instant::now() + ANSWER_MAX;
    while Instant::now() < end && program.is_alive()? {
        if let Some(value) = ask()? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The session of `browse` or `resolve`, which ends by itself. `part` is in one line of its output.
pub(super) fn ask(disturbance: Option<&Disturbance>, words: &[&str], part: &str) -> Result<Notes> {
    /// Time limit for the program to end: `resolve` waits 5 s for an answer.
    const END_MAX: Duration = Duration::from_secs(10);
    let dirs = Dirs::new(disturbance)?;
    let mut program = Program::start(&command(&dirs, words)?)?;
    let mut notes = Notes::default();
    program.wait(&mut notes, END_MAX)?;
    let succeeded = notes.end.as_ref().is_some_and(|end| end.status.success());
    if succeeded {
        let output = program.output();
        let has = |part| output.iter().any(|line: &String| line.contains(part));
        notes.check(&format!("output {output:?}"), has("box.local"));
        if !has(part) {
            notes.reduced.push(format!("output {output:?}"));
        }
    }
    notes.trace = dirs.trace();
    Ok(notes)
}
