//! Finds tables and schemas in the folders of a lake: what is there now is what exists.
//!
//! ```text
//! LAKE/trips/*.parquet        public.trips      folder with data files, or with key=value folders
//! LAKE/zones.csv              public.zones      single file
//! LAKE/nyc/trips/*.parquet    nyc.trips         folder that holds table folders: a schema
//! LAKE/nyc/zones.csv          nyc.zones         single file in a schema
//! LAKE/nyc/rides/metadata/    nyc.rides         folder with an Iceberg table's metadata
//! LAKE/nyc/fares/_delta_log/  nyc.fares         folder with a Delta table's log
//! ```
//!
//! A folder with data files only is listed as one table; `nyc.zones` then still finds `LAKE/nyc/zones.csv`. `CREATE SCHEMA
//! nyc` makes the folder a schema for good, and `LAKE/public/` adds to the schema `public`. Deeper folders, hidden names
//! and empty files are no tables. Names are taken as they are, case included.

mod memory;
mod places;

use crate::delta::LOG_FOLDER;
use crate::error::{Error, Result};
use crate::format::{FileFlavor, FileKind, is_hidden, partition_of_folder};
use crate::iceberg::{METADATA_FOLDER, is_metadata_file};
use futures::{StreamExt, TryStreamExt, stream};
use memory::{Memory, Opened};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore};
use places::Places;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

/// The schema of tables directly under the root.
pub(crate) const PUBLIC: &str = "public";
/// Schemas that frontends and the engine provide. A folder of that name is no schema.
pub(crate) const RESERVED_SCHEMAS: [&str; 3] = ["information_schema", "pg_catalog", "system"];
/// Folders that are listed at the same time.
const LIST_CONCURRENCY: usize = 16;
/// Nested `key=value` folders that are entered to find a table's format.
const MAX_PARTITION_DEPTH: usize = 16;

/// A table found in the lake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) path: Path,
    pub(crate) is_folder: bool,
    pub(crate) kind: Option<FileKind>,
}

/// Everything that a lake holds.
#[derive(Debug)]
pub(crate) struct Discovered {
    /// Every table that is listed, sorted.
    pub(crate) tables: Vec<Found>,
    /// Every folder that is a schema.
    pub(crate) schemas: BTreeSet<String>,
}

/// What a folder holds, one level deep.
struct Folder {
    path: Path,
    /// Table name, flavor and path of each data file.
    files: Vec<(String, FileFlavor, Path)>,
    /// Name and path of each ordinary folder.
    folders: Vec<(String, Path)>,
    partitions: Vec<Path>,
    /// The kind of table whose metadata it holds. Then its other folders are the table's own.
    owner: Option<FileKind>,
}

impl Folder {
    fn is_table(&self) -> bool {
        self.owner.is_some() || !self.files.is_empty() || !self.partitions.is_empty()
    }

    fn of_listing(path: Path, listing: ListResult) -> Self {
        let data = |meta: &ObjectMeta| {
            let (stem, flavor) = FileFlavor::of_file(meta.location.filename()?)?;
            (meta.size > 0).then(|| (stem.to_owned(), flavor, meta.location.clone()))
        };
        let files = listing.objects.iter().filter_map(data).collect();
        let (mut folders, mut partitions, mut owner) = (vec![], vec![], None);
        for folder in listing.common_prefixes {
            match folder.filename().map(str::to_owned) {
                Some(name) if name == LOG_FOLDER => owner = Some(FileKind::Delta),
                Some(name) if is_hidden(&name) => {}
                Some(name) if partition_of_folder(&name).is_some() => partitions.push(folder),
                Some(name) => folders.push((name, folder)),
                None => {}
            }
        }
        Self { path, files, folders, partitions, owner }
    }
}

/// Looks for tables under one root.
#[derive(Clone)]
pub(crate) struct Discovery {
    store: Arc<dyn ObjectStore>,
    root: Path,
    /// What was discovered last, on a local file system.
    memory: Option<Arc<Memory>>,
    /// Where folders are noted that are opened.
    opened: Option<Arc<Opened>>,
    /// Where tables with metadata were found, on an object store.
    places: Option<Arc<Places>>,
}

