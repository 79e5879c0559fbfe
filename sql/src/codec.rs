//! The wire form of our operators, for both roles.
//!
//! Registered with datafusion-distributed on the coordinator and on the workers. Expressions need none: they are stock
//! ones and functions, which travel by name.

use crate::exec::paced::PacedExec;
use crate::exec::replicate::ReplicateExec;
use crate::skew::salt::Salt;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use std::sync::Arc;

/// First byte of a `ReplicateExec`.
const REPLICATE: u8 = 1;

/// The only byte of a `PacedExec`.
const PACED: u8 = 2;

/// The codec.
#[derive(Debug, Default)]
pub struct Codec;

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (n_keys, rest, input) = match (bytes, inputs) {
            ([PACED], [input]) => return Ok(Arc::new(PacedExec::new(Arc::clone(input)))),
            ([REPLICATE, n_keys, rest @ ..], [input]) => (n_keys, rest, input),
            _ => return internal_err!("not an operator of Saltlake"),
        };
        let Some((keys, salt)) = rest.split_at_checked(usize::from(*n_keys) * 4) else {
            return internal_err!("a ReplicateExec of {} bytes is damaged", bytes.len());
        };
        let (keys, _) = keys.as_chunks::<4>();
        let keys = keys.iter().map(|key| u32::from_le_bytes(*key) as usize).collect();
        let (salt, side) = Salt::decode(salt)?;
        Ok(Arc::new(ReplicateExec::try_new(Arc::clone(input), keys, salt, side)?))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if node.is::<PacedExec>() {
            bytes.push(PACED);
            return Ok(());
        }
        let Some(replicate) = node.downcast_ref::<ReplicateExec>() else {
            return internal_err!("{} has no wire form", node.name());
        };
        let Ok(n_keys) = u8::try_from(replicate.keys().len()) else {
            return internal_err!("a key of {} columns", replicate.keys().len());
        };
        bytes.extend([REPLICATE, n_keys]);
        for key in replicate.keys() {
            bytes.extend((*key as u32).to_le_bytes());
        }
        bytes.extend(replicate.salt().encode(replicate.side()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skew::salt::{Copies, HeavyKey, Side};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::displayable;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::prelude::SessionContext;
    use datafusion_proto::bytes::{
        physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
    };

    #[test]
    fn an_operator_comes_back_as_it_was() {
        let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
        let input = Arc::new(EmptyExec::new(Arc::new(Schema::new(fields.to_vec()))));
        let heavy = vec![HeavyKey { hash: 9, left_rows: 1, right_rows: 70_000 }];
        let salt = Salt { n_partitions: 6, copies: Copies::Left, spread_nulls: false, heavy };
        let plan = ReplicateExec::try_new(input, vec![1, 0], salt, Side::Left).unwrap();
        let plan: Arc<dyn ExecutionPlan> = Arc::new(PacedExec::new(Arc::new(plan)));
        let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(&plan), &Codec).unwrap();
        let context = SessionContext::new().task_ctx();
        let back = physical_plan_from_bytes_with_extension_codec(&bytes, &context, &Codec).unwrap();
        let (before, after) = (
            plan.children()[0].downcast_ref::<ReplicateExec>().unwrap(),
            back.children()[0].downcast_ref::<ReplicateExec>().unwrap(),
        );
        assert_eq!(
            (before.keys(), before.salt(), before.side()),
            (after.keys(), after.salt(), after.side())
        );
        assert_eq!(before.schema(), after.schema());
        assert_eq!(
            displayable(plan.as_ref()).indent(true).to_string(),
            displayable(back.as_ref()).indent(true).to_string()
        );
    }

    #[test]
    fn damage_is_an_error() {
        let input: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let context = SessionContext::new().task_ctx();
        let converter = datafusion_proto::physical_plan::DefaultPhysicalProtoConverter {};
        for bytes in [&[][..], &[1], &[1, 1], &[1, 200, 0, 0], &[2, 0, 0], &[3]] {
            let decoded = Codec.try_decode(bytes, &[Arc::clone(&input)], &context, &converter);
            assert!(decoded.is_err(), "{bytes:?}");
        }
    }
}
