//! Takes the shards' records, and when a source is complete tells its story: order, outcomes, quality, names, labels, kin, findings, services.

use super::again;
use super::split;
use super::{Plan, RunError, ShardSummary, ToCollector};
use crate::classify::{Beside, Book, Companion, DnsLead, Near};
use crate::collect::{self, Causes, Names, Sums};
use crate::detect;
use crate::model::finding::Finding;
use crate::model::flow::{self, FlowRecord};
use crate::model::gist::Signs;
use crate::model::label::Label;
use crate::model::pack::Writer;
use crate::model::scene::{Index, Kin, Scene};
use crate::model::source::SourceFacts;
use crate::model::story::{End, Story};
use crate::model::time::{Span, Time};
use crate::sink::Sink;
use crossbeam_channel::Receiver;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Exit code after SIGINT.
const SIGINT: i32 = 130;

/// A last story with more flows than this is not taken apart when it has been told.
const LEFT_LYING: usize = 100_000;

/// Flows judged before those that were opened for it are folded again, at least and at most: bounds what is open at a time.
const ROUND: RangeInclusive<usize> = 8_192..=65_536;
/// For each round every record is visited: there are about so many rounds.
const ROUNDS: usize = 16;

/// A source whose records are still coming in.
#[derive(Default)]
struct Pending {
    flows: Vec<FlowRecord>,
    shards: Vec<ShardSummary>,
    read: Option<Result<SourceFacts, (String, String)>>,
}

/// What the run has come to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) end: End,
    degraded: bool,
    worst: Option<crate::model::finding::Grade>,
}

pub(super) fn run(
    plan: &Plan,
    workers: usize,
    book: &Book,
    messages: &Receiver<ToCollector>,
    sinks: &mut [Box<dyn Sink>],
) -> Result<End, RunError> {
    let mut pending: BTreeMap<u32, Pending> = BTreeMap::new();
    let mut next = 0;
    let mut tally = Tally::default();
    let mut failure = None;
    for message in messages {
        // After a failed output the channel is still emptied, so that nobody waits for us.
        if failure.is_some() {
            plan.stop.store(true, Ordering::Relaxed);
            continue;
        }
        match message {
            ToCollector::Flows { source, flows } => pending.entry(source).or_default().flows.extend(flows),
            ToCollector::ShardDone { source, summary } => pending.entry(source).or_default().shards.push(summary),
            ToCollector::SourceRead { facts } => {
                let source = facts.index;
                pending.entry(source).or_default().read = Some(Ok(*facts));
            }
            ToCollector::SourceFailed { source, path, why } => pending.entry(source).or_default().read = Some(Err((path, why))),
            // Only a live source goes on; `watch` collects it.
            ToCollector::Glanced { .. } | ToCollector::Tick(_) => {}
        }
        while pending.get(&next).is_some_and(|p| p.read.is_some() && p.shards.len() == workers) {
            if let Some(p) = pending.remove(&next)
                && let Err(e) = tell(plan, p, book, sinks, &mut tally)
            {
                failure = Some(e);
            }
            next += 1;
        }
    }
    if let Some(e) = failure {
        return Err(e);
    }
    let end = tally.end(plan);
    for sink in sinks.iter_mut() {
        sink.finish(&end)?;
    }
    Ok(end)
}

impl Tally {
    /// The totals with the exit code.
    pub(super) fn end(self, plan: &Plan) -> End {
        let tally = self;
        let mut end = tally.end;
        end.interrupted = plan.stop.load(Ordering::Relaxed);
        // A signal without a code of its own came from the keyboard.
        let signal = i32::try_from(plan.signal.load(Ordering::Relaxed)).ok().filter(|&c| c > 0).unwrap_or(SIGINT);
        let failing = plan.fail_on.is_some_and(|g| tally.worst.is_some_and(|w| w >= g));
        end.exit = match () {
            () if end.interrupted => signal,
            () if failing => 1,
            () if end.sources == 0 && !end.failed_sources.is_empty() => 3,
            () if tally.degraded || !end.failed_sources.is_empty() => 4,
            () => 0,
        };
        end
    }

