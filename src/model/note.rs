//! Facts that inspectors wrote down, each tied to the frame that completed it.

use super::frame::FrameNo;
use super::seq::Pos;
use super::side::Side;
use super::time::Time;
use std::net::IpAddr;
use std::sync::Arc;

/// One fact of one flow.
#[derive(Clone, Debug)]
pub struct Note {
    /// Frame that completed the fact.
    pub frame: FrameNo,
    /// Capture time of that frame.
    pub ts: Time,
    /// Who said it.
    pub side: Side,
    /// Stream position of the first byte of the message (TCP); `Pos::FIRST` for datagrams.
    pub from: Pos,
    /// Stream position after its last byte (TCP).
    pub to: Pos,
    /// What was said.
    pub fact: Fact,
}

/// What was said. Text from the wire is raw bytes made lossy-free: invalid UTF-8 is kept as `\xNN` escapes by [`wire_text`].
#[derive(Clone, Debug)]
pub enum Fact {
    /// A complete TLS ClientHello (from TLS over TCP or from QUIC CRYPTO frames).
    ClientHello(Box<ClientHello>),
    /// A ClientHello that was sent but is not the flow's own: a decoy of a desync tool, or a second version of the same range.
    DecoyHello {
        /// Its server name, if it has one.
        sni: Option<Box<str>>,
    },
    /// A ClientHello record began, and these many bytes of it are still missing (kept up to date; at most one per flow).
    PartialClientHello {
        /// Length of the handshake message the header announces, in bytes, header included.
        announced: u32,
        /// Bytes of it that were seen.
        have: u32,
    },
    /// A TLS ServerHello (or HelloRetryRequest).
    ServerHello(Box<ServerHello>),
    /// A TLS alert in clear.
    TlsAlert {
        /// 1 warning, 2 fatal.
        level: u8,
        /// Alert description (RFC 8446 §6).
        description: u8,
    },
    /// An alert record that is encrypted.
    TlsEncryptedAlert,
    /// The leaf certificate (TLS ≤ 1.2).
    Certificate(Box<Certificate>),
    /// First TLS application-data record of this side.
    TlsApplicationData {
        /// Length in its record header.
        record_len: u16,
    },
    /// An HTTP/1 request head.
    HttpRequest(Box<HttpRequest>),
    /// An HTTP/1 response head (and the beginning of its body).
    HttpResponse(Box<HttpResponse>),
    /// A DNS query or answer.
    Dns(Box<DnsMessage>),
    /// A QUIC long-header packet: the first of each version and direction, and every Initial of the client (bounded).
    Quic(Box<QuicInitial>),
    /// A STUN message.
    Stun(Box<Stun>),
    /// A protocol recognised by its shape alone.
    Shape(Shape),
    /// The media of this side, counted to its end; written when the flow closes.
    Media(Box<MediaLeg>),
    /// This side's first payload bytes match no protocol known here.
    Opaque {
        /// Share of one bits, 0–8 per byte.
        popcount: f32,
        /// Share of printable ASCII, 0–1.
        printable: f32,
    },
}

/// What a leaf certificate says of itself and its issuer (RFC 5280 §4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Subject common name, then alternative DNS names, as written.
    pub names: Vec<Box<str>>,
    /// Subject organisation.
    pub organisation: Option<Box<str>>,
    /// Issuer common name or organisation.
    pub issuer: Option<Box<str>>,
}

/// One direction of a call's media, as the capture point saw it (RFC 3550 §6.4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaLeg {
    /// RTP sources (SSRC) of this side with at least 16 packets.
    pub sources: u8,
    /// Payload types, in order of appearance.
    pub payload_types: Vec<u8>,
    /// Packets that came.
    pub packets: u64,
    /// Packets that sequence numbers say were sent; never fewer than came.
    pub expected: u64,
    /// Places at which packets were missing.
    pub gaps: u64,
    /// Most packets missing at one place.
    pub longest_gap: u64,
    /// Clock of the busiest source, Hz, if its timestamps ran at one that codecs use.
    pub clock_hz: Option<u32>,
    /// Interarrival jitter of the busiest source at its end, µs.
    pub jitter_us: Option<u64>,
}

