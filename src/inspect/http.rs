//! HTTP/1 heads and the beginning of response bodies (RFC 9112), whatever the port.

use super::{Pen, Step};
use crate::model::note::{Fact, HttpRequest, HttpResponse, Shape, wire_text};
use crate::model::seq::Pos;

/// Longest head that is waited for, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Body bytes kept of a response.
const BODY_MAX: usize = 2048;
/// Requests and responses read of one flow.
const PAIRS_MAX: u8 = 4;
/// Header lines that are read.
const HEADERS_MAX: usize = 100;
/// Body bytes that are passed over while waiting for the next head.
const SKIP_MAX: u64 = 256 * 1024;

/// What a response must know of the request it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Head,
    Connect,
    Other,
}

/// Requests without a response yet, oldest first.
#[derive(Default)]
pub(super) struct Shared {
    waiting: Vec<Asked>,
}

/// Could `bytes` be the beginning of a request? `None`: too few to say.
pub(super) fn request_begins(bytes: &[u8]) -> Option<bool> {
    const METHODS: [&[u8]; 23] = [
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"PUT ",
        b"OPTIONS ",
        b"CONNECT ",
        b"DELETE ",
        b"PATCH ",
        b"TRACE ",
        b"PROPFIND ",
        b"PROPPATCH ",
        b"SUBSCRIBE ",
        b"NOTIFY ",
        b"REPORT ",
        b"MKCOL ",
        b"COPY ",
        b"MOVE ",
        b"LOCK ",
        b"UNLOCK ",
        b"SEARCH ",
        b"MERGE ",
        b"PRI * HTTP/2",
        b"SSTP_DUPLEX_POST ",
    ];
    let mut verdict = Some(false);
    for method in METHODS {
        if bytes.starts_with(method) {
            return Some(true);
        }
        if method.starts_with(bytes) {
            verdict = None;
        }
    }
    verdict
}

/// Could `bytes` be the beginning of a response? `None`: too few to say.
pub(super) fn response_begins(bytes: &[u8]) -> Option<bool> {
    const START: &[u8] = b"HTTP/1.";
    if bytes.starts_with(START) { Some(true) } else { if START.starts_with(bytes) { None } else { Some(false) } }
}

/// Is this a page without a head, as some middleboxes send? `None`: too few bytes to say.
pub(super) fn page_begins(bytes: &[u8]) -> Option<bool> {
    let text = bytes.trim_ascii_start();
    let mut verdict = Some(false);
    for tag in [b"<html".as_slice(), b"<!doctype"] {
        let n = tag.len().min(text.len());
        let (Some(have), Some(want)) = (text.get(..n), tag.get(..n)) else { continue };
        if have.eq_ignore_ascii_case(want) {
            if n == tag.len() {
                return Some(true);
            }
            verdict = None;
        }
    }
    verdict
}

/// Where a message is.
#[derive(Debug)]
enum Stage {
    Head,
    Sized(u64),
    Chunked(Chunks),
    UntilClose,
}

/// The direction that asks.
pub(super) struct Requests {
    head: Head,
    stage: Stage,
    count: u8,
    skipped: u64,
    /// A request for a tunnel has been told.
    tunnel: bool,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { head: Head::default(), stage: Stage::Head, count: 0, skipped: 0, tunnel: false }
    }

    pub(super) fn feed(&mut self, shared: &mut Shared, at: Pos, bytes: &[u8], pen: &mut Pen<'_>) -> Step {
        let mut used = 0usize;
        while let Some(rest) = bytes.get(used..).filter(|r| !r.is_empty()) {
            let here = at.plus(i64::try_from(used).unwrap_or(i64::MAX));
            let n = match &mut self.stage {
                Stage::Head => {
                    let Some((n, parsed)) = self.head.feed(here, rest, read_request) else { return Step::Done };
                    if let Some((from, (request, asked, stage))) = parsed {
                        let to = here.plus(i64::try_from(n).unwrap_or(i64::MAX));
                        let tunnel = match &*request.method {
                            "CONNECT" => Some(Shape::HttpProxy),
                            // MS-SSTP §3.2.4.1: the one resource of this method.
                            "SSTP_DUPLEX_POST" if request.target.starts_with("/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/") => {
                                Some(Shape::Sstp)
                            }
                            _ => None,
                        };
                        pen.write(from, to, Fact::HttpRequest(Box::new(request)));
                        if let Some(shape) = tunnel.filter(|_| !std::mem::replace(&mut self.tunnel, true)) {
                            pen.write(from, to, Fact::Shape(shape));
                        }
                        self.count = self.count.saturating_add(1);
                        if shared.waiting.len() < usize::from(PAIRS_MAX) {
                            shared.waiting.push(asked);
                        }
                        self.stage = stage;
                        if asked == Asked::Connect {
                            return Step::Reprobe(used.saturating_add(n));
                        }
                        if self.count >= PAIRS_MAX || matches!(self.stage, Stage::UntilClose) {
                            return Step::Done;
                        }
                    }
                    n
                }
                Stage::UntilClose => return Step::Done,
                stage => match pass(stage, rest, &mut |_| {}) {
                    Some(n) => {
                        self.skipped = self.skipped.saturating_add(n as u64);
                        n
                    }
                    None => return Step::Done,
                },
            };
            if self.skipped > SKIP_MAX {
                return Step::Done;
            }
            used = used.saturating_add(n);
        }
        Step::More
    }

    /// `missing` bytes are lost: harmless inside a body of known length.
    pub(super) fn gap(&mut self, missing: u64) -> Step {
        gap(&mut self.stage, missing)
    }
}