    /// Counts a story.
    pub(super) fn count(&mut self, plan: &Plan, story: &Story) {
        self.end.sources += 1;
        self.end.packets += story.source.decoded;
        self.end.flows += story.flows.len() as u64;
        self.end.findings += story.findings.len() as u64;
        self.end.services += story.services.len() as u64;
        self.worst = self.worst.max(story.findings.iter().map(|f| f.grade).max());
        if story.source.evicted > 0 {
            self.end
                .bounds_hit
                .push(format!("{} flows were closed early in {}: the flow table was full", story.source.evicted, story.source.path));
        }
        self.degraded |= degraded(plan, &story.source);
    }
}

/// Adds what the shards counted to what is known of the source. What their flows come to comes back.
pub(super) fn add_up(source: &mut SourceFacts, shards: Vec<ShardSummary>) -> Sums {
    let (mut panics, mut sums) = (Vec::new(), Sums::default());
    for s in shards {
        sums.join(s.sums);
        for (oddity, n) in s.oddities {
            *source.oddities.entry(oddity).or_default() += n;
        }
        source.decoded += s.decoded;
        source.evicted += s.evicted;
        panics.extend(s.panics);
    }
    panics.sort_unstable();
    if let Some(frame) = panics.first() {
        source.damage.push(format!("the analysis of frame {frame} failed (a bug in this program); its flow was closed there"));
    }
    sums
}

fn tell(plan: &Plan, p: Pending, book: &Book, sinks: &mut [Box<dyn Sink>], tally: &mut Tally) -> Result<(), RunError> {
    let mut source = match p.read {
        Some(Ok(facts)) => facts,
        Some(Err((path, why))) => return fail(&path, why, sinks, tally),
        None => return Ok(()),
    };
    let sums = add_up(&mut source, p.shards);
    if let Some(why) = nothing_understood(&source) {
        return fail(&source.path.clone(), why, sinks, tally);
    }
    let story = compose(source, p.flows, sums, book, plan.workers);
    tally.count(plan, &story);
    for sink in sinks.iter_mut() {
        sink.story(&story)?;
    }
    let path = plan.inputs.get(story.source.index as usize);
    for sink in sinks.iter_mut().filter(|s| s.rereads()) {
        again::pieces(path.map(PathBuf::as_path), |piece| sink.piece(piece))?;
    }
    if story.source.index as usize + 1 == plan.inputs.len() && story.flows.len() > LEFT_LYING {
        // The process ends with the run; visiting a million flows once more to free each of them helps nobody.
        std::mem::forget(story);
    }
    Ok(())
}

fn fail(path: &str, why: String, sinks: &mut [Box<dyn Sink>], tally: &mut Tally) -> Result<(), RunError> {
    for sink in sinks.iter_mut() {
        sink.failed(path, &why)?;
    }
    tally.end.failed_sources.push((path.to_owned(), why));
    Ok(())
}

/// Frames were read, but not one of them was understood: say which cause was the most frequent.
fn nothing_understood(source: &SourceFacts) -> Option<String> {
    if source.packets == source.filtered || source.decoded > 0 || source.oddities.keys().any(|o| o.understood()) {
        return None;
    }
    let (worst, n) = source.oddities.iter().max_by_key(|(_, n)| **n)?;
    let links: Vec<String> = source.link_types.iter().map(|l| l.0.to_string()).collect();
    Some(format!("none of its {} frames could be decoded: {} ({n} frames, link type {})", source.packets, worst.name(), links.join(", ")))
}

fn degraded(plan: &Plan, source: &SourceFacts) -> bool {
    let dropped = source.drops.unwrap_or(0) as f64 / (source.packets.max(1) as f64);
    source.truncated_at.is_some() || source.skipped_bytes > 0 || !source.damage.is_empty() || dropped > plan.max_drop
}

