//! The interface of `figures` in an executable that shows none: the file is the only option.

use super::super::refuse_value;
use super::{Fatal, Options, PATH};
use crate::text::Text;

pub(super) const HELP: Text = Text::NOTHING;

impl Options {
    /// Refuses to run without a file.
    pub(super) fn print_figures(&self) -> Result<(), Fatal> {
        Err(refuse_value(b"--pid-file", b"", PATH))
    }
}
