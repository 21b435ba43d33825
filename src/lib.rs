//! tamperscope (map to be completed)

pub mod model;
pub mod flow;
pub mod stream;
