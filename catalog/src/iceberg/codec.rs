//! How scans of Iceberg and Delta tables travel to workers.
//!
//! DataFusion's own wire form of a Parquet scan knows neither deletes nor field ids: it would arrive whole and bring
//! deleted rows back. So the scan is written as DataFusion writes it, and next to it what must not be lost. The codec
//! fails closed: it refuses to write a scan of which anything is missing, and to read one that does not add up; a scan
//! that meets no codec cannot be written at all, because [`super::source`] has no wire form of its own.

use super::apply::DeleteCaches;
use super::block::DeleteKind;
use super::facade;
use super::reserved::Reserved;
use super::scan::{ColumnRule, FileInfo, ScanDelete, ScanSpec};
use super::source::TableSource;
use super::wire;
use crate::delta;
use crate::readers::with_readers;
use crate::services::vended::{CredentialSource, Keys, Reach, Shipment, VendedStores};
use crate::store::StoreOptions;
use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err, internal_err};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use datafusion_proto::physical_plan::{
    DefaultPhysicalExtensionCodec, PhysicalExtensionCodec, PhysicalPlanNodeExt,
    PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use object_store::path::Path;
use prost::Message;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The form of the message. Coordinator and workers are of one version; a message of another form is refused.
const FORM: u32 = 0x1ceb_0003;

#[derive(Clone, PartialEq, Message)]
struct ScanMessage {
    #[prost(fixed32, tag = "1")]
    form: u32,
    /// The scan as DataFusion writes it.
    #[prost(bytes = "vec", tag = "2")]
    parquet: Vec<u8>,
    #[prost(string, tag = "3")]
    schema: String,
    #[prost(string, repeated, tag = "4")]
    older_schemas: Vec<String>,
    #[prost(string, optional, tag = "5")]
    mapping: Option<String>,
    #[prost(string, tag = "6")]
    store_key: String,
    #[prost(message, repeated, tag = "7")]
    deletes: Vec<DeleteMessage>,
    /// In the order of the scan's files.
    #[prost(message, repeated, tag = "8")]
    files: Vec<FileMessage>,
    /// 0 for an Iceberg table, 1 for a Delta table; then `schema` is what [`delta::Columns`] reads.
    #[prost(uint32, tag = "9")]
    format: u32,
    /// With credentials that a catalog service gave.
    #[prost(message, optional, tag = "10")]
    vended: Option<StoreMessage>,
    /// Metadata columns of the scan, as an Iceberg schema, whatever the format.
    #[prost(string, optional, tag = "11")]
    reserved: Option<String>,
}

/// An object store and the credentials that open it. It holds secrets, so it does not print them.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct StoreMessage {
    #[prost(string, tag = "1")]
    url: String,
    #[prost(string, tag = "2")]
    bucket: String,
    #[prost(string, optional, tag = "3")]
    endpoint: Option<String>,
    #[prost(string, tag = "4")]
    region: String,
    #[prost(bool, tag = "5")]
    virtual_hosted: bool,
    #[prost(string, tag = "6")]
    key_id: String,
    #[prost(string, tag = "7")]
    secret: String,
    #[prost(string, optional, tag = "8")]
    token: Option<String>,
    #[prost(uint64, optional, tag = "9")]
    ends_at_ms: Option<u64>,
}

impl fmt::Debug for StoreMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreMessage").field(&self.url).finish()
    }
}