impl MediaLeg {
    /// Packets that did not come.
    pub const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.packets)
    }
}

/// Protocols recognised by shape, beyond those with a fact of their own. Service files call them by their names in snake case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shape {
    /// RTP media with checked sequence and SSRC.
    Rtp,
    /// RTCP reports.
    Rtcp,
    /// DTLS handshake or record.
    Dtls,
    /// SSH banner.
    Ssh,
    /// SMTP, FTP, POP3 or IMAP greeting.
    Mail,
    /// BitTorrent handshake.
    BitTorrent,
    /// SOCKS greeting.
    Socks,
    /// WireGuard initiation of 148 bytes with an empty cookie.
    WireGuardInit,
    /// WireGuard answer that repeats the initiator's index.
    WireGuard,
    /// WireGuard data: one index and a rising counter in each direction.
    WireGuardData,
    /// OpenVPN reset of an exact size.
    OpenVpnReset,
    /// OpenVPN reset pair: the server repeats the client's session.
    OpenVpn,
    /// IKE message whose payloads fill it exactly.
    IkeMessage,
    /// IKE exchange: both sides carry the initiator's SPI.
    Ike,
    /// ESP in UDP: one SPI, sequence counted up.
    EspUdp,
    /// L2TP control message whose AVPs fill it exactly.
    L2tp,
    /// PPTP control connection with its magic cookie.
    Pptp,
    /// DNSCrypt answer: resolver magic and the client's nonce.
    Dnscrypt,
    /// first eight bytes of UltraSurf.
    Ultrasurf,
    /// WhatsApp stream header with a whole first frame.
    WaHello,
    /// WhatsApp stream: header and frames that end with the segments.
    WaStream,
    /// first 64 bytes decrypt to an MTProto transport tag.
    TgObfs2,
    /// first 64 bytes decrypt to an MTProto transport tag, and frames follow.
    TgObfs2Frames,
    /// MTProto frames in clear.
    TgPlain,
    /// Telegram reflector ping.
    TgPing,
    /// Telegram reflector: one tag before every datagram of both sides.
    TgReflector,
    /// OICQ datagram: version, command, number and end mark.
    Oicq,
    /// XMPP stream header or stanzas.
    Xmpp,
    /// IRC registration.
    Irc,
    /// SIP message with its Via header.
    Sip,
    /// Zoom media setup: the server repeats the client's token.
    ZoomSfu,
    /// Discord address discovery request.
    DiscordAsk,
    /// Discord address discovery, answered with the same SSRC.
    DiscordFound,
    /// Viber first frame of its exact length.
    ViberHello,
    /// Viber frames of both sides.
    ViberFrames,
    /// Viber call probe, answered with the same ids.
    ViberCall,
    /// Threema handshake of 48 and 80 bytes, then length-prefixed frames.
    Threema,
    /// LOCO key exchange and frames.
    Loco,
    /// mmtls records.
    Mmtls,
    /// imo keepalives, each repeated by the other side.
    ImoCall,
    /// LINE call setup headers of both sides.
    LineCall,
    /// ICE, then two of the RTP payload types of ringrtc, without DTLS.
    SignalRtp,
    /// AmneziaWG handshake: WireGuard behind other type words or padding, and the answer repeats the index.
    AmneziaWg,
    /// WireGuard data behind another type word: one index and a rising counter in each direction.
    AmneziaWgData,
    /// OpenVPN reset, answer and acknowledgement of exact sizes under one mask.
    OpenVpnXor,
    /// SoftEther helper: one letter, answered with address and port.
    SoftEtherNat,
    /// SoftEther PACK whose elements fill it exactly.
    SoftEtherPack,
    /// Telegram reflector: tag, ids and a length that fits, before every packet of both sides.
    TgReflectorPort,
    /// QUIC and RTP on one pair of ports.
    QuicRtp,
    /// SSTP request line.
    Sstp,
    /// Request to a proxy: CONNECT, or a whole URL.
    HttpProxy,
    /// First bytes of both sides without any structure.
    Opaque,
    /// Discord voice keepalive, sent back as it is.
    DiscordKeepalive,
    /// The word `health`, answered `OK`.
    WaHealth,
    /// Viber probe of a call, answered with its time or id.
    ViberPing,
    /// Zoom media headers before RTP of one source.
    ZoomMedia,
    /// A protocol's beginning, after which its frames do not follow.
    Broken,
    /// Microsoft's channel header (`ff 10`, length, eight bytes) around STUN.
    MsChannel,
    /// Zoom keepalives, each sent back with its number, time and id.
    ZoomPing,
}