/// The story of one source, from its flows and what they come to.
pub(super) fn compose(source: SourceFacts, flows: Vec<FlowRecord>, sums: Sums, book: &Book, threads: usize) -> Story {
    let mut story = describe(source, flows, sums, book, threads);
    story.findings = judge_all(&mut story, book, threads);
    story.services = collect::tally(&story.flows, &story.labels, &story.findings, &titles(book));
    story.apps = collect::apps(&story.flows, &story.labels, &story.findings);
    story
}

/// The story as far as it needs no judgement: order, outcomes, quality, names, labels.
pub(super) fn describe(mut source: SourceFacts, mut flows: Vec<FlowRecord>, sums: Sums, book: &Book, threads: usize) -> Story {
    collect::order(&mut flows);
    // Flows lie all over memory: what is done for each by itself is done in one visit.
    let end = source.watched().unwrap_or(Time::from_nanos(0));
    let many = flows.len() > *ROUND.start();
    let dns: Vec<FlowRecord> = flows.iter().filter(|f| Names::told_by(f)).cloned().collect();
    let names = Names::of(&dns);
    let parts = split::over_mut(threads, &mut flows, |flows| {
        let mut labelled = Labelled::default();
        let mut writer = Writer::default();
        // One by one: what is opened of a flow is used while it is at hand, and folded again where there are many.
        for f in flows.chunks_mut(1) {
            collect::settle(f, end);
            detect::limits(f);
            for flow in f.iter_mut() {
                let leads = names.leads(flow);
                labelled.0.push(book.label(flow, &dns_leads(&leads)));
                labelled.1.push(leads.iter().map(|l| l.name.into()).collect());
                if many {
                    flow.fold(&mut writer);
                }
            }
        }
        labelled
    });
    let (mut labels, mut dns_names) = (Vec::with_capacity(flows.len()), Vec::with_capacity(flows.len()));
    for (l, d) in parts {
        labels.extend(l);
        dns_names.extend(d);
    }
    source.quality = collect::assess(&source, &flows, sums);
    label_beside(&flows, &mut labels, &names, book, threads);
    Story { source, flows, labels, dns_names, ..Story::default() }
}

/// Titles of the services in force, for rows that no flow names.
pub(super) fn titles(book: &Book) -> collect::Titles<'_> {
    book.services().map(|s| (&*s.id, (&*s.title, s.circumvention))).collect()
}

type Labelled = (Vec<Option<Label>>, Vec<Vec<Box<str>>>);

/// What only the company of other flows explains.
fn label_beside(flows: &[FlowRecord], labels: &mut [Option<Label>], names: &Names<'_>, book: &Book, threads: usize) {
    // Calls and chats first, then what only they explain: legs, signalling before a call, probes.
    let peers = collect::Peers::of(flows, labels);
    let within: BTreeMap<&str, u16> = book.contexts().fold(BTreeMap::new(), |mut all, (id, s)| {
        let longest = all.entry(id).or_insert(s);
        *longest = s.max(*longest);
        all
    });
    let wanted: Vec<&str> = within.keys().copied().collect();
    let longest = Span::from_secs(i64::from(within.values().copied().max().unwrap_or(0)));
    let neighbours = collect::Neighbours::of(flows, labels, &wanted);
    let again = |i: usize, flow: &FlowRecord, companion: Option<Companion<'_>>| {
        let used = neighbours.before(flow, longest);
        if companion.is_none() && used.is_empty() {
            return None;
        }
        let near: Vec<Near<'_>> = used.iter().map(|u| Near { service: u.service, frame: u.frame, ago: u.ago }).collect();
        Some((i, book.label_beside(flow, &dns_leads(&names.leads(flow)), Beside { companion, near: &near })))
    };
    // Legs have no label of their own and lean on those of calls, which are no legs: so all others come first.
    let parts = split::over(threads, flows.len(), |range| {
        let (mut changed, mut legs) = (Vec::new(), Vec::new());
        for (i, flow) in flows.iter().enumerate().take(range.end).skip(range.start) {
            match peers.leg(flow).filter(|_| labels.get(i).is_some_and(Option::is_none)) {
                Some(leg) => legs.push((i, leg)),
                None => changed.extend(again(i, flow, None)),
            }
        }
        (changed, legs)
    });
    let (mut changed, mut legs) = (Vec::new(), Vec::new());
    for (of_part, legs_of_part) in parts {
        changed.extend(of_part);
        legs.extend(legs_of_part);
    }
    let mut newer = Vec::new();
    for (i, leg) in legs {
        // A call that came before the leg is known with its company.
        let at = changed.binary_search_by_key(&leg.flow, |(at, _)| *at).ok().filter(|_| leg.flow < i);
        let better = at.and_then(|at| changed.get(at)).map(|(_, label)| label);
        let service = better.or(labels.get(leg.flow)).and_then(|l| Some(l.as_ref()?.id.clone()));
        let companion = service.as_deref().map(|service| Companion { service, frame: leg.frame, same_socket: leg.same_socket });
        newer.extend(flows.get(i).and_then(|flow| again(i, flow, companion)));
    }
    for (i, label) in changed.into_iter().chain(newer) {
        if let Some(slot) = labels.get_mut(i) {
            *slot = label;
        }
    }
}

