//! A bar on stderr for a transfer in progress; invisible where stderr is not a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often what is shown changes.
const TICK: Duration = Duration::from_millis(200);

/// A bar for `size` bytes, or one without an end.
pub(super) fn bar(name: &str, size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::new(size),
            "{msg}  {wide_bar}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
        ),
        None => (
            ProgressBar::no_length(),
            "{spinner} {msg}  {bytes}  {bytes_per_sec}  {elapsed}",
        ),
    };
    bar.set_style(style(template));
    // The name of a file may hold anything, and goes to a terminal.
    bar.set_message(name.chars().filter(|c| !c.is_control()).collect::<String>());
    bar.enable_steady_tick(TICK);
    bar
}

/// Shows that something is under way.
pub(super) fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_style(style("{spinner} {msg}"));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// Shows that something is under way, and how far it is.
pub(super) struct Counting {
    pub(super) bar: ProgressBar,
    what: &'static str,
    shown: Instant,
}

/// As [`spinner`], for what can be told as it goes on.
pub(super) fn counting(what: &'static str) -> Counting {
    Counting {
        bar: spinner(what),
        what,
        shown: Instant::now(),
    }
}

impl Counting {
    /// Shows how far it is, five times a second at most.
    pub(super) fn tell(&mut self, so_far: impl FnOnce() -> String) {
        if self.shown.elapsed() >= TICK {
            self.shown = Instant::now();
            self.bar.set_message(format!("{}: {}", self.what, so_far()));
        }
    }
}

/// A bar for rows; how many there are is set as it is known.
pub(super) fn rows() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(style(
        "{msg}  {wide_bar}  {human_pos}/{human_len}  {per_sec}  {eta}",
    ));
    bar.set_message("opening");
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are valid")
}
