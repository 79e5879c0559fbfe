//! Splits of every shape: nothing lost, nothing read twice, orders kept, tasks even.

use super::*;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{CsvSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use std::collections::BTreeMap;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]))
}

/// A scan of files of these sizes, dealt to partitions as the planner does.
fn scan(sizes: &[u64], n_partitions: usize) -> FileScanConfig {
    let table = TableSchema::builder(schema()).build();
    let files = sizes.iter().enumerate();
    let files: Vec<_> =
        files.map(|(idx, size)| PartitionedFile::new(format!("{idx:05}.parquet"), *size)).collect();
    let chunk = files.len().div_ceil(n_partitions).max(1);
    let mut groups: Vec<_> =
        files.chunks(chunk).map(|files| FileGroup::new(files.to_vec())).collect();
    groups.resize(n_partitions, FileGroup::default());
    let rows = Statistics {
        num_rows: Precision::Exact(1000),
        ..Statistics::new_unknown(schema().as_ref())
    };
    FileScanConfigBuilder::new(
        ObjectStoreUrl::local_filesystem(),
        Arc::new(ParquetSource::new(table)),
    )
    .with_file_groups(groups)
    .with_statistics(rows)
    .build()
}

fn ordered(scan: FileScanConfig) -> FileScanConfig {
    let by_a = PhysicalSortExpr::new_default(col("a", &schema()).unwrap());
    let ordering = LexOrdering::new([by_a]).unwrap();
    FileScanConfigBuilder::from(scan).with_output_ordering(vec![ordering]).build()
}

fn text(scan: FileScanConfig, compression: FileCompressionType) -> FileScanConfig {
    let table = TableSchema::builder(schema()).build();
    FileScanConfigBuilder::from(scan)
        .with_source(Arc::new(CsvSource::new(table)))
        .with_file_compression_type(compression)
        .build()
}

fn split(scan: &FileScanConfig, n_tasks: usize, min_piece_bytes: u64) -> Vec<FileScanConfig> {
    super::split(scan, &seeds(&[], n_tasks), min_piece_bytes)
}

fn loads(tasks: &[FileScanConfig]) -> Vec<u64> {
    tasks.iter().map(|task| bytes_of(files(task))).collect()
}

/// Checks that the tasks read every byte once and have as many partitions as the scan.
fn check_complete(scan: &FileScanConfig, tasks: &[FileScanConfig], n_tasks: usize) {
    assert_eq!(tasks.len(), n_tasks);
    let n_partitions = scan.file_groups.len();
    assert!(tasks.iter().all(|task| task.file_groups.len() == n_partitions));
    let mut pieces: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for file in tasks.iter().flat_map(files) {
        pieces.entry(file.path().to_string()).or_default().push(file.range());
    }
    for file in files(scan) {
        let mut ranges = pieces.remove(&file.path().to_string()).expect("the file is read");
        ranges.sort_unstable();
        assert_eq!((ranges[0].0, ranges.last().unwrap().1), (0, file.object_meta.size));
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ranges:?}");
    }
    assert!(pieces.is_empty(), "{pieces:?}");
}

/// A generator of numbers that look random; the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn every_byte_is_read_once_whatever_the_shape() {
    let mut numbers = Numbers(7);
    for round in 0..2000 {
        let largest = 10_u64.pow(1 + numbers.below(8) as u32);
        let n_files = 1 + numbers.below(12);
        let sizes: Vec<u64> = (0..n_files).map(|_| 1 + numbers.below(largest)).collect();
        let (n_tasks, n_partitions) =
            (1 + numbers.below(7) as usize, 2 + numbers.below(3) as usize);
        let min_piece = [1, 1000, MIN_PIECE_BYTES][numbers.below(3) as usize];
        let plain = scan(&sizes, n_partitions);
        let scans = [
            plain.clone(),
            ordered(plain.clone()),
            text(plain.clone(), FileCompressionType::UNCOMPRESSED),
            text(plain, FileCompressionType::GZIP),
        ];
        for scan in scans {
            let tasks = split(&scan, n_tasks, min_piece);
            check_complete(&scan, &tasks, n_tasks);
            let is_cut = tasks.iter().flat_map(files).any(|file| file.range.is_some());
            assert!(!is_cut || !scan.file_compression_type.is_compressed(), "round {round}");
        }
        let total: u64 = sizes.iter().sum();
        let even = split(&scan(&sizes, n_partitions), n_tasks, 1);
        let fair = total / n_tasks as u64;
        let most = fair + fair / 10 + 2;
        assert!(loads(&even).iter().all(|load| *load <= most), "round {round}");
    }
}

