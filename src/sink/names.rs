//! The words that the contract gives to values of the model. Written once, so that JSON, schema and screen agree.

use crate::model::flow::{Closed, Outcome, ResetFit, RoleBasis, Stage};
use crate::model::frame::LinkType;
use crate::model::note::Ech;
use std::borrow::Cow;

/// Name of an outcome.
pub const fn outcome(o: Outcome) -> &'static str {
    match o {
        Outcome::Ok => "ok",
        Outcome::Refused => "refused",
        Outcome::Reset => "reset",
        Outcome::SilentSyn => "silent_syn",
        Outcome::SilentHello => "silent_hello",
        Outcome::Muted => "muted",
        Outcome::Stalled => "stalled",
        Outcome::Unknown => "unknown",
    }
}

/// Name of a stage.
pub const fn stage(s: Stage) -> &'static str {
    match s {
        Stage::None => "none",
        Stage::PostSyn => "post_syn",
        Stage::PostAck => "post_ack",
        Stage::PostPsh => "post_psh",
        Stage::Later => "later",
    }
}

/// Name of a role basis.
pub const fn role_basis(b: RoleBasis) -> &'static str {
    match b {
        RoleBasis::Syn => "syn",
        RoleBasis::SynAck => "syn_ack",
        RoleBasis::FirstDatagram => "first_datagram",
        RoleBasis::PortGuess => "port_guess",
        RoleBasis::FirstSender => "first_sender",
    }
}

/// Name of the reason a flow's record was closed.
pub const fn closed(c: Closed) -> &'static str {
    match c {
        Closed::Finished => "finished",
        Closed::Idle => "idle",
        Closed::PortReuse => "port_reuse",
        Closed::CaptureEnd => "capture_end",
        Closed::Evicted => "evicted",
        Closed::Internal => "internal",
    }
}

/// Name of how a reset fits its receiver.
pub const fn reset_fit(f: ResetFit) -> &'static str {
    match f {
        ResetFit::Exact => "exact",
        ResetFit::InWindow => "in_window",
        ResetFit::Stale => "stale",
        ResetFit::Ahead => "ahead",
        ResetFit::OnSyn => "on_syn",
        ResetFit::Unknown => "unknown",
    }
}

/// Name of an ECH observation.
pub const fn ech(e: Ech) -> &'static str {
    match e {
        Ech::None => "none",
        Ech::Grease => "grease",
        Ech::Real => "real",
    }
}

/// Name of a link type: the `LINKTYPE_` name in lower case, or `linktype-N`.
pub fn link_type(l: LinkType) -> Cow<'static, str> {
    match l {
        LinkType::NULL => "null".into(),
        LinkType::ETHERNET => "ethernet".into(),
        LinkType::PPP => "ppp".into(),
        LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::RAW => "raw".into(),
        LinkType::PPP_HDLC => "ppp_hdlc".into(),
        LinkType::PPP_ETHER => "ppp_ether".into(),
        LinkType::IEEE802_11 => "ieee802_11".into(),
        LinkType::LOOP => "loop".into(),
        LinkType::LINUX_SLL => "linux_sll".into(),
        LinkType::IEEE802_11_RADIOTAP => "ieee802_11_radiotap".into(),
        LinkType::IPV4 => "ipv4".into(),
        LinkType::IPV6 => "ipv6".into(),
        LinkType::PKTAP | LinkType::PKTAP_USER2 => "pktap".into(),
        LinkType::NFLOG => "nflog".into(),
        LinkType::LINUX_SLL2 => "linux_sll2".into(),
        LinkType(n) => format!("linktype-{n}").into(),
    }
}
