//! All objects, in order.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;

use crate::attachment::{AttachmentId, ObjectKey};
use crate::storage::ListedObject;
use crate::testing::objects::{Store, get, list, pattern, put};

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

pub async fn what_other_programs_stored_is_listed_apart_in_order_each_once(store: &Store) {
    if store.list_all("").is_none() {
        return;
    }
    let adopted = [
        "attachment/A b+c.PNG",
        "attachment/Zoë.tar.gz",
        "attachment/a.JPG",
        "user/日本.txt",
    ];
    let own = ["attachment/a.png", "user/b"];
    // Not in the order of the list.
    for name in adopted.iter().rev().chain(&own) {
        let key = ObjectKey::adopted(name).expect("a name");
        put(&**store, &key, &pattern(name.len() as u64, 21))
            .await
            .expect("put");
    }
    let all = async |prefix: &str| -> Vec<ListedObject> {
        let listing = store.list_all(prefix).expect("it can list all");
        listing.try_collect().await.expect("list")
    };
    let mut expected: Vec<&str> = adopted.into_iter().chain(own).collect();
    expected.sort_unstable();
    let found = all("").await;
    let names: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, expected);
    for object in &found {
        assert_eq!(object.size, object.name.len() as u64, "{}", object.name);
        assert_eq!(object.unfit, None, "{}", object.name);
        assert!(object.has_facts, "{}", object.name);
    }
    for prefix in ["attachment/", "attachment/a", "user/日", "none"] {
        let expected: Vec<&&str> = expected
            .iter()
            .filter(|name| name.starts_with(prefix))
            .collect();
        let found = all(prefix).await;
        let names: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
        assert!(names.iter().eq(expected), "{prefix}: {names:?}");
    }

    // Readers have them; the list of attachments does not.
    let listed = list(&**store, None).await.expect("list");
    let keys: Vec<&str> = listed.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(keys, own);
    let key = ObjectKey::adopted(adopted[0]).expect("a name");
    let size = adopted[0].len() as u64;
    let whole = get(&**store, &key, None).await.expect("get");
    assert_eq!(whole.bytes, pattern(size, 21));
    let head = store.head(&key).await.expect("head").expect("it is there");
    assert_eq!(head.size, size);
    store.delete(&key).await.expect("delete");
    assert_eq!(all("").await.len(), expected.len() - 1);
}
