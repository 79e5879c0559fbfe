//! What the scans of one statement left out, for EXPLAIN.
//!
//! The coordinator puts a log into the session's configuration before it plans; table providers write into it. A plan
//! shows the files it reads, so what was pruned can only be told by who pruned it.

use datafusion::execution::config::SessionConfig;
use parking_lot::Mutex;

/// One scan of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableScan {
    /// The table's name.
    pub table: String,
    /// Files of the table, or of its snapshot.
    pub n_files: usize,
    /// Files the scan reads.
    pub n_kept: usize,
    /// What else a reader of the plan wants to know, such as the snapshot.
    pub note: Option<String>,
}

/// The scans planned so far, in order.
#[derive(Debug, Default)]
pub struct ScanLog {
    scans: Mutex<Vec<TableScan>>,
}

impl ScanLog {
    /// Writes a scan into the log of this session, if it has one.
    pub fn record(config: &SessionConfig, scan: TableScan) {
        if let Some(log) = config.get_extension::<Self>() {
            log.scans.lock().push(scan);
        }
    }

    /// Puts back what [`Self::take`] gave, in place of what came since.
    pub fn replace(&self, scans: Vec<TableScan>) {
        *self.scans.lock() = scans;
    }

    /// Takes all scans out.
    pub fn take(&self) -> Vec<TableScan> {
        std::mem::take(&mut self.scans.lock())
    }
}
