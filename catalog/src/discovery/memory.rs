//! What was discovered last, for as long as the folders of a local lake are as they were.
//!
//! Asking each folder whether it has changed costs far less than listing it. Its time of change moves with every name that
//! comes, goes or is replaced in it, and cannot be set back as its time of modification can.
//!
//! ```text
//! recall ── all folders unchanged? ──> what was discovered
//!    └──── no: list, then keep, unless a folder changed just before: a second change in one tick of the clock is not seen
//! ```
//!
//! Limits: a data file that is filled or emptied in place leaves its folder unchanged. A listing that met an empty file is
//! not kept; one whose file is emptied later still names the table until something changes beside it. On network file
//! systems this is as fresh as their own caches. Object stores have no such times: there nothing is kept.

use super::Discovered;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A folder must be unchanged for this long to be trusted; clocks of file systems tick every few milliseconds.
const QUIET_TIME: Duration = Duration::from_millis(100);
/// Folders that are asked; a lake of more is listed each time.
const MAX_FOLDERS: usize = 100_000;

/// One state of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    changed_ns: i128,
}

impl State {
    fn of(folder: &PathBuf) -> Option<Self> {
        let found = std::fs::metadata(folder).ok()?;
        let changed_ns = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), changed_ns })
    }
}

/// Folders that a discovery has opened.
#[derive(Debug, Default)]
pub(super) struct Opened(Mutex<(Vec<Path>, bool)>);

impl Opened {
    /// Notes a folder.
    pub(super) fn note(&self, folder: &Path) {
        self.0.lock().0.push(folder.clone());
    }

    /// Notes that what was found may change without its folder.
    pub(super) fn distrust(&self) {
        self.0.lock().1 = true;
    }
}

#[derive(Debug)]
struct Known {
    defined_schemas: BTreeSet<String>,
    folders: Arc<Vec<(PathBuf, State)>>,
    discovered: Arc<Discovered>,
}

/// Remembers one discovery.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Option<Known>>);

impl Memory {
    /// Returns what is remembered, if it is still so.
    pub(super) async fn recall(
        &self,
        defined_schemas: &BTreeSet<String>,
    ) -> Option<Arc<Discovered>> {
        let (folders, discovered) = {
            let known = self.0.lock();
            let known = known.as_ref().filter(|k| k.defined_schemas == *defined_schemas)?;
            (Arc::clone(&known.folders), Arc::clone(&known.discovered))
        };
        let unchanged =
            move || folders.iter().all(|(path, state)| State::of(path).as_ref() == Some(state));
        let is_unchanged = tokio::task::spawn_blocking(unchanged).await;
        is_unchanged.is_ok_and(|unchanged| unchanged).then_some(discovered)
    }

    /// Remembers what was discovered by listing `opened` since `begin`, if it can be trusted.
    pub(super) async fn keep(
        &self,
        defined_schemas: &BTreeSet<String>,
        opened: &Opened,
        begin: SystemTime,
        discovered: &Arc<Discovered>,
    ) {
        let (paths, is_distrusted) = std::mem::take(&mut *opened.0.lock());
        let is_kept = !is_distrusted && paths.len() <= MAX_FOLDERS;
        let states = move || {
            let quiet = begin.checked_sub(QUIET_TIME)?.duration_since(UNIX_EPOCH).ok()?;
            let quiet_ns = i128::try_from(quiet.as_nanos()).ok()?;
            let local = LocalFileSystem::new();
            let state = |path: &Path| {
                let path = local.path_to_filesystem(path).ok()?;
                let state = State::of(&path).filter(|state| state.changed_ns < quiet_ns)?;
                Some((path, state))
            };
            paths.iter().map(state).collect::<Option<Vec<_>>>()
        };
        let folders = match is_kept {
            true => tokio::task::spawn_blocking(states).await.ok().flatten(),
            false => None,
        };
        *self.0.lock() = folders.map(|folders| Known {
            defined_schemas: defined_schemas.clone(),
            folders: Arc::new(folders),
            discovered: Arc::clone(discovered),
        });
    }
}
