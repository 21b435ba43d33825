//! One thing is not told as several: facts are written with a number and a noun in the plural, and here a 1 puts the noun right.

/// Nouns that facts count.
const NOUNS: [(&str, &str); 26] = [
    ("SYNs", "SYN"),
    ("addresses", "address"),
    ("answers", "answer"),
    ("attempts", "attempt"),
    ("bytes", "byte"),
    ("connections", "connection"),
    ("datagrams", "datagram"),
    ("events", "event"),
    ("exchanges", "exchange"),
    ("flows", "flow"),
    ("handshakes", "handshake"),
    ("lookups", "lookup"),
    ("moments", "moment"),
    ("names", "name"),
    ("packets", "packet"),
    ("protocols", "protocol"),
    ("queries", "query"),
    ("requests", "request"),
    ("resets", "reset"),
    ("retransmissions", "retransmission"),
    ("routers", "router"),
    ("samples", "sample"),
    ("segments", "segment"),
    ("servers", "server"),
    ("stretches", "stretch"),
    ("times", "time"),
];
/// Words that may stand between the number and the noun.
const BETWEEN: [&str; 3] = ["other", "more", "further"];

/// `1 packets` as `1 packet`, wherever it stands in a sentence.
pub fn one(text: String) -> String {
    if !text.contains("1 ") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut single = false;
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let noun = word.trim_end_matches([',', ';', ':', '.', ')']);
        match NOUNS.iter().find(|(many, _)| single && *many == noun) {
            Some((many, one)) => {
                out.push_str(one);
                out.push_str(word.get(many.len()..).unwrap_or(""));
            }
            None => out.push_str(word),
        }
        single = word.trim_start_matches('(') == "1" || single && BETWEEN.contains(&word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::one;

    #[test]
    fn one_thing_is_told_as_one() {
        for (many, said) in [
            ("1 packets", "1 packet"),
            ("packets (1 packets, 3 times)", "packets (1 packet, 3 times)"),
            ("sent 1 times", "sent 1 time"),
            ("1 other connections; 1 more times", "1 other connection; 1 more time"),
            ("2 of 1 stretches", "2 of 1 stretch"),
        ] {
            assert_eq!(one(many.to_owned()), said);
        }
    }

    #[test]
    fn everything_else_stays_as_it_was() {
        for text in
            ["11 packets", "0.1 packets", "1 of 3 packets", "21 flows, 1 Mbit/s", "f1 packets", "1 packetss", "", "1 ", " 1", "1  flows"]
        {
            assert_eq!(one(text.to_owned()), text);
        }
    }
}
