//! What few flows have.

use super::pack::{Pack, Reader, Writer};
use std::ops::{Deref, DerefMut};

/// A value that most flows do not have: an empty pointer until it is written for the first time, and read as [`Blank::BLANK`] until then.
#[derive(Clone, Debug)]
pub struct Rare<T: 'static>(Option<Box<T>>);

/// What a [`Rare`] value is before it is written.
pub trait Blank: Clone + 'static {
    /// The value that says nothing.
    const BLANK: &'static Self;
}

impl<T: Pack> Pack for Rare<T> {
    fn pack(&self, w: &mut Writer) {
        self.0.pack(w);
    }
    fn unpack(r: &mut Reader<'_>) -> Self {
        Self(Pack::unpack(r))
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::BLANK)
    }
}

impl<T: Blank> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(T::BLANK.clone()))
    }
}