#[derive(Clone, PartialEq, Message)]
struct DeleteMessage {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(uint64, tag = "3")]
    n_rows: u64,
    /// 0 position deletes, 1 equality deletes, 2 a deletion vector, 3 one that is `bitmap`.
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(int32, repeated, tag = "5")]
    ids: Vec<i32>,
    #[prost(uint64, tag = "6")]
    offset: u64,
    #[prost(uint64, tag = "7")]
    length: u64,
    #[prost(bytes = "vec", tag = "8")]
    bitmap: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct FileMessage {
    #[prost(string, tag = "1")]
    location: String,
    #[prost(uint64, tag = "2")]
    n_rows: u64,
    #[prost(uint32, repeated, tag = "3")]
    deletes: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    constants: Vec<ConstantMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ConstantMessage {
    #[prost(int32, tag = "1")]
    id: i32,
    #[prost(message, optional, tag = "2")]
    value: Option<protobuf::ScalarValue>,
}

/// Writes and reads scans of Iceberg and Delta tables. What workers read from delete files is kept with it.
#[derive(Debug, Clone, Default)]
pub struct ScanCodec {
    caches: Arc<DeleteCaches>,
    vended: VendedStores,
}

impl ScanCodec {
    pub(crate) fn new(caches: Arc<DeleteCaches>, vended: VendedStores) -> Self {
        Self { caches, vended }
    }

    /// Returns the codec of a worker, which reaches object stores as these options say, and asks `source` for credentials
    /// that end before its tasks.
    pub fn for_worker(stores: &StoreOptions, source: Arc<dyn CredentialSource>) -> Self {
        Self { caches: Arc::default(), vended: VendedStores::for_worker(stores, source) }
    }
}

impl PhysicalExtensionCodec for ScanCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let message = ScanMessage::decode(buf).map_err(|error| {
            internal_datafusion_err!("not a scan of a table with metadata: {error}")
        })?;
        if message.form != FORM || !inputs.is_empty() {
            return internal_err!("not a scan of a table with metadata, of this version");
        }
        // Reading the scan looks its store up, so the store must be known before.
        let vended = message.vended.as_ref().map(|store| {
            let store = self.vended.accept(&ctx.runtime_env(), decode_store(store));
            store.map_err(wire::error)
        });
        let vended = vended.transpose()?;
        let node = protobuf::PhysicalPlanNode::decode(message.parquet.as_slice())
            .map_err(|error| internal_datafusion_err!("not a Parquet scan: {error}"))?;
        let codec = DefaultPhysicalExtensionCodec {};
        let plan = node.try_into_physical_plan_with_converter(ctx, &codec, proto_converter)?;
        let Some(config) = scan_of(&plan) else {
            return internal_err!("a scan of a table without its Parquet scan");
        };
        let counted = with_readers(config, &ctx.runtime_env(), true)?;
        let Some(mut config) = counted else {
            return internal_err!("a scan of a table without its Parquet scan");
        };
        config.file_groups = with_infos(&config.file_groups, &message)?;
        let mut scan = ScanSpec { vended, ..decode_spec(&message)? };
        if let Some(json) = &message.reserved {
            let reserved = Reserved::parse(json).map_err(wire::error)?;
            scan.schema = reserved.added_to(&scan.schema);
            scan.reserved = Some(Arc::new(reserved));
        }
        let scan = Arc::new(scan);
        let parquet = Arc::clone(&config.file_source);
        config.file_source = Arc::new(TableSource::new(parquet, scan, Arc::clone(&self.caches)));
        Ok(DataSourceExec::from_data_source(config))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let found = scan_of(&node)
            .and_then(|config| Some((config, config.file_source.downcast_ref::<TableSource>()?)));
        let Some((config, source)) = found else {
            return internal_err!("{} is not a scan of a table with metadata", node.name());
        };
        let mut parquet = config.clone();
        parquet.file_source = Arc::clone(source.parquet());
        let files = config.file_groups.iter().flat_map(|group| group.files());
        let infos = files.map(|file| {
            file.extensions.get_arc::<FileInfo>().ok_or_else(|| {
                let path = &file.object_meta.location;
                internal_datafusion_err!("the deletes of file {path} would be lost")
            })
        });
        let infos = infos.collect::<Result<Vec<_>>>()?;
        let node = protobuf::PhysicalPlanNode::try_from_physical_plan_with_converter(
            DataSourceExec::from_data_source(parquet),
            &DefaultPhysicalExtensionCodec {},
            proto_converter,
        )?;
        let message = encode(source.scan(), &infos, node.encode_to_vec())?;
        message.encode(buf).map_err(|error| internal_datafusion_err!("{error}"))
    }
}

fn scan_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// Writes a scan, with those delete files only that its files need.
fn encode(scan: &ScanSpec, infos: &[Arc<FileInfo>], parquet: Vec<u8>) -> Result<ScanMessage> {
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut deletes = vec![];
    let mut files = Vec::with_capacity(infos.len());
    for info in infos {
        let mut own = Vec::with_capacity(info.deletes.len());
        for number in &info.deletes {
            let new = match numbers.get(number) {
                Some(new) => *new,
                None => {
                    let delete = scan.deletes.get(*number as usize).ok_or_else(|| {
                        internal_datafusion_err!("delete file {number} would be lost")
                    })?;
                    let new = u32::try_from(deletes.len()).unwrap_or(u32::MAX);
                    deletes.push(encode_delete(delete));
                    numbers.insert(*number, new);
                    new
                }
            };
            own.push(new);
        }
        let constants = info.constants.iter().map(|(id, value)| {
            let value = value.try_into().map_err(DataFusionError::from)?;
            Ok(ConstantMessage { id: *id, value: Some(value) })
        });
        files.push(FileMessage {
            location: info.location.clone(),
            n_rows: info.n_rows,
            deletes: own,
            constants: constants.collect::<Result<_>>()?,
        });
    }
    Ok(ScanMessage {
        form: FORM,
        parquet,
        schema: scan.schema.json.clone(),
        older_schemas: scan.older_schemas.iter().map(|schema| schema.json.clone()).collect(),
        mapping: scan.mapping_json.clone(),
        store_key: scan.store_key.clone(),
        deletes,
        files,
        format: u32::from(scan.rule != ColumnRule::Iceberg),
        reserved: scan.reserved.as_ref().map(|reserved| reserved.json.clone()),
        vended: scan.vended.as_ref().map(|store| encode_store(store.ship())),
    })
}

