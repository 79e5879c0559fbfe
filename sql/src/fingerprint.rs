//! Tells whether what was learned from the rows of a plan still holds: one number of the plan and the files it reads.
//!
//! Samples of join keys and counts of filters are kept under it. A changed file makes another number.

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Returns the fingerprint of a plan; `what` tells apart things learned from the same plan.
pub fn fingerprint(plan: &Arc<dyn ExecutionPlan>, what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    DisplayableExecutionPlan::new(plan.as_ref()).indent(false).to_string().hash(&mut hasher);
    // The closure never fails, so neither does the walk.
    let _ = plan.apply(|node| {
        match files_of(node) {
            Some(scan) => {
                for file in scan.file_groups.iter().flat_map(|group| group.files()) {
                    let meta = &file.object_meta;
                    (meta.location.as_ref(), meta.size, meta.last_modified).hash(&mut hasher);
                }
            }
            // Tables in memory have no version: another scan is another plan.
            None if node.children().is_empty() => {
                (Arc::as_ptr(node) as *const ()).hash(&mut hasher)
            }
            None => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    hasher.finish()
}

/// Returns the files a node scans; `None` for other nodes.
pub fn files_of(node: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    node.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}
