//! Everything that builds, runs, tests and measures stowaway. One command per module.
//!
//! A command's module has `Args` and `main(Args)`. Nothing here links stowaway's own library: what is tested is the file.

pub mod build;
pub mod clients;
pub mod commands;
pub mod machines;
pub mod measure;
pub mod random;
pub mod setup;
