//! Bars and lines as SVG: each has its name beside it, so colour tells nothing that words do not.

use std::fmt::Write as _;

/// One bar.
pub struct Bar {
    pub name: String,
    pub value: f64,
    /// The value in words.
    pub shown: String,
    /// Ours, drawn dark.
    pub ours: bool,
}

const WIDTH: f64 = 760.0;
const NAMES: f64 = 250.0;
const FIGURES: f64 = 110.0;
const ROW: f64 = 24.0;
const TOP: f64 = 44.0;

/// An empty picture under its title.
fn begin(title: &str, height: f64, font_size: u32) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"{font_size}\" role=\"img\">\n<title>{0}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1a1a1a\">{0}</text>\n",
        escape(title)
    )
}

/// Horizontal bars on a linear axis from zero: a length is a cost.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars
        .iter()
        .map(|bar| bar.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * bars.len() as f64 + 8.0;
    let mut svg = begin(title, height, 13);
    for (row, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let length = (bar.value / most * (WIDTH - NAMES - FIGURES)).max(1.0);
        let (fill, weight) = if bar.ours {
            ("#0b5a8f", "600")
        } else {
            ("#9aa7b2", "400")
        };
        let text = y + 16.0;
        // Writing into a string does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\" font-weight=\"{weight}\" fill=\"#1a1a1a\">{}</text>\
             <rect x=\"{NAMES}\" y=\"{}\" width=\"{length:.1}\" height=\"16\" fill=\"{fill}\"/>\
             <text x=\"{:.1}\" y=\"{text}\" fill=\"#1a1a1a\">{}</text>",
            NAMES - 8.0,
            escape(&bar.name),
            y + 3.0,
            NAMES + length + 6.0,
            escape(&bar.shown),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// One curve.
pub struct Line {
    pub name: String,
    /// From left to right; both are above zero.
    pub points: Vec<(f64, f64)>,
    /// Ours, drawn dark.
    pub ours: bool,
}

const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 48.0;
/// Between the baselines of two names.
const NAME: f64 = 15.0;

/// Curves on logarithmic axes: a line that rises by one over one is a cost in proportion. `ticks` are those of the axis of what grows.
pub fn lines(title: &str, axis: &str, ticks: &[(f64, String)], lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (low, high) = decimal_bounds(points().map(|(_, y)| *y));
    let least = ticks.iter().map(|(x, _)| *x).fold(f64::MAX, f64::min);
    let most = ticks.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    let (right, floor) = (WIDTH - NAMES + 60.0, HEIGHT - BOTTOM);
    let x_of = |x: f64| LEFT + share(x, least, most) * (right - LEFT);
    let y_of = |y: f64| floor - share(y, low, high) * (floor - TOP);
    let mut svg = begin(title, HEIGHT, 12);
    // Over many powers of ten, these alone.
    let many = high / low > 2000.0;
    for y in round_values(low, high).filter(|y| !many || is_power(*y)) {
        let at = y_of(y);
        // Writing into a string does not fail.
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#e3e7ea\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1a1a1a\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            plain(y)
        );
    }
    for (x, shown) in ticks {
        let at = x_of(*x);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{floor}\" stroke=\"#e3e7ea\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#1a1a1a\">{}</text>",
            floor + 17.0,
            escape(shown)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#1a1a1a\">{}</text>",
        f64::midpoint(LEFT, right),
        floor + 36.0,
        escape(axis)
    );
    // Names are beside the last points, and further down where they would lie on one another.
    let mut ends: Vec<(f64, &Line)> = lines
        .iter()
        .filter_map(|line| Some((y_of(line.points.last()?.1), line)))
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = TOP;
    for (number, (end, line)) in ends.into_iter().enumerate() {
        let (stroke, width, weight) = if line.ours {
            ("#0b5a8f", 2.5, "600")
        } else {
            ("#6d7a85", 1.5, "400")
        };
        let dashes = match (line.ours, number) {
            (true, _) => String::new(),
            (false, number) => format!(" stroke-dasharray=\"{} 3\"", 3 + 4 * number),
        };
        let path: Vec<String> = line
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y)))
            .collect();
        let at = end.max(free);
        free = at + NAME;
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\"{dashes}/>\
             <text x=\"{}\" y=\"{:.1}\" font-weight=\"{weight}\" fill=\"#1a1a1a\">{}</text>",
            path.join(" "),
            right + 8.0,
            at + 4.0,
            escape(&line.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// How far `value` is from `low` to `high`, on a logarithmic scale.
fn share(value: f64, low: f64, high: f64) -> f64 {
    match high > low {
        true => (value / low).ln() / (high / low).ln(),
        false => 0.5,
    }
}

/// The round values around all of `values`.
fn decimal_bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    let all: Vec<f64> = round_values(least / 10.0, most * 10.0).collect();
    let below = all.iter().copied().filter(|value| *value <= least);
    let above = all.iter().copied().filter(|value| *value >= most);
    let low = below.fold(f64::MIN_POSITIVE, f64::max);
    (low, above.fold(f64::MAX, f64::min).max(low * 2.0))
}

/// 1, 2 and 5 of each power of ten within the bounds.
fn round_values(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let slack = 1.0 + 1e-9;
    powers
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
        .filter(move |value| *value * slack >= low && *value <= high * slack)
}

fn is_power(value: f64) -> bool {
    (value.log10() - value.log10().round()).abs() < 1e-9
}

/// A round value, without zeros that say nothing.
fn plain(value: f64) -> String {
    let (value, unit) = match value {
        1e6.. => (value / 1e6, " M"),
        1e3.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('`', "")
}
