//! The terminal: taken, drawn on a few times a second, and always given back.

use super::view::{Key, View, Want};
use super::{Orders, draw};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{cursor, execute};
use std::io::{self, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a key is waited for before the screen is drawn again.
const REFRESH: Duration = Duration::from_millis(200);

/// A terminal that has been taken.
pub(super) struct Terminal(ratatui::Terminal<ratatui::backend::CrosstermBackend<Stdout>>);

impl Terminal {
    pub(super) fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let taken = execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
            .and_then(|()| ratatui::Terminal::new(ratatui::backend::CrosstermBackend::new(io::stdout())));
        if taken.is_err() {
            give_back();
        }
        taken.map(Self)
    }

    /// Draws and listens to keys until the capture is over.
    pub(super) fn run(mut self, view: &Mutex<View>, over: &AtomicBool, orders: &Orders) -> io::Result<()> {
        while !over.load(Ordering::Relaxed) {
            {
                let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
                self.0.draw(|frame| draw::draw(frame, &mut view))?;
            }
            if !event::poll(REFRESH)? {
                continue;
            }
            // Several keys may have come at once.
            while event::poll(Duration::ZERO)? {
                let Event::Key(key) = event::read()? else { continue };
                if key.kind == KeyEventKind::Release {
                    continue;
                }
                if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
                    orders.interrupt.store(true, Ordering::Relaxed);
                    continue;
                }
                let key = match key.code {
                    KeyCode::Up => Key::Up,
                    KeyCode::Down => Key::Down,
                    KeyCode::PageUp => Key::PageUp,
                    KeyCode::PageDown => Key::PageDown,
                    KeyCode::Home => Key::Home,
                    KeyCode::End => Key::End,
                    KeyCode::Tab | KeyCode::Right => Key::Next,
                    KeyCode::BackTab | KeyCode::Left => Key::Back,
                    KeyCode::Enter => Key::Enter,
                    KeyCode::Esc => Key::Escape,
                    KeyCode::Backspace => Key::Delete,
                    KeyCode::Char(c) => Key::Char(c),
                    _ => continue,
                };
                if view.lock().unwrap_or_else(PoisonError::into_inner).press(key) == Want::Quit {
                    orders.end.store(true, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // Whatever of it fails: there is nothing better to do.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}