impl Shape {
    /// Every shape, its name in service files, and what was seen, in words.
    #[rustfmt::skip]
    pub const ALL: &[(Self, &str, &str)] = &[
        (Self::Rtp, "rtp", "RTP media with checked sequence and SSRC"),
        (Self::Rtcp, "rtcp", "RTCP reports"),
        (Self::Dtls, "dtls", "DTLS handshake or record"),
        (Self::Ssh, "ssh", "SSH banner"),
        (Self::Mail, "mail", "SMTP, FTP, POP3 or IMAP greeting"),
        (Self::BitTorrent, "bittorrent", "BitTorrent handshake"),
        (Self::Socks, "socks", "SOCKS greeting"),
        (Self::WireGuardInit, "wireguard_init", "WireGuard initiation of 148 bytes with an empty cookie"),
        (Self::WireGuard, "wireguard", "WireGuard answer that repeats the initiator's index"),
        (Self::WireGuardData, "wireguard_data", "WireGuard data: one index and a rising counter in each direction"),
        (Self::OpenVpnReset, "openvpn_reset", "OpenVPN reset of an exact size"),
        (Self::OpenVpn, "openvpn", "OpenVPN reset pair: the server repeats the client's session"),
        (Self::IkeMessage, "ike_message", "IKE message whose payloads fill it exactly"),
        (Self::Ike, "ike", "IKE exchange: both sides carry the initiator's SPI"),
        (Self::EspUdp, "esp_udp", "ESP in UDP: one SPI, sequence counted up"),
        (Self::L2tp, "l2tp", "L2TP control message whose AVPs fill it exactly"),
        (Self::Pptp, "pptp", "PPTP control connection with its magic cookie"),
        (Self::Dnscrypt, "dnscrypt", "DNSCrypt answer: resolver magic and the client's nonce"),
        (Self::Ultrasurf, "ultrasurf", "first eight bytes of UltraSurf"),
        (Self::WaHello, "wa_hello", "WhatsApp stream header with a whole first frame"),
        (Self::WaStream, "wa_stream", "WhatsApp stream: header and frames that end with the segments"),
        (Self::TgObfs2, "tg_obfs2", "first 64 bytes decrypt to an MTProto transport tag"),
        (Self::TgObfs2Frames, "tg_obfs2_frames", "first 64 bytes decrypt to an MTProto transport tag, and frames follow"),
        (Self::TgPlain, "tg_plain", "MTProto frames in clear"),
        (Self::TgPing, "tg_ping", "Telegram reflector ping"),
        (Self::TgReflector, "tg_reflector", "Telegram reflector: one tag before every datagram of both sides"),
        (Self::Oicq, "oicq", "OICQ datagram: version, command, number and end mark"),
        (Self::Xmpp, "xmpp", "XMPP stream header or stanzas"),
        (Self::Irc, "irc", "IRC registration"),
        (Self::Sip, "sip", "SIP message with its Via header"),
        (Self::ZoomSfu, "zoom_sfu", "Zoom media setup: the server repeats the client's token"),
        (Self::DiscordAsk, "discord_ask", "Discord address discovery request"),
        (Self::DiscordFound, "discord_found", "Discord address discovery, answered with the same SSRC"),
        (Self::ViberHello, "viber_hello", "Viber first frame of its exact length"),
        (Self::ViberFrames, "viber_frames", "Viber frames of both sides"),
        (Self::ViberCall, "viber_call", "Viber call probe, answered with the same ids"),
        (Self::Threema, "threema", "Threema handshake of 48 and 80 bytes, then length-prefixed frames"),
        (Self::Loco, "loco", "LOCO key exchange and frames"),
        (Self::Mmtls, "mmtls", "mmtls records"),
        (Self::ImoCall, "imo_call", "imo keepalives, each repeated by the other side"),
        (Self::LineCall, "line_call", "LINE call setup headers of both sides"),
        (Self::SignalRtp, "signal_rtp", "ICE, then two of the RTP payload types of ringrtc, without DTLS"),
        (Self::AmneziaWg, "amneziawg", "AmneziaWG handshake: WireGuard behind other type words or padding, and the answer repeats the index"),
        (Self::AmneziaWgData, "amneziawg_data", "WireGuard data behind another type word: one index and a rising counter in each direction"),
        (Self::OpenVpnXor, "openvpn_xor", "OpenVPN reset, answer and acknowledgement of exact sizes under one mask"),
        (Self::SoftEtherNat, "softether_nat", "SoftEther helper: one letter, answered with address and port"),
        (Self::SoftEtherPack, "softether_pack", "SoftEther PACK whose elements fill it exactly"),
        (Self::TgReflectorPort, "tg_reflector_port", "Telegram reflector: tag, ids and a length that fits, before every packet of both sides"),
        (Self::QuicRtp, "quic_rtp", "QUIC and RTP on one pair of ports"),
        (Self::Sstp, "sstp", "SSTP request line"),
        (Self::HttpProxy, "http_proxy", "request to a proxy: CONNECT, or a whole URL"),
        (Self::Opaque, "opaque", "first bytes of both sides without any structure"),
        (Self::DiscordKeepalive, "discord_keepalive", "Discord voice keepalive, sent back as it is"),
        (Self::WaHealth, "wa_health", "the word health, answered OK"),
        (Self::ViberPing, "viber_ping", "Viber probe of a call, answered with its time or id"),
        (Self::ZoomMedia, "zoom_media", "Zoom media headers before RTP of one source"),
        (Self::Broken, "broken", "a protocol's beginning, after which its frames do not follow"),
        (Self::MsChannel, "ms_channel", "the channel header of Microsoft's relays around STUN"),
        (Self::ZoomPing, "zoom_ping", "Zoom keepalives, each sent back with its number, time and id"),
    ];

