//! What a client saw of attache beside what it saw of moto: the same, but for differences that are written down.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::run::Line;

/// A difference that is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference {
    /// The step; a `*` in it stands for anything.
    pub(crate) step: &'static str,
    /// A field of what was seen, as `Contents.Owner.ID` in all elements of a list; `*` is all that was seen.
    pub(crate) field: &'static str,
    /// What attache gives, as JSON; `-` if it gives no such field, `*` if it gives whatever is right there.
    pub(crate) ours: &'static str,
    /// Why that is right.
    pub(crate) why: &'static str,
}

/// One difference that nobody wrote down.
type Found = (String, String, String, String);

/// Compares step by step.
///
/// Panics with all differences that `known` does not have, and with those of `known` that were not found and so are told of in vain.
#[track_caller]
pub(crate) fn compare(moto: &[Line], attache: &[Line], known: &[Difference]) {
    let (found, vain) = differences(moto, attache, known);
    let mut text = String::new();
    for (step, field, theirs, ours) in &found {
        text.push_str(&format!(
            "  {step:?}, {field}: moto {theirs}, attache {ours}\n"
        ));
    }
    for Difference {
        step, field, why, ..
    } in &vain
    {
        text.push_str(&format!(
            "  {step:?}, {field}: no difference, though {why}\n"
        ));
    }
    assert!(text.is_empty(), "what a client sees:\n{text}");
}

/// What differs and is not known, and what is known and does not differ.
fn differences(
    moto: &[Line],
    attache: &[Line],
    known: &[Difference],
) -> (Vec<Found>, Vec<Difference>) {
    let names = |lines: &[Line]| -> Vec<String> { lines.iter().map(name).collect() };
    assert_eq!(names(moto), names(attache), "the steps themselves");
    let mut used = vec![false; known.len()];
    let mut found = Vec::new();
    for (theirs, ours) in moto.iter().zip(attache) {
        if theirs == ours {
            continue;
        }
        let step = name(ours);
        let here = |difference: &Difference| match difference.step.split_once('*') {
            Some((beginning, end)) => step.starts_with(beginning) && step.ends_with(end),
            None => step == difference.step,
        };
        let whole = whole(ours);
        let mut as_a_whole = false;
        for (difference, used) in known.iter().zip(&mut used) {
            if here(difference) && difference.field == "*" && is(difference, &whole) {
                (*used, as_a_whole) = (true, true);
            }
        }
        if as_a_whole {
            continue;
        }
        let (theirs, ours) = (flat(theirs), flat(ours));
        let fields: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for field in fields {
            let (theirs, ours) = (theirs.get(field), ours.get(field));
            if theirs == ours {
                continue;
            }
            let ours = ours.map_or("-".to_owned(), Value::to_string);
            let plain = without_indices(field);
            let meant = known
                .iter()
                .zip(&mut used)
                .filter(|(difference, _)| here(difference) && difference.field == plain)
                .find(|(difference, _)| is(difference, &ours));
            match meant {
                Some((_, used)) => *used = true,
                None => {
                    let theirs = theirs.map_or("-".to_owned(), Value::to_string);
                    found.push((step.clone(), field.clone(), theirs, ours));
                }
            }
        }
    }
    let vain = known.iter().zip(used).filter(|(_, used)| !used);
    (found, vain.map(|(difference, _)| *difference).collect())
}

fn name(line: &Line) -> String {
    line["step"].as_str().expect("a step has a name").to_owned()
}

/// All that was seen, without the name.
fn whole(line: &Line) -> String {
    let mut line = line.clone();
    line.remove("step");
    Value::Object(line).to_string()
}

fn is(difference: &Difference, ours: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    match difference.ours {
        "*" => true,
        "-" => ours == "-",
        wanted => {
            let wanted = parse(wanted).unwrap_or_else(|| panic!("JSON: {difference:?}"));
            parse(ours) == Some(wanted)
        }
    }
}

/// Each value by its place.
fn flat(line: &Line) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (name, value) in line {
        flatten(name, value, &mut all);
    }
    all
}

fn flatten(place: &str, value: &Value, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&format!("{place}.{name}"), value, all);
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            for (n, item) in items.iter().enumerate() {
                flatten(&format!("{place}.{n}"), item, all);
            }
        }
        _ => {
            all.insert(place.to_owned(), value.clone());
        }
    }
}

fn without_indices(field: &str) -> String {
    let names = field
        .split('.')
        .filter(|name| name.parse::<usize>().is_err());
    names.collect::<Vec<_>>().join(".")
}

/// The comparison itself: what it must not pass over.
#[test]
fn what_differs_is_found_and_what_is_told_of_in_vain_too() {
    let line = |text: &str| -> Line { serde_json::from_str(text).expect("JSON") };
    let moto = [
        line(
            r#"{"step":"list","Contents":[{"Key":"a","Owner":"webfile"},{"Key":"b","Owner":"webfile"}]}"#,
        ),
        line(r#"{"step":"get","status":200}"#),
    ];
    let attache = [
        line(r#"{"step":"list","Contents":[{"Key":"a","Owner":"me"},{"Key":"c","Owner":"me"}]}"#),
        line(r#"{"step":"get","status":403,"code":"AccessDenied"}"#),
    ];
    let known = |step, field, ours| Difference {
        step,
        field,
        ours,
        why: "",
    };
    let owner = known("l*", "Contents.Owner", r#""me""#);
    let denied = known("get", "*", r#"{"code":"AccessDenied","status":403}"#);
    let found = |known: &[Difference]| {
        let (found, vain) = differences(&moto, &attache, known);
        let found: Vec<String> = found.into_iter().map(|(_, field, ..)| field).collect();
        (found, vain.len())
    };
    assert_eq!(
        found(&[owner, denied]),
        (vec!["Contents.1.Key".to_owned()], 0)
    );
    let other = known("get", "*", r#"{"code":"NoSuchKey","status":403}"#);
    let fields = ["Contents.1.Key", "code", "status"].map(str::to_owned);
    assert_eq!(found(&[owner, other]), (fields.to_vec(), 1));
    let (all, vain) = found(&[known("list", "Contents.Owner", "-")]);
    assert_eq!((all.len(), vain), (5, 1), "{all:?}");
    assert_eq!(differences(&moto, &moto, &[owner]).1.len(), 1);
}
