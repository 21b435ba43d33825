//! Traffic by hand: senders that grow until they lose and then halve, boxes that let a rate and a bucket through, and what a capture of them is judged.

use super::{ThrottlingGeneral, ThrottlingRate};
use crate::detect::Detector;
use crate::model::finding::{Finding, Grade};
use crate::model::flow::{Detail, Flow, FlowId, FlowRecord, Ladder, Moment, Outcome, RoleBasis, TcpRecord, Totals};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::label::{Label, LabelFacts, LabelGrade};
use crate::model::note::{ClientHello, Fact, Note, Notes};
use crate::model::pace::{BINS, Pace};
use crate::model::scene::{Index, Kin, Scene};
use crate::model::seq::Pos;
use crate::model::side::{PerSide, Side};
use crate::model::source::{SourceFacts, Vantage};
use crate::model::throttle::Scope;
use crate::model::time::{Span, Time};
use std::sync::Arc;

/// Bins of 80 ms: the whole is 20 s.
const WIDTH: f64 = 0.08;
const PACKET: f64 = 1_500.0;

/// A download.
#[derive(Clone)]
struct Down {
    server: &'static str,
    name: &'static str,
    service: Option<&'static str>,
    ttl: u8,
    rtt_ms: i64,
    /// When it asks and when it stops, seconds.
    asks: Vec<(f64, f64)>,
    /// Bytes after which it is done.
    size: f64,
    /// It stands in a network of its service's own.
    own: bool,
}

impl Down {
    fn from(server: &'static str, name: &'static str) -> Self {
        Self { server, name, service: None, ttl: 54, rtt_ms: 40, asks: vec![(0.2, 18.0)], size: f64::MAX, own: false }
    }
    fn of(mut self, service: &'static str) -> Self {
        self.service = Some(service);
        self
    }
    fn at_home(mut self) -> Self {
        self.own = true;
        self
    }
    fn over(mut self, rtt_ms: i64, ttl: u8) -> Self {
        (self.rtt_ms, self.ttl) = (rtt_ms, ttl);
        self
    }
    fn asking(mut self, asks: &[(f64, f64)]) -> Self {
        self.asks = asks.to_vec();
        self
    }
    fn bytes(mut self, size: f64) -> Self {
        self.size = size;
        self
    }
}

/// What lets only so much through, from a moment on: for the flows listed, together or each.
struct Bucket {
    flows: Vec<usize>,
    together: bool,
    bps: f64,
    depth: f64,
    from: f64,
}

/// Where it was captured: behind the buckets at the client, or before them, so far from the servers.
#[derive(Clone, Copy)]
enum Tap {
    Client,
    Before { from_server_ms: i64 },
}

struct Capture {
    flows: Vec<FlowRecord>,
    labels: Vec<Option<Label>>,
    source: SourceFacts,
}

