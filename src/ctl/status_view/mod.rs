//! `kneard-ctl status --watch`: the election as it goes on, in the terminal.

mod screen;
mod watched;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use ratatui::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::Client;
use watched::Watched;

const REFRESH: Duration = Duration::from_secs(1);

/// Shows until q or ctrl-c is pressed or a signal comes, and leaves the terminal as it was. With
/// `json`, a line of JSON each second instead.
pub async fn run(client: &Client, json: bool) -> ExitCode {
    if json {
        return lines(client).await;
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        eprintln!("kneard-ctl: --watch needs a terminal; status --json is for programs");
        return ExitCode::FAILURE;
    }
    let result = match ratatui::try_init() {
        Ok(mut terminal) => watch(client, &mut terminal).await,
        Err(error) => Err(error),
    };
    // Also after a start that was only half done.
    ratatui::restore();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kneard-ctl: the terminal: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Key {
    Quit,
    /// The window has another size.
    Redraw,
}

async fn watch(client: &Client, terminal: &mut ratatui::DefaultTerminal) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keys = keys();
    let mut watched = Watched::new();
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                // A kneard that hangs must not hold up the keys.
                let answer = tokio::select! {
                    answer = client.status() => answer.map_err(|error| error.to_string()),
                    () = tokio::time::sleep(REFRESH * 3) => Err("kneard does not answer".to_owned()),
                    key = keys.recv() => match key {
                        Some(Key::Redraw) => continue,
                        Some(Key::Quit) | None => return Ok(()),
                    },
                };
                watched.take_in(SystemTime::now(), answer);
                if watched.wants_history() {
                    let history = tokio::time::timeout(REFRESH, client.history()).await;
                    let history = history.ok().and_then(Result::ok).map(|history| history.0);
                    watched.remember(SystemTime::now(), history.unwrap_or_default());
                }
            }
            key = keys.recv() => match key {
                Some(Key::Redraw) => {}
                Some(Key::Quit) | None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
        terminal.draw(|frame| screen::draw(frame, &watched, SystemTime::now(), colour))?;
    }
}

/// Reads the keyboard in a thread of its own, which ends with the process.
fn keys() -> mpsc::UnboundedReceiver<Key> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = read() {
            let key = match event {
                Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char('q' | 'Q') | KeyCode::Esc => Key::Quit,
                    // The terminal is raw: ctrl-c is a key.
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        Key::Quit
                    }
                    _ => continue,
                },
                Event::Resize(_, _) => Key::Redraw,
                _ => continue,
            };
            if sender.send(key).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A line of JSON each second, until nobody reads any more.
async fn lines(client: &Client) -> ExitCode {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let line = match client.status().await {
            Ok(status) => serde_json::to_string(&status).unwrap_or_default(),
            Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
        };
        if writeln!(std::io::stdout(), "{line}").is_err() {
            return ExitCode::SUCCESS;
        }
    }
}
