//! What the standards say a responder must do, and what hostile neighbours do: scripts in virtual time.
//!
//! A test whose documentation quotes a section counts on the scorecard.

mod announcing;
mod answering;
mod chance;
mod conflicts;
mod crowd;
mod headers;
mod hostile;
mod known_answers;
mod links;
mod probing;
mod same_host;
mod script;
mod standard;
mod world;
