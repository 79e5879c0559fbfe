//! House rules that a compiler does not check: layers, file sizes, module docs, words, stale documents.

use crate::harness::{run_saltlake, source_root};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Lines of a file: beyond that it is split by meaning.
const MAX_LINES: usize = 600;

/// What the source of a folder must not name, and why.
const LAYERS: [(&str, &[&str], &str); 8] = [
    (
        "sql/src",
        &["tonic", "pgwire", "arrow_flight", "axum", "saltlake_catalog"],
        "sql plans and knows no network",
    ),
    (
        "catalog/src",
        &["tonic", "pgwire", "arrow_flight", "axum", "saltlake_sql"],
        "catalog knows no SQL text",
    ),
    ("src/frontend", &["crate::worker"], "a frontend never talks to a worker"),
    (
        "src/coordinator",
        &["crate::frontend", "pgwire", "arrow_flight"],
        "protocol types stop at the frontend",
    ),
    (
        "src/worker",
        &["crate::frontend", "crate::coordinator", "pgwire"],
        "a worker runs tasks, no statements",
    ),
    ("src/config", &["crate::frontend", "crate::coordinator", "crate::worker"], "config is a leaf"),
    ("src/frontend/flight", &["pgwire", "crate::frontend::pg"], "one module per door"),
    ("src/frontend/pg", &["arrow_flight", "crate::frontend::flight"], "one module per door"),
];

/// Crates that the manifest of a member must not list.
const MANIFESTS: [(&str, &[&str]); 2] = [
    (
        "sql/Cargo.toml",
        &["tonic", "pgwire", "arrow-flight", "axum", "reqwest", "object_store", "saltlake-catalog"],
    ),
    ("catalog/Cargo.toml", &["tonic", "pgwire", "arrow-flight", "axum", "saltlake-sql"]),
];

/// Words that have a better one in this project, with that one.
const BANNED_WORDS: [(&str, &str); 9] = [
    ("executor", "worker"),
    ("executors", "workers"),
    ("master", "coordinator"),
    ("gateway", "frontend"),
    ("subplan", "fragment"),
    ("redistribute", "shuffle"),
    ("hot key", "heavy hitter"),
    ("shard", "partition"),
    ("shards", "partitions"),
];

/// Returns the files under the folders `dirs` of the repository that end with one of `endings`.
fn files(dirs: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = dirs.iter().map(|dir| source_root().join(dir)).collect();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
            found.push(path);
        }
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    let found = files(&["src", "sql", "catalog", "tests", "benches"], &[".rs"]);
    assert!(found.len() > 10, "only {found:?}");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(source_root()).unwrap_or(path).display().to_string()
}

/// Returns the code of a file up to its unit tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Returns whether `line` holds `word` with no letter, digit or underscore around it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[test]
fn layers_are_not_crossed() {
    let mut crossed = String::new();
    for (dir, forbidden, why) in LAYERS {
        for path in files(&[dir, &format!("{dir}.rs")], &[".rs"]) {
            let text = read(&path);
            for (idx, line) in code_lines(&text) {
                if let Some(word) = forbidden.iter().find(|word| has_word(line, word)) {
                    let _ = writeln!(crossed, "{}:{}: {word}: {why}", name(&path), idx + 1);
                }
            }
        }
    }
    for (manifest, forbidden) in MANIFESTS {
        let parsed: toml::Table = read(&source_root().join(manifest)).parse().unwrap();
        let dependencies = parsed["dependencies"].as_table().unwrap();
        for name in forbidden.iter().filter(|name| dependencies.contains_key(**name)) {
            let _ = writeln!(crossed, "{manifest}: {name}");
        }
    }
    assert!(crossed.is_empty(), "{crossed}");
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = String::new();
    for path in rust_files() {
        let text = read(&path);
        let n_lines = text.lines().count();
        if n_lines > MAX_LINES {
            let _ = writeln!(wrong, "{}: {n_lines} lines, the cap is {MAX_LINES}", name(&path));
        }
        if !text.starts_with("//!") {
            let _ = writeln!(wrong, "{}: does not open with //!", name(&path));
        }
        if text
            .lines()
            .any(|line| line.contains("TODO") && !line.contains('#') && !line.contains('"'))
        {
            let _ = writeln!(wrong, "{}: a TODO without an issue number", name(&path));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn one_word_for_one_idea() {
    let mut wrong = String::new();
    // Decisions speak of other systems in their own words.
    let mut paths = files(&["src", "sql/src", "catalog/src", "docs"], &[".rs", ".md"]);
    paths.retain(|path| !name(path).starts_with("docs/adr"));
    paths.extend(files(&["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"], &[".md"]));
    for path in paths {
        let is_code = path.extension().is_some_and(|extension| extension == "rs");
        for (idx, line) in read(&path).lines().enumerate() {
            let comment =
                if is_code { line.split_once("//").map_or("", |(_, text)| text) } else { line };
            let comment = comment.to_lowercase();
            for (word, better) in BANNED_WORDS.iter().filter(|(word, _)| has_word(&comment, word)) {
                let _ =
                    writeln!(wrong, "{}:{}: \"{word}\": say \"{better}\"", name(&path), idx + 1);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn config_reference_is_current() {
    let output = run_saltlake(&["config", "reference"], &source_root());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = source_root().join("docs/config.md");
    let current = String::from_utf8(output.stdout).unwrap();
    assert!(
        read(&path) == current,
        "docs/config.md is stale: saltlake config reference > docs/config.md"
    );
}
