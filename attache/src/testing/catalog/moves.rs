//! How far a move is and what is uploaded beside it, for a catalog that keeps that.

use time::OffsetDateTime;

use crate::catalog::moves::MoveNote;
use crate::testing::rows::{Shared, draft, stored};

/// To the millisecond, as it is kept.
fn note(objects: u64) -> MoveNote {
    MoveNote {
        from: "local /srv/files".to_owned(),
        to: "azure acme/files".to_owned(),
        objects,
        bytes: objects * 10,
        total_objects: 100,
        total_bytes: u64::from(u32::MAX) * 10,
        noted_at: OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_millis(1_764_000_000_123),
        is_whole: false,
    }
}

pub async fn the_furthest_of_several_who_move_is_what_is_noted(catalog: &Shared) {
    let Some(moves) = catalog.moves() else {
        return;
    };
    assert_eq!(moves.noted_move().await.expect("nothing yet"), None);
    // Whatever is noted may be noted again.
    for _ in 0..2 {
        moves.note_move(&note(50)).await.expect("noted");
        let kept = moves.noted_move().await.expect("asked");
        assert_eq!(kept, Some(note(50)));
    }
    // Another one has just begun, and knows more attachments.
    let behind = MoveNote {
        total_objects: 120,
        total_bytes: 7,
        noted_at: note(0).noted_at + std::time::Duration::from_secs(5),
        ..note(3)
    };
    moves.note_move(&behind).await.expect("noted");
    let expected = MoveNote {
        objects: 50,
        bytes: 500,
        ..behind
    };
    let kept = moves.noted_move().await.expect("asked");
    assert_eq!(kept, Some(expected));
    moves.note_move(&note(51)).await.expect("noted");
    assert_eq!(moves.noted_move().await.expect("asked"), Some(note(51)));
}

pub async fn a_move_that_has_seen_all_or_goes_elsewhere_replaces_what_was_noted(catalog: &Shared) {
    let Some(moves) = catalog.moves() else {
        return;
    };
    moves.note_move(&note(50)).await.expect("noted");
    // Some were deleted since.
    let whole = MoveNote {
        is_whole: true,
        ..note(40)
    };
    moves.note_move(&whole).await.expect("noted");
    assert_eq!(moves.noted_move().await.expect("asked"), Some(note(40)));
    let back = MoveNote {
        from: note(0).to,
        to: note(0).from,
        ..note(2)
    };
    moves.note_move(&back).await.expect("noted");
    assert_eq!(moves.noted_move().await.expect("asked"), Some(back.clone()));
    let elsewhere = MoveNote {
        to: "s3 files".to_owned(),
        ..back
    };
    let elsewhere = MoveNote {
        objects: 1,
        bytes: 1,
        ..elsewhere
    };
    moves.note_move(&elsewhere).await.expect("noted");
    assert_eq!(moves.noted_move().await.expect("asked"), Some(elsewhere));
}

pub async fn uploads_in_progress_are_named_whatever_their_size_and_nothing_else_is(
    catalog: &Shared,
) {
    let Some(moves) = catalog.moves() else {
        return;
    };
    assert_eq!(moves.uploading(None, 10).await.expect("asked"), []);
    let mut pending = Vec::new();
    for n in 0..7 {
        let mut draft = draft();
        // What comes as a form, or is empty, reserves nothing.
        draft.reserve = n % 2;
        catalog.begin(&draft).await.expect("begin");
        pending.push(draft.id);
    }
    pending.sort();
    let (ready, retired) = (draft(), draft());
    for draft in [&ready, &retired] {
        catalog.begin(draft).await.expect("begin");
    }
    catalog.commit(&ready.id, &stored(1)).await.expect("commit");
    catalog.retire(&retired.id).await.expect("retire");
    let named = moves.uploading(None, 10).await.expect("asked");
    assert_eq!(named, pending);
    let mut pages = Vec::new();
    while let page = moves.uploading(pages.last(), 3).await.expect("asked")
        && !page.is_empty()
    {
        assert!(page.len() <= 3);
        pages.extend(page);
    }
    assert_eq!(pages, pending);
    for id in &pending[1..] {
        catalog.commit(id, &stored(1)).await.expect("commit");
    }
    let named = moves.uploading(None, 10).await.expect("asked");
    assert_eq!(named, pending[..1]);
}
