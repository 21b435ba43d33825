//! JSON Schema (2020-12) of the JSONL records, as `tamperscope schema` prints it. Strict: every key is listed, and none is optional but those that
//! only the comparison of two captures writes.

mod atoms;
mod pair;

use super::{SCHEMA, ooni};
use crate::model::signature;
use crate::model::throttle::Limiter;
use atoms::*;
use serde_json::{Value, json};

/// Record types in the order they appear in a run. `stats` belongs to live captures.
pub const TYPES: &[&str] = &["run", "source", "flow", "finding", "service", "app", "stats", "pair", "end"];

/// Role names.
const ROLES: &[&str] = &["chat", "media", "call", "push", "web", "api"];
/// States of a service.
const STATES: &[&str] = &["ok", "impaired", "likely_blocked", "blocked", "down", "insufficient"];
/// Finding kinds (contract §3).
const KINDS: &[&str] = &[
    "rst_injection",
    "sni_filtering",
    "connection_freeze",
    "throttling",
    "dns_injection",
    "quic_blocking",
    "udp_blocking",
    "protocol_blocking",
    "ip_blocking",
    "block_page",
    "residual",
    "packet_injection",
    "packet_rewriting",
];

/// The schema of any line.
pub fn document() -> Value {
    let defs: serde_json::Map<String, Value> = TYPES.iter().map(|t| ((*t).to_owned(), record(t))).collect();
    let any: Vec<Value> = TYPES.iter().map(|t| json!({ "$ref": format!("#/$defs/{t}") })).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:{}", SCHEMA.replace('/', ":")),
        "title": "tamperscope JSON Lines record",
        "description": "One object a line. A file without an `end` record is incomplete.",
        "oneOf": any,
        "$defs": defs,
    })
}

/// The schema of one record type; `false` (nothing matches) for an unknown one.
pub fn record(kind: &str) -> Value {
    let fields = match kind {
        "run" => run(),
        "source" => source(),
        "flow" => flow(),
        "finding" => finding(),
        "service" => service(),
        "stats" => stats(),
        "app" => app(),
        "pair" => pair::pair(),
        "end" => end(),
        _ => return Value::Bool(false),
    };
    let mut all = vec![("type", json!({ "const": kind })), ("schema", json!({ "const": SCHEMA }))];
    all.extend(fields);
    let mut schema = object(all);
    if let (true, Some(required)) = (kind == "end", schema["required"].as_array_mut()) {
        // Files lose nothing while they are read.
        required.retain(|key| key != "losses");
    }
    let paired = match kind {
        "flow" => vec![("pair", pair::flow_pair())],
        "finding" => pair::finding_pair(),
        _ => Vec::new(),
    };
    with_optional(schema, paired)
}

/// An object that may have these keys too.
fn with_optional(mut object: Value, fields: Fields) -> Value {
    for (key, schema) in fields {
        object["properties"][key] = schema;
    }
    object
}

fn run() -> Fields {
    vec![("tool", json!({ "const": "tamperscope" })), ("version", text()), ("args", list(text())), ("rules_sha256", text_or_null())]
}

fn source() -> Fields {
    let quality = object(vec![
        ("vantage", one_of(&["client", "server", "mid", "unknown"])),
        ("basis", text()),
        ("one_sided_share", share()),
        ("snaplen_cut", share()),
        ("offload", yes_no()),
        ("capture_loss", share()),
        ("duplicates", share()),
        ("skipped_bytes", count()),
        ("truncated_at_frame", count_or_null()),
        ("drops", count_or_null()),
        ("cut_frames", count()),
        ("tcp_flows", count()),
        ("ttl_normalised", yes_no()),
        ("checksums_offloaded", yes_no()),
        ("phone_vpn", yes_no()),
        ("time_steps_back", count()),
        ("flows_evicted", count()),
        ("damage", list(text())),
    ]);
    vec![
        ("id", json!({ "type": ["string", "null"], "pattern": "^s[0-9]+$" })),
        ("path", text()),
        ("error", text_or_null()),
        ("format", text_or_null()),
        ("link_types", list(text())),
        ("packets", count()),
        ("decoded", count()),
        ("filtered", count()),
        ("bytes", count()),
        ("first_ts", time()),
        ("first_ts_ns", nanos()),
        ("last_ts", time()),
        ("last_ts_ns", nanos()),
        ("quality", or_null(quality)),
        ("not_decoded", json!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 1 } })),
        ("cannot_claim", list(object(vec![("claim", text()), ("why", text())]))),
    ]
}