    /// The shape of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n, _)| *n == name).map(|(shape, ..)| *shape)
    }

    /// What was seen, in words.
    pub fn says(self) -> &'static str {
        Self::ALL.iter().find(|(shape, ..)| *shape == self).map_or("", |(.., says)| *says)
    }

    /// The protocol, where knowing its shape is knowing its name.
    pub const fn app(self) -> Option<&'static str> {
        Some(match self {
            Self::WireGuardInit | Self::WireGuard | Self::WireGuardData => "wireguard",
            Self::AmneziaWg | Self::AmneziaWgData => "amneziawg",
            Self::OpenVpnReset | Self::OpenVpn | Self::OpenVpnXor => "openvpn",
            Self::SoftEtherNat | Self::SoftEtherPack => "softether",
            Self::Sstp => "sstp",
            Self::Opaque => "opaque",
            Self::IkeMessage | Self::Ike => "ike",
            Self::EspUdp => "esp",
            Self::L2tp => "l2tp",
            Self::Pptp => "pptp",
            Self::Dnscrypt => "dnscrypt",
            Self::WaHello | Self::WaStream => "noise_wa",
            Self::TgObfs2 | Self::TgObfs2Frames | Self::TgPlain => "mtproto",
            Self::Oicq => "oicq",
            Self::Irc => "irc",
            Self::Sip => "sip",
            Self::Loco => "loco",
            Self::Mmtls => "mmtls",
            _ => return None,
        })
    }
}

/// Encrypted Client Hello as visible from outside (RFC 9849).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ech {
    /// No `encrypted_client_hello` extension.
    #[default]
    None,
    /// The extension is there, with an ordinary origin name outside: GREASE.
    Grease,
    /// The extension is there, with a known public name outside.
    Real,
}

