//! Without libpcap there is no filter language.

use super::CaptureError;
use crate::model::frame::Batch;

/// No filter: this program was built without libpcap.
pub struct Filter;

impl Filter {
    /// Refuses every filter.
    ///
    /// # Errors
    /// Always.
    pub fn check(_: &str) -> Result<(), String> {
        Err("filters are libpcap's, and this program was built without it (feature `live`)".into())
    }
    /// A filter that lets everything through; [`Self::check`] has refused it before.
    pub const fn new(_: &str) -> Self {
        Self
    }
    /// Lets everything through.
    ///
    /// # Errors
    /// Never.
    pub const fn apply(&mut self, _: &mut Batch) -> Result<(), CaptureError> {
        Ok(())
    }
    /// None.
    pub const fn left_out(&self) -> u64 {
        0
    }
}