fn flow() -> Fields {
    let evidence = object(vec![
        ("class", one_of(&["crypto", "name", "dns", "stun", "bytes", "ip", "port", "fp", "pattern", "context", "contradiction"])),
        ("says", text()),
        ("db", json!({ "type": "integer" })),
        ("frame", count()),
    ]);
    let service = object(vec![
        ("id", text()),
        ("role", word_or_null(ROLES)),
        ("confidence", share()),
        ("grade", one_of(&["certain", "confident", "probable", "possible"])),
        ("evidence", list(evidence)),
        ("runner_up", or_null(object(vec![("id", text()), ("confidence", share())]))),
        ("brand", text_or_null()),
        ("attempt", json!({ "type": "boolean" })),
        ("total_db", json!({ "type": "integer" })),
        ("margin_db", json!({ "type": ["integer", "null"] })),
        ("label_frame", count()),
        ("label_packets", count_or_null()),
    ]);
    let leg = object(vec![
        ("sources", count()),
        ("payload_types", list(count())),
        ("packets", count()),
        ("lost", count()),
        ("loss", share()),
        ("gaps", count()),
        ("longest_gap", count()),
        ("clock_hz", count_or_null()),
        ("jitter_ms", json!({ "type": ["number", "null"] })),
    ]);
    let call = object(vec![
        ("stun", or_null(object(vec![("requests", count()), ("answers", count()), ("errors", count())]))),
        ("allocation", or_null(object(vec![("asked", count()), ("granted", count()), ("refused", count())]))),
        ("media", object(vec![("c2s", or_null(leg.clone())), ("s2c", or_null(leg))])),
    ]);
    let reset = object(vec![
        ("frame", count()),
        ("direction", one_of(&["c2s", "s2c"])),
        ("flags", text()),
        ("ttl", count()),
        ("usual_ttl", count_or_null()),
        ("ip_id", count_or_null()),
        ("df", yes_no()),
        ("window", count()),
        ("options", count()),
        ("payload", count()),
        ("fit", one_of(&["exact", "in_window", "stale", "ahead", "on_syn", "unknown"])),
    ]);
    let names = object(vec![
        ("sni", text_or_null()),
        ("host", text_or_null()),
        ("qname", text_or_null()),
        ("dns", list(text())),
        ("cert", list(text())),
    ]);
    vec![
        ("id", flow_id()),
        ("source", source_id()),
        ("community_id", json!({ "type": "string", "pattern": "^1:" })),
        ("proto", text()),
        ("client", endpoint()),
        ("server", endpoint()),
        ("role_basis", one_of(&["syn", "syn_ack", "first_datagram", "port_guess", "first_sender"])),
        ("first_ts", time()),
        ("first_ts_ns", nanos()),
        ("last_ts", time()),
        ("last_ts_ns", nanos()),
        ("first_frame", count()),
        ("last_frame", count()),
        ("packets", both_ways()),
        ("bytes", both_ways()),
        ("payload", both_ways()),
        ("app", text_or_null()),
        ("names", names),
        ("sni_decoys", list(text())),
        ("alpn", list(text())),
        ("ja4", text_or_null()),
        ("ech", word_or_null(&["none", "grease", "real"])),
        ("history", text()),
        ("outcome", one_of(&["ok", "refused", "reset", "silent_syn", "silent_hello", "muted", "stalled", "unknown"])),
        ("stage", one_of(&["none", "post_syn", "post_ack", "post_psh", "later"])),
        ("ooni_failure", word_or_null(ooni::FAILURES)),
        ("signature", word_or_null(&signature::SIGNATURES)),
        ("closed", one_of(&["finished", "idle", "port_reuse", "capture_end", "evicted", "internal"])),
        ("goodput", object(vec![("c2s_bps", count_or_null()), ("s2c_bps", count_or_null())])),
        ("rtt_ms", json!({ "type": ["number", "null"] })),
        ("retransmitted", or_null(object(vec![("c2s", count()), ("s2c", count()), ("c2s_bytes", count()), ("s2c_bytes", count())]))),
        ("resets", list(reset)),
        ("limit", object(vec![("c2s", or_null(limit())), ("s2c", or_null(limit()))])),
        ("series", or_null(object(vec![("c2s", or_null(series())), ("s2c", or_null(series()))]))),
        ("owner", text_or_null()),
        ("service", or_null(service)),
        ("call", or_null(call)),
    ]
}

