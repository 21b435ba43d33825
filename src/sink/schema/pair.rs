//! What only the comparison of two captures writes.

use super::atoms::*;
use crate::model::pair::EndVerdict;
use serde_json::{Value, json};

pub(super) fn way() -> Value {
    let number = || json!({ "type": "number" });
    let delay = object(vec![("min", number()), ("median", number()), ("p95", number())]);
    let counts = ["sent", "arrived", "lost", "unsent", "missed"].map(|k| (k, count()));
    object(counts.into_iter().chain([("delay_ms", or_null(delay))]).collect())
}

/// `pair` in a flow record, when two captures are compared.
pub(super) fn flow_pair() -> Value {
    let id = || json!({ "type": ["string", "null"], "pattern": "^s[0-9]+f[0-9]+$" });
    object(vec![
        ("a", id()),
        ("b", id()),
        ("matched", word_or_null(&["tuple", "content"])),
        ("near_client", word_or_null(&["A", "B"])),
        ("c2s", way()),
        ("s2c", way()),
        ("changes", list(text())),
        ("terminated", yes_no()),
    ])
}

pub(super) fn ends() -> Value {
    let verdicts: Vec<&str> = EndVerdict::ALL.iter().map(|v| v.name()).collect();
    list(object(vec![("source", source_id()), ("finding", text_or_null()), ("verdict", one_of(&verdicts)), ("says", text())]))
}

/// What a finding of two captures has besides.
pub(super) fn finding_pair() -> Fields {
    vec![
        ("sources", list(source_id())),
        ("frames_b", list(count())),
        ("wireshark_filter_b", text_or_null()),
        ("wireshark_flow_filter_b", text_or_null()),
        ("ends", ends()),
    ]
}

pub(super) fn pair() -> Fields {
    let number_or_null = || json!({ "type": ["number", "null"] });
    let samples = object(vec![("a_to_b", count()), ("b_to_a", count())]);
    let clock = object(vec![
        ("offset_ms", number_or_null()),
        ("uncertainty_ms", number_or_null()),
        ("drift_ppm", json!({ "type": "number" })),
        ("samples", samples),
        ("why_not", text_or_null()),
    ]);
    let stretch = || {
        object(vec![
            ("from_ts", time()),
            ("from_ts_ns", nanos()),
            ("sent", count()),
            ("lost", count()),
            ("delay_ms", json!({ "type": ["number", "null"] })),
        ])
    };
    let path = || object(vec![("way", way()), ("over_time", list(stretch()))]);
    vec![
        ("sources", list(source_id())),
        ("clock", clock),
        ("flows", object(vec![("a", count()), ("b", count()), ("both", count())])),
        ("a_to_b", path()),
        ("b_to_a", path()),
        ("not_between", ends()),
        ("cannot_claim", list(object(vec![("claim", text()), ("why", text())]))),
        ("fronts", object(vec![("a", list(text())), ("b", list(text()))])),
    ]
}
