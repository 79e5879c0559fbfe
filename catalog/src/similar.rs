//! Names that look like one that was not found, for the hint of an error.

/// Names in a hint.
const MAX_SIMILAR: usize = 3;
/// How alike names must be, from 0 to 1 (Jaro-Winkler).
const MIN_LIKENESS: f64 = 0.8;

/// Returns the best of `candidates`, given as the name to compare and the name to show, best first.
pub(crate) fn similar(
    name: &str,
    candidates: impl Iterator<Item = (String, String)>,
) -> Vec<String> {
    let name = name.to_lowercase();
    let mut rated: Vec<(f64, String)> = candidates
        .map(|(candidate, shown)| {
            let likeness = strsim::jaro_winkler(&name, &candidate.to_lowercase());
            (likeness, shown)
        })
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .collect();
    rated.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    rated.into_iter().take(MAX_SIMILAR).map(|(_, shown)| shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, candidates: &[&str], expected: &[&str]) {
        let pairs = candidates.iter().map(|c| ((*c).to_owned(), (*c).to_owned()));
        assert_eq!(similar(name, pairs), expected);
    }

    #[test]
    fn best_names_come_first() {
        check("trip", &["zones", "trips", "strips"], &["trips", "strips"]);
        check("TRIPS", &["trips"], &["trips"]);
        check("xyz", &["trips"], &[]);
    }
}
