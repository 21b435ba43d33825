//! tamperscope (map to be completed)

pub mod model;
