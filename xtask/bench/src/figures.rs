//! Figures, and how they are told.

use std::path::Path;

use crate::cases::{KIB, MIB};
use crate::stage::Sample;

/// CPU seconds a request.
#[derive(Clone, Copy)]
pub struct Cost {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

pub fn cost(samples: &[Sample]) -> Cost {
    let mut each: Vec<f64> = samples
        .iter()
        .map(|sample| sample.cpu / sample.requests as f64)
        .collect();
    each.sort_by(f64::total_cmp);
    Cost {
        median: median(&each),
        least: each[0],
        most: each[each.len() - 1],
    }
}

/// Of values that are sorted.
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

pub fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / KIB)
}

pub fn tenths_of_kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / KIB as f64)
}

pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

pub fn name_of(folder: &Path) -> String {
    folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
