//! State that NFS processes of `serve` share, and that outlives them.

use super::Fatal;
use super::failed;
use super::options::Options;
use super::versions::{WORD_COUNT, Words};
use crate::config::{HAS_SERVE, REMOVED_WORDS, SHARED_BYTES, SHARED_BYTES_MIN};
use crate::drive::platform::host::loops::Member;
use crate::engine::programs::Programs;
use crate::engine::rpc::connections::{Connections, word_count};
use crate::engine::rpc::lock::ServerLock;
use crate::mem::{self, Twin, scaled};
use crate::sys;
use crate::text::text;
use crate::vfs::Tree;
use crate::vfs::host::Removals;
use crate::wire::nfs3::VERIFIER_BYTES;
use core::sync::atomic::{AtomicU32, Ordering};

/// State that this server shares with its predecessor and with the other NFS processes of `serve`.
pub(super) struct Common {
    /// The programs, in the memory that outlives this process under `serve`.
    pub(super) programs: Programs,
    /// The memory of NFSv4.1, which outlives this process under `serve`, too.
    pub(super) version_4: Words,
    /// True if there are several NFS processes.
    pub(super) is_shared: bool,
    /// True if the memory outlives this process.
    pub(super) is_kept: bool,
    /// The last results of look-ups of host names, which outlive this process under `serve`.
    pub(super) results: Option<&'static mut Twin>,
    /// True if a predecessor of this process used the memory.
    pub(super) was_used: bool,
    /// True in the first NFS process, which alone reports exports and ports.
    pub(super) is_first: bool,
    /// Under `serve`, a word that is 1 once the programs are registered with the host's rpcbind.
    pub(super) registered: Option<&'static AtomicU32>,
    /// The removals by clients of all NFS processes.
    pub(super) removals: Removals,
}

/// Joins the state shared by the NFS processes of `serve`; without `serve`, makes new state.
pub(super) fn common(
    options: &Options,
    connection_count: usize,
    tree: &mut Tree,
) -> Result<Common, Fatal> {
    let mut entropy = [0; 16];
    sys::entropy(&mut entropy);
    if let Some(shared) = options.shared.take().filter(|_| HAS_SERVE) {
        let is_first = shared.number == 0;
        let joined = shared.join();
        let joined = joined.map_err(|errno| failed(text!("cannot share memory"), b"", errno))?;
        if let Some(lock) = joined.lock {
            entropy = joined.entropy;
            // Counts the restart, which changes the write verifier: unsynced data of the predecessor may be lost.
            let loss_count = u32::from(joined.was_used);
            lock.count().fetch_add(loss_count, Ordering::Relaxed);
            tree.share_changes(joined.export_changes);
        }
        let (words, version_4) = joined.words.split_at(joined.words.len() - WORD_COUNT);
        return Ok(Common {
            programs: Programs::new(
                verifier(entropy),
                joined.memory,
                true,
                joined.lock.map(|lock| lock as &dyn ServerLock),
                Connections::new(words, joined.lives, joined.number),
            ),
            version_4: Words::new(Some(version_4), &entropy),
            is_shared: joined.lock.is_some(),
            is_kept: true,
            results: joined.results,
            was_used: joined.was_used,
            is_first,
            registered: Some(joined.registered),
            removals: Removals(joined.removals),
        });
    }
    let words = mem::words(word_count(1, connection_count));
    Ok(Common {
        programs: Programs::new(
            verifier(entropy),
            mem::bytes(scaled(SHARED_BYTES_MIN, SHARED_BYTES)),
            false,
            None,
            Connections::new(words, mem::words(1), 0),
        ),
        version_4: Words::new(None, &entropy),
        is_shared: false,
        is_kept: false,
        results: None,
        was_used: false,
        is_first: true,
        registered: None,
        removals: match sys::is_bare() {
            // No other program replaces files there.
            true => Removals::default(),
            false => Removals(mem::words(REMOVED_WORDS)),
        },
    })
}

/// The write verifier of these random bytes.
const fn verifier([verifier @ .., _, _, _, _, _, _, _, _]: [u8; 16]) -> [u8; VERIFIER_BYTES] {
    verifier
}

impl ServerLock for Member {
    fn acquire(&self) {
        self.acquire();
    }

    fn release(&self) {
        self.release();
    }

    fn acquire_tables(&self) {
        self.acquire_tables();
    }

    fn release_tables(&self) {
        self.release_tables();
    }

    fn loss_count(&self) -> &AtomicU32 {
        self.count()
    }
}
