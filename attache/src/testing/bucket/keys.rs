//! Any key is a key.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::ErrorKind;
use crate::testing::buckets::{Pail, all, key, page, put, read};
use crate::testing::objects::pattern;

/// Keys that paths, URLs, XML or headers might take for something else.
fn unusual() -> Vec<String> {
    let mut keys: Vec<String> = [
        "plain.txt",
        "a b",
        " a",
        "a ",
        "a+b",
        "a%20b",
        "a%2Fb",
        "%",
        "%%41",
        "a?b=c",
        "a#b",
        "a&b;c<d>e\"f'g",
        "a:b@c,d=e$f!g*h(i)j[k]l{m}n|o^p`q~r",
        "!u41!",
        "a.!",
        "a\\b",
        "a/b",
        "a//b",
        "/a",
        "//a",
        "a/",
        "a//",
        "/",
        "//",
        ".",
        "..",
        "./a",
        "../a",
        "../../../../etc/passwd",
        "a/./b",
        "a/../b",
        "a/..",
        "a/.",
        "a.",
        "a..",
        ".a",
        "...",
        "a./b",
        "con",
        "nul.txt",
        "写真/東京.png",
        "Ä",
        "A\u{308}",
        "\u{1F600}",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{fffe}",
        "case",
        "Case",
        ".attache",
        ".Attache/tmp",
        ".ATTACHE/uploads/a",
        "attache_",
    ]
    .map(str::to_owned)
    .into();
    keys.push("x".repeat(1024));
    keys.push("é".repeat(512));
    keys.push(format!("{}/{}", "y".repeat(255), "z".repeat(700)));
    keys
}

/// Which stores cannot name is refused as what it is.
async fn keep(bucket: &Pail, text: &str, bytes: &Bytes) -> bool {
    match put(bucket, &key(text), bytes).await {
        Ok(_) => true,
        Err(error) => {
            // Only what is very long, with what has to be written in more characters than it has, and what Google has for no name at all.
            assert_eq!(error.kind(), ErrorKind::BadRequest, "{text:?}: {error:?}");
            let no_name = matches!(text, "." | "..") || text.contains(['\r', '\n']);
            assert!(text.len() > 255 || no_name, "{text:?}: {error:?}");
            false
        }
    }
}

pub async fn any_key_names_an_object_of_its_own(bucket: &Pail) {
    let mut kept = Vec::new();
    for (seed, text) in (0..).zip(unusual()) {
        let bytes = pattern(10, seed);
        if keep(bucket, &text, &bytes).await {
            kept.push((text, bytes));
        }
    }
    for (text, bytes) in &kept {
        let (entry, read) = read(bucket, &key(text), None).await.expect("get");
        assert!(read == *bytes, "{text:?} has the bytes of another one");
        assert_eq!(entry.key.as_str(), text);
        let head = bucket.head(&key(text)).await.expect("head");
        assert_eq!(head, Some(entry));
    }
    let listed = all(bucket, "").await;
    let listed: Vec<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
    let names: BTreeSet<&str> = kept.iter().map(|(text, _)| text.as_str()).collect();
    let set: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(set, names, "all are listed as they are");
    assert_eq!(set.len(), listed.len(), "each once");
    // A page at a time, with and without what the store said.
    for with_token in [true, false] {
        let (mut after, mut paged) = (None, Vec::new());
        loop {
            let page = page(bucket, "", None, after, 7).await;
            paged.extend(page.entries.into_iter().map(|entry| entry.key));
            after = page.next.map(|next| crate::storage::bucket::After {
                token: next.token.filter(|_| with_token),
                ..next
            });
            if after.is_none() {
                break;
            }
        }
        let paged: Vec<&str> = paged
            .iter()
            .map(crate::storage::bucket::Key::as_str)
            .collect();
        assert_eq!(paged, listed, "pages have what the whole has");
    }
    while let Some((text, _)) = kept.pop() {
        bucket.delete(&key(&text)).await.expect("deleted");
        assert_eq!(bucket.head(&key(&text)).await.expect("head"), None);
        let left = all(bucket, "").await.len();
        assert_eq!(left, kept.len(), "{text:?} took another one with it");
    }
}

pub async fn a_key_may_be_the_front_of_another(bucket: &Pail) {
    let texts = ["a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/d"];
    for order in [texts, {
        let mut texts = texts;
        texts.reverse();
        texts
    }] {
        for (seed, text) in (0..).zip(order) {
            put(bucket, &key(text), &pattern(10, seed))
                .await
                .expect("put");
        }
        for (seed, text) in (0..).zip(order) {
            let (_, bytes) = read(bucket, &key(text), None).await.expect("get");
            assert!(bytes == pattern(10, seed), "{text}");
        }
        for text in order {
            bucket.delete(&key(text)).await.expect("deleted");
            assert_eq!(bucket.head(&key(text)).await.expect("head"), None);
        }
        assert!(all(bucket, "").await.is_empty());
    }
}

pub async fn a_prefix_is_what_unusual_keys_begin_with(bucket: &Pail) {
    let bytes = pattern(1, 1);
    let mut texts = unusual();
    texts.retain(|text| text.len() < 100);
    let mut kept = Vec::new();
    for text in texts {
        if keep(bucket, &text, &bytes).await {
            kept.push(text);
        }
    }
    let texts = kept;
    let mut prefixes: Vec<&str> = texts.iter().map(String::as_str).collect();
    prefixes.extend(["", "a", "!", "!u", "a.", "../", "a/.", "%", "a\\", "写"]);
    for prefix in prefixes {
        let listed = all(bucket, prefix).await;
        let listed: BTreeSet<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
        let wanted = texts.iter().filter(|text| text.starts_with(prefix));
        let wanted: BTreeSet<&str> = wanted.map(String::as_str).collect();
        assert_eq!(listed, wanted, "{prefix:?}");
    }
}