/// A ClientHello.
#[derive(Clone, Debug, Default)]
pub struct ClientHello {
    /// Server name, lower case, without trailing dot; odd bytes escaped.
    pub sni: Option<Box<str>>,
    /// The name is not letters, digits, hyphens and dots.
    pub sni_odd: bool,
    /// ALPN values offered, in order.
    pub alpn: Vec<Box<str>>,
    /// JA4 fingerprint.
    pub ja4: Box<str>,
    /// Highest version offered (GREASE removed), e.g. 0x0304.
    pub version: u16,
    /// ECH as seen from outside.
    pub ech: Ech,
    /// A pre-shared key was offered.
    pub psk: bool,
    /// Early data was offered.
    pub early_data: bool,
    /// Handshake message length in bytes, header included.
    pub len: u32,
    /// TLS records it was spread over (0 for QUIC).
    pub records: u16,
    /// Offset of the server name inside the handshake message, 0 if none.
    pub sni_at: u32,
    /// DTLS use_srtp offered.
    pub use_srtp: bool,
    /// A key of the hybrid group X25519MLKEM768 (0x11ec) was sent along.
    pub hybrid: bool,
}

/// A ServerHello.
#[derive(Clone, Debug, Default)]
pub struct ServerHello {
    /// Version selected (supported_versions if present).
    pub version: u16,
    /// Cipher suite selected.
    pub cipher: u16,
    /// ALPN selected, if visible.
    pub alpn: Option<Box<str>>,
    /// It is a HelloRetryRequest.
    pub retry: bool,
    /// Key-exchange group selected (TLS 1.3; IANA "TLS Supported Groups"), 0 if none is told.
    pub group: u16,
}

/// An HTTP/1 request head.
#[derive(Clone, Debug, Default)]
pub struct HttpRequest {
    /// Method.
    pub method: Box<str>,
    /// Host header, lower case, port removed; also the target of CONNECT.
    pub host: Option<Box<str>>,
    /// Request target, cut to 256 bytes.
    pub target: Box<str>,
    /// User-Agent, cut to 128 bytes.
    pub agent: Option<Box<str>>,
}

/// An HTTP/1 response head and the beginning of its body.
#[derive(Clone, Debug, Default)]
pub struct HttpResponse {
    /// Status code; 0 for bare HTML without a status line.
    pub status: u16,
    /// Location header, cut to 512 bytes.
    pub location: Option<Box<str>>,
    /// Server header, cut to 128 bytes.
    pub server: Option<Box<str>>,
    /// Content-Length, if given.
    pub content_length: Option<u64>,
    /// First bytes of the body (at most 2,048), as they came; of a flow's first response only.
    pub body: Box<[u8]>,
}

/// A DNS message.
#[derive(Clone, Debug, Default)]
pub struct DnsMessage {
    /// Transaction id.
    pub id: u16,
    /// It is a response.
    pub response: bool,
    /// Response code (extended by EDNS where present).
    pub rcode: u16,
    /// AA, TC, RD, RA, AD bits as in the header.
    pub flags: u16,
    /// First question: name (lower case, no trailing dot).
    pub qname: Box<str>,
    /// First question: type.
    pub qtype: u16,
    /// Addresses in A, AAAA and in SVCB/HTTPS hints, with their TTL in seconds.
    pub addresses: Vec<(IpAddr, u32)>,
    /// CNAME and SVCB targets.
    pub aliases: Vec<Box<str>>,
    /// An SVCB/HTTPS record carried ECH keys.
    pub ech: bool,
    /// An SVCB/HTTPS record offers HTTP/3, so the name is served over QUIC.
    pub h3: bool,
    /// Records in the answer section.
    pub answers: u16,
    /// It came over TCP.
    pub tcp: bool,
}

/// A QUIC long-header packet.
#[derive(Clone, Debug, Default)]
pub struct QuicInitial {
    /// Version field.
    pub version: u32,
    /// Client's first destination connection id, hex.
    pub dcid: Box<str>,
    /// Packet type: 0 Initial, 1 0-RTT, 2 Handshake, 3 Retry, 4 version negotiation.
    pub kind: u8,
    /// Datagram length on the wire.
    pub datagram_len: u32,
    /// It was decrypted with the keys of its version (proof that it is QUIC).
    pub decrypted: bool,
    /// Name in a gQUIC CHLO, for versions without TLS.
    pub gquic_sni: Option<Box<str>>,
}

