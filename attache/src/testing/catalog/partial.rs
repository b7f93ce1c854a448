//! Uploads of several requests, for a catalog that keeps them.

use std::time::Duration;

use time::OffsetDateTime;

use crate::attachment::AttachmentId;
use crate::catalog::Draft;
use crate::catalog::partial::{NewUpload, PartialUploads, Step, Upload};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::multipart::{PartReceipt, UploadRef};
use crate::testing::rows::{Shared, assert_not_found, draft, stored, totals, unfinished};

const HOUR: Duration = Duration::from_secs(60 * 60);

pub async fn what_was_created_is_found_as_it_was_and_costs_what_it_reserves(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    for full in [true, false] {
        let (mut draft, mut new) = (draft(), new_upload());
        draft.reserve = if full { 30 } else { 0 };
        new.upload = name(&draft);
        if full {
            draft.owner = Some("page:42".parse().expect("an owner"));
            draft.created_by = Some("Jürgen 山田".parse().expect("an author"));
            new.length = Some(u64::from(u32::MAX) + 5);
            new.claim = Some("image/png".to_owned());
            new.metadata = "filename YQ==".to_owned();
            new.direct = true;
        }
        partial.create(&draft, &new).await.expect("created");
        let found = partial.look(&draft.id, now()).await.expect("there");
        let told = (found.length, &found.claim, &found.metadata, found.direct);
        assert_eq!(told, (new.length, &new.claim, &new.metadata, new.direct));
        assert_eq!((found.key, found.upload), (draft.key, Some(new.upload)));
        assert_eq!(
            (found.owner, found.created_by),
            (draft.owner, draft.created_by)
        );
        assert_eq!((found.filename, found.caller), (draft.filename, new.caller));
        assert_eq!((found.offset, found.parts, found.epoch), (0, 0, 0));
        assert_eq!((found.first, found.digests), (Vec::new(), new.digests));
        assert!(!found.is_complete && !found.is_held);
        assert_eq!(found.expires_at, new.expires_at);
        assert_not_found(catalog, &draft.id).await;
    }
    assert_eq!(totals(catalog).await, (0, 0, 30), "what they reserved");
    assert_eq!(unfinished(catalog).await, [], "no process owns it");
}

pub async fn create_refuses_what_could_never_fit_and_a_key_that_is_taken(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let first = create(partial, Some(5)).await;
    let taken = Draft {
        key: first.key.clone(),
        ..draft()
    };
    let error = partial.create(&taken, &for_draft(&taken)).await;
    assert_eq!(error.expect_err("taken").kind(), ErrorKind::Conflict);
    let large = Draft {
        size: Some(101),
        quota: Some(100),
        ..draft()
    };
    let error = partial.create(&large, &for_draft(&large)).await;
    assert_eq!(error.expect_err("no room").kind(), ErrorKind::QuotaExceeded);
    let absent = partial.look(&large.id, now()).await;
    assert_eq!(absent.expect_err("absent").kind(), ErrorKind::NotFound);
}

pub async fn each_request_has_a_new_epoch_and_what_a_former_one_writes_does_not_count(
    catalog: &Shared,
) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let id = create(partial, Some(300)).await.id;
    let first = take(partial, &id).await;
    assert!(first.is_held);
    advance(partial, &first, 100).await.expect("recorded");
    let second = take(partial, &id).await;
    assert!(second.epoch > first.epoch);
    assert_eq!((second.offset, second.parts), (100, 1));
    let late = Upload {
        offset: 100,
        parts: 1,
        ..first.clone()
    };
    let error = advance(partial, &late, 50).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    partial
        .release(&id, first.epoch)
        .await
        .expect("of no effect");
    assert!(partial.look(&id, now()).await.expect("there").is_held);
    advance(partial, &second, 200).await.expect("recorded");
    partial.release(&id, second.epoch).await.expect("released");
    let found = partial.look(&id, now()).await.expect("there");
    assert_eq!((found.offset, found.is_held), (300, false));
}

