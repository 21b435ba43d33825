//! The measured rates in the records: what limited a flow, its time series, the throttle of a finding.

use super::json::Json;
use crate::model::flow::FlowRecord;
use crate::model::side::Side;
use crate::model::throttle::Throttle;

/// What limited each busy direction.
pub(super) fn limit(j: &mut Json, f: &FlowRecord) {
    j.key("limit").open();
    for (key, side) in [("c2s", Side::Client), ("s2c", Side::Server)] {
        j.key(key);
        match f.pace[side].as_deref().and_then(|p| p.limit.as_ref()) {
            Some(l) => {
                j.open();
                j.key("by").str(l.by.name());
                j.key("or").strs(l.or.iter().map(|o| o.name()));
                j.key("why").str(&l.why);
                j.close();
            }
            None => j.null(),
        }
    }
    j.close();
}

/// The time series of each busy direction.
pub(super) fn series(j: &mut Json, f: &FlowRecord) {
    j.open();
    for (key, side) in [("c2s", Side::Client), ("s2c", Side::Server)] {
        j.key(key);
        let Some(p) = f.pace[side].as_deref() else {
            j.null();
            continue;
        };
        j.open();
        j.time("start_ts", "start_ts_ns", Some(p.start));
        j.key("width_ns").int(p.width.nanos());
        j.key("before_bytes").int(p.before);
        j.key("bytes").open_list();
        p.series().for_each(|b| j.int(b.passed));
        j.close_list();
        j.key("acked").open_list();
        p.series().for_each(|b| j.int(b.acked));
        j.close_list();
        j.key("drops").open_list();
        p.series().for_each(|b| j.int(b.drops));
        j.close_list();
        j.close();
    }
    j.close();
}

/// The measured throttle of a finding.
pub(super) fn throttle(j: &mut Json, t: &Throttle) {
    j.open();
    j.key("scope").str(t.scope.name());
    j.key("rate_bps").int(t.rate);
    j.key("low_bps").int(t.low);
    j.key("high_bps").int(t.high);
    j.key("burst_bytes").int_or_null(t.burst);
    j.key("loss").real(t.loss);
    for (key, ms) in [("rtt_base_ms", t.rtt_base_ms), ("rtt_usual_ms", t.rtt_usual_ms)] {
        j.key(key);
        match ms {
            Some(ms) => j.real(ms),
            None => j.null(),
        }
    }
    j.time("from_ts", "from_ts_ns", Some(t.from));
    j.time("to_ts", "to_ts_ns", Some(t.to));
    j.key("before_bps").int_or_null(t.before);
    for (key, rates) in [("held", &t.held), ("controls", &t.controls)] {
        j.key(key).open_list();
        for (id, bps) in rates {
            j.open();
            j.key("flow_id").plain(format_args!("s{}f{}", id.source, id.frame.0));
            j.key("bps").int(*bps);
            j.close();
        }
        j.close_list();
    }
    j.key("p");
    match t.p {
        Some(p) => j.real(p),
        None => j.null(),
    }
    j.close();
}
