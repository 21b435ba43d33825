//! tamperscope (map to be completed)

pub mod capture;
pub mod classify;
pub mod cli;
pub mod collect;
pub mod detect;
pub mod engine;
pub mod flow;
pub mod inspect;
pub mod model;
pub mod packet;
pub mod plan;
pub mod sink;
pub mod stream;
pub mod verify;
