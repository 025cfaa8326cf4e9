//! Bytes and time, beside other programs.

pub mod bench;
pub mod size;