#[test]
fn few_files_reach_many_tasks() {
    for n_files in 1..=7 {
        for n_tasks in 1..=3 {
            let scan = scan(&vec![5000; n_files], 2);
            let tasks = split(&scan, n_tasks, MIN_PIECE_BYTES);
            check_complete(&scan, &tasks, n_tasks);
            let n_busy = loads(&tasks).iter().filter(|load| **load > 0).count();
            assert_eq!(n_busy, n_files.min(n_tasks), "{n_files} files, {n_tasks} tasks");
            assert!(tasks.iter().flat_map(files).all(|file| file.range.is_none()));
        }
    }
}

#[test]
fn a_huge_file_is_cut_and_tiny_ones_are_not() {
    let huge = split(&scan(&[6 << 30], 2), 3, MIN_PIECE_BYTES);
    assert_eq!(loads(&huge), [2 << 30; 3]);
    let tiny = split(&scan(&[4000; 10_000], 2), 3, MIN_PIECE_BYTES);
    assert!(tiny.iter().flat_map(files).all(|file| file.range.is_none()));
    assert!(loads(&tiny).iter().all(|load| load.abs_diff(40_000_000 / 3) <= 1_400_000));
    let both = split(&scan(&[100 << 20, 4000, 4000, 4000], 2), 2, MIN_PIECE_BYTES);
    assert!(loads(&both).iter().all(|load| load.abs_diff(50 << 20) < MIN_PIECE_BYTES));
}

#[test]
fn pieces_of_one_file_are_joined_before_they_are_cut() {
    let mut scan = scan(&[9 << 20], 2);
    let file = scan.file_groups[0].files()[0].clone();
    let piece = |from: i64, to: i64| FileGroup::new(vec![file.clone().with_range(from, to)]);
    scan.file_groups = vec![piece(0, 4 << 20), piece(4 << 20, 9 << 20)];
    let tasks = split(&scan, 2, 16 << 20);
    check_complete(&scan_of_whole(&scan, file), &tasks, 2);
    assert_eq!(tasks.iter().flat_map(files).count(), 1, "one piece is the whole file");
}

fn scan_of_whole(scan: &FileScanConfig, file: PartitionedFile) -> FileScanConfig {
    let groups = vec![FileGroup::new(vec![file]), FileGroup::default()];
    FileScanConfigBuilder::from(scan.clone()).with_file_groups(groups).build()
}

#[test]
fn the_order_of_a_partition_is_kept() {
    let scan = ordered(scan(&[3 << 20, 9 << 20, 1 << 20, 30 << 20, 2 << 20], 2));
    let tasks = split(&scan, 3, MIN_PIECE_BYTES);
    check_complete(&scan, &tasks, 3);
    for (partition, task) in (0..2).flat_map(|partition| tasks.iter().map(move |t| (partition, t)))
    {
        let before = scan.file_groups[partition].iter();
        let before: Vec<_> = before.map(|file| file.path().to_string()).collect();
        let keys: Vec<_> = task.file_groups[partition]
            .iter()
            .map(|file| {
                let path = file.path().to_string();
                (
                    before.iter().position(|name| *name == path).expect("stays in its partition"),
                    file.range(),
                )
            })
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }
    assert!(tasks.iter().all(|task| task.preserve_order && !task.output_ordering.is_empty()));
}

#[test]
fn files_that_cannot_be_cut_are_packed() {
    let sizes = [90, 10, 50, 40, 60, 30, 70, 50];
    let scan = text(scan(&sizes, 2), FileCompressionType::GZIP);
    let tasks = split(&scan, 2, 1);
    check_complete(&scan, &tasks, 2);
    assert!(loads(&tasks).iter().all(|load| *load <= 220), "{:?}", loads(&tasks));
}

#[test]
fn statistics_become_guesses_of_the_share() {
    let tasks = split(&scan(&[1000, 3000], 2), 2, u64::MAX);
    let mut rows: Vec<_> = tasks.iter().map(|task| task.statistics().num_rows).collect();
    rows.sort_by_key(|rows| rows.get_value().copied());
    assert_eq!(rows, [Precision::Inexact(250), Precision::Inexact(750)]);
}

#[test]
fn explain_names_the_task_with_the_most_to_read() {
    let original = scan(&[90 << 20, 10 << 20, 20 << 20], 2);
    let exec =
        |scan: FileScanConfig| DataSourceExec::from_data_source(scan) as Arc<dyn ExecutionPlan>;
    let variants: Vec<_> = split(&original, 3, u64::MAX).into_iter().map(exec).collect();
    let leaf = DistributedLeafExec::try_new(exec(original), variants).unwrap();
    let line = split_line(&(Arc::new(leaf) as Arc<dyn ExecutionPlan>));
    assert_eq!(line.as_deref(), Some("Splits: 3 tasks, at most 90 MB, median 30 MB"));
}
