//! What EXPLAIN says of joins: strategy, reason, heavy hitters, where the profile is from.

use crate::skew::decide::{JoinDecision, Strategy};

/// Heavy hitters named in a line; the others are counted.
const NAMED_KEYS: usize = 5;

/// Renders the decisions, a join after the other.
pub(super) fn join_lines(decisions: &[JoinDecision]) -> Vec<String> {
    let mut lines = vec![];
    for (idx, decision) in decisions.iter().enumerate() {
        let JoinDecision { join, strategy, reason, .. } = decision;
        lines.push(format!("Join {}: {join}: {} ({reason})", idx + 1, strategy.name()));
        if *strategy == Strategy::Salt {
            lines.push(format!("  heavy hitters: {}", heavy(decision)));
            if let Some((before, after)) = decision.skew {
                lines.push(format!(
                    "  work max/mean: predicted {before:.1} plain, {after:.1} salted; rows copied: {}",
                    decision.replicated_rows
                ));
            }
        }
        if !decision.source.is_empty() {
            let ms = decision.took.as_secs_f64() * 1000.0;
            lines.push(format!("  keys: {}; {ms:.0} ms", decision.source));
        }
    }
    lines
}

fn heavy(decision: &JoinDecision) -> String {
    if decision.heavy.is_empty() {
        return "NULL only".to_string();
    }
    let percent = |share: f64| 100.0 * share;
    let mut names: Vec<_> = decision
        .heavy
        .iter()
        .take(NAMED_KEYS)
        .map(|key| {
            let (left, right) = (percent(key.left_share), percent(key.right_share));
            format!("{} (build {left:.1} %, probe {right:.1} %)", key.label)
        })
        .collect();
    match decision.heavy.len().saturating_sub(NAMED_KEYS) {
        0 => {}
        more => names.push(format!("{more} more")),
    }
    names.join(", ")
}
