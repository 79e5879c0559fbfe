//! `deny.toml` holds for every dependency of the lock file: licence, source, and crates that must not come back.
//!
//! cargo-deny reads the same file and knows more; this is the part that needs no tool beyond cargo.

use crate::harness::source_root;
use serde_json::Value;
use std::process::Command;

/// The packages that are built here: cargo has not fetched those of other systems.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            host,
        ])
        .current_dir(source_root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn rules() -> toml::Table {
    std::fs::read_to_string(source_root().join("deny.toml")).unwrap().parse().unwrap()
}

/// Evaluates SPDX expressions: `OR` (also written `/`), `AND`, parentheses, `WITH`.
struct Expression<'a> {
    words: Vec<&'a str>,
    next: usize,
    allowed: &'a [&'a str],
}

impl<'a> Expression<'a> {
    fn holds(text: &'a str, allowed: &'a [&'a str]) -> bool {
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            // Parentheses and the old "/" stick to the names beside them.
            let mut rest = word;
            while let Some(idx) = rest.find(['(', ')', '/']) {
                words.extend((idx > 0).then(|| &rest[..idx]));
                words.push(&rest[idx..=idx]);
                rest = &rest[idx + 1..];
            }
            words.extend((!rest.is_empty()).then_some(rest));
        }
        let mut expression = Self { words, next: 0, allowed };
        let holds = expression.any();
        assert_eq!(expression.next, expression.words.len(), "not an SPDX expression: {text}");
        holds
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let found = self.words.get(self.next).is_some_and(|word| words.contains(word));
        self.next += usize::from(found);
        found
    }

    fn any(&mut self) -> bool {
        let mut holds = self.all();
        while self.take(&["OR", "/"]) {
            holds |= self.all();
        }
        holds
    }

    fn all(&mut self) -> bool {
        let mut holds = self.one();
        while self.take(&["AND"]) {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.take(&["("]) {
            let holds = self.any();
            assert!(self.take(&[")"]), "a parenthesis is not closed");
            return holds;
        }
        let name = self.words.get(self.next).copied().expect("a licence");
        self.next += 1;
        if !self.take(&["WITH"]) {
            return self.allowed.contains(&name);
        }
        let exception = self.words.get(self.next).copied().expect("an exception");
        self.next += 1;
        self.allowed.contains(&format!("{name} WITH {exception}").as_str())
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
    for text in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "(GPL-3.0 OR MIT) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(Expression::holds(text, &allowed), "{text}");
    }
    for text in ["GPL-3.0", "MIT AND GPL-3.0", "MIT WITH x", "(GPL-3.0 OR MIT) AND LGPL-2.1"] {
        assert!(!Expression::holds(text, &allowed), "{text}");
    }
}

#[test]
fn dependencies_keep_the_rules() {
    let rules = rules();
    let allowed = rules["licenses"]["allow"].as_array().unwrap();
    let allowed: Vec<&str> = allowed.iter().map(|name| name.as_str().unwrap()).collect();
    let banned = rules["bans"]["deny"].as_array().unwrap();
    let banned: Vec<&str> = banned.iter().map(|ban| ban["name"].as_str().unwrap()).collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        match package["license"].as_str() {
            Some(license) if Expression::holds(license, &allowed) => {}
            license => wrong.push(format!("{name}: licence {license:?}")),
        }
        if package["source"].as_str().is_some_and(|source| !source.starts_with("registry+")) {
            wrong.push(format!("{name}: not from the registry: {}", package["source"]));
        }
        if banned.contains(&name) {
            wrong.push(format!("{name}: banned"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
