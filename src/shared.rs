//! A shared value whose `Send` and `Sync` are proven once.
//!
//! Every method of an async trait makes the compiler prove that its future may cross threads, and with it every type
//! the future can reach, anew for each method. Behind a frontend that is the whole engine: seconds a method. Here the
//! proof ends at [`Shared`], which was given when the value was made.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// An `Arc<T>` that hides `T` from the proof.
pub struct Shared<T> {
    value: Arc<dyn Any + Send + Sync>,
    of: PhantomData<fn() -> T>,
}

impl<T: Any + Send + Sync> Shared<T> {
    /// Shares a value.
    pub fn new(value: T) -> Self {
        Self { value: Arc::new(value), of: PhantomData }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), of: PhantomData }
    }
}

impl<T: Any> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.downcast_ref().expect("a Shared<T> is made of a T")
    }
}
