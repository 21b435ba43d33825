//! Just enough of a JSON Schema validator for the keywords that `schema` uses; any other keyword is an error. For tests: those of the sinks, and
//! `tests/cli.rs`, which includes this file.

use serde_json::Value;

/// Why `value` does not fit `schema`.
pub fn errors(value: &Value, schema: &Value, at: &str, out: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        return out.push(format!("{at}: schema is not an object"));
    };
    for (keyword, want) in keywords {
        let fits = match keyword.as_str() {
            "const" => value == want,
            "enum" => want.as_array().unwrap().contains(value),
            "type" => match want {
                Value::Array(any) => any.iter().any(|t| is(value, t.as_str().unwrap())),
                one => is(value, one.as_str().unwrap()),
            },
            "minimum" => value.as_f64().is_none_or(|v| v >= want.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|v| v <= want.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|v| pattern(v, want.as_str().unwrap())),
            "format" | "additionalProperties" | "required" => true,
            "items" => {
                for (i, v) in value.as_array().into_iter().flatten().enumerate() {
                    errors(v, want, &format!("{at}[{i}]"), out);
                }
                true
            }
            "oneOf" => {
                let fitting = want.as_array().unwrap().iter().filter(|s| {
                    let mut none = Vec::new();
                    errors(value, s, at, &mut none);
                    none.is_empty()
                });
                fitting.count() == 1
            }
            "properties" => {
                object(value, want, schema, at, out);
                true
            }
            other => panic!("the checker does not know {other}"),
        };
        if !fits {
            out.push(format!("{at}: {value} does not fit {keyword} {want}"));
        }
    }
}

fn object(value: &Value, properties: &Value, schema: &Value, at: &str, out: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    assert_eq!(schema["additionalProperties"], Value::Bool(false));
    for key in schema["required"].as_array().unwrap() {
        if !object.contains_key(key.as_str().unwrap()) {
            out.push(format!("{at}: {key} is missing"));
        }
    }
    for (key, v) in object {
        match properties.get(key) {
            Some(s) => errors(v, s, &format!("{at}.{key}"), out),
            None => out.push(format!("{at}: unknown key {key}")),
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    }
}

fn pattern(text: &str, pattern: &str) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match pattern {
        "^1:" => text.starts_with("1:"),
        "^s[0-9]+$" => text.strip_prefix('s').is_some_and(number),
        "^s[0-9]+f[0-9]+$" => text.strip_prefix('s').and_then(|t| t.split_once('f')).is_some_and(|(s, f)| number(s) && number(f)),
        other => panic!("pattern {other}"),
    }
}
