//! Vectors for the shipped services, the arithmetic and the loader.

mod arithmetic;
mod flows;
mod loading;
mod patterns;
mod shapes;
mod shipped;

use super::{Book, DnsLead};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::label::Label;
use crate::model::time::Span;
use std::sync::OnceLock;

fn book() -> &'static Book {
    static BOOK: OnceLock<Book> = OnceLock::new();
    BOOK.get_or_init(|| Book::builtin().unwrap_or_else(|e| panic!("{e}")))
}

fn label(flow: &FlowRecord) -> Option<Label> {
    book().label(flow, &[])
}

/// `id role`, `id -` without a role, or nothing.
fn named(flow: &FlowRecord) -> String {
    label(flow).map_or(String::new(), |l| format!("{} {}", l.id, l.role.map_or("-", |r| r.name())))
}

fn lead(name: &str, unique: bool) -> DnsLead<'_> {
    DnsLead { name, frame: FrameNo(2), unique, ago: Span::from_secs(120) }
}
