//! All objects, in order.

use std::collections::BTreeSet;

use crate::attachment::{AttachmentId, ObjectKey};
use crate::testing::objects::{Store, list, pattern, put};

pub async fn list_is_ascending_complete_each_once_and_resumes_after_a_key(store: &Store) {
    assert_eq!(list(&**store, None).await.expect("an empty list"), []);
    // Where orders differ: folders, capitals, digits, and "-" before "." before digits.
    let names = [
        "attachment/a",
        "attachment/a.png",
        "attachment/a-b",
        "attachment/a0.png",
        "attachment/B",
        "attachment/_",
        "attachment/b.a",
        "attachment/b.jpeg",
        "user/A",
        "user/a.png",
        "user/0",
    ];
    let mut expected: BTreeSet<ObjectKey> = names
        .iter()
        .map(|name| name.parse().expect("a key"))
        .collect();
    expected.extend((0..30).map(|n| {
        let extension = (n % 3 == 0).then_some("png");
        ObjectKey::new(&AttachmentId::generate(), n % 2 == 0, extension)
    }));
    // Not in the order of the list.
    for (size, key) in expected.iter().rev().enumerate() {
        put(&**store, key, &pattern(size as u64, 15))
            .await
            .expect("put");
    }
    let expected: Vec<ObjectKey> = expected.into_iter().collect();

    let keys = |after: Option<ObjectKey>| async move {
        let infos = list(&**store, after.as_ref()).await.expect("list");
        infos.into_iter().map(|info| info.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(None).await, expected);
    for (at, after) in expected.iter().enumerate() {
        assert_eq!(
            keys(Some(after.clone())).await,
            expected[at + 1..],
            "after {after}"
        );
    }
    // After a key that is not there any more.
    store.delete(&expected[5]).await.expect("delete");
    assert_eq!(keys(Some(expected[5].clone())).await, expected[6..]);

    for (at, info) in list(&**store, None).await.expect("list").iter().enumerate() {
        let index = if at < 5 { at } else { at + 1 };
        assert_eq!(
            info.size as usize,
            expected.len() - 1 - index,
            "{}",
            info.key
        );
    }
}
