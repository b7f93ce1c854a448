//! What `verify` brings back and corrects.

use crate::attachment::{Attachment, Hex, ObjectKey};
use crate::error::ErrorKind;
use crate::storage::Stored;
use crate::testing::rows::{Shared, draft, stored, totals};

pub async fn what_is_restored_is_as_it_was_and_counts(catalog: &Shared) {
    for full in [true, false] {
        let mut draft = draft();
        draft.filename = "写真.png".parse().expect("a file name");
        draft.owner = full.then(|| "page:7".parse().expect("an owner"));
        draft.created_by = full.then(|| "Jürgen".parse().expect("an author"));
        let stored = Stored {
            crc64: full.then_some(u64::MAX),
            ..stored(70)
        };
        catalog.begin(&draft).await.expect("begin");
        let before = catalog.commit(&draft.id, &stored).await.expect("commit");
        let counted = totals(catalog).await;
        catalog.retire(&draft.id).await.expect("retire");
        catalog.forget(&draft.id).await.expect("forget");
        // As often as one likes.
        for _ in 0..2 {
            catalog.restore(&before).await.expect("restore");
            assert_eq!(catalog.find(&draft.id).await.expect("find"), before);
            assert_eq!(totals(catalog).await, counted);
        }
        catalog.retire(&draft.id).await.expect("it can be deleted");
        catalog.forget(&draft.id).await.expect("forget");
        assert_eq!(totals(catalog).await, (0, 0, 0));
    }
}

pub async fn a_row_may_name_an_object_that_another_program_named(catalog: &Shared) {
    let draft = draft();
    catalog.begin(&draft).await.expect("begin");
    let own = catalog.commit(&draft.id, &stored(5)).await.expect("commit");
    let key = ObjectKey::adopted("years/2019/Übersicht 1.TAR.gz").expect("a name");
    let adopted = Attachment {
        id: key.id(),
        key: key.clone(),
        ..own
    };
    catalog.restore(&adopted).await.expect("restore");
    assert_eq!(catalog.find(&adopted.id).await.expect("find"), adopted);
    assert!(catalog.is_referenced(&key).await.expect("referenced"));
    let listed = catalog.list_by_key(None, 10).await.expect("listed");
    assert!(listed.contains(&adopted));
    let after = catalog.list_by_key(Some(&key), 10).await.expect("listed");
    assert!(!after.contains(&adopted));
    let retired = catalog.retire(&adopted.id).await.expect("retire");
    assert_eq!(retired, Some(key.clone()));
    let unfinished = catalog.unfinished(None, 10).await.expect("unfinished");
    assert!(unfinished.iter().any(|row| row.key == key));
    catalog.forget(&adopted.id).await.expect("forget");
    assert!(!catalog.is_referenced(&key).await.expect("referenced"));
}

pub async fn restore_refuses_an_id_or_a_key_that_is_taken(catalog: &Shared) {
    let (pending, ready, retired) = (draft(), draft(), draft());
    let mut rows = Vec::new();
    for draft in [&pending, &ready, &retired] {
        catalog.begin(draft).await.expect("begin");
    }
    for draft in [&ready, &retired] {
        rows.push(catalog.commit(&draft.id, &stored(5)).await.expect("commit"));
    }
    catalog.retire(&retired.id).await.expect("retire");
    let before = totals(catalog).await;
    let [is_ready, was_retired] = rows.try_into().expect("two");
    let fresh = draft();
    let other_key = Attachment {
        key: fresh.key.clone(),
        ..is_ready.clone()
    };
    let other_id = Attachment {
        id: fresh.id.clone(),
        ..is_ready.clone()
    };
    let other_bytes = Attachment {
        size: 6,
        ..is_ready.clone()
    };
    let is_pending = Attachment {
        id: pending.id.clone(),
        key: pending.key.clone(),
        ..is_ready.clone()
    };
    for taken in [other_key, other_id, other_bytes, is_pending, was_retired] {
        let error = catalog.restore(&taken).await.expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(totals(catalog).await, before);
    }
    assert_eq!(catalog.find(&ready.id).await.expect("find"), is_ready);
}

pub async fn what_the_store_calls_a_version_is_kept_until_another_is_noted(catalog: &Shared) {
    let (ready, pending) = (draft(), draft());
    for draft in [&ready, &pending] {
        catalog.begin(draft).await.expect("begin");
    }
    let stored = Stored {
        md5: Some(Hex([7; 16])),
        ..stored(70)
    };
    let found = catalog.commit(&ready.id, &stored).await.expect("commit");
    assert_eq!(
        (&found.store_tag, found.md5),
        (&stored.store_tag, stored.md5)
    );
    for tag in [Some("0x8DF"), None] {
        assert!(catalog.note_store_tag(&ready.id, tag).await.expect("noted"));
        let now = catalog.find(&ready.id).await.expect("find");
        assert_eq!(now.store_tag.as_deref(), tag);
        let walked = catalog.list_by_key(None, 10).await.expect("list_by_key");
        assert_eq!(walked, [now]);
    }
    // What is not ready has no version yet, and keeps none of the others from theirs.
    let other = draft();
    catalog.begin(&other).await.expect("begin");
    catalog.commit(&other.id, &stored).await.expect("commit");
    let tags = [(&ready, "one"), (&pending, "x"), (&other, "two")];
    let tags = tags.map(|(draft, tag)| (draft.id.clone(), Some(tag.to_owned())));
    let noted = catalog.note_store_tags(tags.to_vec()).await;
    assert_eq!(noted.expect("noted"), [true, false, true]);
    for (id, tag) in [&tags[0], &tags[2]] {
        assert_eq!(catalog.find(id).await.expect("find").store_tag, *tag);
    }
    let none = catalog.note_store_tags(Vec::new()).await;
    assert!(none.expect("nothing to note").is_empty());
    let committed = catalog.commit(&pending.id, &stored).await.expect("commit");
    assert_eq!(committed.store_tag, stored.store_tag);
}
