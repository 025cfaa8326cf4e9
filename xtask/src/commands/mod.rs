//! The commands that neither build, boot nor measure.

pub mod fuzz;
pub mod hello;
pub mod image;
pub mod log;
pub mod run;
pub mod scorecard;
pub mod test;
pub mod tidy;
