//! A tunnel that begins, carries a few packets and is cut.
//!
//! ```text
//! client                        server
//!   | initiation ----------------> |   148 bytes
//!   | <------------------ response |   92 bytes: the server is there and knows the key
//!   | data <----------------> data |   a few packets
//!   | data -------------> X        |   then nothing comes back,
//!   | initiation -------> X        |   though the client begins anew every five seconds
//! ```

use super::Detector;
use super::silence::{self, Around};
use super::vpn_blocked::{INITIATION, RESPONSE, on_time};
use super::weigh::{self, Claim, Weigh};
use crate::model::finding::{Card, Control, Finding, Grade, Kind};
use crate::model::flow::{Brief, FlowRecord, Moment};
use crate::model::frame::FrameNo;
use crate::model::gist::Signs;
use crate::model::key::Proto;
use crate::model::scene::Scene;
use crate::model::side::Side;
use crate::model::source::Vantage;
use crate::model::time::Span;
use hashbrown::HashSet;
use std::net::IpAddr;

/// See the module.
pub(super) struct VpnCut;

static CARD: Card = Card {
    rule: "vpn.tunnel_cut",
    kind: Kind::ProtocolBlocking,
    mechanisms: &["wireguard_data"],
    claim: "A tunnel is made and carries a few packets; then nothing of its server arrives, however often the client begins anew.",
    ladder: "\
client                        server
  | initiation ----------------> |   148 bytes
  | <------------------ response |   92 bytes: the server is there and knows the key
  | data <----------------> data |   a few packets
  | data -------------> X        |   then nothing comes back,
  | initiation -------> X        |   though the client begins anew every five seconds",
    needs: &[
        "both directions",
        "the tunnel's beginning",
        "three new beginnings in vain",
        "other connections of the client that work meanwhile",
    ],
    innocent: &["server that went down", "outage of the line", "lost NAT mapping", "client that changed its network", "packet loss"],
    confirm: "Make the same tunnel from another network with the same keys, and see whether it dies after as many packets from here again.",
    sources: &[
        "net4people/bbs 274 (WireGuard passes its handshake and two packets of data, OpenVPN fifteen; Russia 2023)",
        "WireGuard white paper §6.2, §6.4 (REKEY_TIMEOUT 5 s, KEEPALIVE_TIMEOUT 10 s)",
    ],
};

/// The tunnel was in use: WireGuard itself begins anew when nothing was heard for KEEPALIVE_TIMEOUT + REKEY_TIMEOUT (§6.2); a pause longer
/// than that is no cut.
const IN_USE: Span = Span::from_secs(16);
/// New beginnings in vain.
const BEGINNINGS: usize = 3;
/// Tunnels that died after as many packets, give or take, have one cause.
const ALIKE: u64 = 2;

impl Detector for VpnCut {
    fn card(&self) -> &'static Card {
        &CARD
    }

    fn begins_with(&self) -> Signs {
        Signs::TUNNEL
    }

    fn judge(&self, scene: &Scene<'_>) -> Option<Finding> {
        let flow = scene.flow;
        let cut = Cut::of(flow)?;
        // At the server its own silence is what shows.
        if scene.vantage() == Vantage::Server || scene.source.quality.one_sided_share > 0.5 || !silence::public(flow.server.ip) {
            return None;
        }
        let around = Around::of(scene, cut.heard.ts, flow.last.ts);
        if around.alive.ok == 0 {
            return None;
        }
        let mut alike = Control::new("same_client_other_tunnels");
        let mut places: HashSet<IpAddr> = HashSet::new();
        places.insert(flow.server.ip);
        for f in scene.kin.with_client(flow.client.ip).filter(|f| f.id != flow.id && f.app == flow.app) {
            let same = Cut::of(f)
                .is_some_and(|c| c.passed.abs_diff(cut.passed) <= ALIKE && c.heard.ts.since(cut.heard.ts).abs() >= silence::APART);
            alike.add(f.id, !same);
            if same {
                places.insert(f.server.ip);
            }
        }
        let again = alike.n - alike.ok;
        let udp = silence::udp_heard(scene, Span::from_secs(60));
        let mut w = Weigh::default();
        w.fact(
            2.0,
            format!("the tunnel carried {} packets, then nothing of its server came", cut.passed),
            format!("{} new beginnings over {}", cut.in_vain.len(), flow.last.ts.since(cut.heard.ts)),
            "a response within a round trip",
            &cut.in_vain,
        );
        if again > 0 {
            w.fact(2.0, "other tunnels died after as many packets, at other times", format!("{again} more"), "-", &[]);
        }
        if udp.ok > 0 {
            w.fact(0.5, "other UDP of this client was answered meanwhile", format!("{} of {}", udp.ok, udp.n), "-", &[]);
        }
        around.weigh_line(&mut w);
        w.excluded("lost NAT mapping", "each new beginning makes a new one");
        w.excluded("client that changed its network", "a server answers a beginning from wherever it comes");
        w.excluded("packet loss", format!("{} beginnings in a row would all have to be lost", cut.in_vain.len()));
        let several = again >= 2 && places.len() >= 2;
        if several {
            w.excluded("server that went down", format!("{} servers would have gone down after as many packets", places.len()));
        } else {
            w.against(0.0, "server that went down", "nothing was heard of it any more");
        }
        let claim = Claim {
            rule: CARD.rule,
            kind: CARD.kind,
            mechanism: "wireguard_data",
            grade: if several && udp.ok > 0 && !scene.lossy() { Grade::Likely } else { Grade::Possible },
            direction: None,
            started: cut.heard.ts,
            ooni_failure: Some("generic_timeout_error"),
        };
        let needs = vec!["the same tunnel from another network"];
        Some(weigh::finding(scene, &claim, w, vec![alike, udp, around.alive], needs))
    }
}

/// A tunnel that was made, and whose client then began anew in vain. Only one whose packets are all on the ladder: those that carried more
/// died of something else.
struct Cut {
    heard: Moment,
    /// Packets of both sides up to the last of the server.
    passed: u64,
    in_vain: Vec<FrameNo>,
}

impl Cut {
    fn of(flow: &FlowRecord) -> Option<Self> {
        if flow.proto != Proto::UDP || flow.app != Some("wireguard") || !flow.icmp.is_empty() || flow.ladder.between > 0 {
            return None;
        }
        let heard = flow.totals.server.last?;
        let made = flow.ladder.iter().any(|p| p.side == Side::Server && p.len == RESPONSE);
        let after: Vec<&Brief> = flow.ladder.iter().filter(|p| p.side == Side::Client && p.frame > heard.frame).collect();
        let anew: Vec<&Brief> = after.iter().copied().filter(|p| p.len == INITIATION).collect();
        let in_use = after.first()?.ts.since(heard.ts) <= IN_USE;
        // A tunnel that had carried nothing never began: that is another rule's.
        let data = flow.ladder.iter().any(|p| p.len != INITIATION && p.len != RESPONSE && p.frame <= heard.frame);
        let passed = flow.ladder.iter().filter(|p| p.frame <= heard.frame).count() as u64;
        let in_vain = anew.iter().map(|p| p.frame).collect();
        (made && data && in_use && anew.len() >= BEGINNINGS && on_time(&anew)).then_some(Self { heard, passed, in_vain })
    }
}
