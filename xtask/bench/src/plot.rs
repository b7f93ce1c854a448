//! Bars as SVG: each has its name and figure beside it, so colour tells nothing that words do not.

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

/// Horizontal bars on a linear axis from zero: a length is a cost.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars
        .iter()
        .map(|bar| bar.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * bars.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n<title>{0}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1a1a1a\">{0}</text>\n",
        escape(title)
    );
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('`', "")
}
