//! The large part of a record: packed as long as nobody looks at it.

use super::{Flow, FlowRecord, IcmpSeen, Ladder, TcpRecord, Totals};
use crate::model::gist::Gist;
use crate::model::note::Notes;
use crate::model::pack::{Pack, Reader, Writer};
use crate::model::side::PerSide;
use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

impl std::ops::Deref for Flow {
    type Target = Detail;
    fn deref(&self) -> &Detail {
        self.detail.open.get_or_init(|| {
            OPENED.fetch_add(1, Ordering::Relaxed);
            Box::new(Detail::unpack(&mut Reader::new(&self.detail.packed)))
        })
    }
}

impl std::ops::DerefMut for Flow {
    fn deref_mut(&mut self) -> &mut Detail {
        let _: &Detail = self;
        // What changes is no longer what was packed.
        self.detail.packed = Box::default();
        self.detail.open.get_mut().unwrap_or_else(|| unreachable!("it was opened a line above"))
    }
}

impl Flow {
    /// What of its detail lies open.
    pub fn gist(&self) -> Gist {
        // What was changed, or never folded, is open.
        if self.detail.packed.is_empty() { Gist::of(self) } else { self.detail.gist }
    }
}

/// The part of a record that is large, and that most flows need once or twice.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// Counters.
    pub totals: PerSide<Totals>,
    /// TCP only.
    pub tcp: Option<Box<TcpRecord>>,
    /// First and last packets.
    pub ladder: Ladder,
    /// ICMP errors about it (at most 4).
    pub icmp: Vec<IcmpSeen>,
}

/// The packets first: what the rest says of them is their place in the ladder.
impl Pack for Detail {
    fn pack(&self, w: &mut Writer) {
        self.ladder.pack(w);
        w.refer_to(&self.ladder.head, &self.ladder.tail);
        self.totals.pack(w);
        self.tcp.pack(w);
        self.icmp.pack(w);
    }
    fn unpack(r: &mut Reader<'_>) -> Self {
        let mut ladder = Ladder::unpack(r);
        let (totals, tcp, icmp) = r.beside(&mut ladder.head, &mut ladder.tail, Pack::unpack);
        Self { totals, tcp, ladder, icmp }
    }
}

/// A [`Detail`] in a fifth of its bytes, opened by the first who looks and open until it is folded again.
#[derive(Debug, Default)]
pub struct Folded {
    /// Empty as long as it was never folded, or after it was changed.
    packed: Box<[u8]>,
    open: OnceLock<Box<Detail>>,
    /// Of what is packed.
    gist: Gist,
}

impl From<Box<Detail>> for Folded {
    fn from(detail: Box<Detail>) -> Self {
        Self { open: OnceLock::from(detail), ..Self::default() }
    }
}

impl From<Detail> for Folded {
    fn from(detail: Detail) -> Self {
        Self::from(Box::new(detail))
    }
}

impl Clone for Folded {
    fn clone(&self) -> Self {
        Self { packed: self.packed.clone(), open: self.open.clone(), gist: self.gist }
    }
}

/// Records opened where they lie, see [`opened`].
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// How many records were opened where they lie since the count was last [begun](begin_count), on all threads: tells when it is worth
/// visiting all of them to fold those. Nothing else depends on it.
pub fn opened() -> usize {
    OPENED.load(Ordering::Relaxed)
}

/// Begins the count of [`opened`] anew.
pub fn begin_count() {
    OPENED.store(0, Ordering::Relaxed);
}

impl Folded {
    /// Packs what is open, if it is packed nowhere yet, and frees it. `writer` lends its room.
    fn fold(&mut self, writer: &mut Writer) {
        let Some(open) = self.open.take() else { return };
        if self.packed.is_empty() {
            writer.clear();
            open.pack(writer);
            (self.packed, self.gist) = (writer.bytes().into(), Gist::of(&open));
        }
    }
}

impl FlowRecord {
    /// Frees what was opened. `writer` lends its room for what is to be packed first.
    pub fn fold(&mut self, writer: &mut Writer) {
        self.0.detail.fold(writer);
    }

    /// What it was made of, if it is to be gone on with.
    pub fn into_detail(self) -> Detail {
        let flow = *self.0;
        let _: &Detail = &flow;
        flow.detail.open.into_inner().map_or_else(Detail::default, |open| *open)
    }

    /// The record, opened for as long as this is held: for walks over all flows, which would leave every one of them open.
    pub fn aside(&self) -> Cow<'_, Self> {
        let folded = &self.0.detail;
        if folded.open.get().is_some() {
            return Cow::Borrowed(self);
        }
        let open = Box::new(Detail::unpack(&mut Reader::new(&folded.packed)));
        let detail = Folded::from(open);
        let f = &*self.0;
        Cow::Owned(Self(Box::new(Flow {
            detail,
            pace: f.pace.clone(),
            notes: f.notes.clone(),
            owner: f.owner.clone(),
            ..Flow::without_heap(f)
        })))
    }
}

impl Flow {
    /// A copy of what lies in the record itself.
    fn without_heap(f: &Self) -> Self {
        Self {
            id: f.id,
            proto: f.proto,
            client: f.client,
            server: f.server,
            role_basis: f.role_basis,
            first: f.first,
            last: f.last,
            detail: Folded::default(),
            app: f.app,
            pace: PerSide::default(),
            notes: Notes::default(),
            owner: None,
            closed: f.closed,
            outcome: f.outcome,
            stage: f.stage,
            later: f.later,
            nearest: f.nearest,
        }
    }
}
