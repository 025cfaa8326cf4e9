//! Measures stowaway's size (`size`) and speed (`bench`) and compares both with other programs.

pub mod bench;
pub mod size;