/// A response whose body is still being collected.
struct Pending {
    response: HttpResponse,
    body: Vec<u8>,
    /// Bytes of the body that passed, at most [`BODY_MAX`] counted.
    passed: usize,
    from: Pos,
    to: Pos,
}

/// The direction that answers.
pub(super) struct Responses {
    head: Head,
    stage: Stage,
    count: u8,
    skipped: u64,
    pending: Option<Box<Pending>>,
}

impl Responses {
    pub(super) fn new() -> Self {
        Self { head: Head::default(), stage: Stage::Head, count: 0, skipped: 0, pending: None }
    }

    /// A page that begins at `at` without a head.
    pub(super) fn page(at: Pos) -> Self {
        let pending = Pending { response: HttpResponse::default(), body: Vec::new(), passed: 0, from: at, to: at };
        Self { stage: Stage::UntilClose, pending: Some(Box::new(pending)), ..Self::new() }
    }

    pub(super) fn feed(&mut self, shared: &mut Shared, at: Pos, bytes: &[u8], pen: &mut Pen<'_>) -> Step {
        let mut used = 0usize;
        while let Some(rest) = bytes.get(used..).filter(|r| !r.is_empty()) {
            let here = at.plus(i64::try_from(used).unwrap_or(i64::MAX));
            let n = if matches!(self.stage, Stage::Head) {
                let asked = shared.waiting.first().copied().unwrap_or(Asked::Other);
                let Some((n, parsed)) = self.head.feed(here, rest, |head| read_response(head, asked)) else { return Step::Done };
                let to = here.plus(i64::try_from(n).unwrap_or(i64::MAX));
                if let Some((from, (response, stage))) = parsed {
                    let status = response.status;
                    self.stage = stage;
                    self.pending = Some(Box::new(Pending { response, body: Vec::new(), passed: 0, from, to }));
                    if (100..200).contains(&status) && status != 101 {
                        // An interim answer: the real one follows.
                        self.pending = None;
                        self.stage = Stage::Head;
                    } else {
                        if !shared.waiting.is_empty() {
                            shared.waiting.remove(0);
                        }
                        if status == 101 || (asked == Asked::Connect && (200..300).contains(&status)) {
                            self.write(pen);
                            return if status == 101 { Step::Done } else { Step::Reprobe(used.saturating_add(n)) };
                        }
                    }
                }
                n
            } else {
                // A page in place of the answer comes at once: of later answers nobody wants more than the head.
                let (pending, first) = (&mut self.pending, self.count == 0);
                let n = pass(&mut self.stage, rest, &mut |body| {
                    if let Some(p) = pending {
                        let body = body.get(..BODY_MAX.saturating_sub(p.passed)).unwrap_or(body);
                        p.passed = p.passed.saturating_add(body.len());
                        if first {
                            p.body.extend_from_slice(body);
                        }
                    }
                });
                let Some(n) = n else {
                    self.write(pen);
                    return Step::Done;
                };
                self.skipped = self.skipped.saturating_add(n as u64);
                if let Some(p) = &mut self.pending {
                    p.to = here.plus(i64::try_from(n).unwrap_or(i64::MAX));
                }
                n
            };
            used = used.saturating_add(n);
            let full = self.pending.as_ref().is_some_and(|p| p.passed >= BODY_MAX);
            if full || matches!(self.stage, Stage::Head | Stage::Sized(0)) {
                self.write(pen);
            }
            if matches!(self.stage, Stage::Sized(0)) {
                self.stage = Stage::Head;
            }
            let written = self.pending.is_none();
            if written && (self.count >= PAIRS_MAX || self.skipped > SKIP_MAX || matches!(self.stage, Stage::UntilClose)) {
                return Step::Done;
            }
        }
        Step::More
    }

    pub(super) fn gap(&mut self, missing: u64, pen: &mut Pen<'_>) -> Step {
        // What was collected before the gap is worth keeping; what follows would be read out of place.
        self.write(pen);
        gap(&mut self.stage, missing)
    }