fn limit() -> Value {
    let names: Vec<&str> = Limiter::ALL.iter().map(|l| l.name()).collect();
    object(vec![("by", one_of(&names)), ("or", list(one_of(&names))), ("why", text())])
}

/// Bytes, acknowledged bytes and drops in bins of one width; present only when asked for.
fn series() -> Value {
    object(vec![
        ("start_ts", time()),
        ("start_ts_ns", nanos()),
        ("width_ns", count()),
        ("before_bytes", count()),
        ("bytes", list(count())),
        ("acked", list(count())),
        ("drops", list(count())),
    ])
}

fn throttle() -> Value {
    let rates = || list(object(vec![("flow_id", flow_id()), ("bps", count())]));
    let number_or_null = || json!({ "type": ["number", "null"] });
    object(vec![
        ("scope", one_of(&["targeted", "general", "unknown"])),
        ("rate_bps", count()),
        ("low_bps", count()),
        ("high_bps", count()),
        ("burst_bytes", count_or_null()),
        ("loss", share()),
        ("rtt_base_ms", number_or_null()),
        ("rtt_usual_ms", number_or_null()),
        ("from_ts", time()),
        ("from_ts_ns", nanos()),
        ("to_ts", time()),
        ("to_ts_ns", nanos()),
        ("before_bps", count_or_null()),
        ("held", rates()),
        ("controls", rates()),
        ("p", number_or_null()),
    ])
}

fn finding() -> Fields {
    let target = object(vec![
        ("service", text_or_null()),
        ("role", word_or_null(ROLES)),
        ("sni", text_or_null()),
        ("host", text_or_null()),
        ("qname", text_or_null()),
        ("ip", text_or_null()),
    ]);
    let flows = object(vec![("flow_id", flow_id()), ("proto", text()), ("client", endpoint()), ("server", endpoint())]);
    let evidence = object(vec![("says", text()), ("value", text()), ("expected", text()), ("frames", list(count()))]);
    let evidence = with_optional(evidence, vec![("frames_b", list(count()))]);
    vec![
        ("id", text()),
        ("source", source_id()),
        ("rule", text()),
        ("kind", one_of(KINDS)),
        ("mechanism", text()),
        ("grade", one_of(&["confirmed", "likely", "possible"])),
        ("flows", list(flows)),
        ("direction", word_or_null(&["c2s", "s2c", "both"])),
        ("target", target),
        ("started_ts", time()),
        ("started_ts_ns", nanos()),
        ("frames", list(count())),
        ("rate_bps", count_or_null()),
        ("throttle", or_null(throttle())),
        ("deaths", list(object(vec![("flow_id", flow_id()), ("bytes", count()), ("packets", count())]))),
        ("evidence", list(evidence)),
        ("innocent", list(object(vec![("cause", text()), ("stands", yes_no()), ("why", text())]))),
        ("control", list(object(vec![("kind", text()), ("n", count()), ("ok", count()), ("flows", list(flow_id()))]))),
        ("needs", list(text())),
        ("wireshark_filter", text_or_null()),
        ("wireshark_flow_filter", text_or_null()),
        ("ooni_failure", text_or_null()),
        ("resembles", list(text())),
        ("supersedes", text_or_null()),
    ]
}

fn service() -> Fields {
    vec![
        ("source", source_id()),
        ("id", text()),
        ("title", text()),
        ("role", word_or_null(ROLES)),
        ("state", one_of(STATES)),
        ("n", object(vec![("attempts", count()), ("ok", count()), ("failed", count())])),
        ("flows", count()),
        ("findings", list(text())),
        ("because", text()),
        ("unless", text()),
        ("circumvention", yes_no()),
    ]
}

