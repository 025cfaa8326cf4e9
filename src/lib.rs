//! stub
#![cfg_attr(not(test), no_std)]
extern crate alloc;
pub mod config;
pub mod drive;
pub mod engine;
pub mod event;
pub mod log;
pub mod net;
pub mod role;
pub mod sys;
pub mod time;
pub mod vfs;
pub mod wire;
