//! `saltlake demo --exit`: the tour is right on this build, leaves no process behind, and touches only its folder.

use crate::harness::{run_saltlake, scratch_dir};
use std::path::Path;

#[test]
fn the_tour_is_right_and_leaves_nothing_running() {
    let dir = tempfile::tempdir_in(scratch_dir()).unwrap();
    let output = run_saltlake(&["demo", "--exit", "--dir", "tour"], dir.path());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("results are right"), "{text}");
    assert!(!text.contains('\x1b'), "colours without a terminal");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "a line of {widest:?} columns");
    let logs = dir.path().join("tour/logs");
    assert_no_error_lines(&logs);
    let ready = std::fs::read_to_string(logs.join("coordinator.json")).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let coordinator = format!("/proc/{}", ready["pid"]);
    assert!(!Path::new(&coordinator).exists(), "the coordinator still runs");
    let entries = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(entries, 1, "files outside the demo's folder");
}

fn assert_no_error_lines(logs: &Path) {
    for entry in std::fs::read_dir(logs).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let is_error = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
        let errors: Vec<&str> = text.lines().filter(is_error).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn a_folder_with_other_things_in_it_is_refused() {
    let dir = tempfile::tempdir_in(scratch_dir()).unwrap();
    std::fs::write(dir.path().join("mine.txt"), "mine").unwrap();
    let output = run_saltlake(&["demo", "--exit", "--dir", "."], dir.path());
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
