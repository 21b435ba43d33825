//! Sizes and times: what fits, and what is just beside it.

use crate::classify::pattern::{self, Bursts};
use crate::classify::service::{Pattern, Range};
use crate::classify::trial::{flow, packet};
use crate::model::flow::FlowRecord;
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::note::Fact;
use crate::model::side::Side;
use crate::model::time::Span;

use super::flows::Says;

fn find(pattern: &Pattern, flow: &FlowRecord) -> Option<FrameNo> {
    pattern::find(pattern, flow, &Bursts::default())
}

fn with(proto: Proto, sizes: &[i32], every_ms: i64) -> FlowRecord {
    let mut f = flow(proto, Endpoint::new([192, 0, 2, 1].into(), 443));
    let side = |n: i32| if n > 0 { Side::Client } else { Side::Server };
    f.ladder.head = (1u32..).zip(sizes).map(|(i, n)| packet(i.into(), i64::from(i) * every_ms, side(*n), n.unsigned_abs())).collect();
    f.last.ts = f.ladder.head.last().map_or(f.first.ts, |p| p.ts);
    f
}

#[test]
fn first_sizes() {
    let rule = Pattern::Sizes { sizes: vec![126, 126, -44], tolerance: 0 };
    let found = |sizes: &[i32]| find(&rule, &with(Proto::UDP, sizes, 10)).map(|f| f.0);
    assert_eq!(found(&[126, 126, -44, 6]), Some(3));
    assert_eq!(found(&[126, 126, 44]), None);
    assert_eq!(found(&[126, 127, -44]), None);
    assert_eq!(found(&[126, 126]), None);
}

#[test]
fn residues() {
    let rule = Pattern::Residue { modulo: 16, classes: vec![9, 12], percent: 90, bursts: 8, skip: 1 };
    let talk = |odd: i32| -> Vec<i32> {
        (0..10).map(|i| if i < odd + 2 && i >= 2 { 70 } else { 89 + 16 * i } * if i % 2 == 0 { 1 } else { -1 }).collect()
    };
    assert!(find(&rule, &with(Proto::TCP, &talk(0), 10)).is_some());
    assert!(find(&rule, &with(Proto::TCP, &talk(2), 10)).is_none());
    assert!(find(&rule, &with(Proto::UDP, &talk(0), 10)).is_none());
    let mut one_way = talk(0);
    one_way.iter_mut().for_each(|n| *n = n.abs());
    assert!(find(&rule, &with(Proto::TCP, &one_way, 10)).is_none());
}

#[test]
fn periods() {
    let rule = Pattern::Period { len: Range { from: 40, to: 40 }, every_ms: 500, slack_ms: 80, times: 4 };
    let pings = [40, 40, -9, 40, 40, 40];
    assert!(find(&rule, &with(Proto::UDP, &[40; 4], 500)).is_some());
    assert!(find(&rule, &with(Proto::UDP, &[40; 4], 600)).is_none());
    assert!(find(&rule, &with(Proto::UDP, &[40; 3], 500)).is_none());
    assert!(find(&rule, &with(Proto::UDP, &[41; 4], 500)).is_none());
    assert!(find(&rule, &with(Proto::UDP, &pings, 500)).is_none(), "one is left out");
}

#[test]
fn periods_of_a_range_of_lengths() {
    let rule = Pattern::Period { len: Range { from: 28, to: 39 }, every_ms: 500, slack_ms: 80, times: 4 };
    assert!(find(&rule, &with(Proto::TCP, &[39; 4], 500)).is_some());
    assert!(find(&rule, &with(Proto::TCP, &[39, 28, 39, 28], 500)).is_none(), "two lengths, each too seldom");
    let answered = [39, -28, 39, -28, 39, -28, 39];
    assert!(find(&rule, &with(Proto::TCP, &answered, 250)).is_some(), "what the other side says does not matter");
    let mut again = with(Proto::TCP, &[39; 4], 500);
    again.ladder.head[2].marks |= crate::model::flow::mark::RETRANSMIT;
    assert!(find(&rule, &again).is_none(), "a repetition is not on time");
}

/// A run of periods was counted over packets that nobody kept.
#[test]
fn periods_do_not_reach_over_the_unseen_middle() {
    let rule = Pattern::Period { len: Range { from: 40, to: 40 }, every_ms: 500, slack_ms: 80, times: 4 };
    let mut f = with(Proto::TCP, &[40; 4], 500);
    f.ladder.tail = f.ladder.head.split_off(2);
    assert!(find(&rule, &f).is_some(), "nothing lies between");
    f.ladder.between = 90;
    assert!(find(&rule, &f).is_none());
}

#[test]
fn media_rates() {
    let rule = Pattern::Media { pps: 20, seconds: 5 };
    let call = |up: u64, down: u64, len: u64, secs: i64| {
        let mut f = with(Proto::UDP, &[100], 1);
        f.last.ts = f.first.ts.plus(Span::from_secs(secs));
        (f.totals.client.packets, f.totals.client.payload) = (up, up * len);
        (f.totals.server.packets, f.totals.server.payload) = (down, down * len);
        find(&rule, &f).is_some()
    };
    assert!(call(500, 400, 140, 10));
    assert!(!call(500, 100, 140, 10), "a download");
    assert!(!call(500, 400, 1400, 10), "bulk");
    assert!(!call(80, 80, 140, 4), "too short");
}

#[test]
fn a_handshake_inside() {
    let tls = |sizes: &[i32]| with(Proto::TCP, sizes, 1).note(Fact::ClientHello(Box::default()));
    let inside = [517, -2800, 64, -255, 600, -3100, 130, -320];
    assert!(find(&Pattern::Nested, &tls(&inside)).is_some());
    assert!(find(&Pattern::Nested, &with(Proto::TCP, &inside, 1)).is_none(), "neither TLS nor without structure");
    let page = [517, -2800, 64, -255, 380, -3100, 410, -9000];
    assert!(find(&Pattern::Nested, &tls(&page)).is_none());
}
