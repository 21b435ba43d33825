//! Content that the client took for the server's, told at the server by what the client acknowledges.
//!
//! ```text
//! client            box            server
//!   | GET / -----------------------> |
//!   | <-- page, 361 bytes --|        |   put in place of the answer
//!   | <----------- 10,956 bytes ---- |   the server's own
//!   | ACK of 361 ------------------> |   inside the server's first segment, or of bytes it has not sent yet;
//!   | FIN -------------------------> |   the page was read to its end, and nothing more is acknowledged
//! ```

use super::Detector;
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Direction, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord, TcpRecord, mark};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::scene::Scene;
use crate::model::seq::Pos;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::{Span, Time};

/// See the module.
pub(super) struct PageUnseen;

static CARD: Card = Card {
    rule: "http.page_unseen",
    kind: Kind::BlockPage,
    mechanisms: &["body"],
    claim: "The client acknowledged, and then took leave of, content that the server did not send: another answer reached it in place of the server's.",
    ladder: "\
client            box            server
  | GET / -----------------------> |
  | <-- page, 361 bytes --|        |   put in place of the answer
  | <----------- 10,956 bytes ---- |   the server's own
  | ACK of 361 ------------------> |   inside the server's first segment, or of bytes it has not sent yet;
  | FIN -------------------------> |   the page was read to its end, and nothing more is acknowledged",
    needs: &["a capture at the server or beyond the box", "both directions", "the request"],
    innocent: &[
        "client that acknowledges in advance",
        "device that cuts segments anew",
        "window that was full",
        "capture that misses packets",
    ],
    confirm: "Capture at the client, or ask for the same page from its network: the content and its length show which page it is.",
    sources: &[
        "Tripwire testdata (Airtel, India 2020: 361 bytes acknowledged of 10,956 sent, after 8 of 237 ms)",
        "RFC 9293 §3.4 (what is acknowledged has arrived)",
    ],
};

/// Packets may be recorded this far out of order.
const REORDER: Span = Span::from_millis(2);
/// Segments of the server beyond the amount that must be left without an acknowledgement.
const IGNORED: usize = 2;

impl Detector for PageUnseen {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::HTTP
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        // At the client the page itself is there to be seen.
        if !matches!(scene.vantage(), Vantage::Server | Vantage::Mid) || scene.source.quality.one_sided_share > 0.5 {
            return None;
        }
        let page = Page::of(scene.flow)?;
        let mut again = Control::new("same_amount_elsewhere");
        for f in scene.kin.with_server(scene.flow.server.ip).filter(|f| f.id != scene.flow.id) {
            if let Some(p) = Page::of(f) {
                again.add(f.id, p.bytes != page.bytes);
            }
        }
        let alike = again.n - again.ok;
        let mut w = Weigh::default();
        let (says, expected) = match page.how {
            How::NotYetSent => ("the client acknowledged bytes before the server sent them", "no more than was sent"),
            How::NeverSent => {
                ("the client acknowledged bytes of a server that had sent none, and the server knew of no such connection", "nothing")
            }
            How::Inside => {
                ("the client acknowledged an amount that ends inside a segment, and never more", "the end of a segment, then more")
            }
        };
        let weight = if page.how == How::Inside { 3.5 } else { 4.5 };
        w.fact(weight, says, format!("{} bytes", page.bytes), expected, &page.frames);
        w.fact(1.0, "the client took leave at once", format!("{} later", page.left), "the rest of the answer", &[]);
        if alike > 0 {
            w.fact(2.0, "other connections to this server took leave after the very same amount", format!("{alike} more"), "-", &[]);
        }
        w.excluded("window that was full", "it never announced a full window");
        const CUT: &str = "device that cuts segments anew";
        const AHEAD: &str = "client that acknowledges in advance";
        if alike > 0 {
            w.excluded(CUT, "it would not stop after the same amount each time");
            w.excluded(AHEAD, "it acknowledged the same amount each time, and no more");
        } else if page.how == How::Inside {
            w.against(0.0, CUT, "a proxy on the way may hand the answer on in pieces of its own");
        } else {
            w.against(0.0, AHEAD, "some programs do, to be served faster");
        }
        let grade = w.grade()?.min(Grade::Likely);
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "body",
            grade,
            direction: Some(Direction::S2c),
            started: page.at,
            ooni_failure: None,
        };
        Some(weigh::finding(scene, &claim, w, vec![again], vec!["a capture at the client"]))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    NotYetSent,
    NeverSent,
    Inside,
}

/// What the client took for the answer.
struct Page {
    how: How,
    bytes: i64,
    at: Time,
    /// From the acknowledgement to the client's goodbye.
    left: Span,
    frames: Vec<FrameNo>,
}

impl Page {
    fn of(flow: &FlowRecord) -> Option<Self> {
        let (request, _) = flow.notes.http_request()?;
        let tcp: &TcpRecord = flow.tcp.as_deref()?;
        let (c, s) = (&tcp.side.client, &tcp.side.server);
        if c.syn.is_none() || s.syn.is_none() || c.zero_windows > 0 || flow.ladder.between > 0 {
            return None;
        }
        let (_, gone) = c.fin?;
        let plain = |p: &&Brief| !p.flags.syn() && p.marks & (mark::COPY | mark::BAD_CHECKSUM | mark::ASIDE) == 0;
        let own =
            || flow.ladder.iter().filter(plain).filter(|p| p.side == Side::Client && !p.flags.rst() && p.flags.ack() && p.ts >= request.ts);
        // The most it ever acknowledged, and when it did first.
        let most = own().map(|p| p.ack).max().filter(|a| *a > Pos::FIRST)?;
        let first = own().find(|p| p.ack == most)?;
        let sent = || flow.ladder.iter().filter(plain).filter(|p| p.side == Side::Server && p.len > 0 && !p.flags.rst());
        let fresh = sent().find(|p| p.ts.since(first.ts) > REORDER && !p.marked(mark::RETRANSMIT) && p.seq < most);
        let inside = sent().find(|p| p.ts < first.ts && p.seq < most && most < p.end());
        // A capture before the network card shows segments that it will cut; with timestamps they are twelve bytes shorter than announced.
        let size = i64::from(s.mss.unwrap_or(1_460).min(c.mss.unwrap_or(1_460)));
        let edge = |p: &Brief| [size, size - 12].into_iter().any(|size| size > 0 && most.since(p.seq) % size == 0);
        // A segment that ends there was sent, by whomever: then it is there to be seen, or the answer was cut anew when it was repeated.
        let whole = sent().any(|p| p.end() == most);
        let beyond = sent().filter(|p| p.seq >= most).count();
        let refused =
            flow.ladder.iter().find(|p| p.side == Side::Server && p.flags.rst() && p.seq_raw == first.ack_raw && p.frame > first.frame);
        let (how, told) = match (fresh, inside, refused) {
            (Some(p), ..) => (How::NotYetSent, p.frame),
            (_, Some(p), _) if !edge(p) && !whole && beyond >= IGNORED => (How::Inside, p.frame),
            (.., Some(p)) if s.unique == 0 && sent().next().is_none() => (How::NeverSent, p.frame),
            _ => return None,
        };
        let left = gone.ts.since(first.ts);
        // A goodbye long after is one of its own.
        (left >= Span::ZERO && left < Span::from_secs(2)).then(|| Self {
            how,
            bytes: most.since(Pos::FIRST),
            at: first.ts,
            left,
            frames: vec![request.frame, first.frame, told, gone.frame],
        })
    }
}