fn run(downs: &[Down], buckets: &[Bucket], tap: Tap) -> Capture {
    let mut paces: Vec<Pace> = downs.iter().map(|_| Pace::new(Time::from_nanos(0), 0, Time::from_nanos(0))).collect();
    let mut window: Vec<f64> = vec![10.0 * PACKET; downs.len()];
    let (mut calm, mut hurt) = (vec![0usize; downs.len()], vec![false; downs.len()]);
    let mut carried = vec![0.0; downs.len()];
    let mut started = vec![None; downs.len()];
    let mut tokens: Vec<Vec<f64>> = buckets.iter().map(|b| vec![b.depth; if b.together { 1 } else { b.flows.len() }]).collect();
    for bin in 0..BINS {
        let now = bin as f64 * WIDTH;
        for (b, level) in buckets.iter().zip(&mut tokens) {
            level.iter_mut().for_each(|t| *t = (*t + b.bps / 8.0 * WIDTH).min(b.depth));
        }
        // Whoever comes first takes the tokens: turns.
        for k in 0..downs.len() {
            let i = (k + bin * 7) % downs.len();
            let d = &downs[i];
            if !d.asks.iter().any(|(a, z)| now >= *a && now < *z) || carried[i] >= d.size {
                (window[i], hurt[i]) = (10.0 * PACKET, false);
                continue;
            }
            // At most 24 Mbit/s.
            let offered = (window[i] / PACKET).floor().clamp(1.0, 160.0);
            let mut passed = offered;
            for (b, level) in buckets.iter().zip(&mut tokens).filter(|(b, _)| now >= b.from) {
                let Some(at) = b.flows.iter().position(|f| *f == i) else { continue };
                let level = &mut level[if b.together { 0 } else { at }];
                passed = passed.min((*level / PACKET).floor());
                *level -= passed * PACKET;
            }
            let lost = offered - passed;
            started[i].get_or_insert(bin);
            carried[i] += passed * PACKET;
            let p = &mut paces[i];
            p.passed[bin] += (passed * PACKET) as u32;
            p.drops[bin] = p.drops[bin].saturating_add(lost as u8);
            p.packets += passed as u64;
            p.largest = PACKET as u32;
            p.last = Time::from_nanos(((now + 0.5 * WIDTH) * 1e9) as i64);
            match tap {
                Tap::Client => p.lost_before += lost as u32,
                Tap::Before { .. } => p.lost_beyond += lost as u32,
            }
            p.follow.add(20_000_000, (passed * PACKET) as u32);
            p.echo.add(
                match tap {
                    Tap::Client => 1_000 * d.rtt_ms,
                    Tap::Before { from_server_ms } => 1_000 * from_server_ms,
                } as u64,
                2,
            );
            p.rtt.add(
                (match tap {
                    Tap::Client => 300,
                    Tap::Before { from_server_ms } => 1_000 * (d.rtt_ms - from_server_ms),
                }) as u64,
                2,
            );
            // Loss halves the window and is noticed once in a few round trips.
            calm[i] += 1;
            if lost > 0.0 && calm[i] > 2 {
                window[i] = (window[i] / 2.0).max(PACKET);
                (calm[i], hurt[i]) = (0, true);
            } else if lost == 0.0 {
                window[i] = if hurt[i] { window[i] + (1.0 + (i % 3) as f64 * 0.4) * PACKET } else { window[i] * 1.4 };
            }
        }
    }
    let near = |ms: i64| match tap {
        Tap::Client => Span::from_micros(300),
        Tap::Before { from_server_ms } => Span::from_millis(ms - from_server_ms),
    };
    let mut flows: Vec<FlowRecord> = Vec::new();
    for (i, (d, mut pace)) in downs.iter().zip(paces).enumerate() {
        let begin = started[i].unwrap_or(0);
        // Bins begin with the flow.
        pace.width = Span::from_nanos((WIDTH * 1e9) as i64);
        pace.passed.rotate_left(begin);
        pace.drops.rotate_left(begin);
        pace.start = Time::from_nanos((begin as f64 * WIDTH * 1e9) as i64);
        pace.began = pace.start;
        let first = Moment { frame: FrameNo(i as u64 + 1), ts: pace.start };
        let mut tcp = TcpRecord { established: Some(first), ..TcpRecord::default() };
        tcp.rtt_client = Some(near(d.rtt_ms));
        tcp.rtt_server = Some(Span::from_nanos(Span::from_millis(d.rtt_ms).nanos() - near(d.rtt_ms).nanos()));
        (0..20).for_each(|_| tcp.side.server.ttl.add(d.ttl));
        let hello = ClientHello { sni: Some(d.name.into()), ..ClientHello::default() };
        let mut notes = Notes::default();
        let fact = Fact::ClientHello(Box::new(hello));
        notes.push(Note { frame: first.frame, ts: first.ts, side: Side::Client, from: Pos::FIRST, to: Pos::FIRST, fact });
        let totals = Totals { packets: pace.packets, ..Totals::default() };
        flows.push(FlowRecord::from(Flow {
            id: FlowId { source: 0, frame: first.frame },
            proto: Proto::TCP,
            client: Endpoint::new([192, 168, 1, 2].into(), 40_000 + i as u16),
            server: Endpoint::new(d.server.parse().unwrap(), 443),
            role_basis: RoleBasis::Syn,
            first,
            last: Moment { frame: first.frame, ts: pace.last },
            detail: Detail {
                totals: PerSide { client: totals, server: totals },
                tcp: Some(Box::new(tcp)),
                ladder: Ladder::default(),
                icmp: Vec::new(),
            }
            .into(),
            app: Some("tls"),
            pace: PerSide { client: None, server: Some(Box::new(pace)) },
            notes,
            outcome: Outcome::Ok,
            ..Flow::default()
        }));
    }
    let mut source = SourceFacts::default();
    source.quality.vantage = match tap {
        Tap::Client => Vantage::Client,
        Tap::Before { .. } => Vantage::Mid,
    };
    let label = |id: &str, own_network| {
        Label::from(LabelFacts {
            id: id.into(),
            title: id.into(),
            role: None,
            confidence: 0.99,
            grade: LabelGrade::Confident,
            evidence: Vec::new(),
            runner_up: None,
            brand: None,
            circumvention: false,
            total_db: 30,
            margin_db: None,
            attempt: false,
            own_network,
            since: FrameNo(1),
        })
    };
    Capture { flows, labels: downs.iter().map(|d| d.service.map(|id| label(id, d.own))).collect(), source }
}

