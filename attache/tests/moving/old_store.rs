//! The store that is emptied: uploads that still go there, what it costs when it is away, and what somebody else has put into the new one.

use super::*;

/// An upload whose bytes stop after the first 64 KiB until it is told to go on, and which has begun.
async fn begun(attache: &Attache) -> (tokio::sync::oneshot::Sender<()>, Uploading) {
    let (go_on, wait) = tokio::sync::oneshot::channel();
    let first = futures::stream::iter([Ok(pattern(64 * 1024, 1))]);
    let rest = futures::stream::once(async move {
        wait.await.expect("told to go on");
        Ok(pattern(1000, 2))
    });
    let attache = attache.clone();
    let body = futures::StreamExt::chain(first, rest);
    let uploading = tokio::spawn(async move {
        let uploaded = attache.upload(NewAttachment::default(), body).await;
        uploaded.expect("stored").attachment
    });
    (go_on, uploading)
}

type Uploading = tokio::task::JoinHandle<Attachment>;

#[tokio::test]
async fn an_upload_that_began_before_its_server_was_reloaded_is_told_until_its_bytes_have_moved() {
    let world = World::new().await;
    in_the_folder(&world, 2, 1000).await;
    let before = world.open(Backend::Local, None).await;
    // Of unknown length, as a form is: it reserves nothing.
    let (go_on, uploading) = begun(&before).await;
    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    let in_progress = async {
        loop {
            let uploads = attache.uploads_in_progress().await.expect("asked");
            if !uploads.is_empty() {
                return uploads;
            }
            tokio::task::yield_now().await;
        }
    };
    let uploads = tokio::time::timeout(Duration::from_secs(60), in_progress).await;
    let uploads = uploads.expect("it has begun");
    let moved = outcomes(&attache, MoveOptions::default()).await;
    assert_eq!(moved, [MoveOutcome::Moved; 2]);
    assert_eq!(outcomes(&attache, LOOK).await, [MoveOutcome::There; 2]);
    let (became, still) = attache.became_of(uploads.clone()).await.expect("asked");
    assert_eq!((became, still), (Vec::new(), 1));

    go_on.send(()).expect("it waits");
    let late = uploading.await.expect("uploaded");
    assert_eq!(uploads, std::slice::from_ref(&late.id));
    let became = async || {
        let (became, still) = attache.became_of(uploads.clone()).await.expect("asked");
        assert_eq!(still, 0);
        became
            .into_iter()
            .map(|one| one.outcome)
            .collect::<Vec<_>>()
    };
    assert_eq!(became().await, [MoveOutcome::NotMoved]);
    outcomes(&attache, MoveOptions::default()).await;
    assert_eq!(became().await, [MoveOutcome::There]);
    attache.delete(&late.id).await.expect("deleted");
    assert_eq!(became().await, []);
}

#[tokio::test]
async fn an_old_store_that_does_not_answer_leaves_a_server_ready() {
    let world = World::new().await;
    let first = world.open(Backend::Azure, None).await;
    upload(&first, pattern(100, 1)).await;
    first.close(Duration::ZERO).await;
    let attache = world.open(Backend::Local, Some(Backend::Azure)).await;
    // Which a client tries again for longer than anybody waits for a probe.
    world.fake.faults(|faults| {
        faults.fail_next(
            fake_azure::Op::GetContainerProperties,
            100,
            503,
            "ServerBusy",
        )
    });
    let ready = tokio::time::timeout(Duration::from_secs(4), attache.ready()).await;
    let probe = ready.expect("in time").expect("ready");
    let told = "what has not been moved cannot be read";
    assert!(
        probe.summary.contains("storage.moving_from: "),
        "{}",
        probe.summary
    );
    assert!(probe.summary.ends_with(told), "{}", probe.summary);
    upload(&attache, pattern(100, 2)).await;
}

