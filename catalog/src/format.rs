//! Which files are data, in which format, and how DataFusion is told to read them.
//!
//! A file's format is known by its name alone: `.parquet .pq`, `.csv .tsv`, `.json .ndjson .jsonl`, the text formats
//! also with `.gz .bz2 .xz .zst`. Names that begin with `.` or `_` are no data (`_SUCCESS`, `_metadata`, checksums,
//! unfinished uploads). The first row of a CSV file is its header unless a definition says otherwise.

use crate::error::{Error, Result};
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::config::{ConfigFileType, TableOptions};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Rows of a CSV or JSON file that are read to find the types of its columns.
pub(crate) const INFER_ROWS: usize = 10_000;

/// A kind of data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Apache Parquet.
    Parquet,
    /// Text with delimiters, by default a comma.
    Csv,
    /// One JSON object a line.
    Json,
    /// An Apache Iceberg table, whose metadata say which files are its data.
    Iceberg,
    /// A Delta Lake table, whose log says which files are its data.
    Delta,
}

impl FileKind {
    /// Returns the kind a `STORED AS` clause names.
    ///
    /// # Errors
    /// [`Error::NotSupported`] for any other word.
    pub fn parse(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "parquet" => Ok(Self::Parquet),
            "csv" | "tsv" => Ok(Self::Csv),
            "json" | "ndjson" | "jsonl" => Ok(Self::Json),
            "iceberg" => Ok(Self::Iceberg),
            "delta" | "deltatable" => Ok(Self::Delta),
            _ => Err(Error::NotSupported { feature: format!("the file format \"{name}\"") }),
        }
    }

    /// Returns whether tables of this kind have metadata of their own, which say what their columns and files are.
    pub(crate) fn has_metadata(self) -> bool {
        matches!(self, Self::Iceberg | Self::Delta)
    }

    /// Returns the name that the catalog shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Iceberg => "iceberg",
            Self::Delta => "delta",
        }
    }
}

/// What a file's name says about its content. All files of a table agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileFlavor {
    pub(crate) kind: FileKind,
    pub(crate) compression: Compression,
    pub(crate) is_tab_separated: bool,
}

/// How a text file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "gz" => Some(Self::Gzip),
            "bz2" => Some(Self::Bzip2),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    fn variant(self) -> CompressionTypeVariant {
        match self {
            Self::None => CompressionTypeVariant::UNCOMPRESSED,
            Self::Gzip => CompressionTypeVariant::GZIP,
            Self::Bzip2 => CompressionTypeVariant::BZIP2,
            Self::Xz => CompressionTypeVariant::XZ,
            Self::Zstd => CompressionTypeVariant::ZSTD,
        }
    }
}

impl fmt::Display for FileFlavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_tab_separated { "tsv" } else { self.kind.name() };
        write!(f, "{kind}{}", self.compression.suffix())
    }
}

impl FileFlavor {
    /// The flavor of files whose names say nothing.
    pub(crate) fn plain(kind: FileKind) -> Self {
        Self { kind, compression: Compression::None, is_tab_separated: false }
    }

    /// Splits a file name into table name and flavor; `None` when it is no data file.
    pub(crate) fn of_file(name: &str) -> Option<(&str, Self)> {
        if is_hidden(name) {
            return None;
        }
        let (stem, suffix) = name.rsplit_once('.')?;
        let (stem, suffix, compression) = match Compression::of_suffix(&suffix.to_ascii_lowercase())
        {
            Some(compression) => {
                let (stem, suffix) = stem.rsplit_once('.')?;
                (stem, suffix, compression)
            }
            None => (stem, suffix, Compression::None),
        };
        let suffix = suffix.to_ascii_lowercase();
        let kind = match suffix.as_str() {
            "parquet" | "pq" if compression == Compression::None => FileKind::Parquet,
            "csv" | "tsv" => FileKind::Csv,
            "json" | "ndjson" | "jsonl" => FileKind::Json,
            _ => return None,
        };
        let flavor = Self { kind, compression, is_tab_separated: suffix == "tsv" };
        (!stem.is_empty()).then_some((stem, flavor))
    }
}

/// Returns whether a file or folder is invisible to the lake.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// Splits a `key=value` folder name; `None` when it is none.
pub(crate) fn partition_of_folder(name: &str) -> Option<(&str, &str)> {
    if is_hidden(name) {
        return None;
    }
    name.split_once('=').filter(|(key, _)| !key.is_empty())
}

