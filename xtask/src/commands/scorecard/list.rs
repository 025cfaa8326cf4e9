//! Parser of the lists of MUSTs: a line `SECTION: words`, then optionally an indented line with the reason for having no test.

use anyhow::{Context as _, Result, bail, ensure};

/// A requirement of an RFC.
#[derive(Debug)]
pub(super) struct Must {
    pub section: String,
    /// Words of the RFC that a test must quote.
    pub words: String,
    /// Reason for having no test.
    pub reason: Option<Reason>,
}

/// Reason for having no test.
#[derive(Debug)]
pub(super) enum Reason {
    /// `neither:` the requirement applies neither to a responder nor to a browser.
    Neither(String),
    /// `excused:` the requirement applies, but is not tested.
    Excused(String),
}

/// Parses a list of MUSTs.
pub(super) fn parse(list: &str) -> Result<Vec<Must>> {
    let mut musts: Vec<Must> = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (head, rest) = line
            .split_once(':')
            .with_context(|| format!("no colon in line {line:?}"))?;
        let text = rest.trim();
        ensure!(!text.is_empty(), "no text after the colon in line {line:?}");
        if !head.starts_with(' ') {
            musts.push(Must {
                section: head.to_owned(),
                words: text.to_owned(),
                reason: None,
            });
            continue;
        }
        let must = musts
            .last_mut()
            .with_context(|| format!("no MUST before the reason {line:?}"))?;
        must.reason = Some(match head.trim() {
            "neither" => Reason::Neither(text.to_owned()),
            "excused" => Reason::Excused(text.to_owned()),
            kind => bail!("unknown kind of reason {kind:?}: expected neither or excused"),
        });
    }
    Ok(musts)
}
