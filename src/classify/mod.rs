//! Facts become a service label with its evidence.
//!
//! Services are data: one TOML file each under `services/`, compiled into a [`Book`]; a user's own file adds, extends or replaces.
//! No rule about any service stands in code.
//!
//! # Service files
//!
//! ```toml
//! schema = 1
//!
//! [[service]]
//! id = "example"                 # [a-z0-9_-]+; names the family, the role says which part of it
//! title = "Example"
//! category = "messenger"         # messenger call social video push mail vpn dns cloud other
//! parent = "meta"                # optional: the family whose infrastructure it shares
//! role = "chat"                  # optional: chat media call push web api, when no rule says better
//! updated = "2026-10-01"
//! hosted = "own"                 # optional: its names at addresses outside its ranges speak against it (default "cdn": they do not)
//! circumvention = false          # optional: a way around blocking
//! notes = "free text"            # optional
//!
//! [[service.domain]]             # a name in SNI, QUIC, Host, certificate or DNS; of one service the most precise rule counts
//! suffix = ["example.net"]       # the name and all below it, at label boundaries; or `exact` for the name alone
//! prefix_label = "media"         # optional: first label is `media`, or begins with it and goes on with `-` or a digit
//! exclude = ["stats.example.net"]
//! db = 40                        # weight in decibans; default 40
//! dns_db = 20                    # as the only DNS name of the address; default half; just before a flow that says no name, `db` less 7
//! cert_db = 30                   # as certificate name; default three quarters
//! role = "media"
//! brand = "Example Plus"         # shown with the label
//!
//! [[service.cidr]]
//! net = ["192.0.2.0/24"]
//! owner = "exclusive"            # exclusive (35 dB unless `db` says) owner (8) shared (4) cdn (2)
//! last_octet = [48, 62]          # optional, IPv4
//!
//! [[service.port]]               # supports other evidence, never stands alone
//! proto = "tcp"
//! port = "590-599,1400"
//! db = 3
//!
//! [[service.protocol]]           # a protocol over IP that is known by its number
//! ip = ["esp", "ah"]
//! db = 45
//!
//! [[service.tls]]                # all conditions must hold; with `port` alone: a handshake on its assigned port
//! alpn = ["example/1"]           # also ja4, cert_cn, cert_org, no_sni, odd_finished,
//!                                # hybrid_declined (a server that ignores X25519MLKEM768)
//! db = 40
//!
//! [[service.stun]]               # all conditions must hold for one message; different rules add up
//! realm = "example.net"          # also software, attr, type, only_attrs, len, username_len, username (`time:hex18` and the like)
//! db = 40
//!
//! [[service.parser]]             # a protocol that is recognised by its shape; an unknown name is an error that lists all
//! name = "wireguard"
//! class = "bytes"                # crypto (proven by decryption), bytes (the default), pattern (sizes and regularity)
//! home = false                   # optional: counts only at an address of the service's own ranges
//! carries = false                # optional: a proxy; names seen inside do not say whose flow it is
//! opt_in = false                 # optional: counts only with --heuristics
//! db = 45
//!
//! [[service.pattern]]            # sizes and times; exactly one of these families a rule (`home` and `opt_in` as above)
//! sizes = ["+126", "+126", "-44"]  # the first payloads, `tolerance = 0`
//! # modulo = 16, classes = ["9", "12"], percent = 97, bursts = 12, skip = 0: what bursts leave when divided
//! # len = "40", every_ms = 500, slack_ms = 80, times = 4: so many payloads of one length (of a range: each of the same), each so long after the last
//! # pps = 20, seconds = 5: datagrams both ways at least so fast, so long
//! # payload_types = ["101-102", "118"], distinct = 2: RTP without DTLS
//! # nested = true: bursts with the sizes of a TLS handshake inside
//! # both_ports = true: both ends have one of the rule's ports
//! db = 12
//!
//! [[service.context]]            # the same client used a service shortly before; supports other evidence, never stands alone
//! needs = "example"
//! within = 15                    # seconds
//! db = 5
//!
//! [[service.probe]]              # names that this service's app touches only to see whether they can be reached
//! exact = ["other.example"]
//! within = 30
//! db = -15
//! ```
//!
//! Every rule says in `source` where it comes from; its day is its own `updated` or its service's. Every rule may have `proto` and `port` (of the service's
//! side) to limit it, `role`, and `unverified = true`, which halves its weight. `tls` rules also know `cert_like` and `issuer_like`, how a made-up name is
//! made (`www.{base32:8-20}.net`), and `odd_finished`.
//!
//! # Arithmetic
//!
//! Weights are decibans, 10·log10 of how much likelier the evidence is with the service than without. They add to a prior of −25 dB (one flow in about 300);
//! sums are capped for each class of evidence so that one fact told twice does not count twice. 0 dB is even odds, 10 dB 0.91, 15 dB 0.97.
//! Sizes, times and handwriting alone are never more than possible unless two families of them agree, and other flows of the client add at most 10 dB.
//! A flow whose server never sent payload is judged by name, DNS and address alone: that is what blocking looks like.

mod beside;
mod book;
mod builtin;
mod certificate;
mod error;
mod fields;
mod grammar;
mod index;
mod leads;
mod pattern;
mod service;
mod told;
mod trial;
mod weigh;

pub use book::Book;
pub use error::LoadError;
pub use service::{Category, ServiceInfo};
pub use weigh::{Beside, Companion, DnsLead, Near};

#[cfg(test)]
mod tests;
