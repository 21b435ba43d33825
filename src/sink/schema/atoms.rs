//! The pieces schemas are made of.

use serde_json::{Value, json};

pub(super) type Fields = Vec<(&'static str, Value)>;

/// An object with exactly these keys.
pub(super) fn object(fields: Fields) -> Value {
    let required: Vec<&str> = fields.iter().map(|f| f.0).collect();
    let properties: serde_json::Map<String, Value> = fields.iter().map(|f| (f.0.to_owned(), f.1.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}
pub(super) fn text_or_null() -> Value {
    json!({ "type": ["string", "null"] })
}
pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}
pub(super) fn count_or_null() -> Value {
    json!({ "type": ["integer", "null"], "minimum": 0 })
}
pub(super) fn share() -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 1 })
}
pub(super) fn yes_no() -> Value {
    json!({ "type": "boolean" })
}
pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}
pub(super) fn or_null(schema: Value) -> Value {
    json!({ "oneOf": [schema, { "type": "null" }] })
}
pub(super) fn one_of(words: &[&str]) -> Value {
    json!({ "enum": words })
}
pub(super) fn word_or_null(words: &[&str]) -> Value {
    let mut all: Vec<Value> = words.iter().map(|w| json!(w)).collect();
    all.push(Value::Null);
    json!({ "enum": all })
}
pub(super) fn source_id() -> Value {
    json!({ "type": "string", "pattern": "^s[0-9]+$" })
}
pub(super) fn flow_id() -> Value {
    json!({ "type": "string", "pattern": "^s[0-9]+f[0-9]+$" })
}
pub(super) fn time() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}
pub(super) fn nanos() -> Value {
    json!({ "type": ["integer", "null"] })
}
pub(super) fn endpoint() -> Value {
    object(vec![("ip", text()), ("port", json!({ "type": "integer", "minimum": 0, "maximum": 65535 }))])
}
pub(super) fn both_ways() -> Value {
    object(vec![("c2s", count()), ("s2c", count())])
}
