//! End-to-end tests of the built executable; each suite is a module: `cargo xtask test SUITE` runs one.
//!
//! `guest` and `isos` are separate test programs, because all their tests share one machine.

mod bare;
mod check;
mod completion;
mod daemon;
mod debuggers;
mod ends;
mod exports;
mod fault_table;
mod hostile;
mod http;
mod image;
mod inside;
mod install;
mod ipxe;
mod iso;
mod libnfs;
mod linux_vm;
mod loads;
mod lockdown;
mod log;
mod mdns;
mod memory;
mod mount_commands;
mod packed;
mod portmap;
mod power_cut;
mod promises;
mod recipes;
mod release;
mod reloads;
mod restart;
mod sandbox;
mod sftp;
mod sftp_faults;
mod sftp_hostile;
mod sftp_poor;
mod sftp_promises;
mod stack;
mod starts;
mod status;
mod syscalls;
mod wide;
mod words;
mod writes;
