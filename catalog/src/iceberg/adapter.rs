//! Expressions over a table's columns, turned into ones over a data file's columns, by field id.
//!
//! Called by DataFusion's Parquet reader when it opens a file, through [`super::source`]. Where a column of the table
//! comes from is decided for each file anew:
//!
//! ```text
//! field with the column's id, same type      the file's column, under whatever name
//! … another type                             a cast; nested columns child by child
//! no such field                              the partition's value, else the column's default, else NULL
//! ```
//!
//! In a Delta table the partition's value goes first: a file that repeats the column is not asked.
//! Metadata columns ([`super::reserved`]) are constants of the file too, but for positions, which the reader counts in a
//! column behind the file's own, and what a rewritten row keeps, which its file holds.

use super::nested::NestedCast;
use super::reserved;
use super::resolve::FileFields;
use super::scan::ColumnRule;
use super::schema::{Column, NameMapping, TableSchema};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::datasource::physical_plan::parquet::ParquetVirtualColumn;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column as ColumnExpr, IsNotNullExpr, case, lit,
};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Makes adapters for one data file.
#[derive(Debug, Clone)]
pub(super) struct FieldIdAdapters {
    pub(super) rule: ColumnRule,
    pub(super) schema: Arc<TableSchema>,
    pub(super) mapping: Option<Arc<NameMapping>>,
    /// Values that the whole file has, by field id.
    pub(super) constants: Arc<HashMap<i32, ScalarValue>>,
}

impl PhysicalExprAdapterFactory for FieldIdAdapters {
    fn create(
        &self,
        _logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let mapping = self.mapping.clone();
        let (own, position) = without_position(&physical_file_schema)?;
        let fields = match self.rule {
            ColumnRule::DeltaNames => FileFields::by_name(own, mapping),
            _ => FileFields::new(own, mapping, &self.schema),
        };
        Ok(Arc::new(FieldIdAdapter { factory: self.clone(), fields, position }))
    }
}

#[derive(Debug)]
struct FieldIdAdapter {
    factory: FieldIdAdapters,
    fields: FileFields,
    /// The reader's column of row positions.
    position: Option<ColumnExpr>,
}

/// Takes off the column of row positions, which stands behind those of the file.
fn without_position(schema: &SchemaRef) -> Result<(SchemaRef, Option<ColumnExpr>)> {
    let is_position = |field: &FieldRef| {
        field.extension_type_name().is_some()
            && matches!(
                ParquetVirtualColumn::try_from(field),
                Ok(ParquetVirtualColumn::RowNumber(_))
            )
    };
    let Some(idx) = schema.fields().iter().position(is_position) else {
        return Ok((Arc::clone(schema), None));
    };
    let own: Vec<usize> = (0..schema.fields().len()).filter(|other| *other != idx).collect();
    let position = ColumnExpr::new(schema.field(idx).name(), idx);
    Ok((Arc::new(schema.project(&own)?), Some(position)))
}

impl FieldIdAdapter {
    /// Where the rows of a metadata column come from; `None` for a column of the table.
    fn reserved(&self, column: &Column) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let position = || match &self.position {
            Some(position) => Ok(Arc::new(position.clone()) as Arc<dyn PhysicalExpr>),
            None => internal_err!("a scan that does not count its rows"),
        };
        let inherited: Arc<dyn PhysicalExpr> = match column.id {
            reserved::POSITION => return position().map(Some),
            reserved::ROW_ID => match self.factory.constants.get(&column.id) {
                Some(first) if !first.is_null() => {
                    Arc::new(BinaryExpr::new(lit(first.clone()), Operator::Plus, position()?))
                }
                // The row's file knows of no ids, and so neither does the row.
                _ => return Ok(Some(lit(ScalarValue::Int64(None)))),
            },
            reserved::LAST_UPDATED => match self.factory.constants.get(&column.id) {
                Some(number) if !number.is_null() => lit(number.clone()),
                _ => return Ok(Some(lit(ScalarValue::Int64(None)))),
            },
            id if reserved::is_constant(id) => return Ok(Some(lit(self.missing(column)?))),
            _ => return Ok(None),
        };
        let Some(idx) = self.fields.top_level(column)? else { return Ok(Some(inherited)) };
        let field = self.fields.schema().field(idx);
        let own: Arc<dyn PhysicalExpr> = Arc::new(ColumnExpr::new(field.name(), idx));
        let own: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(own, DataType::Int64, None));
        let is_kept: Arc<dyn PhysicalExpr> = Arc::new(IsNotNullExpr::new(Arc::clone(&own)));
        Ok(Some(case(None, vec![(is_kept, own)], Some(inherited))?))
    }

    fn read(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let column = self.factory.schema.column_named(name);
        let column =
            column.ok_or_else(|| exec_datafusion_err!("no column \"{name}\" in the table"))?;
        if let Some(read) = self.reserved(column)? {
            return Ok(read);
        }
        let is_constant = self.factory.rule != ColumnRule::Iceberg
            && self.factory.constants.contains_key(&column.id);
        let found = if is_constant { None } else { self.fields.top_level(column)? };
        let Some(idx) = found else {
            return Ok(lit(self.missing(column)?));
        };
        let field = self.fields.schema().field(idx);
        let read: Arc<dyn PhysicalExpr> = Arc::new(ColumnExpr::new(field.name(), idx));
        if column.primitive().is_none() {
            let mapping = self.fields.mapping_of(field.name());
            return Ok(Arc::new(NestedCast::new(read, column.clone(), mapping)));
        }
        let wanted = column.data_type();
        match *field.data_type() == wanted {
            true => Ok(read),
            false => Ok(Arc::new(CastExpr::new(read, wanted, None))),
        }
    }

    /// The value of a column that the file does not have.
    fn missing(&self, column: &Column) -> Result<ScalarValue> {
        let known = self.factory.constants.get(&column.id).or(column.initial_default.as_ref());
        match known {
            Some(value) => value.cast_to(&column.data_type()),
            None => ScalarValue::try_from(&column.data_type()),
        }
    }
}

impl PhysicalExprAdapter for FieldIdAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform_down(|expr| match expr.downcast_ref::<ColumnExpr>() {
            Some(column) => {
                let read = self.read(column.name())?;
                // The new expression is over the file's columns: it must not be read as the table's.
                Ok(Transformed::new(
                    read,
                    true,
                    datafusion::common::tree_node::TreeNodeRecursion::Jump,
                ))
            }
            None => Ok(Transformed::no(expr)),
        })
        .data()
    }
}