/// A STUN message (RFC 8489, 8656).
#[derive(Clone, Debug, Default)]
pub struct Stun {
    /// Message type field.
    pub kind: u16,
    /// Transaction id.
    pub transaction: [u8; 12],
    /// Attribute types in order (at most 16).
    pub attributes: Vec<u16>,
    /// REALM.
    pub realm: Option<Box<str>>,
    /// SOFTWARE.
    pub software: Option<Box<str>>,
    /// XOR-PEER-ADDRESS.
    pub peer: Option<super::key::Endpoint>,
    /// Message length on the wire, header included.
    pub len: u32,
    /// Length of USERNAME; the name itself is not kept.
    pub username_len: u16,
    /// Pattern of USERNAME.
    pub username: UserName,
    /// ERROR-CODE.
    pub error: Option<u16>,
}

/// How a STUN user name is made; the name itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UserName {
    /// There is none, or it follows no pattern known here.
    #[default]
    Other,
    /// `<unix time>:<18 hex digits>`.
    TimedHex18,
    /// `<unix time>:<10 digits>`.
    TimedDigits10,
    /// `<unix time>:<12 to 16 digits>`.
    TimedDigits12To16,
    /// `<unix time>:<19 digits>`.
    TimedDigits19,
}

impl UserName {
    /// Every pattern with its name in service files.
    pub const ALL: [(Self, &str); 4] = [
        (Self::TimedHex18, "time:hex18"),
        (Self::TimedDigits10, "time:digits10"),
        (Self::TimedDigits12To16, "time:digits12-16"),
        (Self::TimedDigits19, "time:digits19"),
    ];
}

/// Notes of a flow, bounded.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// In the order they were made.
    pub list: NoteList,
    /// Facts not kept because the bound was reached.
    pub dropped: u32,
}

/// Notes that copies of a record share; nothing on the heap as long as there is none. Read and written as a vector.
#[derive(Clone, Debug, Default)]
pub struct NoteList(Option<Arc<Vec<Note>>>);

