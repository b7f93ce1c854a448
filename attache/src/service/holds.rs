//! Which uploads of several requests a request of this process works on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::attachment::AttachmentId;

/// Uploads on which requests of this process work.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: HashMap<AttachmentId, Held>,
    next: u64,
    watched: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) number: u64,
    /// With which it was taken, once it was.
    epoch: Option<u64>,
    /// Tells the request to let go.
    pub(super) let_go: CancellationToken,
    /// It has.
    pub(super) gone: CancellationToken,
}

impl Holds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request of this process works on an upload.
    pub(super) fn is_held(&self, id: &AttachmentId) -> bool {
        self.state().held.contains_key(id)
    }

    /// Enters a request, or gives the one that is there.
    pub(super) fn enter(&self, id: &AttachmentId, instead_of: Option<u64>) -> Result<Held, Held> {
        let mut state = self.state();
        if let Some(held) = state.held.get(id)
            && Some(held.number) != instead_of
        {
            return Err(held.clone());
        }
        state.next += 1;
        let held = Held {
            number: state.next,
            epoch: None,
            let_go: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        state.held.insert(id.clone(), held.clone());
        Ok(held)
    }

    /// Notes the epoch; whether nobody watches yet.
    pub(super) fn taken(&self, id: &AttachmentId, number: u64, epoch: u64) -> bool {
        let mut state = self.state();
        if let Some(held) = state.held.get_mut(id).filter(|held| held.number == number) {
            held.epoch = Some(epoch);
        }
        !std::mem::replace(&mut state.watched, true)
    }

    /// A request has ended, if its place is its own still.
    pub(super) fn leave(&self, id: &AttachmentId, number: u64) {
        let mut state = self.state();
        if state.held.get(id).is_some_and(|held| held.number == number) {
            state.held.remove(id);
        }
    }

    /// What is held, and with which epochs; `None` if nothing is, and nobody watches any more.
    pub(super) fn all(&self) -> Option<Vec<(AttachmentId, u64)>> {
        let mut state = self.state();
        if state.held.is_empty() {
            state.watched = false;
            return None;
        }
        let held = state.held.iter();
        Some(
            held.filter_map(|(id, held)| Some((id.clone(), held.epoch?)))
                .collect(),
        )
    }

    /// Tells the request that holds an upload with this epoch to let go; not one that came after it.
    pub(super) fn tell(&self, id: &AttachmentId, epoch: u64) {
        let state = self.state();
        let held = state.held.get(id);
        if let Some(held) = held.filter(|held| held.epoch == Some(epoch)) {
            held.let_go.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> AttachmentId {
        AttachmentId::generate()
    }

    #[test]
    fn the_newest_request_has_the_place_and_an_older_one_that_leaves_late_does_not_free_it() {
        let (holds, id) = (Holds::default(), id());
        let first = holds.enter(&id, None).expect("free");
        let found = holds.enter(&id, None).expect_err("taken");
        assert_eq!(found.number, first.number);
        let second = holds.enter(&id, Some(first.number)).expect("passed over");
        holds.leave(&id, first.number);
        assert!(holds.is_held(&id));
        holds.leave(&id, second.number);
        assert!(!holds.is_held(&id));
    }

    #[test]
    fn only_the_request_that_is_meant_is_told_to_let_go() {
        let (holds, id) = (Holds::default(), id());
        let first = holds.enter(&id, None).expect("free");
        holds.taken(&id, first.number, 7);
        holds.leave(&id, first.number);
        let second = holds.enter(&id, None).expect("free");
        holds.tell(&id, 7);
        holds.taken(&id, second.number, 8);
        holds.tell(&id, 7);
        assert!(!second.let_go.is_cancelled());
        holds.tell(&id, 8);
        assert!(second.let_go.is_cancelled());
    }

    #[test]
    fn one_watches_while_anything_is_held() {
        let (holds, id) = (Holds::default(), id());
        let held = holds.enter(&id, None).expect("free");
        assert_eq!(holds.all(), Some(Vec::new()), "not taken yet");
        assert!(holds.taken(&id, held.number, 7), "nobody watches");
        assert!(!holds.taken(&id, held.number, 7), "somebody does");
        assert_eq!(holds.all(), Some(vec![(id.clone(), 7)]));
        holds.leave(&id, held.number);
        assert_eq!(holds.all(), None);
        let held = holds.enter(&id, None).expect("free");
        assert!(holds.taken(&id, held.number, 8), "nobody watches any more");
    }
}