pub async fn a_step_counts_its_bytes_once_and_keeps_what_it_says(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let id = create(partial, None).await.id;
    let held = take(partial, &id).await;
    let first = Step {
        first: b"first bytes".to_vec(),
        content_type: Some("image/png".to_owned()),
        ..step(&held, 100)
    };
    partial.advance(&id, &first).await.expect("recorded");
    assert_eq!(totals(catalog).await, (0, 0, 100));
    let error = partial
        .advance(&id, &first)
        .await
        .expect_err("recorded already");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let found = partial.look(&id, now()).await.expect("there");
    assert_eq!(
        (&found.first, &found.digests),
        (&first.first, &first.digests)
    );
    assert_eq!((found.length, found.expires_at), (None, first.expires_at));
    let last = Step {
        length: Some(250),
        first: Vec::new(),
        ..step(&found, 150)
    };
    partial.advance(&id, &last).await.expect("recorded");
    let found = partial.look(&id, now()).await.expect("there");
    assert_eq!(
        (found.offset, found.length, found.parts),
        (250, Some(250), 2)
    );
    assert!(found.is_whole());
    assert_eq!(totals(catalog).await, (0, 0, 250));
    let receipts = partial.receipts(&id).await.expect("kept");
    let expected = [first, last].map(|step| step.receipt.expect("a part"));
    assert_eq!(receipts, expected);
    let resumed = partial.resume(&id).await.expect("taken up");
    assert_eq!(resumed.content_type, "image/png", "as it was told");
    assert_eq!(resumed.reserved, 250);
}

pub async fn a_step_beyond_the_quota_changes_nothing(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let id = create(partial, None).await.id;
    let held = take(partial, &id).await;
    let within = Step {
        quota: Some(150),
        ..step(&held, 100)
    };
    partial.advance(&id, &within).await.expect("recorded");
    let found = partial.look(&id, now()).await.expect("there");
    let beyond = Step {
        quota: Some(150),
        ..step(&found, 51)
    };
    let error = partial.advance(&id, &beyond).await.expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(partial.look(&id, now()).await.expect("there"), found);
    assert_eq!(partial.receipts(&id).await.expect("kept").len(), 1);
    assert_eq!(totals(catalog).await, (0, 0, 100));
}

pub async fn whoever_holds_an_upload_learns_that_it_was_taken_or_is_gone(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let id = create(partial, None).await.id;
        held.push((id.clone(), take(partial, &id).await.epoch));
    }
    assert_eq!(partial.contested(&held).await.expect("asked"), []);
    assert_eq!(partial.contested(&[]).await.expect("asked"), []);
    take(partial, &held[0].0).await;
    catalog.retire(&held[2].0).await.expect("retired");
    catalog.forget(&held[2].0).await.expect("forgotten");
    let mut contested = partial.contested(&held).await.expect("asked");
    contested.sort();
    let mut expected = vec![held[0].0.clone(), held[2].0.clone()];
    expected.sort();
    assert_eq!(contested, expected);
}

pub async fn an_upload_that_is_whole_is_named_until_it_is_an_attachment(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let whole = async || partial.whole(None, 10).await.expect("asked");
    let id = create(partial, Some(100)).await.id;
    let held = take(partial, &id).await;
    advance(partial, &held, 99).await.expect("recorded");
    partial.release(&id, held.epoch).await.expect("released");
    assert_eq!(whole().await, [], "a byte is missing");
    let held = take(partial, &id).await;
    advance(partial, &held, 1).await.expect("recorded");
    assert_eq!(whole().await, [], "a request works on it");
    partial.release(&id, held.epoch).await.expect("released");
    assert_eq!(whole().await, std::slice::from_ref(&id));
    assert_eq!(partial.whole(Some(&id), 10).await.expect("asked"), []);
    let resumed = partial.resume(&id).await.expect("taken up");
    assert_eq!(whole().await, [], "this process makes it one");
    let suspend = partial.suspend(&id, &resumed.upload, resumed.expires_at);
    suspend.await.expect("it failed");
    assert_eq!(whole().await, std::slice::from_ref(&id));
    partial.resume(&id).await.expect("taken up");
    catalog.commit(&id, &stored(100)).await.expect("committed");
    assert_eq!(whole().await, []);
}