fn judge(c: &Capture) -> Vec<Finding> {
    let mut kin = Kin { flows: &c.flows, labels: &c.labels, index: Arc::new(Index::of(&c.flows)) };
    for f in &c.flows {
        let rtt = f.tcp.as_deref().and_then(|t| t.rtt_server).unwrap();
        kin.rtt.insert(f.server.ip, (rtt, 1));
    }
    let judges: [&dyn Detector; 2] = [&ThrottlingRate, &ThrottlingGeneral];
    let scenes = c.flows.iter().zip(&c.labels).map(|(flow, label)| Scene { flow, label: label.as_ref(), kin: &kin, source: &c.source });
    scenes.flat_map(|s| judges.iter().filter_map(|j| j.judge(&s)).collect::<Vec<_>>()).collect()
}

/// Two servers of others that deliver 1.2 MB each at once.
fn others() -> Vec<Down> {
    vec![
        Down::from("77.88.1.1", "mail.example").bytes(1.2e6).asking(&[(3.0, 18.0)]).over(30, 50),
        Down::from("87.240.1.1", "shop.example").bytes(1.2e6).asking(&[(9.0, 18.0)]).over(25, 57),
    ]
}

fn with_others(mut downs: Vec<Down>) -> Vec<Down> {
    downs.extend(others());
    downs
}

fn one(found: &[Finding]) -> (&Finding, Grade) {
    assert_eq!(found.len(), 1, "{:?}", found.iter().map(|f| (f.rule, f.mechanism, f.grade)).collect::<Vec<_>>());
    (&found[0], found[0].grade)
}

fn stands(f: &Finding) -> Vec<&'static str> {
    f.innocent.iter().filter(|i| i.stands).map(|i| i.cause).collect()
}

fn policer(flows: &[usize], together: bool, bps: f64) -> Bucket {
    Bucket { flows: flows.to_vec(), together, bps, depth: 60_000.0, from: 0.0 }
}

#[test]
fn one_server_alone_may_be_held_at_its_own_end() {
    let c = run(&with_others(vec![Down::from("157.240.1.1", "video.example").of("meta")]), &[policer(&[0], true, 1e6)], Tap::Client);
    let found = judge(&c);
    let (f, grade) = one(&found);
    assert_eq!((f.mechanism, grade, stands(f)), ("policing", Grade::Possible, vec!["limit at the server's provider"]));
    let t = f.throttle.as_deref().unwrap();
    assert_eq!(t.scope, Scope::Targeted);
    assert!(t.rate.abs_diff(1_000_000) < 60_000, "{}", t.rate);
}

#[test]
fn another_name_at_the_address_that_goes_free_settles_it() {
    let mut downs = with_others(vec![Down::from("157.240.1.1", "video.example").of("meta")]);
    downs.push(Down::from("157.240.1.1", "docs.example").bytes(1.2e6).asking(&[(6.0, 18.0)]));
    let found = judge(&run(&downs, &[policer(&[0], true, 1e6)], Tap::Client));
    let (f, grade) = one(&found);
    assert_eq!((grade, stands(f)), (Grade::Likely, vec![]));
    // Not if it went before the other was held: the tenant may have used up what it had.
    downs[3].asks = vec![(0.0, 3.0)];
    let late = Bucket { from: 6.0, ..policer(&[0, 3], true, 1e6) };
    let found = judge(&run(&downs, &[late], Tap::Client));
    assert_eq!(one(&found).1, Grade::Possible);
}