#[tokio::test]
async fn an_old_store_whose_disk_is_not_mounted_leaves_a_server_ready_that_takes_uploads_and_deletes_nothing()
 {
    let world = World::new().await;
    let old = in_the_folder(&world, 1, 100).await;
    let root = world.folder.path().join("objects");
    std::fs::rename(&root, world.folder.path().join("unmounted")).expect("moved away");
    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    let probe = attache.ready().await.expect("ready");
    assert!(
        probe.summary.contains("is its disk mounted"),
        "{}",
        probe.summary
    );
    upload(&attache, pattern(100, 2)).await;
    let refused = attache.delete(&old[0].id).await;
    let error = refused.expect_err("its bytes would come back with the disk");
    assert!(
        error.detail().starts_with("storage.moving_from: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_reload_that_names_an_old_store_that_cannot_be_used_is_refused_and_says_so() {
    let world = World::new().await;
    let all = in_the_folder(&world, 1, 100).await;
    let attache = world.open(Backend::Local, None).await;
    let mut elsewhere = world.config(Backend::Azure, Some(Backend::Local));
    let old = elsewhere.storage.moving_from.as_mut().expect("two stores");
    old.local.root = world.folder.path().join("objcts");
    let error = attache.reload(elsewhere).await.expect_err("a typing error");
    assert!(error.detail().contains("is its disk mounted"), "{error}");
    assert!(
        error.detail().starts_with("storage.moving_from: "),
        "{error}"
    );
    assert_eq!(read(&attache, &all[0]).await, pattern(100, 0));

    // As with the wrong secret.
    let back = world.config(Backend::Local, Some(Backend::Azure));
    world.fake.faults(|faults| {
        faults.fail_next(
            fake_azure::Op::GetContainerProperties,
            100,
            403,
            "AuthorizationFailure",
        )
    });
    let error = attache.reload(back).await.expect_err("refused");
    assert!(
        error.detail().starts_with("storage.moving_from: "),
        "{error}"
    );
    assert!(attache.parts().storage.moving().is_none());
    world
        .fake
        .faults(|faults| *faults = fake_azure::Faults::default());
    let both = world.config(Backend::Azure, Some(Backend::Local));
    attache.reload(both).await.expect("as it should be");
    assert_eq!(read(&attache, &all[0]).await, pattern(100, 0));
}

#[tokio::test]
async fn what_another_program_put_into_the_new_store_is_read_before_it_is_believed() {
    let world = World::new().await;
    let all = in_the_folder(&world, 3, 1000).await;
    let mut config = world.config(Backend::Local, Some(Backend::Local));
    let new = world.folder.path().join("new");
    config.storage.local.root = new.clone();
    let attache = Attache::open(config).await.expect("opens");
    // A copy by hand, without what attache keeps beside it; one of them is damaged.
    let put = |row: &Attachment, bytes: Bytes| {
        std::fs::write(new.join(row.key.as_str()), bytes).expect("written");
    };
    put(&all[0], pattern(1000, 0));
    put(&all[1], pattern(1000, 99));
    let looked = moved(&attache, LOOK).await.expect("to its end");
    let of = |attachment| outcome_of(&looked, attachment);
    assert_eq!(of(&all[0]), MoveOutcome::There);
    assert_eq!(of(&all[1]), MoveOutcome::Differs);
    assert_eq!(of(&all[2]), MoveOutcome::NotMoved);
    let moved = outcomes(&attache, MoveOptions::default()).await;
    assert_eq!(moved.iter().filter(|one| one.is_left()).count(), 1);
}

/// An upload whose first bytes are kept back until it is told to go on.
async fn kept_back(
    attache: &Attache,
) -> (
    tokio::sync::oneshot::Sender<()>,
    tokio::task::JoinHandle<attache::Result<Attachment>>,
) {
    let (asked, is_asked) = tokio::sync::oneshot::channel();
    let (go_on, wait) = tokio::sync::oneshot::channel();
    let body = futures::stream::once(async move {
        asked.send(()).expect("somebody waits");
        wait.await.expect("told to go on");
        Ok(pattern(1000, 2))
    });
    let attache = attache.clone();
    let uploading = tokio::spawn(async move {
        let uploaded = attache.upload(NewAttachment::default(), body).await;
        uploaded.map(|uploaded| uploaded.attachment)
    });
    is_asked.await.expect("the upload runs");
    (go_on, uploading)
}

#[tokio::test]
async fn a_client_that_keeps_its_first_bytes_back_over_a_reload_uploads_to_the_new_store() {
    let world = World::new().await;
    let attache = world.open(Backend::Local, None).await;
    let (go_on, uploading) = kept_back(&attache).await;
    let both = world.config(Backend::Azure, Some(Backend::Local));
    attache.reload(both).await.expect("reloaded");
    // Nothing is in progress that would have to be looked for in the old store.
    assert_eq!(attache.uploads_in_progress().await.expect("asked"), []);
    go_on.send(()).expect("it waits");
    let uploaded = uploading.await.expect("ends").expect("stored");
    let parts = attache.parts();
    let to = parts.storage.moving().expect("two stores").to();
    assert!(to.head(&uploaded.key).await.expect("asked").is_some());
}

#[tokio::test]
async fn such_an_upload_is_refused_where_the_disk_of_the_new_store_is_not_mounted() {
    let world = World::new().await;
    let begun = world.open(Backend::Local, Some(Backend::Azure)).await;
    upload(&begun, pattern(100, 1)).await;
    begun.close(Duration::ZERO).await;
    std::fs::remove_dir_all(world.folder.path().join("objects")).expect("not mounted");
    let attache = world.open(Backend::Azure, None).await;
    let (go_on, uploading) = kept_back(&attache).await;
    let both = world.config(Backend::Local, Some(Backend::Azure));
    attache.reload(both).await.expect("reloaded");
    go_on.send(()).expect("it waits");
    let error = uploading
        .await
        .expect("ends")
        .expect_err("it would be lost");
    assert!(error.detail().contains("is its disk mounted"), "{error}");
    assert_eq!(attache.uploads_in_progress().await.expect("asked"), []);
}

#[tokio::test]
async fn an_upload_of_a_process_that_was_killed_is_in_progress_until_a_sweep_has_settled_it() {
    let world = World::new().await;
    let catalog = SqliteCatalog::open(&world.folder.path().join("attache.db")).expect("opens");
    let draft = attache::testing::rows::draft();
    catalog.begin(&draft).await.expect("begun");
    // It may have stored its bytes, and a sweep may make an attachment of them.
    drop(catalog);
    let attache = world.open(Backend::Azure, Some(Backend::Local)).await;
    let uploads = attache.uploads_in_progress().await.expect("asked");
    assert_eq!(uploads, std::slice::from_ref(&draft.id));
    let (became, still) = attache.became_of(uploads.clone()).await.expect("asked");
    assert_eq!((became, still), (Vec::new(), 1));
    attache.sweep().await.expect("swept");
    let (became, still) = attache.became_of(uploads).await.expect("asked");
    assert_eq!((became, still), (Vec::new(), 0));
}
