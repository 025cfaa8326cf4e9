//! Prose: comments and test names that read like riddles, and the form of commit subjects.
//!
//! The patterns are hints. A comment that avoids them can still be a riddle: the code covered, an engineer with knowledge of
//! the RFC must understand what the item does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use fancy_regex::Regex;

use super::Source;

/// Commit subjects are checked after this commit.
const FIRST_COMMIT: &str = "25c5487";
/// Longest commit subject, in characters.
const SUBJECT_CHARACTERS_MAX: usize = 72;

/// Openings of a comment block that have no noun.
const OPENINGS: [&str; 2] = [
    r"^(What|Who|Whoever|Whose|Those|It|That|The same|The thing|None|Nobody|Others|Of|One (that|which|who|of)|So (many|long|much)|How (far|many|long|much)|As (many|long|much)|Bytes (that|of|which|from)|If it|Here, then)\b",
    r"^Whether\b",
];
/// Phrases that make a block a riddle wherever they occur: a pronoun of persons for a program, verbs in a private sense, vague amounts and places.
const PHRASES: [&str; 7] = [
    r"(?i)(?<!users )(?<!admins )(?<!readers )(?<!people )(?<!administrators )\b(who|whom|whoever)\b",
    r"(?i)\b(nobody|somebody|anybody|everybody)\b",
    r"(?i)\b(is|are|was|were|be|been) (told|lent|given back|heeded|meant by)\b|\b(tells?|told) (of|what|it|them|that|how|the)\b",
    r"(?i)\b(lies|lie|stands|stand) (in|at|behind|before|there|beside|beneath|one)\b|\bleads? (to|beyond|out|back)\b",
    r"(?i)\bso (many|long|much|far)\b(?! (that|as)\b)",
    r"(?i)\b(gives? way|let go|lets go|stands? still|on (its|their) way|by hand|what (is|was|are|were|it|they|he) |what there is|all (that|there) (is|are|was)|for ever|anew|beneath)\b",
    r"\bof version [46]\b",
];
/// A test's name that opens with a pronoun.
const TEST_NAME: &str = r"^\s*fn ((?:who|what|those|others|nobody|one_who|it)_\w+)\(\)";
/// Patterns of a comment line, and of a comment that follows code on its line.
const COMMENT: &str = r"^\s*(//[/!]?)(?!\S)\s?(.*)$";
const TRAILING: &str = r"\S.*[;,{})\]]\s+//\s(.*)$";
/// A commit subject: `area: imperative`.
const SUBJECT: &str = r"^[A-Za-z0-9_./,-]+: \S";

/// Returns a violation for each flagged block and test name.
pub(super) fn check(sources: &[Source]) -> Result<Vec<String>> {
    let patterns = Patterns::new()?;
    let mut flagged = Vec::new();
    for source in sources {
        flagged.extend(patterns.flagged(source)?);
    }
    Ok(flagged)
}

/// Returns a violation for each commit subject after [`FIRST_COMMIT`] that is not `area: imperative`, merges excepted.
pub(super) fn check_subjects(root: &Path) -> Result<Vec<String>> {
    let range = format!("{FIRST_COMMIT}..HEAD");
    let log = Command::new("git")
        .args(["log", "--no-merges", "--format=%h %s", &range])
        .current_dir(root)
        .output();
    let Some(log) = log.ok().filter(|log| log.status.success()) else {
        println!(
            "commit subjects are not checked: this checkout has no history since {FIRST_COMMIT}"
        );
        return Ok(Vec::new());
    };
    let form = Regex::new(SUBJECT)?;
    let mut breaches = Vec::new();
    for line in String::from_utf8_lossy(&log.stdout).lines() {
        let (commit, subject) = line.split_once(' ').context("a commit has no subject")?;
        if !form.is_match(subject)? || subject.chars().count() > SUBJECT_CHARACTERS_MAX {
            breaches.push(format!(
                "commit {commit}: the subject \"{subject}\" is not `area: imperative` in {SUBJECT_CHARACTERS_MAX} characters"
            ));
        }
    }
    Ok(breaches)
}

struct Patterns {
    riddles: Vec<Regex>,
    test_name: Regex,
    comment: Regex,
    trailing: Regex,
}

impl Patterns {
    fn new() -> Result<Self> {
        let all = OPENINGS.iter().chain(&PHRASES);
        let riddles: Result<_, _> = all.map(|pattern| Regex::new(pattern)).collect();
        Ok(Self {
            riddles: riddles?,
            test_name: Regex::new(TEST_NAME)?,
            comment: Regex::new(COMMENT)?,
            trailing: Regex::new(TRAILING)?,
        })
    }

