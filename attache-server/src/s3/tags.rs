//! What tags an object may have.

use std::collections::BTreeMap;

use http::StatusCode;

use super::error::{S3Error, S3Result};
use super::signature::Query;

/// Most tags of an object, and characters of a tag
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>).
const MAX_TAGS: usize = 10;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// `x-amz-tagging`: as a query.
///
/// # Errors
///
/// `InvalidTag`.
pub(super) fn of_query(text: &str) -> S3Result<BTreeMap<String, String>> {
    let query = Query::parse(text).ok_or_else(|| wrong("the tags are not UTF-8"))?;
    let pairs = query
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    checked(pairs)
}

pub(super) fn checked(
    pairs: impl Iterator<Item = (String, String)>,
) -> S3Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        let fits = (1..=MAX_KEY).contains(&key.chars().count())
            && value.chars().count() <= MAX_VALUE
            && !key.chars().chain(value.chars()).any(char::is_control);
        if !fits {
            return Err(wrong(
                "a tag has a key of 1 to 128 and a value of up to 256 characters",
            ));
        }
        if tags.insert(key, value).is_some() {
            return Err(wrong("two tags have the same key"));
        }
    }
    match tags.len() <= MAX_TAGS {
        true => Ok(tags),
        false => Err(wrong("an object has 10 tags at most")),
    }
}

fn wrong(what: &str) -> S3Error {
    S3Error::new(StatusCode::BAD_REQUEST, "InvalidTag", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_few_and_short_and_each_is_there_once() {
        let tags = of_query("a=1&b=x%20y&c").expect("tags");
        let pairs: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "x y"), ("c", "")]);
        let many: Vec<String> = (0..11).map(|i| format!("k{i}=v")).collect();
        let long = format!("{}=v", "k".repeat(129));
        for bad in ["a=1&a=2", "=1", &long, &many.join("&"), "a=%0a"] {
            let error = of_query(bad).expect_err("no tags");
            assert_eq!(error.code(), "InvalidTag", "{bad}");
        }
    }
}