impl Discovery {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, root: Path, is_local: bool) -> Self {
        let memory = is_local.then(Arc::default);
        let places = (!is_local).then(Arc::default);
        Self { store, root, memory, opened: None, places }
    }

    /// Finds one table by name without looking at others.
    ///
    /// # Errors
    /// [`Error::MixedFormats`] when more than one thing has the name.
    pub(crate) async fn find(
        &self,
        defined_schemas: &BTreeSet<String>,
        schema: &str,
        name: &str,
    ) -> Result<Option<Found>> {
        if !is_plain_name(schema) || !is_plain_name(name) {
            return Ok(None);
        }
        let Some(places) = &self.places else {
            return self.look_for(defined_schemas, schema, name).await;
        };
        if let Some(known) = places.recall(defined_schemas, schema, name) {
            return Ok(Some(known));
        }
        let found = self.look_for(defined_schemas, schema, name).await?;
        if let Some(found) = &found {
            places.keep(defined_schemas, found);
        }
        Ok(found)
    }

    /// Forgets where a table was found, when it is not there; returns whether it is worth to look again.
    pub(crate) fn forget(&self, schema: &str, name: &str) -> bool {
        self.places.as_ref().is_some_and(|places| places.forget(schema, name))
    }

    async fn look_for(
        &self,
        defined_schemas: &BTreeSet<String>,
        schema: &str,
        name: &str,
    ) -> Result<Option<Found>> {
        let inside = match child_of(&self.root, schema) {
            Some(folder) => self.find_in(folder, schema, name, None).await?,
            None => None,
        };
        if schema != PUBLIC {
            return Ok(inside);
        }
        let at_root = self.find_in(self.root.clone(), schema, name, Some(defined_schemas)).await?;
        match (at_root, inside) {
            (Some(a), Some(b)) => Err(ambiguous(name, a.path.as_ref(), b.path.as_ref())),
            (a, b) => Ok(a.or(b)),
        }
    }

    /// `defined_schemas` is given at the root, where a folder may be a schema.
    async fn find_in(
        &self,
        parent: Path,
        schema: &str,
        name: &str,
        defined_schemas: Option<&BTreeSet<String>>,
    ) -> Result<Option<Found>> {
        let Some(child) = child_of(&parent, name) else { return Ok(None) };
        let (parent, child) = tokio::try_join!(self.open(parent), self.open(child))?;
        // Files of a table with metadata are no tables: read by themselves they would show deleted rows.
        if parent.owner.is_some() {
            return Ok(None);
        }
        let found = |path: &Path, is_folder, kind| Found {
            schema: schema.to_owned(),
            name: name.to_owned(),
            path: path.clone(),
            is_folder,
            kind,
        };
        let files = parent.files.iter().filter(|(stem, ..)| stem == name);
        let mut tables: Vec<Found> =
            files.map(|(_, flavor, path)| found(path, false, Some(flavor.kind))).collect();
        let is_schema = match defined_schemas {
            Some(defined) => self.is_schema(defined, name, &child).await?,
            None => false,
        };
        if child.is_table() && !is_schema && partition_of_folder(name).is_none() {
            let kind = self.kind_of(&child).await?;
            if kind.is_some() {
                tables.push(found(&child.path, true, kind));
            }
        }
        match tables.as_slice() {
            [a, b, ..] => Err(ambiguous(name, a.path.as_ref(), b.path.as_ref())),
            _ => Ok(tables.pop()),
        }
    }

    /// Returns everything that is there. As long as nothing changes this is the same value.
    pub(crate) async fn all(&self, defined_schemas: &BTreeSet<String>) -> Result<Arc<Discovered>> {
        let Some(memory) = &self.memory else {
            return Ok(Arc::new(self.look_everywhere(defined_schemas).await?));
        };
        if let Some(known) = memory.recall(defined_schemas).await {
            return Ok(known);
        }
        let (begin, opened) = (SystemTime::now(), Arc::new(Opened::default()));
        let noting = Self { opened: Some(Arc::clone(&opened)), ..self.clone() };
        let discovered = Arc::new(noting.look_everywhere(defined_schemas).await?);
        memory.keep(defined_schemas, &opened, begin, &discovered).await;
        Ok(discovered)
    }

    async fn look_everywhere(&self, defined_schemas: &BTreeSet<String>) -> Result<Discovered> {
        let root = self.open(self.root.clone()).await?;
        let mut tables: Vec<Found> = single_files(PUBLIC, &root).collect();
        let opened: Vec<(String, Folder)> = self.open_all(root.folders).await?;
        let looks =
            opened.into_iter().map(|(name, folder)| self.look(defined_schemas, name, folder));
        let looks: Vec<_> = looks.collect();
        let looked: Vec<_> = stream::iter(looks).buffered(LIST_CONCURRENCY).try_collect().await?;
        let mut schemas = BTreeSet::new();
        for (found, schema) in looked {
            tables.extend(found);
            schemas.extend(schema);
        }
        tables.sort();
        Ok(Discovered { tables, schemas })
    }

    /// Returns whether a folder under the root is a schema.
    pub(crate) async fn has_schema(
        &self,
        defined_schemas: &BTreeSet<String>,
        name: &str,
    ) -> Result<bool> {
        if !is_plain_name(name) {
            return Ok(false);
        }
        let Some(folder) = child_of(&self.root, name) else { return Ok(false) };
        let folder = self.open(folder).await?;
        // A folder of files only is a table; its files can be named through it all the same.
        Ok(!folder.files.is_empty() || self.is_schema(defined_schemas, name, &folder).await?)
    }

    async fn look(
        &self,
        defined_schemas: &BTreeSet<String>,
        name: String,
        folder: Folder,
    ) -> Result<(Vec<Found>, Option<String>)> {
        if self.is_schema(defined_schemas, &name, &folder).await? {
            let mut tables: Vec<Found> = single_files(&name, &folder).collect();
            for (table, folder) in self.open_all(folder.folders).await? {
                tables.extend(self.folder_table(&name, &table, &folder).await?);
            }
            return Ok((tables, Some(name)));
        }
        let table = self.folder_table(PUBLIC, &name, &folder).await?;
        Ok((table.into_iter().collect(), None))
    }

    async fn folder_table(
        &self,
        schema: &str,
        name: &str,
        folder: &Folder,
    ) -> Result<Option<Found>> {
        if !folder.is_table() {
            return Ok(None);
        }
        let kind = self.kind_of(folder).await?;
        Ok(kind.map(|kind| Found {
            schema: schema.to_owned(),
            name: name.to_owned(),
            path: folder.path.clone(),
            is_folder: true,
            kind: Some(kind),
        }))
    }

    async fn is_schema(
        &self,
        defined_schemas: &BTreeSet<String>,
        name: &str,
        folder: &Folder,
    ) -> Result<bool> {
        if name == PUBLIC || defined_schemas.contains(name) {
            return Ok(true);
        }
        let is_none = folder.owner.is_some() || !folder.partitions.is_empty();
        if is_none || RESERVED_SCHEMAS.contains(&name) {
            return Ok(false);
        }
        let opened = self.open_all(folder.folders.clone()).await?;
        Ok(opened.iter().any(|(_, folder)| folder.is_table()))
    }

    /// The kind of the first data file, searched in the first partitions. `None` when there is no data.
    async fn kind_of(&self, folder: &Folder) -> Result<Option<FileKind>> {
        if folder.owner.is_some() {
            return Ok(folder.owner);
        }
        if let Some((_, flavor, _)) = folder.files.first() {
            return Ok(Some(flavor.kind));
        }
        let mut pending: Vec<(usize, Path)> =
            folder.partitions.iter().rev().map(|path| (1, path.clone())).collect();
        while let Some((depth, path)) = pending.pop() {
            let folder = self.open(path).await?;
            if let Some((_, flavor, _)) = folder.files.first() {
                return Ok(Some(flavor.kind));
            }
            if depth < MAX_PARTITION_DEPTH {
                pending.extend(folder.partitions.into_iter().rev().map(|path| (depth + 1, path)));
            }
        }
        Ok(None)
    }

    async fn open_all(&self, folders: Vec<(String, Path)>) -> Result<Vec<(String, Folder)>> {
        let open = |(name, path): (String, Path)| async move {
            Ok::<_, Error>((name, self.open(path).await?))
        };
        let opens: Vec<_> = folders.into_iter().map(open).collect();
        stream::iter(opens).buffered(LIST_CONCURRENCY).try_collect().await
    }

    /// Lists a folder, and its metadata folder when it has one. A Delta table may have Iceberg metadata too, made from its
    /// log; the root is no table.
    async fn open(&self, path: Path) -> Result<Folder> {
        let mut folder = self.list(path).await?;
        let metadata = folder.folders.iter().find(|(name, _)| name == METADATA_FOLDER);
        if let Some((_, metadata)) = metadata
            && folder.path != self.root
            && folder.owner.is_none()
        {
            self.note(metadata);
            let listing = self.store.list_with_delimiter(Some(metadata)).await?;
            let names = listing.objects.iter().filter_map(|meta| meta.location.filename());
            let is_iceberg = names.into_iter().any(is_metadata_file);
            folder.owner = is_iceberg.then_some(FileKind::Iceberg);
        }
        if folder.path == self.root {
            folder.owner = None;
        }
        Ok(folder)
    }

    /// Lists a folder. One that is missing, or that we may not enter (`lost+found`), holds nothing for us.
    async fn list(&self, path: Path) -> Result<Folder> {
        self.note(&path);
        match self.store.list_with_delimiter(Some(&path)).await {
            Ok(listing) => {
                if let Some(opened) = &self.opened
                    && listing.objects.iter().any(is_empty_data)
                {
                    opened.distrust();
                }
                Ok(Folder::of_listing(path, listing))
            }
            Err(error) if path != self.root && is_closed(&error) => {
                tracing::debug!(%error, %path, "folder passed over");
                let listing = ListResult { common_prefixes: vec![], objects: vec![] };
                Ok(Folder::of_listing(path, listing))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn note(&self, folder: &Path) {
        if let Some(opened) = &self.opened {
            opened.note(folder);
        }
    }
}

/// Whether a file will be data once something is written to it.
fn is_empty_data(meta: &ObjectMeta) -> bool {
    meta.size == 0
        && meta.location.filename().is_some_and(|name| FileFlavor::of_file(name).is_some())
}

fn is_closed(error: &object_store::Error) -> bool {
    use object_store::Error::{NotFound, PermissionDenied};
    let first: &(dyn std::error::Error + 'static) = error;
    let mut chain = std::iter::successors(Some(first), |current| (*current).source());
    matches!(error, NotFound { .. } | PermissionDenied { .. })
        || chain.any(|cause| {
            let cause = cause.downcast_ref::<std::io::Error>();
            cause.is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
        })
}

fn single_files<'a>(schema: &'a str, folder: &'a Folder) -> impl Iterator<Item = Found> + 'a {
    folder.files.iter().map(move |(stem, flavor, path)| Found {
        schema: schema.to_owned(),
        name: stem.clone(),
        path: path.clone(),
        is_folder: false,
        kind: Some(flavor.kind),
    })
}

fn ambiguous(name: &str, first: &str, second: &str) -> Error {
    Error::MixedFormats {
        table: name.to_owned(),
        first: first.to_owned(),
        second: second.to_owned(),
    }
}

/// Appends a name as it is: `Path::join` would escape letters beyond ASCII.
fn child_of(parent: &Path, name: &str) -> Option<Path> {
    Path::parse(format!("{parent}/{name}")).ok()
}

/// Returns whether a name can be that of a folder or file of the lake.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !is_hidden(name) && !name.contains(['/', '\0'])
}