    /// Returns `FILE:LINE: MESSAGE` for each flagged comment block and test name.
    fn flagged(&self, source: &Source) -> Result<Vec<String>> {
        let path = source.path.display();
        let mut flagged = Vec::new();
        for (line, block) in self.blocks(&source.text)? {
            if let Some(phrase) = self.riddle(&block)? {
                flagged.push(format!("{path}:{line}: the comment has \"{phrase}\": name the thing, the actor, the call"));
            }
        }
        for (index, line) in source.text.lines().enumerate() {
            if let Some(found) = self.test_name.captures(line)? {
                let name = found.get(1).map_or("", |name| name.as_str());
                let line = index + 1;
                flagged.push(format!(
                    "{path}:{line}: test {name}: name the condition, then the result"
                ));
            }
        }
        Ok(flagged)
    }

    /// Returns the first phrase in a comment block that matches a pattern; None if no pattern matches.
    fn riddle<'a>(&self, block: &'a str) -> Result<Option<&'a str>> {
        if block.starts_with("SAFETY:") || block.contains("https://") {
            return Ok(None);
        }
        for pattern in &self.riddles {
            if let Some(found) = pattern.find(block)? {
                return Ok(Some(found.as_str()));
            }
        }
        Ok(None)
    }

    /// Returns the comment blocks of a file: runs of comment lines, and comments after code; each with its first line's number.
    fn blocks(&self, text: &str) -> Result<Vec<(usize, String)>> {
        let mut blocks = Vec::new();
        let mut block: Option<(usize, String)> = None;
        let mut is_example = false;
        for (index, line) in text.lines().chain([""]).enumerate() {
            let comment = self.comment.captures(line)?;
            let words = comment
                .as_ref()
                .and_then(|found| found.get(2))
                .map(|words| words.as_str());
            if words.is_some_and(|words| words.starts_with("```")) {
                is_example = !is_example;
                continue;
            }
            let is_prose = |words: &&str| {
                !words.trim().is_empty()
                    && !is_example
                    && !words.starts_with("    ")
                    && !words.starts_with("| ")
            };
            if let Some(words) = words.filter(is_prose) {
                let (_, all) = block.get_or_insert((index + 1, String::new()));
                if !all.is_empty() {
                    all.push(' ');
                }
                all.push_str(words.trim());
                continue;
            }
            blocks.extend(block.take());
            if let Some(found) = self
                .trailing
                .captures(line)?
                .filter(|_| !line.contains('"'))
            {
                let words = found.get(1).map_or("", |words| words.as_str());
                blocks.push((index + 1, words.to_owned()));
            }
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flagged(text: &str) -> Result<usize> {
        let source = Source {
            path: "src/a.rs".into(),
            text: text.to_owned(),
        };
        Ok(Patterns::new()?.flagged(&source)?.len())
    }

    #[test]
    fn riddles_are_flagged() -> Result<()> {
        for text in [
            "/// What is looked for.\n",
            "// Whether it was ever answered.\n",
            "let a = 1; // that nobody else need\n",
            "/// The error\n/// has been told.\n",
            "fn f(); // Makes a file so long.\n",
            "/// An address that was given by hand.\n",
            "    #[test]\n    fn who_has_more_to_say_is_waited_for() {}\n",
        ] {
            assert_eq!(flagged(text)?, 1, "{text}");
        }
        Ok(())
    }

    #[test]
    fn plain_comments_examples_and_tables_are_not_flagged() -> Result<()> {
        for text in [
            "/// The query.\n",
            "/// Returns true once a reply was sent.\n",
            "/// The files of users who may log in.\n",
            "// SAFETY: nobody else refers to the memory.\n",
            "/// ```\n/// // What is looked for.\n/// ```\n",
            "/// | What | it |\n",
            "let url = \"http://x\"; // What it is.\n",
            "fn query_is_answered() {}\n",
        ] {
            assert_eq!(flagged(text)?, 0, "{text}");
        }
        Ok(())
    }

    #[test]
    fn subjects_of_commits_are_checked() -> Result<()> {
        let form = Regex::new(SUBJECT)?;
        assert!(form.is_match("vfs/host: move large WRITEs to a worker")?);
        assert!(!form.is_match("Have threads store what is behind")?);
        // In a directory without a repository, the check prints that commit subjects are not checked, and succeeds.
        let directory = tempfile::tempdir()?;
        assert_eq!(check_subjects(directory.path())?, [""; 0]);
        Ok(())
    }
}
