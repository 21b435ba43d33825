//! The service a flow belongs to, with the evidence that says so.

use super::frame::FrameNo;

/// A role inside a service's family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Text.
    Chat,
    /// Pictures, files, video.
    Media,
    /// Voice and video calls.
    Call,
    /// Push notifications.
    Push,
    /// Web pages and links.
    Web,
    /// Other programmatic access.
    Api,
}

impl Role {
    /// Name in outputs and service files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Media => "media",
            Self::Call => "call",
            Self::Push => "push",
            Self::Web => "web",
            Self::Api => "api",
        }
    }
}

/// Kind of evidence; weights inside one class are capped .
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EvidenceClass {
    /// Trial decryption, authenticated QUIC, validated frame chain.
    Crypto,
    /// SNI, QUIC SNI, Host, certificate name.
    Name,
    /// DNS answer that led to this address.
    Dns,
    /// STUN realm, attribute, username shape.
    Stun,
    /// Fixed magic, structural parse.
    Bytes,
    /// Address range.
    Ip,
    /// Port number.
    Port,
    /// JA4, ALPN, stack.
    Fp,
    /// Sizes, residues, periods, rates.
    Pattern,
    /// Companion flows.
    Context,
    /// Facts that disagree.
    Contradiction,
}

impl EvidenceClass {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crypto => "crypto",
            Self::Name => "name",
            Self::Dns => "dns",
            Self::Stun => "stun",
            Self::Bytes => "bytes",
            Self::Ip => "ip",
            Self::Port => "port",
            Self::Fp => "fp",
            Self::Pattern => "pattern",
            Self::Context => "context",
            Self::Contradiction => "contradiction",
        }
    }
}

/// One line of evidence for a label.
#[derive(Clone, PartialEq, Debug)]
pub struct LabelEvidence {
    /// Class.
    pub class: EvidenceClass,
    /// In words, e.g. `SNI web.telegram.org ends in telegram.org`.
    pub says: String,
    /// Weight in decibans before caps.
    pub db: i16,
    /// Frame it comes from.
    pub frame: FrameNo,
}

/// How sure a label is (confidence ≥ 0.999, 0.95, 0.80, 0.50).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LabelGrade {
    /// At least even.
    Possible,
    /// At least 0.80.
    Probable,
    /// At least 0.95.
    Confident,
    /// At least 0.999.
    Certain,
}

impl LabelGrade {
    /// Name in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Probable => "probable",
            Self::Confident => "confident",
            Self::Certain => "certain",
        }
    }
    /// The grade of a confidence, or `None` below 0.50.
    pub fn of(confidence: f64) -> Option<Self> {
        match confidence {
            c if c >= 0.999 => Some(Self::Certain),
            c if c >= 0.95 => Some(Self::Confident),
            c if c >= 0.80 => Some(Self::Probable),
            c if c >= 0.50 => Some(Self::Possible),
            _ => None,
        }
    }
}

/// A service label. Most flows have none, and that costs no more than an empty pointer.
#[derive(Clone, PartialEq, Debug)]
pub struct Label(Box<LabelFacts>);

impl From<LabelFacts> for Label {
    fn from(facts: LabelFacts) -> Self {
        Self(Box::new(facts))
    }
}

impl std::ops::Deref for Label {
    type Target = LabelFacts;
    fn deref(&self) -> &LabelFacts {
        &self.0
    }
}

impl std::ops::DerefMut for Label {
    fn deref_mut(&mut self) -> &mut LabelFacts {
        &mut self.0
    }
}

/// What a [`Label`] holds.
#[derive(Clone, PartialEq, Debug)]
pub struct LabelFacts {
    /// Service id.
    pub id: Box<str>,
    /// Title for people.
    pub title: Box<str>,
    /// Role, if known.
    pub role: Option<Role>,
    /// 0–1.
    pub confidence: f64,
    /// Grade of it.
    pub grade: LabelGrade,
    /// Why.
    pub evidence: Vec<LabelEvidence>,
    /// Second best service id and its confidence.
    pub runner_up: Option<(Box<str>, f64)>,
    /// Brand of a `vpn_service`.
    pub brand: Option<Box<str>>,
    /// The service is a way around blocking: reported to people only on request.
    pub circumvention: bool,
    /// Prior and evidence together, decibans, each class capped.
    pub total_db: i16,
    /// How far it leads the second best service, decibans.
    pub margin_db: Option<i16>,
    /// Nobody answered: what the flow was meant for, and not more. This is what blocking looks like.
    pub attempt: bool,
    /// The server stands in a network of the service's owner, which rents it from nobody.
    pub own_network: bool,
    /// Frame with which the evidence was enough to call it possible.
    pub since: FrameNo,
}
