//! Where words go: results to stdout, everything for people to stderr.

use std::error::Error as _;
use std::fmt::Display;
use std::io::{self, Write as _};

use attache::Error;
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::outcome::CommandError;

/// Writes a result to stdout, at once.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| output_failed(&error))
}

/// Writes a result to stdout as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    print(&(json(value)? + "\n"))
}

/// A value as JSON on one line.
pub(super) fn json(value: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string(value)
        .map_err(|error| CommandError::Here(format!("cannot write the result as JSON: {error}")))
}

/// What a failure to write results means.
pub(super) fn output_failed(error: &io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::PipeClosed,
        _ => CommandError::Here(format!("cannot write to stdout: {error}")),
    }
}

/// Writes a line for people to stderr.
pub(super) fn note(text: impl Display) {
    // Without a stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "attache: {text}");
}

/// Writes what went wrong, and what caused it, to stderr.
pub(super) fn error(error: &Error) {
    note(explained(error));
}

/// An error and, on lines of their own, what caused it.
pub(super) fn explained(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str("\n  caused by: ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

/// `1 upload`, `2 uploads`.
pub(super) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// To the minute, in UTC.
pub(super) fn minute(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]Z");
    at.to_offset(time::UtcOffset::UTC)
        .format(&format)
        .unwrap_or_default()
}

/// RFC 3339, to the second.
pub(super) fn timestamp(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.to_offset(time::UtcOffset::UTC)
        .format(&format)
        .unwrap_or_default()
}

/// Lines of a table, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned))
        .chain(rows)
        .collect();
    let widest = |column: usize| rows.iter().map(|row| columns(&row[column])).max();
    let widths: [usize; N] = std::array::from_fn(|column| widest(column).unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let space = width.saturating_sub(columns(cell));
            line.push_str(cell);
            line.push_str(&" ".repeat(space + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Columns that `text` takes in a terminal.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// The blocks that matter for file names (<https://www.unicode.org/reports/tr11/>): marks take no column; East Asian
/// scripts and pictographs take two.
fn width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200D | 0x20D0..=0x20F0 | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xA960..=0xA97F
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x1F680..=0x1F9FF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_causes_once_each() {
        let error = Error::internal("cannot write")
            .with_source(io::Error::other("disk full"))
            .during("put", "a");
        assert_eq!(
            explained(&error),
            "put a: cannot write\n  caused by: disk full"
        );
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(columns("写真.png"), 8);
        assert_eq!(columns("plain"), 5);
    }
}
