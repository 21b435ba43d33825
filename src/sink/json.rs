//! A JSON writer over a reused buffer. A million flow lines go through it, so it allocates nothing per field.

use super::text;
use crate::model::key::Endpoint;
use crate::model::time::Time;
use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;

/// Writes JSON in the order it is told. Commas come by themselves; nesting is the caller's affair.
#[derive(Default)]
pub struct Json {
    buf: Vec<u8>,
}

impl Json {
    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }
    /// Forgets what was written, keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
    }
    /// Ends a line.
    pub fn line(&mut self) {
        self.buf.push(b'\n');
    }

    /// A value or key follows: a comma, unless it is the first of its object, array or line.
    fn next(&mut self) {
        if !matches!(self.buf.last(), None | Some(b'{' | b'[' | b':' | b'\n')) {
            self.buf.push(b',');
        }
    }
    /// Opens an object.
    pub fn open(&mut self) {
        self.next();
        self.buf.push(b'{');
    }
    /// Closes an object.
    pub fn close(&mut self) {
        self.buf.push(b'}');
    }
    /// Opens an array.
    pub fn open_list(&mut self) {
        self.next();
        self.buf.push(b'[');
    }
    /// Closes an array.
    pub fn close_list(&mut self) {
        self.buf.push(b']');
    }
    /// A key that needs no escaping: all of ours.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.next();
        self.buf.push(b'"');
        self.buf.extend_from_slice(key.as_bytes());
        self.buf.extend_from_slice(b"\":");
        self
    }

    /// `null`.
    pub fn null(&mut self) {
        self.next();
        self.buf.extend_from_slice(b"null");
    }
    /// A boolean.
    pub fn bool(&mut self, value: bool) {
        self.next();
        self.buf.extend_from_slice(if value { b"true" } else { b"false" });
    }
    /// An integer.
    pub fn int(&mut self, value: impl Into<i128>) {
        self.next();
        let value: i128 = value.into();
        match u64::try_from(value) {
            Ok(small) => self.digits(small),
            // Writing into a Vec cannot fail.
            Err(_) => drop(write!(self.buf, "{value}")),
        }
    }
    /// Decimal digits. Half of a flow line is numbers, and the formatting machinery costs more than the digits.
    fn digits(&mut self, mut value: u64) {
        let mut digits = [b'0'; 20];
        let mut from = digits.len();
        for place in digits.iter_mut().rev() {
            *place = b'0' + (value % 10) as u8;
            value /= 10;
            from -= 1;
            if value == 0 {
                break;
            }
        }
        self.buf.extend_from_slice(digits.get(from..).unwrap_or_default());
    }
    /// An integer or `null`.
    pub fn int_or_null(&mut self, value: Option<impl Into<i128>>) {
        match value {
            Some(v) => self.int(v),
            None => self.null(),
        }
    }
    /// A number with at most six decimals; `null` if it is none.
    pub fn real(&mut self, value: f64) {
        if !value.is_finite() {
            return self.null();
        }
        self.next();
        // Adding 0 turns −0 into 0.
        let rounded = (value * 1e6).round() / 1e6 + 0.0;
        drop(write!(self.buf, "{rounded}"));
    }
    /// A string. Besides what JSON demands, everything that could act on a terminal or reorder its text is escaped.
    pub fn str(&mut self, value: &str) {
        self.next();
        self.buf.push(b'"');
        self.escaped(value);
        self.buf.push(b'"');
    }
    /// A string or `null`.
    pub fn str_or_null(&mut self, value: Option<&str>) {
        match value {
            Some(v) => self.str(v),
            None => self.null(),
        }
    }
    /// A value's text that is known to need no escaping: addresses, identifiers.
    pub fn plain(&mut self, value: impl Display) {
        self.next();
        drop(write!(self.buf, "\"{value}\""));
    }
    /// An array of strings.
    pub fn strs<'a>(&mut self, values: impl IntoIterator<Item = &'a str>) {
        self.open_list();
        for v in values {
            self.str(v);
        }
        self.close_list();
    }
    /// An endpoint object.
    pub fn endpoint(&mut self, e: Endpoint) {
        self.open();
        match e.ip {
            IpAddr::V4(ip) => {
                self.key("ip").buf.push(b'"');
                for (i, octet) in ip.octets().into_iter().enumerate() {
                    if i > 0 {
                        self.buf.push(b'.');
                    }
                    self.digits(u64::from(octet));
                }
                self.buf.push(b'"');
            }
            IpAddr::V6(ip) => self.key("ip").plain(ip),
        }
        self.key("port").int(e.port);
        self.close();
    }
    /// A time under `key`, and its nanoseconds under `key_ns`.
    pub fn time(&mut self, key: &str, key_ns: &str, time: Option<Time>) {
        self.key(key);
        match time {
            Some(t) => {
                self.buf.push(b'"');
                text::push_rfc3339(&mut self.buf, t);
                self.buf.push(b'"');
            }
            None => self.null(),
        }
        self.key(key_ns).int_or_null(time.map(Time::nanos));
    }

    fn escaped(&mut self, value: &str) {
        let quiet = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
        if value.as_bytes().iter().all(quiet) {
            self.buf.extend_from_slice(value.as_bytes());
            return;
        }
        for c in value.chars() {
            match c {
                '"' => self.buf.extend_from_slice(b"\\\""),
                '\\' => self.buf.extend_from_slice(b"\\\\"),
                '\n' => self.buf.extend_from_slice(b"\\n"),
                '\r' => self.buf.extend_from_slice(b"\\r"),
                '\t' => self.buf.extend_from_slice(b"\\t"),
                c if text::treacherous(c) => {
                    let mut units = [0u16; 2];
                    for unit in c.encode_utf16(&mut units) {
                        drop(write!(self.buf, "\\u{unit:04x}"));
                    }
                }
                c => {
                    let mut utf8 = [0u8; 4];
                    self.buf.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(value: &str) -> String {
        let mut j = Json::default();
        j.str(value);
        String::from_utf8(j.bytes().to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn any_string_comes_back_and_nothing_acts_on_a_terminal(value in any::<String>()) {
            let text = string(&value);
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
            prop_assert!(!text.chars().any(text::treacherous));
        }
    }

    proptest! {
        #[test]
        fn numbers_and_addresses_are_written_as_the_library_does(n: i64, u: u64, ip: u32, port: u16) {
            let mut j = Json::default();
            j.open_list();
            j.int(n);
            j.int(u);
            j.endpoint(Endpoint::new(IpAddr::V4(ip.into()), port));
            j.close_list();
            let wanted = format!("[{n},{u},{{\"ip\":\"{}\",\"port\":{port}}}]", std::net::Ipv4Addr::from(ip));
            prop_assert_eq!(std::str::from_utf8(j.bytes()).unwrap(), wanted);
        }
    }

    #[test]
    fn escapes_beyond_json() {
        assert_eq!(string("\u{7f}\u{9b}\u{2028}\u{e0041}"), r#""\u007f\u009b\u2028\udb40\udc41""#);
    }

    #[test]
    fn commas_come_by_themselves() {
        let mut j = Json::default();
        j.open();
        j.key("a").int(1u8);
        j.key("b").open_list();
        j.real(-0.0);
        j.real(f64::NAN);
        j.real(0.123_456_789);
        j.close_list();
        j.time("t", "t_ns", None);
        j.close();
        j.line();
        j.open();
        j.close();
        assert_eq!(std::str::from_utf8(j.bytes()).unwrap(), "{\"a\":1,\"b\":[0,null,0.123457],\"t\":null,\"t_ns\":null}\n{}");
    }
}
