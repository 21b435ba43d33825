//! What JSON Lines say of a flow's service and of the legs of a call.

use super::json::Json;
use crate::model::flow::FlowRecord;
use crate::model::label::Label;
use crate::model::note::Stun;
use crate::model::side::Side;

/// The service of a flow with the sum behind it.
pub(super) fn service(j: &mut Json, l: &Label, f: &FlowRecord) {
    j.open();
    j.key("id").str(&l.id);
    j.key("role").str_or_null(l.role.map(|r| r.name()));
    j.key("confidence").real(l.confidence);
    j.key("grade").str(l.grade.name());
    j.key("evidence").open_list();
    for e in &l.evidence {
        j.open();
        j.key("class").str(e.class.name());
        j.key("says").str(&e.says);
        j.key("db").int(e.db);
        j.key("frame").int(e.frame.0);
        j.close();
    }
    j.close_list();
    j.key("runner_up");
    match &l.runner_up {
        Some((id, confidence)) => {
            j.open();
            j.key("id").str(id);
            j.key("confidence").real(*confidence);
            j.close();
        }
        None => j.null(),
    }
    j.key("brand").str_or_null(l.brand.as_deref());
    j.key("attempt").bool(l.attempt);
    j.key("total_db").int(l.total_db);
    j.key("margin_db").int_or_null(l.margin_db);
    j.key("label_frame").int(l.since.0);
    // Beyond the packets kept of a flow's beginning nobody counted.
    let upto = f.ladder.head.iter().filter(|p| p.frame <= l.since).count();
    j.key("label_packets")
        .int_or_null((upto < f.ladder.head.len() || f.ladder.between == 0 && f.ladder.tail.is_empty()).then_some(upto as u64));
    j.close();
}

/// The legs of a call: STUN, allocation, media.
pub(super) fn call(j: &mut Json, f: &FlowRecord) {
    j.key("call");
    let class = |m: &Stun, bits: u16| m.kind & 0x0110 == bits;
    let method = |m: &Stun| m.kind & !0x0110;
    let count = |fits: &dyn Fn(&Stun) -> bool| f.notes.stun().filter(|(_, m)| fits(m)).count() as u64;
    let stun = f.notes.stun().next().is_some();
    if !stun && f.notes.media().next().is_none() {
        return j.null();
    }
    j.open();
    j.key("stun");
    if stun {
        j.open();
        j.key("requests").int(count(&|m| class(m, 0)));
        j.key("answers").int(count(&|m| class(m, 0x0100)));
        j.key("errors").int(count(&|m| class(m, 0x0110)));
        j.close();
    } else {
        j.null();
    }
    j.key("allocation");
    if count(&|m| method(m) == 3) > 0 {
        j.open();
        j.key("asked").int(count(&|m| m.kind == 0x0003));
        j.key("granted").int(count(&|m| m.kind == 0x0103));
        j.key("refused").int(count(&|m| m.kind == 0x0113));
        j.close();
    } else {
        j.null();
    }
    j.key("media").open();
    for (name, side) in [("c2s", Side::Client), ("s2c", Side::Server)] {
        j.key(name);
        let Some((_, leg)) = f.notes.media().find(|(s, _)| *s == side) else {
            j.null();
            continue;
        };
        j.open();
        j.key("sources").int(leg.sources);
        j.key("payload_types").open_list();
        for t in &leg.payload_types {
            j.int(*t);
        }
        j.close_list();
        j.key("packets").int(leg.packets);
        j.key("lost").int(leg.lost());
        j.key("loss").real(leg.lost() as f64 / leg.expected.max(1) as f64);
        j.key("gaps").int(leg.gaps);
        j.key("longest_gap").int(leg.longest_gap);
        j.key("clock_hz").int_or_null(leg.clock_hz);
        match leg.jitter_us {
            Some(us) => j.key("jitter_ms").real(us as f64 / 1000.0),
            None => j.key("jitter_ms").null(),
        }
        j.close();
    }
    j.close();
    j.close();
}