    /// The stream ended, or nothing more of it will be read: a body that waited for more is what it is.
    pub(super) fn write(&mut self, pen: &mut Pen<'_>) {
        if let Some(p) = self.pending.take() {
            let Pending { mut response, body, from, to, .. } = *p;
            response.body = body.into();
            self.count = self.count.saturating_add(1);
            pen.write(from, to, Fact::HttpResponse(Box::new(response)));
        }
    }
}

fn gap(stage: &mut Stage, missing: u64) -> Step {
    match stage {
        Stage::Sized(left) if missing <= *left => {
            *left = left.saturating_sub(missing);
            if *left == 0 {
                *stage = Stage::Head;
            }
            Step::More
        }
        _ => Step::Done,
    }
}

/// Passes body bytes to `keep` and moves `stage` on; the number of bytes used, or `None` if the framing is broken.
fn pass(stage: &mut Stage, bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<usize> {
    match stage {
        Stage::Head => Some(0),
        Stage::UntilClose => {
            keep(bytes);
            Some(bytes.len())
        }
        Stage::Sized(left) => {
            let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            keep(bytes.get(..n)?);
            *left = left.saturating_sub(n as u64);
            if *left == 0 {
                *stage = Stage::Head;
            }
            Some(n)
        }
        Stage::Chunked(chunks) => {
            let (n, ended) = chunks.pass(bytes, keep)?;
            if ended {
                *stage = Stage::Head;
            }
            Some(n)
        }
    }
}

/// A message head that may come in pieces.
#[derive(Default)]
struct Head {
    held: Vec<u8>,
    at: Pos,
}

impl Head {
    /// Bytes used of `bytes`, and the head with its position once it is complete. `None`: too long, or not HTTP.
    #[allow(clippy::type_complexity)]
    fn feed<T>(&mut self, at: Pos, bytes: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<(usize, Option<(Pos, T)>)> {
        if self.held.is_empty() {
            // Empty lines between messages (RFC 9112 §2.2).
            let lead = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            let text = bytes.get(lead..)?;
            if text.is_empty() {
                return Some((lead, None));
            }
            self.at = at.plus(i64::try_from(lead).unwrap_or(i64::MAX));
            if let Some(end) = head_end(text, 0) {
                let parsed = read(text.get(..end)?)?;
                return Some((lead.saturating_add(end), Some((self.at, parsed))));
            }
            if text.len() > HEAD_MAX {
                return None;
            }
            self.held.extend_from_slice(text);
            return Some((bytes.len(), None));
        }
        let before = self.held.len();
        let room = HEAD_MAX.saturating_add(1).saturating_sub(before);
        self.held.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let Some(end) = head_end(&self.held, before.saturating_sub(3)) else {
            return if self.held.len() > HEAD_MAX { None } else { Some((bytes.len(), None)) };
        };
        let held = std::mem::take(&mut self.held);
        let parsed = read(held.get(..end)?)?;
        Some((end.saturating_sub(before), Some((self.at, parsed))))
    }
}

/// The length of the head if its empty line is in `bytes` at or after `from`.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(rest) = bytes.get(at..) {
        let next = at.checked_add(rest.iter().position(|&b| b == b'\n')?)?.checked_add(1)?;
        match bytes.get(next..)? {
            [b'\n', ..] => return next.checked_add(1),
            [b'\r', b'\n', ..] => return next.checked_add(2),
            _ => at = next,
        }
    }
    None
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.trim_ascii())
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn is_chunked(headers: &[httparse::Header<'_>]) -> bool {
    header(headers, "transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().ends_with(b"chunked"))
}

/// A host without its port, in lower case.
fn host_only(host: &[u8]) -> Option<Box<str>> {
    let host = host.trim_ascii();
    let host = host.rsplit(|&b| b == b'@').next().unwrap_or(host);
    let name = if host.first() == Some(&b'[') {
        host.get(1..).and_then(|h| h.split(|&b| b == b']').next()).unwrap_or(host)
    } else {
        host.split(|&b| b == b':').next().unwrap_or(host)
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    (!name.is_empty()).then(|| wire_text(&name.to_ascii_lowercase(), 255))
}

fn read_request(head: &[u8]) -> Option<(HttpRequest, Asked, Stage)> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut slots);
    let mut config = httparse::ParserConfig::default();
    config.ignore_invalid_headers_in_requests(true).allow_multiple_spaces_in_request_line_delimiters(true);
    if !matches!(config.parse_request(&mut parsed, head), Ok(httparse::Status::Complete(_))) {
        return read_odd_request(head);
    }
    let (method, target) = (parsed.method?, parsed.path?);
    let asked = match method {
        "CONNECT" => Asked::Connect,
        "HEAD" => Asked::Head,
        _ => Asked::Other,
    };
    let named = header(parsed.headers, "host").and_then(host_only);
    let host = match asked {
        Asked::Connect => host_only(target.as_bytes()),
        _ => named.or_else(|| {
            let (_, rest) = target.split_once("://")?;
            host_only(rest.split(['/', '?']).next()?.as_bytes())
        }),
    };
    let stage = if is_chunked(parsed.headers) {
        Stage::Chunked(Chunks::default())
    } else {
        match header(parsed.headers, "content-length").and_then(number) {
            Some(0) | None => Stage::Head,
            Some(n) => Stage::Sized(n),
        }
    };
    let request = HttpRequest {
        method: wire_text(method.as_bytes(), 32),
        host,
        target: wire_text(target.as_bytes(), 256),
        agent: header(parsed.headers, "user-agent").map(|v| wire_text(v, 128)),
    };
    Some((request, asked, stage))
}

/// A head that is not quite HTTP (attacks, desync tools): its first line and its Host are taken as they are, its body is not followed.
fn read_odd_request(head: &[u8]) -> Option<(HttpRequest, Asked, Stage)> {
    let mut lines = head.split(|&b| b == b'\n');
    let mut words = lines.next()?.trim_ascii().splitn(2, |&b| b == b' ');
    let (method, rest) = (words.next()?, words.next()?);
    let version = rest.windows(6).rposition(|w| w == b" HTTP/").unwrap_or(rest.len());
    let target = rest.get(..version)?;
    let host = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|&b| b == b':')?)?;
        name.trim_ascii().eq_ignore_ascii_case(b"host").then(|| host_only(value.get(1..)?))?
    });
    let request = HttpRequest { method: wire_text(method, 32), host, target: wire_text(target, 256), agent: None };
    Some((request, Asked::Other, Stage::UntilClose))
}

