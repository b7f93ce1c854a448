//! The run as a picture (SVG): heap, resident memory, and what is open, over time.

use std::fmt::Write as _;

use super::decide::Fit;
use super::{Record, Sample};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 50.0;

/// One line of a panel: what it is called, how it is drawn, and its points in (seconds, value).
struct Series<'a> {
    name: &'a str,
    style: &'a str,
    points: Vec<(f64, f64)>,
    dots: bool,
}

/// Draws it. `line`: of heap over operations in the later half of the rests.
pub(crate) fn svg(record: &Record, line: Option<&Fit>) -> String {
    let end = record.samples.last().map_or(1.0, |last| last.at_s.max(1.0));
    let of = |samples: &[Sample], value: fn(&Sample) -> f64| -> Vec<(f64, f64)> {
        samples.iter().map(|s| (s.at_s, value(s))).collect()
    };
    let later = &record.rests[record.rests.len() / 2..];
    let fitted = line.map(|line| {
        let at = |rest: &Sample| {
            let heap = line.intercept + line.slope * rest.operations;
            (rest.at_s, heap / MIB)
        };
        later.iter().map(at).collect()
    });
    let panels: [(&str, Vec<Series<'_>>); 3] = [
        (
            "Heap at rest, MiB",
            vec![
                series(
                    "at rest",
                    "stroke:#0b6e4f",
                    of(&record.rests, |s| s.vitals.heap / MIB),
                    true,
                ),
                series(
                    "line through the later half",
                    "stroke:#b3261e;stroke-width:2;stroke-dasharray:6 4",
                    fitted.unwrap_or_default(),
                    false,
                ),
            ],
        ),
        (
            "Memory under load, MiB",
            vec![
                series(
                    "resident",
                    "stroke:#1f4e9c",
                    of(&record.samples, |s| s.vitals.resident / MIB),
                    false,
                ),
                series(
                    "heap",
                    "stroke:#0b6e4f;stroke-dasharray:2 2",
                    of(&record.samples, |s| s.vitals.heap / MIB),
                    false,
                ),
            ],
        ),
        (
            "Open",
            vec![
                series(
                    "descriptors",
                    "stroke:#1f4e9c",
                    of(&record.samples, |s| s.vitals.descriptors),
                    false,
                ),
                series(
                    "connections to the store",
                    "stroke:#8a5a00;stroke-dasharray:6 2",
                    of(&record.samples, |s| s.vitals.connections),
                    false,
                ),
                series(
                    "streams",
                    "stroke:#0b6e4f;stroke-dasharray:2 2",
                    of(&record.samples, |s| s.vitals.streams),
                    false,
                ),
            ],
        ),
    ];
    let height = panels.len() as f64 * (PANEL + GAP) + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (place, (title, series)) in panels.iter().enumerate() {
        let top = place as f64 * (PANEL + GAP) + 30.0;
        panel(&mut svg, title, series, top, end);
    }
    svg.push_str("</svg>\n");
    svg
}

const MIB: f64 = 1024.0 * 1024.0;

fn series<'a>(name: &'a str, style: &'a str, points: Vec<(f64, f64)>, dots: bool) -> Series<'a> {
    Series {
        name,
        style,
        points,
        dots,
    }
}

fn panel(svg: &mut String, title: &str, series: &[Series<'_>], top: f64, end: f64) {
    let values = series.iter().flat_map(|series| &series.points);
    let most = values.map(|(_, value)| *value).fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.1 } else { 1.0 };
    let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| top + PANEL - value / most * PANEL;
    let mut put = |line: String| {
        svg.push_str(&line);
        svg.push('\n');
    };
    put(format!(
        "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>",
        top - 8.0
    ));
    for step in 0..=4 {
        let value = most * f64::from(step) / 4.0;
        let (at, right) = (y(value), WIDTH - RIGHT);
        put(format!(
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>"
        ));
        put(format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        ));
    }
    for step in 0..=5 {
        let seconds = end * f64::from(step) / 5.0;
        put(format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444\">{seconds:.0} s</text>",
            x(seconds),
            top + PANEL + 16.0
        ));
    }
    for (
        place,
        Series {
            name,
            style,
            points,
            dots,
        },
    ) in series.iter().enumerate()
    {
        let mut path = String::new();
        for (place, (seconds, value)) in points.iter().enumerate() {
            let verb = if place == 0 { 'M' } else { 'L' };
            // Writing into a string cannot fail.
            let _ = write!(path, "{verb}{:.1} {:.1}", x(*seconds), y(*value));
            if *dots {
                put(format!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" style=\"{style};fill:none\"/>",
                    x(*seconds),
                    y(*value)
                ));
            }
        }
        put(format!(
            "<path d=\"{path}\" fill=\"none\" style=\"{style}\"/>"
        ));
        let (from, at) = (WIDTH - 560.0 + 190.0 * place as f64, top - 12.0);
        put(format!(
            "<path d=\"M{from} {at}h24\" fill=\"none\" style=\"{style}\"/>"
        ));
        put(format!(
            "<text x=\"{}\" y=\"{}\">{name}</text>",
            from + 30.0,
            at + 4.0
        ));
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