fn encode_store(shipment: Shipment) -> StoreMessage {
    let Shipment { url, reach, keys } = shipment;
    let ms = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    };
    StoreMessage {
        url,
        bucket: reach.bucket,
        endpoint: reach.endpoint,
        region: reach.region,
        virtual_hosted: reach.virtual_hosted,
        key_id: keys.id,
        secret: keys.secret,
        token: keys.token,
        ends_at_ms: keys.ends_at.map(ms),
    }
}

fn decode_store(message: &StoreMessage) -> Shipment {
    let message = message.clone();
    Shipment {
        url: message.url,
        reach: Reach {
            bucket: message.bucket,
            endpoint: message.endpoint,
            region: message.region,
            virtual_hosted: message.virtual_hosted,
        },
        keys: Keys {
            id: message.key_id,
            secret: message.secret,
            token: message.token,
            ends_at: message.ends_at_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
        },
    }
}

fn encode_delete(delete: &ScanDelete) -> DeleteMessage {
    let mut message = DeleteMessage {
        path: delete.path.to_string(),
        size: delete.size,
        n_rows: delete.n_rows,
        ..DeleteMessage::default()
    };
    match &delete.kind {
        DeleteKind::Position => message.kind = 0,
        DeleteKind::Equality(ids) => (message.kind, message.ids) = (1, ids.clone()),
        DeleteKind::Vector { offset, length } => {
            (message.kind, message.offset, message.length) = (2, *offset, *length);
        }
        DeleteKind::Inline(bitmap) => (message.kind, message.bitmap) = (3, bitmap.to_vec()),
    }
    message
}

fn decode_spec(message: &ScanMessage) -> Result<ScanSpec> {
    let delete = |delete: &DeleteMessage| {
        let kind = match delete.kind {
            0 => DeleteKind::Position,
            1 => DeleteKind::Equality(delete.ids.clone()),
            2 => DeleteKind::Vector { offset: delete.offset, length: delete.length },
            3 => DeleteKind::Inline(delete.bitmap.as_slice().into()),
            kind => return internal_err!("unknown kind {kind} of a delete file"),
        };
        let path = Path::parse(&delete.path)
            .map_err(|error| internal_datafusion_err!("path of a delete file: {error}"))?;
        Ok(ScanDelete { path, size: delete.size, kind, n_rows: delete.n_rows })
    };
    let deletes = message.deletes.iter().map(delete).collect::<Result<_>>()?;
    let store_key = message.store_key.clone();
    match message.format {
        0 => {}
        1 => return Ok(delta::Columns::parse(&message.schema)?.scan(deletes, store_key)),
        format => return internal_err!("unknown format {format} of a table"),
    }
    let schema =
        |json: &String| facade::parse_schema(json).map(Arc::new).map_err(DataFusionError::from);
    let mapping = message.mapping.as_deref().map(facade::parse_name_mapping).transpose()?;
    Ok(ScanSpec {
        rule: ColumnRule::Iceberg,
        schema: schema(&message.schema)?,
        older_schemas: message.older_schemas.iter().map(schema).collect::<Result<_>>()?,
        mapping_json: message.mapping.clone(),
        mapping: mapping.map(Arc::new),
        deletes,
        store_key,
        vended: None,
        reserved: None,
    })
}

/// Gives each file of a scan back what is known of it.
fn with_infos(groups: &[FileGroup], message: &ScanMessage) -> Result<Vec<FileGroup>> {
    let n_files: usize = groups.iter().map(|group| group.files().len()).sum();
    if n_files != message.files.len() {
        return internal_err!("a scan of {n_files} files knows of {}", message.files.len());
    }
    let mut known = message.files.iter();
    let mut with_info = |group: &FileGroup| {
        let mut files = group.files().to_vec();
        for file in &mut files {
            let Some(info) = known.next() else { return internal_err!("too few files") };
            file.extensions.insert(decode_file(info, message.deletes.len())?);
        }
        Ok(FileGroup::new(files))
    };
    groups.iter().map(&mut with_info).collect()
}

fn decode_file(message: &FileMessage, n_deletes: usize) -> Result<FileInfo> {
    if let Some(unknown) = message.deletes.iter().find(|delete| **delete as usize >= n_deletes) {
        return internal_err!("a scan without its delete file {unknown}");
    }
    let constant = |constant: &ConstantMessage| {
        let value = constant.value.as_ref();
        let value = value.ok_or_else(|| internal_datafusion_err!("a constant without a value"))?;
        let value: ScalarValue = value.try_into().map_err(DataFusionError::from)?;
        Ok((constant.id, value))
    };
    let constants: HashMap<_, _> = message.constants.iter().map(constant).collect::<Result<_>>()?;
    Ok(FileInfo {
        location: message.location.clone(),
        n_rows: message.n_rows,
        deletes: message.deletes.clone(),
        constants: Arc::new(constants),
    })
}
