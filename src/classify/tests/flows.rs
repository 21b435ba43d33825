//! Flow records by hand.

use crate::model::flow::{FlowRecord, Totals};
use crate::model::frame::FrameNo;
use crate::model::key::{Endpoint, Proto};
use crate::model::note::{Certificate, ClientHello, DnsMessage, Fact, HttpRequest, Note, Stun};
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::time::Time;

/// A flow whose server answered, between 192.168.1.2 and `server` (`address:port`, `[v6]:port`).
pub fn flow(proto: Proto, server: &str) -> FlowRecord {
    let server: std::net::SocketAddr = server.parse().unwrap();
    crate::classify::trial::flow(proto, Endpoint::new(server.ip(), server.port()))
}

pub fn tcp(server: &str) -> FlowRecord {
    flow(Proto::TCP, server)
}

pub fn udp(server: &str) -> FlowRecord {
    flow(Proto::UDP, server)
}

/// A TLS flow to a documentation address.
pub fn sni(name: &str) -> FlowRecord {
    tcp("192.0.2.1:443").sni(name)
}

/// What a flow may say.
pub trait Says: Sized {
    fn note(self, fact: Fact) -> Self;
    fn unanswered(self) -> Self;
    fn sni(self, name: &str) -> Self {
        self.note(Fact::ClientHello(Box::new(ClientHello { sni: Some(name.into()), ..ClientHello::default() })))
    }
    fn hello(self, sni: Option<&str>, alpn: &[&str], ja4: &str) -> Self {
        let alpn = alpn.iter().map(|a| (*a).into()).collect();
        self.note(Fact::ClientHello(Box::new(ClientHello { sni: sni.map(Into::into), alpn, ja4: ja4.into(), ..ClientHello::default() })))
    }
    fn host(self, name: &str) -> Self {
        self.note(Fact::HttpRequest(Box::new(HttpRequest { host: Some(name.into()), ..HttpRequest::default() })))
    }
    fn certificate(self, names: &[&str]) -> Self {
        self.note(Fact::Certificate(Box::new(Certificate { names: names.iter().map(|n| (*n).into()).collect(), ..Certificate::default() })))
    }
    fn decoy(self, name: &str) -> Self {
        self.note(Fact::DecoyHello { sni: Some(name.into()) })
    }
    fn stun(self, message: Stun) -> Self {
        self.note(Fact::Stun(Box::new(message)))
    }
    fn realm(self, realm: &str) -> Self {
        self.stun(Stun { kind: 0x0113, realm: Some(realm.into()), len: 92, ..Stun::default() })
    }
    fn dns(self, qname: &str) -> Self {
        self.note(Fact::Dns(Box::new(DnsMessage { qname: qname.into(), ..DnsMessage::default() })))
    }
}

impl Says for FlowRecord {
    fn note(mut self, fact: Fact) -> Self {
        self.notes.push(Note { frame: FrameNo(4), ts: Time::from_nanos(0), side: Side::Client, from: Pos::FIRST, to: Pos::FIRST, fact });
        self
    }
    fn unanswered(mut self) -> Self {
        self.totals.server = Totals::default();
        self
    }
}
