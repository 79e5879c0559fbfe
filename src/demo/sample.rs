//! The sample data that the binary carries, and the lake it becomes.
//!
//! Embedded, so that the demo works from any folder and without the source tree. `data/README.md` says where every
//! file comes from.

use crate::shell::diagnostic::Failure;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file that tells a demo's folder from any other.
const MARKER: &str = ".saltlake-demo";

/// One file of the lake.
struct SampleFile {
    /// Path under the lake's root.
    path: &'static str,
    bytes: &'static [u8],
}

macro_rules! sample_files {
    ($($path:literal from $source:literal,)*) => {
        &[$(SampleFile {
            path: $path,
            bytes: include_bytes!(concat!("../../data/sample/", $source)),
        },)*]
    };
}

const FILES: &[SampleFile] = sample_files! {
    "trips/yellow_tripdata_2019-01.parquet" from "taxi/trips/yellow_tripdata_2019-01.parquet",
    "trips/yellow_tripdata_2019-02.parquet" from "taxi/trips/yellow_tripdata_2019-02.parquet",
    "trips/yellow_tripdata_2019-03.parquet" from "taxi/trips/yellow_tripdata_2019-03.parquet",
    "trips/yellow_tripdata_2019-04.parquet" from "taxi/trips/yellow_tripdata_2019-04.parquet",
    "trips/yellow_tripdata_2019-05.parquet" from "taxi/trips/yellow_tripdata_2019-05.parquet",
    "trips/yellow_tripdata_2019-06.parquet" from "taxi/trips/yellow_tripdata_2019-06.parquet",
    "trips/yellow_tripdata_2019-07.parquet" from "taxi/trips/yellow_tripdata_2019-07.parquet",
    "trips/yellow_tripdata_2019-08.parquet" from "taxi/trips/yellow_tripdata_2019-08.parquet",
    "trips/yellow_tripdata_2019-09.parquet" from "taxi/trips/yellow_tripdata_2019-09.parquet",
    "trips/yellow_tripdata_2019-10.parquet" from "taxi/trips/yellow_tripdata_2019-10.parquet",
    "trips/yellow_tripdata_2019-11.parquet" from "taxi/trips/yellow_tripdata_2019-11.parquet",
    "trips/yellow_tripdata_2019-12.parquet" from "taxi/trips/yellow_tripdata_2019-12.parquet",
    "zones.parquet" from "taxi/zones.parquet",
    "vendors.parquet" from "taxi/vendors.parquet",
    "debian/deps.parquet" from "debian/deps.parquet",
};

/// Where the demo keeps its files.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Returns the root of the lake.
    pub fn lake(&self) -> PathBuf {
        self.dir.join("lake")
    }

    /// Returns the folder of the processes' logs.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Returns one line about the lake.
    pub fn describe(&self) -> String {
        let n_bytes: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        let megabytes = n_bytes as f64 / 1e6;
        format!("{} ({} Parquet files, {megabytes:.1} MB)", self.lake().display(), FILES.len())
    }
}

/// Writes the lake into `dir`. What an earlier demo left there is replaced.
///
/// # Errors
/// [`Failure::Usage`] when `dir` holds something that is no demo, or cannot be written.
pub fn lay_out(dir: &Path) -> Result<Layout, Failure> {
    let marker = dir.join(MARKER);
    let is_foreign =
        !marker.exists() && fs::read_dir(dir).is_ok_and(|mut list| list.next().is_some());
    if is_foreign {
        return Err(Failure::usage(format!(
            "{} is not empty and not a demo's folder; name another with --dir",
            dir.display()
        )));
    }
    write_all(dir)
        .map_err(|error| Failure::usage(format!("cannot write to {}: {error}", dir.display())))
}

fn write_all(dir: &Path) -> io::Result<Layout> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(MARKER), "made by `saltlake demo`; may be deleted\n")?;
    let layout = Layout { dir: fs::canonicalize(dir)? };
    for folder in [layout.lake(), layout.logs()] {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
    }
    for file in FILES {
        let path = layout.lake().join(file.path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(path, file.bytes)?;
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lake_is_laid_out_twice_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("demo");
        let layout = lay_out(&target).expect("first");
        fs::write(layout.lake().join("left_over.parquet"), "x").expect("a left-over");
        let layout = lay_out(&target).expect("again");
        assert!(!layout.lake().join("left_over.parquet").exists());
        assert_eq!(fs::read_dir(layout.lake().join("trips")).expect("trips").count(), 12);
    }

    #[test]
    fn a_foreign_folder_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("mine.txt"), "mine").expect("a file");
        let failure = lay_out(dir.path()).expect_err("refused");
        assert_eq!(failure.exit_code(), 2);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "nothing was added");
    }

    #[test]
    fn every_embedded_file_is_parquet() {
        for file in FILES {
            assert!(
                file.bytes.starts_with(b"PAR1") && file.bytes.ends_with(b"PAR1"),
                "{}",
                file.path
            );
        }
    }
}
