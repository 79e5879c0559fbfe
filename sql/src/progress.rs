//! How far a plan that executes is: the share of the files it scans that was read.
//!
//! Called by the coordinator for a running query. The measure is what the scans count while they run, so it costs
//! nothing until somebody asks. Limits: the work above the scans is not seen, and neither are tasks on workers, which
//! report their counts only when they have ended.

use crate::placement::{file_scan, scan_size};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion_distributed::DistributedExec;
use std::sync::Arc;

/// Returns the share of a plan's scans that is done, from 0 to 1; `None` for a plan without files or on workers.
///
/// Scans count by the bytes they are expected to read. Within a file progress is seen where its format counts bytes.
pub fn scanned_share(plan: &Arc<dyn ExecutionPlan>) -> Option<f64> {
    if plan.is::<DistributedExec>() {
        return None;
    }
    let (mut total, mut done) = (0.0, 0.0);
    // The closure never fails, so neither does the walk.
    let _ = plan.apply(|node| {
        if file_scan(node).is_some() {
            let size = scan_size(node);
            // A file without bytes is still one to open.
            let weight = size.bytes.max(size.n_files as u64) as f64;
            total += weight;
            done +=
                weight * node.metrics().map_or(0.0, |counts| share(&counts, size.n_files, weight));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    (total > 0.0).then(|| done / total)
}

/// Returns how much of one scan is done: by the files that are, or by the bytes when those say more.
fn share(counts: &MetricsSet, n_files: usize, n_bytes: f64) -> f64 {
    let count = |name| counts.sum_by_name(name).map_or(0, |value| value.as_usize()) as f64;
    let by_files = count("files_processed") / n_files.max(1) as f64;
    let by_bytes = count("bytes_scanned") / n_bytes;
    by_files.max(by_bytes).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{CsvReadOptions, SessionContext};

    #[tokio::test]
    async fn the_share_goes_from_nothing_to_all() {
        let ctx = SessionContext::new();
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/slt/datafusion/data");
        let path = format!("{data}/datafusion/core/tests/data/aggregate_simple.csv");
        ctx.register_csv("t", path, CsvReadOptions::new()).await.unwrap();
        let plan = ctx.sql("SELECT sum(c1) FROM t").await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        assert_eq!(scanned_share(&plan), Some(0.0));
        collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
        assert_eq!(scanned_share(&plan), Some(1.0));
    }

    #[tokio::test]
    async fn a_plan_without_files_has_no_share() {
        let ctx = SessionContext::new();
        let plan = ctx.sql("SELECT 1").await.unwrap().create_physical_plan().await.unwrap();
        assert_eq!(scanned_share(&plan), None);
    }
}
