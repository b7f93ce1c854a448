//! Listings are in order, complete, and go on where they ended.

use std::collections::BTreeSet;

use crate::storage::bucket::{After, ListPage};
use crate::testing::buckets::{Pail, key, page, put};
use crate::testing::objects::pattern;

/// In no order.
const KEYS: [&str; 17] = [
    "b", "a", "p/b/c/d", "p/b", "p/b/", "p/b/c", "p/b0", "p/a", "p//x", "q", "p", "p/", "p/z/1",
    "p/z/2", "p-1", "写/1", "写/2",
];

async fn fill(bucket: &Pail) {
    for text in KEYS {
        put(bucket, &key(text), &pattern(3, 1)).await.expect("put");
    }
}

/// What a listing must have: keys and common prefixes, in ascending order.
fn wanted(prefix: &str, delimiter: Option<&str>) -> Vec<String> {
    let keys = KEYS.iter().filter_map(|key| key.strip_prefix(prefix));
    let names: BTreeSet<String> = keys
        .map(
            |rest| match delimiter.and_then(|d| rest.find(d).map(|at| at + d.len())) {
                Some(end) => format!("{prefix}{}", &rest[..end]),
                None => format!("{prefix}{rest}"),
            },
        )
        .collect();
    names.into_iter().collect()
}

/// A page's keys and common prefixes, in ascending order; sees that it is one.
fn names(page: &ListPage, limit: usize) -> Vec<String> {
    let keys: Vec<&str> = page
        .entries
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    let prefixes: Vec<&str> = page.prefixes.iter().map(String::as_str).collect();
    assert!(keys.is_sorted() && prefixes.is_sorted(), "{page:?}");
    let mut names = [keys, prefixes].concat();
    names.sort_unstable();
    assert!(names.len() <= limit, "more than {limit}: {names:?}");
    if let Some(next) = &page.next {
        assert_eq!(names.last(), Some(&next.key.as_str()), "the greatest");
        assert_eq!(names.len(), limit, "a page that is not the last is full");
    }
    names.into_iter().map(str::to_owned).collect()
}

pub async fn pages_of_any_size_have_all_in_order_each_once(bucket: &Pail) {
    fill(bucket).await;
    for limit in [1, 2, 3, 7, KEYS.len(), 1000] {
        for with_token in [true, false] {
            let (mut after, mut listed) = (None, Vec::new());
            loop {
                let page = page(bucket, "", None, after, limit).await;
                listed.extend(names(&page, limit));
                after = page.next.map(|next| After {
                    token: next.token.filter(|_| with_token),
                    ..next
                });
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, wanted("", None), "{limit}");
        }
    }
}

pub async fn a_page_after_any_key_begins_behind_it(bucket: &Pail) {
    fill(bucket).await;
    for after in [
        "0",
        "a",
        "a0",
        "p",
        "p/b",
        "p/b/",
        "p/b/c/d",
        "p/y",
        "q",
        "zz",
        "\u{10FFFF}",
    ] {
        let token = None;
        let behind = After {
            key: after.to_owned(),
            token,
        };
        let page = page(bucket, "", None, Some(behind), 1000).await;
        let mut wanted = wanted("", None);
        wanted.retain(|key| key.as_str() > after);
        assert_eq!(names(&page, 1000), wanted, "after {after}");
    }
}

pub async fn what_has_the_delimiter_behind_the_prefix_is_one_common_prefix(bucket: &Pail) {
    fill(bucket).await;
    for (prefix, delimiter) in [
        ("", "/"),
        ("p", "/"),
        ("p/", "/"),
        ("p/b/", "/"),
        ("p/b", "/"),
        ("", "b/"),
        ("", "b"),
        ("p/", "z/1"),
        ("nothing/", "/"),
        ("写", "/"),
        ("", "写"),
        ("p/b", "nowhere"),
    ] {
        let page = page(bucket, prefix, Some(delimiter), None, 1000).await;
        let wanted = wanted(prefix, Some(delimiter));
        assert_eq!(names(&page, 1000), wanted, "{prefix:?} {delimiter:?}");
        let (folded, whole): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|name| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.contains(delimiter))
        });
        assert_eq!(page.prefixes, folded, "{prefix:?} {delimiter:?}");
        assert_eq!(page.entries.len(), whole.len());
        assert_eq!(page.next, None);
    }
}

pub async fn a_listing_goes_on_behind_a_common_prefix(bucket: &Pail) {
    fill(bucket).await;
    for (prefix, delimiter) in [("", "/"), ("p/", "/"), ("", "b"), ("p", "/")] {
        for limit in [1, 2, 3] {
            for with_token in [true, false] {
                let (mut after, mut listed) = (None, Vec::new());
                loop {
                    let page = page(bucket, prefix, Some(delimiter), after, limit).await;
                    listed.extend(names(&page, limit));
                    after = page.next.map(|next| After {
                        token: next.token.filter(|_| with_token),
                        ..next
                    });
                    if after.is_none() {
                        break;
                    }
                }
                let wanted = wanted(prefix, Some(delimiter));
                assert_eq!(
                    listed, wanted,
                    "{prefix:?} {delimiter:?} {limit} {with_token}"
                );
            }
        }
    }
}

pub async fn an_empty_listing_has_no_next_page(bucket: &Pail) {
    for (prefix, delimiter) in [("", None), ("a", Some("/")), ("a/b/", None)] {
        let page = page(bucket, prefix, delimiter, None, 1000).await;
        assert_eq!(page, ListPage::default());
    }
}

pub async fn what_was_removed_meanwhile_does_not_stop_a_listing(bucket: &Pail) {
    for with_token in [true, false] {
        fill(bucket).await;
        let first = page(bucket, "", None, None, 5).await;
        let listed = names(&first, 5);
        for text in &listed {
            bucket.delete(&key(text)).await.expect("deleted");
        }
        let after = first.next.map(|next| After {
            token: next.token.filter(|_| with_token),
            ..next
        });
        let rest = page(bucket, "", None, after, 1000).await;
        let rest = names(&rest, 1000);
        assert_eq!([listed, rest].concat(), wanted("", None));
    }
}