/// Brings the keys of `OPTIONS (…)` into one form: lowercase, without the prefix `format.`, aliases resolved.
pub(crate) fn normalize_options<'a>(
    options: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let normalize = |(key, value): (&String, &String)| {
        let key = key.to_ascii_lowercase();
        let key = key.strip_prefix("format.").unwrap_or(&key);
        let key = if key == "header" { "has_header" } else { key };
        let value = if key == "delimiter" && value == "\\t" { "\t" } else { value };
        (key.to_owned(), value.to_owned())
    };
    options.into_iter().map(normalize).collect()
}

/// Returns DataFusion's reader for a flavor, with a definition's options on top of the session's.
///
/// # Errors
/// When an option is unknown or its value is not understood.
pub(crate) fn reader(
    flavor: FileFlavor,
    options: &BTreeMap<String, String>,
    session_options: TableOptions,
) -> Result<Arc<dyn FileFormat>> {
    let mut table = session_options;
    match flavor.kind {
        FileKind::Parquet => {
            table.set_config_format(ConfigFileType::PARQUET);
            apply(&mut table, options)?;
            Ok(Arc::new(ParquetFormat::default().with_options(table.parquet)))
        }
        FileKind::Csv => {
            table.set_config_format(ConfigFileType::CSV);
            table.csv.has_header = Some(true);
            table.csv.schema_infer_max_rec = Some(INFER_ROWS);
            table.csv.compression = flavor.compression.variant();
            if flavor.is_tab_separated {
                table.csv.delimiter = b'\t';
            }
            apply(&mut table, options)?;
            Ok(Arc::new(CsvFormat::default().with_options(table.csv)))
        }
        FileKind::Json => {
            table.set_config_format(ConfigFileType::JSON);
            table.json.schema_infer_max_rec = Some(INFER_ROWS);
            table.json.compression = flavor.compression.variant();
            apply(&mut table, options)?;
            Ok(Arc::new(JsonFormat::default().with_options(table.json)))
        }
        FileKind::Iceberg | FileKind::Delta => Err(Error::NotSupported {
            feature: format!("a table of the format \"{}\" inside another", flavor.kind.name()),
        }),
    }
}

fn apply(table: &mut TableOptions, options: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in options {
        datafusion::config::ConfigField::set(table, &format!("format.{key}"), value).map_err(
            |e| Error::InvalidDefinition {
                name: key.clone(),
                message: e.strip_backtrace().lines().next().unwrap_or_default().to_owned(),
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, expected: Option<(&str, &str)>) {
        let found = FileFlavor::of_file(file).map(|(stem, flavor)| (stem, flavor.to_string()));
        assert_eq!(found, expected.map(|(stem, flavor)| (stem, flavor.to_owned())), "{file}");
    }

    #[test]
    fn names_tell_formats() {
        check("trips.parquet", Some(("trips", "parquet")));
        check("trips.pq", Some(("trips", "parquet")));
        check("Trips.v2.CSV", Some(("Trips.v2", "csv")));
        check("t.csv.gz", Some(("t", "csv.gz")));
        check("t.tsv.zst", Some(("t", "tsv.zst")));
        check("t.jsonl.bz2", Some(("t", "json.bz2")));
        check("t.ndjson", Some(("t", "json")));
        check("t.json.xz", Some(("t", "json.xz")));
        check("t.parquet.gz", None);
        check("t.gz", None);
        check("README.md", None);
        check("parquet", None);
        check(".parquet", None);
        check("_metadata.parquet", None);
        check(".t.parquet.crc", None);
    }

    #[test]
    fn options_are_normalized_and_checked() {
        let given: BTreeMap<String, String> = [("format.header", "false"), ("DELIMITER", "\\t")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let options = normalize_options(&given);
        assert_eq!(options["has_header"], "false");
        assert_eq!(options["delimiter"], "\t");
        let csv = FileFlavor::plain(FileKind::Csv);
        let format = reader(csv, &options, TableOptions::default()).unwrap();
        let csv_format = (*format).downcast_ref::<CsvFormat>().unwrap();
        assert_eq!((csv_format.delimiter(), csv_format.has_header()), (b'\t', Some(false)));
        let unknown = [("nonsense".to_owned(), "1".to_owned())].into();
        let error = reader(csv, &unknown, TableOptions::default()).unwrap_err();
        assert!(matches!(&error, Error::InvalidDefinition { name, .. } if name == "nonsense"));
    }
}
