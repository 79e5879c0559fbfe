//! Where the files of the suite are, and a lake with the data they read.

use crate::harness::{copy_folder, scratch_dir, source_root};
use crate::lake::Lake;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate that holds the files; the version of the engine in `Cargo.toml`.
const PACKAGE: &str = "datafusion-sqllogictest";
const VERSION: &str = "55.2.0";

/// Folders whose files are about something else, and why.
pub const OTHER_FOLDERS: [(&str, &str); 2] = [
    ("spark/", "functions of Spark, which are not offered"),
    ("tpch/", "TPC-H, which tests/slt/tpch checks against PostgreSQL"),
];

/// The files of the suite.
pub struct Suite {
    files: PathBuf,
    lake: Lake,
}

impl Suite {
    /// Lets cargo fetch the crate unless it has it, and makes the lake.
    ///
    /// # Errors
    /// When the crate cannot be fetched, with the reason.
    pub fn find() -> Result<Self, String> {
        let files = package_folder()?.join("test_files");
        let lake = Lake::empty();
        let data = source_root().join("tests/slt/datafusion/data");
        copy_folder(&data, lake.path());
        let root = lake.path().join("datafusion/sqllogictest");
        std::fs::create_dir_all(root.join("test_files/scratch")).unwrap();
        Ok(Self { files, lake })
    }

    /// Returns the folder that stands for DataFusion's checkout.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Returns the lake's root: the folder that paths in the files are relative to.
    pub fn root(&self) -> PathBuf {
        self.lake.path().join("datafusion/sqllogictest")
    }

    /// Returns the files with their names inside the suite, sorted; those of [`OTHER_FOLDERS`] are left out.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let mut found = vec![];
        let mut folders = vec![self.files.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "slt") {
                    found.push((self.name_of(&path), path));
                }
            }
        }
        found.retain(|(name, _)| !OTHER_FOLDERS.iter().any(|(folder, _)| name.starts_with(folder)));
        found.sort();
        found
    }

    /// Returns a file's name inside the suite, such as `string/string.slt`.
    pub fn name_of(&self, path: &Path) -> String {
        path.strip_prefix(&self.files).unwrap_or(path).display().to_string()
    }
}

/// Returns the folder of the crate's source in cargo's registry.
fn package_folder() -> Result<PathBuf, String> {
    let folder = scratch_dir().join("datafusion-suite");
    std::fs::create_dir_all(folder.join("src")).map_err(|e| e.to_string())?;
    std::fs::write(folder.join("src/lib.rs"), "").map_err(|e| e.to_string())?;
    let manifest = folder.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"suite\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         {PACKAGE} = {{ version = \"={VERSION}\", default-features = false }}\n"
    );
    // Written once: a newer manifest would make cargo resolve again.
    if std::fs::read_to_string(&manifest).ok().as_deref() != Some(&text) {
        std::fs::write(&manifest, text).map_err(|e| e.to_string())?;
    }
    let find = |offline: bool| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["metadata", "--format-version=1", "--manifest-path"]).arg(&manifest);
        command.args(offline.then_some("--offline"));
        let output = command.output().map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!("{PACKAGE}: {}", String::from_utf8_lossy(&output.stderr))),
        }
    };
    let metadata = find(true).or_else(|_| find(false))?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata).map_err(|e| e.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata without packages")?;
    let package = packages.iter().find(|package| package["name"] == PACKAGE);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
    folder.map(Path::to_path_buf).ok_or_else(|| format!("cargo does not know {PACKAGE}"))
}
