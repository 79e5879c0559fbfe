//! Reads the columns of single data files.
//!
//! Parquet: from the footer, which DataFusion then keeps for the scan. CSV: DataFusion's inference over the first rows.
//! JSON: over the first rows and at most [`MAX_JSON_BYTES`], columns in the order they first appear. Numbers that only
//! later rows contradict fail when they are read; a definition with declared columns is the way out.

use crate::error::{Error, Result};
use crate::format::{FileKind, INFER_ROWS};
use crate::json_array::is_array;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::reader::{infer_json_schema, infer_json_schema_from_iterator};
use datafusion::catalog::Session;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::DataFusionError;
use futures::FutureExt;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Bytes of a JSON file, uncompressed, that are read to find its columns.
const MAX_JSON_BYTES: usize = 8 << 20;

/// Returns the columns of one file.
///
/// # Errors
/// [`Error::CorruptFile`] naming the file when its format is broken.
pub(crate) async fn infer_file(
    kind: FileKind,
    format: &Arc<dyn FileFormat>,
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
) -> Result<SchemaRef> {
    let inferred = match (kind, (**format).downcast_ref::<CsvFormat>()) {
        (FileKind::Json, _) => infer_json(format, store, meta).await,
        (FileKind::Csv, Some(csv)) => infer_csv(csv, session, store, meta).await,
        _ => {
            let read = format.infer_schema(session, store, std::slice::from_ref(meta));
            // A mangled footer makes the Parquet reader of arrow 59 panic where overflow is checked.
            let read = AssertUnwindSafe(read).catch_unwind().await;
            read.unwrap_or_else(|_| {
                let message = "its footer cannot be read".to_string();
                Err(Error::CorruptFile { path: meta.location.to_string(), message }.into())
            })
        }
    };
    inferred.map_err(|error| Error::from_reading(&meta.location, error))
}

/// Unlike the format's own `infer_schema`, keeps columns of the same name apart, for the merge to refuse them.
async fn infer_csv(
    csv: &CsvFormat,
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
) -> Result<SchemaRef, DataFusionError> {
    let stream = store.get(&meta.location).await?.into_stream();
    let rows =
        csv.read_to_delimited_chunks_from_stream(stream.map_err(DataFusionError::from).boxed());
    let n_rows = csv.options().schema_infer_max_rec.unwrap_or(INFER_ROWS);
    let (schema, _) = csv.infer_schema_from_stream(session, n_rows, rows).await?;
    Ok(Arc::new(schema))
}

async fn infer_json(
    format: &Arc<dyn FileFormat>,
    store: &Arc<dyn ObjectStore>,
    meta: &ObjectMeta,
) -> Result<SchemaRef, DataFusionError> {
    let compression = format.compression_type().unwrap_or(FileCompressionType::UNCOMPRESSED);
    let stream = store.get(&meta.location).await?.into_stream();
    let mut stream = compression.convert_stream(stream.map_err(DataFusionError::from).boxed())?;
    let mut head: Vec<u8> = vec![];
    while head.len() < MAX_JSON_BYTES
        && let Some(chunk) = stream.try_next().await?
    {
        head.extend_from_slice(&chunk);
    }
    let is_cut = stream.try_next().await?.is_some();
    if is_array(format) {
        let broken = |error: serde_json::Error| ArrowError::JsonError(error.to_string());
        let rows: Vec<Value> = elements(&head, is_cut).map_err(broken)?;
        let schema = infer_json_schema_from_iterator(rows.iter().map(Ok))?;
        let keys = elements(&head, is_cut).map_err(broken)?;
        return Ok(Arc::new(in_order_of_appearance(&schema, keys)));
    }
    if is_cut {
        // The last row may be cut in the middle.
        let end = head.iter().rposition(|byte| *byte == b'\n').map_or(0, |idx| idx + 1);
        head.truncate(end);
    }
    let (schema, _) = infer_json_schema(head.as_slice(), Some(INFER_ROWS))?;
    let keys = serde_json::Deserializer::from_slice(&head).into_iter::<Keys>();
    let keys = keys.take(INFER_ROWS).map_while(std::result::Result::ok);
    Ok(Arc::new(in_order_of_appearance(&schema, keys)))
}

fn in_order_of_appearance(schema: &Schema, rows: impl IntoIterator<Item = Keys>) -> Schema {
    let mut order: HashMap<String, usize> = HashMap::new();
    for Keys(keys) in rows {
        for key in keys {
            let next = order.len();
            order.entry(key).or_insert(next);
        }
    }
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.sort_by_key(|field| order.get(field.name()).copied().unwrap_or(usize::MAX));
    Schema::new(fields)
}

/// Returns the first elements of a JSON array, of which the end is missing when it `is_cut`.
///
/// # Errors
/// When the text is no array of such elements.
fn elements<T: DeserializeOwned>(text: &[u8], is_cut: bool) -> serde_json::Result<Vec<T>> {
    /// Keeps what was read when a later element fails.
    struct Elements<'a, T>(&'a mut Vec<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<'_, T> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
            while self.0.len() < INFER_ROWS {
                let Some(element) = seq.next_element()? else { return Ok(()) };
                self.0.push(element);
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(())
        }
    }

    let mut found = vec![];
    match serde_json::Deserializer::from_slice(text).deserialize_seq(Elements(&mut found)) {
        Err(error) if !(is_cut && error.is_eof()) => Err(error),
        _ => Ok(found),
    }
}

/// The keys of a JSON object in the order of the text.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Keys, A::Error> {
                let mut keys = vec![];
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(KeysVisitor)
    }
}