#[test]
fn a_tap_between_server_and_limit_settles_it() {
    let downs = with_others(vec![Down::from("157.240.1.1", "video.example").of("meta")]);
    let found = judge(&run(&downs, &[policer(&[0], true, 1e6)], Tap::Before { from_server_ms: 15 }));
    let (f, grade) = one(&found);
    assert_eq!((grade, stands(f)), (Grade::Likely, vec![]));
    // In the house of the server, its provider's box may stand behind the tap.
    let found = judge(&run(&downs, &[policer(&[0], true, 1e6)], Tap::Before { from_server_ms: 1 }));
    let (f, grade) = one(&found);
    assert_eq!((grade, stands(f)), (Grade::Possible, vec!["limit at the server's provider"]));
}

fn places(n: usize) -> Vec<Down> {
    let all = [
        Down::from("157.240.1.1", "video.example").of("meta"),
        Down::from("179.60.1.1", "video.example").of("meta").over(60, 50).asking(&[(0.9, 18.0)]),
        Down::from("31.13.1.1", "video.example").of("meta").over(90, 46).asking(&[(1.7, 18.0)]),
    ];
    with_others(all[..n].to_vec())
}

#[test]
fn two_addresses_may_be_one_machine_three_places_are_not() {
    for (n, grade) in [(2, Grade::Possible), (3, Grade::Likely)] {
        let held: Vec<usize> = (0..n).collect();
        // One rate for each.
        let found = judge(&run(&places(n), &[policer(&held, false, 8e5)], Tap::Client));
        assert_eq!(one(&found).1, grade, "each, {n}: {:?}", stands(&found[0]));
        let rate = found[0].rate_bps.unwrap();
        assert!(rate.abs_diff(800_000) < 50_000, "{n}: {rate}");
        // One bucket, whose shares change as each pauses in turn.
        let mut downs = places(n);
        let asks = [[(0.2, 10.0), (12.5, 18.0)], [(0.9, 7.0), (9.5, 18.0)], [(1.7, 5.0), (7.0, 18.0)]];
        downs.iter_mut().take(n).zip(asks).for_each(|(d, a)| d.asks = a.to_vec());
        let found = judge(&run(&downs, &[policer(&held, true, 3e6)], Tap::Client));
        assert_eq!(one(&found).1, grade, "together, {n}: {:?}", stands(&found[0]));
        let rate = found[0].rate_bps.unwrap();
        assert!(rate.abs_diff(3_000_000) < 150_000, "{n}: {rate}");
    }
    // Three addresses in one place are no three machines.
    let mut here = places(3);
    here.iter_mut().for_each(|d| (d.rtt_ms, d.ttl) = (40, 54));
    let found = judge(&run(&here, &[policer(&[0, 1, 2], false, 8e5)], Tap::Client));
    assert_eq!(one(&found).1, Grade::Possible);
}

#[test]
fn a_plan_lets_through_at_once_what_it_saved() {
    // The plan holds everything; while one pauses, another finds the bucket full.
    let downs = [
        Down::from("157.240.1.1", "video.example").of("meta").asking(&[(0.2, 7.0), (11.0, 18.0)]),
        Down::from("77.88.1.1", "mail.example").bytes(5e5).asking(&[(10.0, 11.0)]).over(30, 50),
    ];
    let plan = Bucket { depth: 600_000.0, ..policer(&[0, 1], true, 1.5e6) };
    for f in judge(&run(&downs, &[plan], Tap::Client)) {
        assert_eq!(f.grade, Grade::Possible);
        assert!(f.throttle.as_deref().is_none_or(|t| t.scope != Scope::Targeted), "{:?}", f.evidence);
    }
}

#[test]
fn what_holds_everything_is_general_and_accuses_no_service() {
    let downs = [
        Down::from("157.240.1.1", "video.example").of("meta"),
        Down::from("77.88.1.1", "mail.example").over(30, 50).asking(&[(0.6, 6.0), (10.0, 14.0)]),
        Down::from("87.240.1.1", "shop.example").over(25, 57).asking(&[(4.0, 11.0), (13.0, 17.0)]),
    ];
    let found = judge(&run(&downs, &[policer(&[0, 1, 2], true, 3e6)], Tap::Client));
    let (f, grade) = one(&found);
    assert_eq!((f.rule, f.mechanism, grade), ("rate.general", "policing", Grade::Possible));
    assert_eq!((f.throttle.as_deref().unwrap().scope, f.target.ip, f.flows.len()), (Scope::General, None, 3));
    // Each held for itself shares nothing.
    let found = judge(&run(&downs, &[policer(&[0, 1, 2], false, 1e6)], Tap::Client));
    assert!(found.iter().all(|f| f.rule != "rate.general"));
}

