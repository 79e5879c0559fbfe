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

use super::nested::NestedCast;
use super::resolve::FileFields;
use super::scan::ColumnRule;
use super::schema::{Column, NameMapping, TableSchema};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column as ColumnExpr, lit};
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
        let fields = match self.rule {
            ColumnRule::DeltaNames => FileFields::by_name(physical_file_schema, mapping),
            _ => FileFields::new(physical_file_schema, mapping, &self.schema),
        };
        Ok(Arc::new(FieldIdAdapter { factory: self.clone(), fields }))
    }
}

#[derive(Debug)]
struct FieldIdAdapter {
    factory: FieldIdAdapters,
    fields: FileFields,
}

impl FieldIdAdapter {
    fn read(&self, name: &str) -> Result<Arc<dyn PhysicalExpr>> {
        let column = self.factory.schema.column_named(name);
        let column =
            column.ok_or_else(|| exec_datafusion_err!("no column \"{name}\" in the table"))?;
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
