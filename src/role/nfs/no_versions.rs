//! Version 3 of NFS alone.

use crate::drive::World;
use crate::drive::service::Limits;
use crate::engine::programs::Programs;
use crate::text::Text;
use crate::vfs::Tree;
use core::ffi::CStr;
use core::sync::atomic::AtomicU32;

/// No row of `--help`.
pub(super) const HELP: Text = Text::NOTHING;

/// No words.
pub(in super::super) const WORD_COUNT: usize = 0;

/// Version 3.
#[derive(Clone, Copy, Default)]
pub(super) struct Versions(());

/// No memory.
pub(super) struct Words(());

impl Words {
    pub(super) const fn new(_shared: Option<&'static [AtomicU32]>, _entropy: &[u8; 16]) -> Self {
        Self(())
    }
}

impl Versions {
    /// Knows no flag.
    pub(super) const fn set(self, _words: &[u8]) -> Option<()> {
        None
    }

    pub(super) const fn has_3(self) -> bool {
        true
    }

    pub(super) const fn has_4(self) -> bool {
        false
    }

    pub(super) const fn alone(self) -> Option<Text> {
        None
    }

    /// Does nothing.
    pub(super) const fn offer(self, _programs: &mut Programs, _tree: &mut Tree, _memory: Words) {}

    /// Does nothing.
    pub(super) const fn keep_records(
        self,
        _port: u16,
        _state_dir: Option<&'static CStr>,
        _programs: &mut Programs,
        _processes: [bool; 2],
        _world: &mut World<'_>,
    ) {
    }

    /// Does nothing.
    pub(super) const fn limit(self, _limits: &mut Limits) {}
}