#[test]
fn flows_that_come_and_go_at_one_rate_each_are_told_by_that_rate() {
    // Whoever comes takes nothing from the others: each has a bucket of its own.
    let video = || Down::from("157.240.1.1", "video.example").of("meta");
    let downs = with_others(vec![video().asking(&[(0.2, 18.0)]), video().asking(&[(4.0, 13.0)]), video().asking(&[(7.0, 11.0)])]);
    let found = judge(&run(&downs, &[policer(&[0, 1, 2], false, 1e6)], Tap::Client));
    let (f, _) = one(&found);
    let rate = f.rate_bps.unwrap();
    assert!(rate.abs_diff(1_000_000) < 80_000, "{rate}");
    // One bucket for all is told by what all have together.
    let found = judge(&run(&downs, &[policer(&[0, 1, 2], true, 3e6)], Tap::Client));
    let (f, _) = one(&found);
    let rate = f.rate_bps.unwrap();
    assert!(rate.abs_diff(3_000_000) < 200_000, "{rate}");
}

#[test]
fn what_a_bucket_let_through_at_first_was_no_time_without_a_limit() {
    // The bucket held more than a second's worth; others came and went while it ran dry.
    let downs = [
        Down::from("157.240.1.1", "video.example").of("meta"),
        Down::from("77.88.1.1", "mail.example").bytes(4e5).asking(&[(0.8, 3.0)]).over(30, 50),
        Down::from("87.240.1.1", "shop.example").bytes(4e5).asking(&[(0.9, 3.0)]).over(25, 57),
    ];
    let bucket = Bucket { depth: 130_000.0, ..policer(&[0], true, 1e6) };
    let found = judge(&run(&downs, &[bucket], Tap::Client));
    let (f, _) = one(&found);
    let t = f.throttle.as_deref().unwrap();
    assert_eq!(t.scope, Scope::Targeted, "{:?} {:?}", t.before, f.evidence);
}

#[test]
fn a_network_of_its_own_has_no_provider() {
    let video = || Down::from("157.240.1.1", "video.example").of("meta");
    let judged = |d: Down, bucket: Bucket| judge(&run(&with_others(vec![d]), &[bucket], Tap::Client));
    let found = judged(video().at_home(), policer(&[0], true, 1e6));
    let (f, grade) = one(&found);
    assert_eq!((f.mechanism, grade, stands(f)), ("policing", Grade::Likely, vec![]));
    assert_eq!(one(&judged(video(), policer(&[0], true, 1e6))).1, Grade::Possible, "a tenant may be held by his hoster");
}

#[test]
fn what_comes_evenly_spaced_to_a_tap_before_the_drops_was_spaced_by_its_server() {
    let judged = |even: bool| {
        let mut c = run(&with_others(vec![Down::from("157.240.1.1", "video.example").of("meta")]), &[], Tap::Before { from_server_ms: 15 });
        // A megabit a second, two packets in a hundred lost, whenever.
        let p = c.flows[0].pace.server.as_mut().unwrap();
        p.passed[..220].fill(10_500);
        p.drops.fill(0);
        for bin in [9, 31, 38, 60, 71, 93, 99, 121, 139, 150, 168, 177, 199, 211] {
            p.drops[bin] = 2;
        }
        (p.packets, p.lost_beyond, p.follow) = (1_540, 28, Default::default());
        let (even_share, bursts) = if even { (100, 0) } else { (80, 20) };
        p.follow.add(1_050_000, even_share);
        p.follow.add(20_000_000, bursts);
        c.flows[0].pace.server = Some(p.clone());
        judge(&c)
    };
    let found = judged(true);
    let (f, grade) = one(&found);
    assert_eq!((grade, stands(f)), (Grade::Possible, vec!["rate limit of the server"]));
    // What comes in bursts no server held to this rate.
    let found = judged(false);
    assert!(found.iter().all(|f| !stands(f).contains(&"rate limit of the server")), "{:?}", found.iter().map(stands).collect::<Vec<_>>());
}
