//! Findings of one cause over many flows are one finding, with its flows and counts.

use crate::model::finding::{Direction, Finding, Grade, Target};
use crate::model::flow::FlowId;
use crate::model::frame::FrameNo;
use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Most evidence frames one finding names; the flows are all listed.
const FRAMES_MAX: usize = 64;

/// Lays together findings with the same rule, mechanism, grade, direction and target; orders them by start, and gives each its id.
pub fn merge(found: Vec<Finding>) -> Vec<Finding> {
    let mut order: Vec<Finding> = Vec::new();
    type Key = (&'static str, &'static str, Grade, Option<Direction>, String);
    let mut at: HashMap<Key, usize> = HashMap::new();
    for f in found {
        let key = (f.rule, f.mechanism, f.grade, f.direction, target_key(&f.target));
        match at.get(&key).and_then(|i| order.get_mut(*i)) {
            Some(into) => join(into, f),
            None => {
                at.insert(key, order.len());
                order.push(f);
            }
        }
    }
    for f in &mut order {
        f.flows.sort_unstable();
        f.flows.dedup();
        f.frames.sort_unstable();
        f.frames.dedup();
        f.frames.truncate(FRAMES_MAX);
        f.id = id_of(f);
    }
    order.sort_by(|a, b| (a.started, a.rule, &a.flows, b.grade).cmp(&(b.started, b.rule, &b.flows, a.grade)));
    order
}

fn join(into: &mut Finding, f: Finding) {
    into.started = into.started.min(f.started);
    into.flows.extend(f.flows);
    into.frames.extend(f.frames);
    if into.target.ip != f.target.ip {
        into.target.ip = None;
    }
    for r in f.resembles {
        if !into.resembles.contains(&r) {
            into.resembles.push(r);
        }
    }
    for c in f.control {
        match into.control.iter_mut().find(|x| x.kind == c.kind) {
            Some(x) if c.n > x.n => *x = c,
            Some(_) => {}
            None => into.control.push(c),
        }
    }
}

/// One cause: the name if there is one, else the address.
fn target_key(t: &Target) -> String {
    let mut key = String::new();
    let _ = write!(key, "{:?}|{:?}|{:?}|{:?}", t.service, t.sni, t.host, t.qname);
    if t.sni.is_none() && t.host.is_none() && t.qname.is_none() {
        let _ = write!(key, "|{:?}", t.ip);
    }
    key
}

/// A content hash: rule, mechanism, target, and what was seen when. The same capture gives the same id on any machine.
fn id_of(f: &Finding) -> Box<str> {
    let mut text = String::new();
    let _ = write!(text, "{}|{}|{}|{:?}|{}|", f.rule, f.mechanism, target_key(&f.target), f.direction, f.started.nanos());
    for FlowId { source: _, frame: FrameNo(n) } in &f.flows {
        let _ = write!(text, "{n},");
    }
    text.push('|');
    for FrameNo(n) in &f.frames {
        let _ = write!(text, "{n},");
    }
    let mut id = String::from("f_");
    for byte in Sha256::digest(text.as_bytes()).iter().take(8) {
        let _ = write!(id, "{byte:02x}");
    }
    id.into_boxed_str()
}
