//! The figures as a reader gets them: tables for people, JSON, Prometheus' text.
//!
//! `rows` has the numbers, which all forms have in common. [`Reader::write`] writes them piece by piece.

mod form;
mod page;
mod prometheus;
mod rows;
mod write;

pub use form::Form;
pub use rows::{Exports, Reader};
pub use write::Place;