pub async fn how_far_a_completed_upload_was_is_remembered_for_a_while(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let id = create(partial, Some(100)).await.id;
    let held = take(partial, &id).await;
    advance(partial, &held, 100).await.expect("recorded");
    partial.completed(&id, later()).await.expect("of no effect");
    let before = partial.look(&id, now()).await.expect("there");
    assert!(!before.is_complete && before.is_held);
    partial.resume(&id).await.expect("taken up");
    catalog.commit(&id, &stored(100)).await.expect("committed");
    assert_eq!(totals(catalog).await, (1, 100, 0));
    let until = later();
    for _ in 0..2 {
        partial.completed(&id, until).await.expect("noted");
    }
    let found = partial.look(&id, now()).await.expect("remembered");
    assert!(found.is_complete && found.is_whole() && !found.is_held);
    assert_eq!((found.offset, found.expires_at), (100, until));
    assert_eq!(partial.receipts(&id).await.expect("asked"), []);
    assert_eq!(partial.forget_completed(now()).await.expect("asked"), 0);
    let after = until + HOUR;
    let error = partial.look(&id, after).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(partial.forget_completed(after).await.expect("asked"), 1);
    let error = partial.look(&id, now()).await.expect_err("forgotten");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    catalog.find(&id).await.expect("the attachment is there");
}

pub async fn what_has_expired_is_not_there_and_what_is_retired_neither(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let old = create(partial, None).await.id;
    let after = later() + HOUR;
    for error in [
        partial.look(&old, after).await.expect_err("expired"),
        partial.take(&old, after, true).await.expect_err("expired"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let held = take(partial, &old).await;
    advance(partial, &held, 100).await.expect("recorded");
    let next = partial.look(&old, now()).await.expect("there");
    catalog.retire(&old).await.expect("retired");
    assert_eq!(totals(catalog).await, (0, 0, 0));
    for error in [
        partial.look(&old, now()).await.expect_err("retired"),
        partial.take(&old, now(), true).await.expect_err("retired"),
        advance(partial, &next, 1).await.expect_err("retired"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    catalog.forget(&old).await.expect("forgotten");
    assert_eq!(partial.receipts(&old).await.expect("asked"), []);
}

pub async fn of_a_direct_upload_it_is_known_when_it_was_begun_until_it_is_forgotten(
    catalog: &Shared,
) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let since = async |id: &AttachmentId| partial.direct_since(id).await.expect("asked");
    let plain = create(partial, None).await;
    assert_eq!(since(&plain.id).await, None);
    assert_eq!(since(&AttachmentId::generate()).await, None);
    let draft = Draft {
        created_at: later(),
        reserve: 0,
        ..draft()
    };
    let new = NewUpload {
        direct: true,
        ..for_draft(&draft)
    };
    partial.create(&draft, &new).await.expect("created");
    assert_eq!(since(&draft.id).await, Some(draft.created_at));
    catalog.retire(&draft.id).await.expect("retired");
    assert_eq!(since(&draft.id).await, Some(draft.created_at));
    catalog.forget(&draft.id).await.expect("forgotten");
    assert_eq!(since(&draft.id).await, None);
}

pub async fn what_has_expired_is_named_unless_a_request_works_on_it(catalog: &Shared) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let id = create(partial, None).await.id;
    let after = later() + HOUR;
    let expired = async || partial.expired(after, None, 10).await.expect("asked");
    assert_eq!(partial.expired(now(), None, 10).await.expect("asked"), []);
    assert_eq!(expired().await, std::slice::from_ref(&id));
    let held = take(partial, &id).await;
    assert_eq!(expired().await, []);
    partial.release(&id, held.epoch).await.expect("released");
    assert_eq!(expired().await, [id]);
}

pub async fn an_upload_in_parts_is_in_progress_while_a_request_holds_it(catalog: &Shared) {
    let (Some(partial), Some(moves)) = (catalog.partial(), catalog.moves()) else {
        return;
    };
    let id = create(partial, None).await.id;
    let in_progress = async || moves.uploading(None, 10).await.expect("asked");
    assert_eq!(in_progress().await, []);
    let held = take(partial, &id).await;
    assert_eq!(in_progress().await, std::slice::from_ref(&id));
    partial.release(&id, held.epoch).await.expect("released");
    assert_eq!(in_progress().await, []);
    // While it is made an attachment.
    partial.resume(&id).await.expect("taken up");
    assert_eq!(in_progress().await, std::slice::from_ref(&id));
    catalog.commit(&id, &stored(10)).await.expect("committed");
    assert_eq!(in_progress().await, []);
}

pub async fn uploads_that_wait_are_counted_and_listed_in_the_order_of_their_beginnings(
    catalog: &Shared,
) {
    let Some(partial) = catalog.partial() else {
        return;
    };
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create(partial, Some(10)).await.id);
    }
    // Of one request, and complete.
    catalog.begin(&draft()).await.expect("begun");
    let done = ids.remove(2);
    let held = take(partial, &done).await;
    advance(partial, &held, 10).await.expect("recorded");
    partial.resume(&done).await.expect("taken up");
    assert_eq!(partial.count_waiting().await.expect("counted"), 5);
    catalog.commit(&done, &stored(10)).await.expect("committed");
    assert_eq!(partial.count_waiting().await.expect("counted"), 4);
    ids.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = partial.waiting(after.as_ref(), 3).await.expect("listed");
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        found.extend(page.into_iter().map(|upload| upload.id));
    }
    assert_eq!(found, ids);
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn later() -> OffsetDateTime {
    (now() + HOUR).replace_nanosecond(0).expect("a time")
}

