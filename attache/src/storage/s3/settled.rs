//! What the outcome of a write means, where that takes a look: something is there, or nobody knows.

/// How often an object is made again, where nothing of the try before is there.
pub(super) const TRIES: usize = 3;

/// What a look has shown.
pub(super) enum Settled<T> {
    /// What the answer says.
    AsTold,
    /// Our own work is there.
    Ours(T),
    /// Nothing is there: once more.
    Anew,
}