fn read_response(head: &[u8], asked: Asked) -> Option<(HttpResponse, Stage)> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut slots);
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .ignore_invalid_headers_in_responses(true);
    if !matches!(config.parse_response(&mut parsed, head), Ok(httparse::Status::Complete(_))) {
        return None;
    }
    let status = parsed.code?;
    let content_length = header(parsed.headers, "content-length").and_then(number);
    let stage = if asked == Asked::Head || matches!(status, 100..=199 | 204 | 304) {
        Stage::Sized(0)
    } else if is_chunked(parsed.headers) {
        Stage::Chunked(Chunks::default())
    } else {
        content_length.map_or(Stage::UntilClose, Stage::Sized)
    };
    let response = HttpResponse {
        status,
        location: header(parsed.headers, "location").map(|v| wire_text(v, 512)),
        server: header(parsed.headers, "server").map(|v| wire_text(v, 128)),
        content_length,
        body: Box::default(),
    };
    Some((response, stage))
}

/// Chunked framing (RFC 9112 §7.1), one byte at a time where it is not data.
#[derive(Default, Debug)]
struct Chunks {
    part: Part,
    size: u64,
    line: u16,
}

#[derive(Default, Debug)]
enum Part {
    #[default]
    Size,
    Extension,
    Data,
    DataEnd,
    Trailer,
}

impl Chunks {
    /// Bytes used, and whether the body ended. `None`: not chunked framing.
    fn pass(&mut self, bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<(usize, bool)> {
        let mut used = 0usize;
        while let Some(rest) = bytes.get(used..).filter(|r| !r.is_empty()) {
            if let Part::Data = self.part {
                let n = usize::try_from(self.size).unwrap_or(usize::MAX).min(rest.len());
                keep(rest.get(..n)?);
                self.size = self.size.saturating_sub(n as u64);
                used = used.saturating_add(n);
                if self.size == 0 {
                    self.part = Part::DataEnd;
                }
                continue;
            }
            let byte = *rest.first()?;
            used = used.saturating_add(1);
            self.line = self.line.checked_add(1).filter(|&n| n < 8192)?;
            match (&self.part, byte) {
                (Part::Size | Part::Extension, b'\n') => {
                    self.line = 0;
                    self.part = if self.size == 0 { Part::Trailer } else { Part::Data };
                }
                (Part::Size, b';' | b' ' | b'\r') => self.part = Part::Extension,
                (Part::Size, digit) => {
                    let digit = char::from(digit).to_digit(16)?;
                    self.size = self.size.checked_mul(16)?.checked_add(u64::from(digit))?;
                }
                (Part::DataEnd, b'\n') => *self = Self::default(),
                (Part::DataEnd, b'\r') | (Part::Extension, _) => {}
                (Part::DataEnd, _) => return None,
                (Part::Trailer, b'\n') if self.line <= 2 => return Some((used, true)),
                (Part::Trailer, b'\n') => self.line = 0,
                (Part::Trailer | Part::Data, _) => {}
            }
        }
        Some((used, false))
    }
}