fn name(draft: &Draft) -> UploadRef {
    UploadRef::new(draft.key.clone(), "abc".to_owned()).expect("a name")
}

fn new_upload() -> NewUpload {
    for_draft(&draft())
}

fn for_draft(draft: &Draft) -> NewUpload {
    NewUpload {
        upload: name(draft),
        length: None,
        digests: b"of nothing".to_vec(),
        direct: false,
        metadata: String::new(),
        claim: None,
        caller: "token:wiki".to_owned(),
        expires_at: later(),
    }
}

async fn create(partial: &dyn PartialUploads, length: Option<u64>) -> Draft {
    let draft = Draft {
        reserve: 0,
        ..draft()
    };
    let new = NewUpload {
        length,
        ..for_draft(&draft)
    };
    partial.create(&draft, &new).await.expect("created");
    draft
}

async fn take(partial: &dyn PartialUploads, id: &AttachmentId) -> Upload {
    let taken = partial.take(id, now(), false).await.expect("there");
    taken.expect("held by nobody else")
}

/// The next part, of so many bytes.
fn step(held: &Upload, bytes: u64) -> Step {
    let number = held.parts + 1;
    Step {
        epoch: held.epoch,
        from: held.offset,
        offset: held.offset + bytes,
        length: None,
        receipt: Some(PartReceipt {
            number,
            size: bytes,
            crc64: u64::MAX - bytes,
            tag: format!("tag {number}"),
        }),
        first: Vec::new(),
        digests: format!("of {} bytes", held.offset + bytes).into_bytes(),
        content_type: None,
        expires_at: later() + HOUR,
        quota: None,
    }
}

async fn advance(partial: &dyn PartialUploads, held: &Upload, bytes: u64) -> Result<(), Error> {
    partial.advance(&held.id, &step(held, bytes)).await
}
