//! Skewed joins: which keys are heavy, whether spreading them pays, and how their rows are placed.
//!
//! [`profile`] says what is known of a join's keys, [`sketch`] counts them, [`decide`] turns profiles into a decision with
//! a reason, [`hint`] is what users say of them, [`salt`] is that decision as both inputs of the join share it.
//! The rewrite of the plan is [`crate::optimizer::salt_join`], its operators are in [`crate::exec`].

pub mod decide;
pub mod hint;
pub mod profile;
pub mod salt;
pub mod sample;
pub mod sketch;
