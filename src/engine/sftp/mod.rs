//! The SSH file transfer protocol.

pub mod accounts;
pub mod check;
pub mod longname;
