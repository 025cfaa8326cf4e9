//! `mdns`: what the responder announces, as far as it is read from the host's files.

#![allow(dead_code)]

mod files;
mod identity;
mod source;
mod vms;
