//! Pages: every attachment once, in order, and nothing that is not for their reader.

use std::collections::BTreeSet;

use crate::access::Owners;
use crate::attachment::{ObjectKey, Owner};
use crate::testing::rows::{Shared, draft, fill, stored, walk, walk_visible};

pub async fn pages_hold_every_attachment_once_newest_first(catalog: &Shared) {
    // Three moments for 25 attachments: most share theirs with others.
    let made = fill(catalog, 25, |n| n % 3).await;
    // What is not ready is not listed.
    catalog.begin(&draft()).await.expect("begin");
    for limit in [1, 4, 25, 1000] {
        assert_eq!(walk(catalog, None, limit).await, made, "pages of {limit}");
    }
    assert_eq!(
        walk(catalog, None, 0).await,
        [],
        "none at all was asked for"
    );
    catalog.retire(&made[7]).await.expect("retire");
    let left: Vec<_> = made.iter().filter(|id| **id != made[7]).cloned().collect();
    assert_eq!(walk(catalog, None, 4).await, left);
}

pub async fn pages_of_an_owner_hold_its_attachments_alone(catalog: &Shared) {
    let made = fill(catalog, 30, |n| n % 2).await;
    let mut seen = BTreeSet::new();
    for owner in ["page:0", "page:1", "page:2"] {
        let ids = walk(catalog, Some(owner), 3).await;
        let expected: Vec<_> = made.iter().filter(|id| ids.contains(id)).cloned().collect();
        assert_eq!((ids.len(), &ids), (10, &expected), "newest first");
        for id in &ids {
            let found = catalog.find(id).await.expect("find");
            assert_eq!(found.owner.expect("it has one").as_str(), owner);
        }
        seen.extend(ids);
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(walk(catalog, Some("page:3"), 3).await, []);
}

pub async fn a_listing_holds_what_its_reader_may_see_and_nothing_else(catalog: &Shared) {
    let owners = [
        None,
        Some("page:4"),
        Some("page:42"),
        Some("page:5"),
        Some("pages:4"),
        Some("user:4"),
    ];
    let mut made = Vec::new();
    for owner in owners.iter().cycle().take(30) {
        let mut draft = draft();
        draft.owner = owner.map(|owner| owner.parse().expect("an owner"));
        catalog.begin(&draft).await.expect("begin");
        catalog.commit(&draft.id, &stored(1)).await.expect("commit");
        made.push((draft.id, draft.owner));
    }
    for patterns in [
        "*",
        "",
        "page:*",
        "page:4*",
        "page:4",
        "user:4 page:5",
        "pages:* page:* user:*",
    ] {
        let patterns = patterns.split_whitespace();
        let visible: Owners = patterns
            .map(|text| text.parse().expect("a pattern"))
            .collect();
        let mut expected: Vec<_> = made
            .iter()
            .filter(|(_, owner)| visible.contain(owner.as_ref()))
            .map(|(id, _)| id.clone())
            .collect();
        expected.sort();
        for limit in [1, 4, 100] {
            let mut seen = walk_visible(catalog, None, &visible, limit).await;
            seen.sort();
            assert_eq!(seen, expected, "{visible:?} in pages of {limit}");
        }
        let mut one = walk_visible(catalog, Some("page:4"), &visible, 2).await;
        one.sort();
        let page: Owner = "page:4".parse().expect("an owner");
        expected.retain(|id| made.contains(&(id.clone(), Some(page.clone()))));
        assert_eq!(one, expected, "{visible:?} of one owner");
    }
}

pub async fn a_walk_holds_every_ready_attachment_once_in_the_order_of_keys(catalog: &Shared) {
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for n in 0..40 {
        let mut draft = draft();
        // Capitals and digits sort before small letters, "-" and "." before both: by bytes, as stores list.
        let id = format!("{}{n}", ["a", "B", "-", "_"][n % 4]);
        draft.id = id.parse().expect("an id");
        let extension = (n % 3 == 0).then_some("png");
        draft.key = ObjectKey::new(&draft.id, n % 5 != 0, extension);
        catalog.begin(&draft).await.expect("begin");
        if n % 7 == 0 {
            others.push(draft);
            continue;
        }
        catalog.commit(&draft.id, &stored(1)).await.expect("commit");
        keys.push(draft.key);
    }
    catalog.retire(&others[0].id).await.expect("retire");
    keys.sort();
    for limit in [1, 7, 1000] {
        let mut walked: Vec<ObjectKey> = Vec::new();
        while let page = catalog
            .list_by_key(walked.last(), limit)
            .await
            .expect("list_by_key")
            && !page.is_empty()
        {
            assert!(page.len() <= limit as usize);
            for row in page {
                assert_eq!(catalog.find(&row.id).await.expect("find"), row);
                walked.push(row.key);
            }
        }
        assert_eq!(walked, keys, "pages of {limit}");
    }
}
