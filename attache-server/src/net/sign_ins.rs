//! Places for sign-ins that wait for their body: strangers send these, before they have a name whose rate could be limited.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Sign-ins that wait for their body. One takes milliseconds, so that 256 newer ones during it are an attack at a rate that
/// no number of places would hold off.
const SIGN_INS: usize = 256;

/// Those that wait.
#[derive(Debug, Default)]
pub(super) struct SignIns(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    /// Oldest first.
    waiting: VecDeque<(u64, CancellationToken)>,
    next: u64,
}

/// A sign-in that has a place until it is dropped, or until a newer one needs the place.
#[derive(Debug)]
pub(crate) struct SignIn {
    sign_ins: Arc<SignIns>,
    number: u64,
    given_up: CancellationToken,
}

impl SignIns {
    /// A place for a sign-in. Nobody waits and nobody is turned away: when all places are taken, the sign-in that has
    /// waited longest for its body gives up its own.
    pub(super) fn begin(self: &Arc<Self>) -> SignIn {
        let mut places = self.places();
        if places.waiting.len() >= SIGN_INS
            && let Some((_, given_up)) = places.waiting.pop_front()
        {
            given_up.cancel();
        }
        let (number, given_up) = (places.next, CancellationToken::new());
        places.next += 1;
        places.waiting.push_back((number, given_up.clone()));
        SignIn {
            sign_ins: self.clone(),
            number,
            given_up,
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignIn {
    /// Waits until a newer sign-in needs the place.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}

impl Drop for SignIn {
    fn drop(&mut self) {
        let mut places = self.sign_ins.places();
        let place = places
            .waiting
            .binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(place) = place {
            places.waiting.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_in_that_has_waited_longest_makes_room_for_a_new_one() {
        let sign_ins = Arc::new(SignIns::default());
        let mut held: Vec<SignIn> = (0..SIGN_INS).map(|_| sign_ins.begin()).collect();
        assert!(held.iter().all(|one| !one.given_up.is_cancelled()));
        held.push(sign_ins.begin());
        let given_up = |one: &SignIn| one.given_up.is_cancelled();
        assert_eq!(held.iter().filter(|one| given_up(one)).count(), 1);
        assert!(given_up(&held[0]));
        drop(held);
        assert!(sign_ins.places().waiting.is_empty());
    }
}