fn dns_leads<'a>(leads: &[collect::Lead<'a>]) -> Vec<DnsLead<'a>> {
    leads.iter().map(|l| DnsLead { name: l.name, frame: l.frame, unique: l.unique, ago: l.ago }).collect()
}

fn judge_all(story: &mut Story, book: &Book, threads: usize) -> Vec<Finding> {
    let index = Arc::new(Index::of(&story.flows));
    let mut all = Causes::default();
    flow::begin_count();
    let count = story.flows.len();
    let step = (count / ROUNDS).clamp(*ROUND.start(), *ROUND.end());
    for round in (0..count).step_by(step) {
        let round = round..(round + step).min(count);
        judge(story, round, &index, book, threads).into_iter().for_each(|part| all.join(part));
        if flow::opened() > step {
            flow::begin_count();
            split::over_mut(threads, &mut story.flows, |flows| {
                let mut writer = Writer::default();
                flows.iter_mut().for_each(|f| f.fold(&mut writer));
            });
        }
    }
    all.finish()
}

fn judge(story: &Story, round: Range<usize>, index: &Arc<Index>, book: &Book, threads: usize) -> Vec<Causes> {
    let (flows, labels, source) = (&story.flows, &story.labels, &story.source);
    let kin = Kin { flows, labels, index: Arc::clone(index) };
    let any = detect::ALL.iter().fold(Signs::default(), |all, d| all.and(d.begins_with()));
    split::over(threads, round.len(), |range| {
        let range = round.start + range.start..round.start + range.end;
        let mut causes = Causes::default();
        for i in range {
            let signs = index.signs(i);
            // Most flows have nothing of what any detector begins with. Where assertions are on they are judged all the same: a detector that finds
            // something in one of them says the wrong thing of what it begins with.
            if !signs.meets(any) && !cfg!(debug_assertions) {
                continue;
            }
            let Some((flow, label)) = flows.get(i).zip(labels.get(i)) else { continue };
            let scene = Scene { flow, label: label.as_ref(), kin: &kin, source };
            for d in detect::ALL {
                let begins = signs.meets(d.begins_with());
                if !begins && !cfg!(debug_assertions) {
                    continue;
                }
                let Some(mut f) = d.judge(&scene) else { continue };
                debug_assert!(begins, "{} finds something without what it begins with", d.card().rule);
                // A question about a name is about the service that the name belongs to, whoever was asked.
                if f.target.service.is_none()
                    && let Some((service, role)) = f.target.qname.as_deref().and_then(|name| book.named(name))
                {
                    (f.target.service, f.target.role) = (Some(service.id.clone()), role);
                }
                causes.add(f);
            }
        }
        causes
    })
}
