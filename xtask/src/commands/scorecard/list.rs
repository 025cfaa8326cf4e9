//! The lists: `SECTION: words` on a line, and below it, indented, why no test is needed.

use anyhow::{Context as _, Result, bail, ensure};

/// Something that a standard demands.
#[derive(Debug)]
pub(super) struct Must {
    pub section: String,
    /// What a test quotes of it.
    pub words: String,
    /// Why there is no test.
    pub reason: Option<Reason>,
}

/// Why a test is not needed.
#[derive(Debug)]
pub(super) enum Reason {
    /// It demands nothing of a responder or a browser.
    Neither(String),
    /// It does, and is not tested.
    Excused(String),
}

/// Reads a list.
pub(super) fn parse(list: &str) -> Result<Vec<Must>> {
    let mut musts: Vec<Must> = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (head, rest) = line
            .split_once(':')
            .with_context(|| format!("what is {line:?}?"))?;
        let rest = rest.trim();
        ensure!(!rest.is_empty(), "nothing is said in {line:?}");
        if !head.starts_with(' ') {
            musts.push(Must {
                section: head.to_owned(),
                words: rest.to_owned(),
                reason: None,
            });
            continue;
        }
        let must = musts.last_mut().context("a reason for nothing")?;
        must.reason = Some(match head.trim() {
            "neither" => Reason::Neither(rest.to_owned()),
            "excused" => Reason::Excused(rest.to_owned()),
            other => bail!("{other:?} is no kind of reason"),
        });
    }
    Ok(musts)
}
