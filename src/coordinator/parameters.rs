//! Types of the parameters `$1`, `$2`, … of a plan.

use crate::error::{Error, Result};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

/// Returns the types of `$1`, `$2`, … as far as the plan tells.
pub(super) fn parameter_types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>> {
    let mut types = vec![];
    for (name, data_type) in plan.get_parameter_types()? {
        let Some(number) = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()) else {
            return Err(Error::NotSupported { feature: format!("the parameter {name}") });
        };
        if types.len() < number {
            types.resize(number, None);
        }
        types[number - 1] = data_type;
    }
    for (number, data_type) in open_parameters(plan)? {
        if let Some(known) = types.get_mut(number - 1)
            && known.is_none()
        {
            *known = Some(data_type);
        }
    }
    Ok(types)
}

/// Returns the types of parameters that the engine leaves open: those of casts around them, and of lists that are searched
/// for an element, as in `x = ANY ($1)`.
fn open_parameters(plan: &LogicalPlan) -> Result<Vec<(usize, DataType)>> {
    let mut found = vec![];
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found.extend(open_parameter(expr, &schema));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

fn open_parameter(expr: &Expr, schema: &DFSchema) -> Option<(usize, DataType)> {
    let (parameter, data_type) = match expr {
        Expr::Cast(cast) => (cast.expr.as_ref(), cast.field.data_type().clone()),
        Expr::ScalarFunction(call) if call.func.name() == "array_has" => {
            let [list, element] = call.args.as_slice() else { return None };
            let element = element.get_type(schema).ok().filter(|element| !element.is_null())?;
            (list, DataType::new_list(element, true))
        }
        _ => return None,
    };
    let Expr::Placeholder(placeholder) = parameter else { return None };
    let number: usize = placeholder.id.strip_prefix('$')?.parse().ok()?;
    (number > 0).then_some((number, data_type))
}
