//! `live` on a terminal: services and findings as they change, losses, flows, and each finding with its packets.
//!
//! | file | job |
//! |---|---|
//! | `view` | what there is to see, and what keys do to it; every text from the wire is made harmless here, once |
//! | `draw` | draws a view; no state, no clock |
//! | `terminal` | owns the terminal: keys, resizes, refresh |

mod draw;
mod terminal;
mod view;

#[cfg(test)]
mod tests;

use super::Sink;
use super::human::Style;
use crate::model::pulse::Pulse;
use crate::model::story::{End, Story};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use view::View;

/// What keys ask of the capture.
#[derive(Clone, Default)]
pub struct Orders {
    /// End as if its time were over (`q`).
    pub end: Arc<AtomicBool>,
    /// End as after an interrupt (Ctrl-C).
    pub interrupt: Arc<AtomicBool>,
}

/// The screen.
pub struct Screen {
    view: Arc<Mutex<View>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Screen {
    /// Takes over the terminal and draws from a thread of its own.
    ///
    /// # Errors
    /// When there is no terminal to take.
    pub fn open(style: Style, orders: Orders) -> io::Result<Self> {
        let view = Arc::new(Mutex::new(View::new(style)));
        let over: Arc<AtomicBool> = Arc::default();
        let terminal = terminal::Terminal::take()?;
        let (seen, done) = (Arc::clone(&view), Arc::clone(&over));
        let thread = std::thread::spawn(move || terminal.run(&seen, &done, &orders));
        Ok(Self { view, over, thread: Some(thread) })
    }

    /// Gives the terminal back.
    fn close(&mut self) -> io::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            // A bug in drawing costs the screen, not the capture.
            Some(Err(_)) | None => Ok(()),
        }
    }
}

impl Sink for Screen {
    fn flows(&mut self, _: &Story, _: &[usize]) -> io::Result<()> {
        Ok(())
    }
    fn pulse(&mut self, pulse: &Pulse<'_>) -> io::Result<()> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).update(pulse);
        Ok(())
    }
    fn finish(&mut self, _: &End) -> io::Result<()> {
        self.close()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