/// Packets that were not analysed, by where they were lost.
fn losses() -> Value {
    object(vec![("kernel", count()), ("interface", count()), ("queue", count()), ("policy", count())])
}

fn stats() -> Fields {
    let rate = || json!({ "type": "number", "minimum": 0 });
    let flows = object(vec![("active", count()), ("closed", count()), ("evicted", count()), ("unwritten", count())]);
    let interface = object(vec![
        ("name", text()),
        ("link", one_of(&["up", "down", "gone"])),
        ("link_type", text()),
        ("packets", count()),
        ("bytes", count()),
        ("kernel", count()),
        ("interface", count()),
        ("queue", count()),
    ]);
    let row =
        object(vec![("id", text()), ("role", word_or_null(ROLES)), ("state", one_of(STATES)), ("attempts", count()), ("failed", count())]);
    vec![
        ("seq", count()),
        ("ts", time()),
        ("ts_ns", nanos()),
        ("uptime_s", rate()),
        ("packets", count()),
        ("bytes", count()),
        ("decoded", count()),
        ("pps", rate()),
        ("bps", rate()),
        ("flows", flows),
        ("losses", losses()),
        ("shedding", one_of(&["nothing", "long_payload", "payload", "following"])),
        ("interfaces", list(interface)),
        ("findings", count()),
        ("services", list(row)),
        ("withdrawn", list(text())),
        ("notices", list(text())),
        ("rules_sha256", text_or_null()),
    ]
}

fn app() -> Fields {
    vec![
        ("source", source_id()),
        ("name", text()),
        ("state", one_of(STATES)),
        ("because", text()),
        ("unless", text()),
        ("n", object(vec![("attempts", count()), ("ok", count()), ("failed", count())])),
        ("flows", count()),
        ("services", list(text())),
        ("findings", list(text())),
    ]
}

fn end() -> Fields {
    vec![
        (
            "totals",
            object(vec![
                ("source", count()),
                ("flow", count()),
                ("finding", count()),
                ("service", count()),
                ("app", count()),
                ("packets", count()),
            ]),
        ),
        ("failed_sources", list(object(vec![("path", text()), ("why", text())]))),
        ("exit", json!({ "type": "integer" })),
        ("interrupted", yes_no()),
        ("bounds_hit", list(text())),
        ("losses", losses()),
    ]
}

/// Whether a dotted path can lead to a field of records of `kind`. Arrays are walked through. A path into a map with free keys is accepted.
pub fn has_path(kind: &str, path: &str) -> bool {
    let mut at = vec![record(kind)];
    for step in path.split('.') {
        at = at.iter().flat_map(unwrapped).filter_map(|s| child(&s, step)).collect();
    }
    !at.is_empty()
}

/// The schemas a value may have: alternatives of `oneOf`, items of arrays.
fn unwrapped(schema: &Value) -> Vec<Value> {
    if let Some(any) = schema.get("oneOf").and_then(Value::as_array) {
        return any.iter().flat_map(unwrapped).collect();
    }
    match schema.get("items") {
        Some(items) => unwrapped(items),
        None => vec![schema.clone()],
    }
}

fn child(schema: &Value, key: &str) -> Option<Value> {
    if let Some(found) = schema.get("properties").and_then(|p| p.get(key)) {
        return Some(found.clone());
    }
    schema.get("additionalProperties").filter(|a| a.is_object()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_looked_up_through_arrays_and_alternatives() {
        for (kind, path) in [
            ("finding", "target.service"),
            ("finding", "flows.client.ip"),
            ("finding", "evidence.frames"),
            ("flow", "service.evidence.class"),
            ("flow", "service.runner_up.id"),
            ("source", "quality.vantage"),
            ("source", "not_decoded.not-ip"),
            ("end", "exit"),
        ] {
            assert!(has_path(kind, path), "{kind} {path}");
        }
        for (kind, path) in [("finding", "target.servce"), ("flow", "service.id.x"), ("stat", "type"), ("end", "")] {
            assert!(!has_path(kind, path), "{kind} {path}");
        }
    }
}
