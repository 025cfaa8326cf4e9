//! `completion`: prints the script by which a shell completes the words of a command line. The script runs
//! `stowaway ROLE --words BEFORE`, which prints the words that may follow the word BEFORE, see [`Flags::print_words`].

use super::flags::{Flags, flags};
use super::{DONE, Fatal, HELP_BYTES_MAX, print, refuse_usage};
use crate::sys::Args;
use crate::text::{Text, text};

/// The line of `stowaway --help`.
pub(super) const SUMMARY: Text =
    text!("  completion bash|zsh|fish\tprints completions for a shell\n");

flags! {
    pub(super) enum Flag of Completion {
        Shell { takes: Operand(text!("shell: one of bash, zsh, fish")) },
    }
}

pub(super) const FLAGS: Flags = Flags::of(Flag::ROWS, HELP);
const HELP: &[Text] = &[text!(include_str!("help.txt"))];

/// Prints the script of the shell that the argument names.
pub(super) fn run(args: Args) -> Result<(), Fatal> {
    let mut script = None;
    FLAGS.read(args, &mut |given| {
        let Flag::Shell = Flag::of(given.flag)?;
        script = Some(match given.value.to_bytes() {
            b"bash" => text!(include_str!("bash.txt")),
            b"zsh" => text!(include_str!("zsh.txt")),
            b"fish" => text!(include_str!("fish.txt")),
            _ => return None,
        });
        Some(())
    })?;
    let Some(script) = script else {
        let what = text!("a shell is missing: bash, zsh or fish");
        return Err(refuse_usage(what, b"", Text::NOTHING));
    };
    print(script.decode(&mut [0; HELP_BYTES_MAX]));
    Err(DONE)
}