impl std::ops::Deref for NoteList {
    type Target = Vec<Note>;
    fn deref(&self) -> &Vec<Note> {
        static NONE: Vec<Note> = Vec::new();
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl std::ops::DerefMut for NoteList {
    fn deref_mut(&mut self) -> &mut Vec<Note> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl<'a> IntoIterator for &'a NoteList {
    type Item = &'a Note;
    type IntoIter = std::slice::Iter<'a, Note>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<Note>> for NoteList {
    fn from(list: Vec<Note>) -> Self {
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }
}

impl Notes {
    /// Gives back room that no further note will need.
    pub fn shrink(&mut self) {
        if let Some(list) = self.list.0.as_mut().and_then(Arc::get_mut) {
            list.shrink_to_fit();
        }
    }
}

/// Most notes a flow keeps.
pub const NOTES_MAX: usize = 64;

impl Notes {
    /// Adds a note unless the flow has [`NOTES_MAX`].
    pub fn push(&mut self, note: Note) {
        if self.list.len() < NOTES_MAX {
            let list = &mut *self.list;
            // Of most flows there are few: room for two, four, eight and so on.
            if list.len() == list.capacity() {
                list.reserve_exact(list.len().clamp(2, 16));
            }
            list.push(note);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// The flow's own ClientHello with its note.
    pub fn client_hello(&self) -> Option<(&Note, &ClientHello)> {
        self.list.iter().find_map(|n| match &n.fact {
            Fact::ClientHello(h) => Some((n, &**h)),
            _ => None,
        })
    }

    /// The first ServerHello.
    pub fn server_hello(&self) -> Option<(&Note, &ServerHello)> {
        self.list.iter().find_map(|n| match &n.fact {
            Fact::ServerHello(h) => Some((n, &**h)),
            _ => None,
        })
    }

    /// The media of each side, counted to its end.
    pub fn media(&self) -> impl Iterator<Item = (Side, &MediaLeg)> {
        self.list.iter().filter_map(|n| match &n.fact {
            Fact::Media(leg) => Some((n.side, &**leg)),
            _ => None,
        })
    }

    /// The first HTTP request.
    pub fn http_request(&self) -> Option<(&Note, &HttpRequest)> {
        self.list.iter().find_map(|n| match &n.fact {
            Fact::HttpRequest(r) => Some((n, &**r)),
            _ => None,
        })
    }

    /// All HTTP responses.
    pub fn http_responses(&self) -> impl Iterator<Item = (&Note, &HttpResponse)> {
        self.list.iter().filter_map(|n| match &n.fact {
            Fact::HttpResponse(r) => Some((n, &**r)),
            _ => None,
        })
    }

    /// All DNS messages.
    pub fn dns(&self) -> impl Iterator<Item = (&Note, &DnsMessage)> {
        self.list.iter().filter_map(|n| match &n.fact {
            Fact::Dns(m) => Some((n, &**m)),
            _ => None,
        })
    }

    /// All STUN messages.
    pub fn stun(&self) -> impl Iterator<Item = (&Note, &Stun)> {
        self.list.iter().filter_map(|n| match &n.fact {
            Fact::Stun(m) => Some((n, &**m)),
            _ => None,
        })
    }

    /// All shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&Note, Shape)> {
        self.list.iter().filter_map(|n| match n.fact {
            Fact::Shape(shape) => Some((n, shape)),
            _ => None,
        })
    }

    /// All QUIC long-header packets noted.
    pub fn quic(&self) -> impl Iterator<Item = (&Note, &QuicInitial)> {
        self.list.iter().filter_map(|n| match &n.fact {
            Fact::Quic(q) => Some((n, &**q)),
            _ => None,
        })
    }

    /// Names of decoy hellos.
    pub fn decoys(&self) -> impl Iterator<Item = (&Note, Option<&str>)> {
        self.list.iter().filter_map(|n| match &n.fact {
            Fact::DecoyHello { sni } => Some((n, sni.as_deref())),
            _ => None,
        })
    }
}

/// Text from the wire, cut to `max` bytes: valid UTF-8 stays, every other byte and every control character becomes `\xNN`.
///
/// The result is safe to carry; outputs escape it again for their own medium.
pub fn wire_text(bytes: &[u8], max: usize) -> Box<str> {
    let bytes = bytes.get(..max).unwrap_or(bytes);
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        // Runs of what cannot be part of a control character go over as they are: most text has nothing else.
        let mut rest = chunk.valid();
        while let Some(at) = rest.bytes().position(|b| b < b' ' || b == 0x7f || b == C1) {
            let (plain, from) = rest.split_at(at);
            out.push_str(plain);
            let Some(c) = from.chars().next() else { break };
            let (c_bytes, after) = from.split_at(c.len_utf8());
            if c.is_control() {
                c_bytes.bytes().for_each(|b| push_escaped(&mut out, b));
            } else {
                out.push(c);
            }
            rest = after;
        }
        out.push_str(rest);
        chunk.invalid().iter().for_each(|b| push_escaped(&mut out, *b));
    }
    out.into_boxed_str()
}

/// First byte of the control characters U+0080 to U+009F, and of 32 letters.
const C1: u8 = 0xc2;

/// `\xNN`. Written by hand: bodies of responses are mostly bytes like this.
fn push_escaped(out: &mut String, byte: u8) {
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    out.push_str("\\x");
    out.push(digit(byte >> 4));
    out.push(digit(byte & 15));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_one_name_and_words() {
        for (i, (shape, name, says)) in Shape::ALL.iter().enumerate() {
            assert_eq!(*shape as usize, i, "{name} is out of order");
            assert_eq!(Shape::named(name), Some(*shape));
            assert_eq!(shape.says(), *says);
            assert!(!says.is_empty());
        }
        assert_eq!(Shape::named("nonsense"), None);
    }

    #[test]
    fn wire_text_keeps_utf8_and_escapes_the_rest() {
        assert_eq!(&*wire_text(b"web.telegram.org", 255), "web.telegram.org");
        assert_eq!(&*wire_text("пример".as_bytes(), 255), "пример");
        assert_eq!(&*wire_text(b"a\x1b[31mb\xff", 255), "a\\x1b[31mb\\xff");
        assert_eq!(&*wire_text(b"abcdef", 3), "abc");
    }
}
