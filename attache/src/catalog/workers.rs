//! Which process a row belongs to.

use std::fmt;

/// A process that has a catalog open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// What rows call it.
    pub id: String,
    /// Whether it is this one.
    pub is_this: bool,
}

/// The processes that work on one catalog, as one of them sees them.
///
/// A row that is pending or retired names the process that works on it. Only when that one is dead for certain may another
/// finish its work, so whatever cannot be told counts as alive.
pub trait Workers: fmt::Debug + Send + Sync + 'static {
    /// What rows call this process. No two processes have had the same name, and it lasts as long as the process has the catalog
    /// open.
    fn me(&self) -> &str;

    /// Whether the process that rows call `name` is alive. Once `false`, it stays `false`.
    fn is_alive(&self, name: &str) -> bool;

    /// Whether no other process has the catalog open.
    fn is_alone(&self) -> bool;

    /// The processes that have the catalog open, this one included.
    ///
    /// # Errors
    ///
    /// If it cannot be told: nobody is not the same as not knowing whom.
    fn alive(&self) -> std::io::Result<Vec<Replica>>;
}
