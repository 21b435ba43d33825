//! Frames chosen by a filter in libpcap's language, as tcpdump does with a file: libpcap compiles the words for each link type and runs the program over
//! the recorded bytes. Lengths in a filter are those recorded.

use super::CaptureError;
use crate::model::frame::{Batch, LinkType};
use hashbrown::HashMap;
use pcap::{BpfProgram, Capture, Linktype};

/// Link types against which words are tried before a capture is open.
const USUAL: [LinkType; 5] = [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL2, LinkType::IEEE802_11, LinkType::IEEE802_11_RADIOTAP];

/// A filter with its programs.
pub struct Filter {
    words: String,
    programs: HashMap<LinkType, BpfProgram>,
    /// Frames left out so far.
    left_out: u64,
}

impl Filter {
    /// Whether the words are a filter for any usual link type.
    ///
    /// # Errors
    /// What libpcap says of them.
    pub fn check(words: &str) -> Result<(), String> {
        let mut first = None;
        for link in USUAL {
            match program(words, link) {
                Ok(_) => return Ok(()),
                Err(says) => first = first.or(Some(says)),
            }
        }
        Err(first.unwrap_or_default())
    }

    /// A filter of these words.
    pub fn new(words: &str) -> Self {
        Self { words: words.to_owned(), programs: HashMap::new(), left_out: 0 }
    }

    /// Takes out of a batch the frames it does not let through; numbers stay those of the file.
    ///
    /// # Errors
    /// When the words mean nothing for the link type of a frame.
    pub fn apply(&mut self, batch: &mut Batch) -> Result<(), CaptureError> {
        let store = (*batch.store).as_ref();
        let (words, programs) = (&self.words, &mut self.programs);
        let mut failed = None;
        let before = batch.frames.len();
        batch.frames.retain(|frame| {
            if !programs.contains_key(&frame.head.link) {
                match program(words, frame.head.link) {
                    Ok(p) => drop(programs.insert(frame.head.link, p)),
                    Err(cause) => {
                        failed.get_or_insert(CaptureError::Filter { link: frame.head.link.0, cause });
                        return false;
                    }
                }
            }
            let bytes = store.get(frame.at..frame.at.saturating_add(frame.len as usize)).unwrap_or(&[]);
            programs.get(&frame.head.link).is_some_and(|p| p.filter(bytes))
        });
        self.left_out = self.left_out.saturating_add(before.saturating_sub(batch.frames.len()) as u64);
        failed.map_or(Ok(()), Err)
    }

    /// Frames left out so far.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// The program for one link type, or what libpcap says.
fn program(words: &str, link: LinkType) -> Result<BpfProgram, String> {
    // Files number raw IP otherwise than libpcap does.
    let number = if link == LinkType::RAW { LinkType::RAW_BSD } else { link };
    let dead = Capture::dead(Linktype(i32::from(number.0))).map_err(|e| e.to_string())?;
    let says = |e: pcap::Error| e.to_string().trim_start_matches("libpcap error: ").to_owned();
    dead.compile(words, true).map_err(says)
}
