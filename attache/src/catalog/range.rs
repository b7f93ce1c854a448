//! What a page of a listing is read from: the same for every catalog, each of which has an index for each of them.

use crate::access::{OwnerPattern, Owners};
use crate::catalog::Page;

/// Where an attachment stands in the order of a listing: its time, and its id.
pub(crate) type Place = (i64, String);

/// Behind which place a page begins.
pub(crate) fn after(page: &Page) -> Place {
    match &page.after {
        Some((ms, id)) => (*ms, id.to_string()),
        None => (i64::MAX, String::new()),
    }
}

/// One read of an index.
#[derive(Debug, PartialEq)]
pub(crate) enum Range<'a> {
    /// Every attachment.
    All,
    /// Those of one owner.
    Owner(&'a str),
    /// `page:`
    Kind(&'a str),
    /// `page:2026-`, longer than a kind.
    Prefix(&'a str),
}

/// What a page is read from; nothing twice.
pub(crate) fn ranges(page: &Page) -> Vec<Range<'_>> {
    match &page.owner {
        Some(owner) if page.visible.contain(Some(owner)) => vec![Range::Owner(owner.as_str())],
        Some(_) => Vec::new(),
        None => allowed(&page.visible),
    }
}

/// What `owners` allow; nothing twice.
fn allowed(owners: &Owners) -> Vec<Range<'_>> {
    if owners.are_all() {
        return vec![Range::All];
    }
    let text = |pattern: &OwnerPattern| match pattern {
        OwnerPattern::All => String::new(),
        OwnerPattern::Prefix(prefix) => prefix.clone(),
        OwnerPattern::One(owner) => owner.to_string(),
    };
    let patterns = owners.patterns();
    let covered = |(at, one): (usize, &OwnerPattern)| {
        patterns.iter().enumerate().any(|(other_at, other)| {
            let prefix = matches!(other, OwnerPattern::Prefix(_));
            // Of two that are equal the first stays.
            let wider = prefix && text(one).starts_with(&text(other)) && one != other;
            wider || (one == other && other_at < at)
        })
    };
    let kept = patterns.iter().enumerate().filter(|one| !covered(*one));
    kept.map(|(_, pattern)| match pattern {
        OwnerPattern::All => Range::All,
        OwnerPattern::One(owner) => Range::Owner(owner.as_str()),
        OwnerPattern::Prefix(prefix) if kind(prefix) == prefix => Range::Kind(prefix),
        OwnerPattern::Prefix(prefix) => Range::Prefix(prefix),
    })
    .collect()
}

/// `page:` of `page:2026-`.
pub(crate) fn kind(owner: &str) -> &str {
    owner.find(':').map_or(owner, |colon| &owner[..=colon])
}

/// Behind all that begins with a prefix: owners are ASCII below 0x7f.
pub(crate) fn end(prefix: &str) -> String {
    format!("{prefix}\x7f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_another_one_covers_is_not_read_twice() {
        let owners: Owners = [
            "page:*",
            "page:1",
            "page:1*",
            "user:2026-*",
            "user:7",
            "user:7",
            "page:*",
        ]
        .into_iter()
        .map(|pattern| pattern.parse().expect("a pattern"))
        .collect();
        assert_eq!(
            allowed(&owners),
            [
                Range::Kind("page:"),
                Range::Prefix("user:2026-"),
                Range::Owner("user:7")
            ]
        );
        assert_eq!(allowed(&Owners::default()), []);
        assert_eq!(allowed(&Owners::all()), [Range::All]);
    }
}
