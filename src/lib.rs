//! `tamperscope` reads captured traffic, names the messaging services in it, and says what the network did to them, on which packets that rests and what
//! innocent cause would look the same. It only ever reads: no name is resolved, no connection opened.
//!
//! This page is the map of the house. What users may rely on (commands, exit codes, records) is in the README and in `tamperscope schema`.
//!
//! # The rooms
//!
//! The folders are the sentence of the program: *capture, packet, flow, stream, inspect, classify, detect, collect, sink*. They stand around one corridor,
//! [`engine`], which calls them in this order; none of them calls another, and all speak the words of [`model`]. `tests/rooms.rs` holds every `use` line to
//! that.
//!
//! | room | what it does | never |
//! |---|---|---|
//! | [`model`] | the words every room speaks: time, frame, side, position, packet, event, note, flow, label, scene, finding, story | I/O, threads, clocks |
//! | [`capture`] | hands over frames exactly as recorded, with their time and number: pcap, pcapng, gzip, zstd, pipes, interfaces | look inside a frame |
//! | [`packet`] | reads headers laxly; says where and why it stopped; rebuilds IP fragments within bounds | keep anything else between frames |
//! | [`flow`] | knows which conversation a packet belongs to and who began it, with how much certainty | read payload |
//! | [`stream`] | puts bytes in order; reports what is missing, doubled, contradicted or cut off, and at what pace | know protocols |
//! | [`inspect`] | recognises a protocol, writes down what was said, then stops eating | decide what it means |
//! | [`classify`] | names the service, and by which facts; services are TOML files | invent a rule in code |
//! | [`detect`] | says what the network seems to have done, how sure, on which frames, and what else it could be | hold state |
//! | [`collect`] | restores capture order, judges the capture's quality, lays related flows side by side | re-read packets |
//! | [`pair`] | lays two captures of the same connections side by side: what was sent, what arrived | see payload, only digests |
//! | [`sink`] | renders: JSON Lines, the human verdict, the HTML report, the live screen, metrics, evidence, pages of detectors, the schema | compute a verdict |
//! | [`engine`] | walks batches through the rooms; the only threads, channels and joins | contain protocol or policy |
//!
//! In front of the house: [`cli`] is what was typed, [`plan`] what it means (`live` for interfaces, with `sandbox` to give up rights), [`verify`] runs
//! cases through the same plan and engine as a user's run, [`mod@slice`] cuts a finding's evidence out of its capture, and `main.rs` turns the end of a
//! run into an exit code.
//!
//! # The way of a packet
//!
//! ```text
//! capture ─Batch─► engine/reader: flow key, fragments, deal by symmetric 5-tuple hash
//!                     │  one bounded channel a shard (none for a single one), batches of up to 512 frames
//!                     ▼
//!         shard k: packet::read ─Packet─► flow::Table ─► stream::Conversation ─StreamEvent─► inspect::Desk ─Fact─► Notes
//!                     │  a flow ends or rests (by packet time, by its own end, with its source): collect::ripen (its outcome, but for
//!                     │  what the end of the capture decides), its share in the capture's quality
//!                     ▼  FlowRecord: head and gist open; totals, ladder of packets, ICMP errors about it packed
//!         engine/collector, when a source is complete:
//!                  collect::order, settle (outcomes), assess (quality) → collect::Names → classify::Book ─Label─►
//!                  collect::index (kin, controls, signs) → detect::ALL, each on a Scene of a flow with a sign it begins with
//!                  ─Finding─► collect::merge, tally ─Story─► sinks
//! ```
//!
//! Only a stop flag goes back. One worker is the same code as sixteen, with one shard, on the reader's thread. A live capture is one more [`capture::Source`]; while it
//! goes on, the reader asks the shards every interval how their flows stand, and `engine/watch` judges a bounded window of them as if the
//! capture ended there. What crosses shards meanwhile stands on one board ([`model::board`]).
//!
//! # What holds everywhere
//!
//! - **Time comes from packets.** No clock is read outside the progress bar, the threads that capture live, and the screen.
//! - **The same input, rules and options give the same bytes**, whatever the number of threads, as long as no bound on memory bites; `end` says if one did.
//!   A flow is named by its source and first frame. `tests/threads.rs` compares.
//! - **The wire is strange, never an error.** What cannot be read becomes a [`model::oddity::Oddity`] with a name and a count. What the operator can mend
//!   (a missing file, a wrong service file) is one sentence with what to do. A bug is caught around one frame, and its flow closed there.
//! - **Absence is a value**: a gap that the capture lost, bytes that never arrived and bytes nobody recorded are three facts.
//! - **Evidence is frame numbers.** A finding names what was observed, never who did it or why.
//! - **Every bound is explicit**, and when one bites that is recorded.
//! - `packet`, `stream`, `inspect` and `capture` deny unwrapping, indexing, unchecked arithmetic and panics; `unsafe` exists in one file (mapping a capture).
//!
//! # Adding to it
//!
//! | you add | you write | you touch besides |
//! |---|---|---|
//! | a detector | `src/detect/<name>.rs`: what the interference is as a packet ladder, its [`model::finding::Card`], the [`model::gist::Signs`] it begins with, `judge` as early returns with the innocent reason, tests | its line in [`detect::ALL`] |
//! | a service | `src/classify/services/<id>.toml` (grammar: [`classify`]) | its line in `src/classify/builtin.rs`; a user's own `--services` file needs nothing |
//! | an output | `src/sink/<name>.rs` (or a folder), a [`sink::Sink`] | its line in [`sink::OUT_KINDS`] |
//! | a protocol | `src/inspect/<name>.rs` | where [`inspect`] recognises first bytes; a [`model::note::Fact`] if it says something new |
//! | a capture kind | `src/capture/<name>.rs`, a [`capture::Source`] | where [`capture::open`] tells magics apart |
//! | a golden case | `fixtures/cases/<name>/`: the capture, `case.toml`, its story in `README.md` | the table in `fixtures/README.md` |
//!
//! # Using it as a library
//!
//! A [`sink::Sink`] is told each source's [`model::story::Story`] when that source is complete:
//!
//! ```
//! use std::io;
//! use tamperscope::engine::{self, Plan};
//! use tamperscope::model::story::{End, Story};
//! use tamperscope::sink::Sink;
//!
//! struct Print;
//!
//! impl Sink for Print {
//!     fn story(&mut self, story: &Story) -> io::Result<()> {
//!         for f in &story.findings {
//!             println!("{} {} {:?}", f.grade.name(), f.kind.name(), f.target.sni);
//!         }
//!         Ok(())
//!     }
//!     fn finish(&mut self, _: &End) -> io::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! let plan = Plan { inputs: vec!["fixtures/cases/rst-on-path-tls/in.pcap".into()], workers: 2, ..Plan::default() };
//! let end = engine::run(&plan, &mut [Box::new(Print)])?;
//! assert_eq!((end.sources, end.exit), (1, 0));
//! assert!(end.findings > 0);
//! # Ok::<(), engine::RunError>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod capture;
pub mod classify;
pub mod cli;
pub mod collect;
pub mod detect;
pub mod engine;
pub mod flow;
pub mod inspect;
#[cfg(feature = "live")]
pub mod live;
pub mod model;
pub mod packet;
pub mod pair;
pub mod plan;
#[cfg(feature = "live")]
pub mod sandbox;
pub mod sink;
pub mod slice;
pub mod stream;
pub mod verify;
