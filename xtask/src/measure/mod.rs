//! Bytes and time, beside other programs.

pub mod bench;
mod chart;
pub mod size;
