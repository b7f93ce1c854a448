//! How a bucket is listed.

use super::{Entry, Key};
use crate::error::{Error, Result};

/// Most entries and common prefixes of a page, together.
pub const MAX_LIST: usize = 1000;

/// Which page of a bucket is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// What keys begin with.
    pub prefix: String,
    /// Keys that have this behind the prefix are one common prefix, up to it and with it, instead of an entry each. Not empty.
    pub delimiter: Option<String>,
    /// What was listed before.
    pub after: Option<After>,
    /// Most entries and common prefixes together: 1 to [`MAX_LIST`].
    pub limit: usize,
}

/// Where a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// Entries and common prefixes that are greater follow. If it is a common prefix, what it stands for is behind us, too.
    pub key: String,
    /// What the store said with the page that ended there ([`ListPage::next`]); without it the store may have to read all that is before.
    pub token: Option<String>,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListPage {
    /// Objects, in ascending order of the bytes of their keys.
    pub entries: Vec<Entry>,
    /// Common prefixes, in ascending order.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` if there is nothing left. Its key is the greatest of this page.
    pub next: Option<After>,
}

impl ListRequest {
    /// # Errors
    ///
    /// [`BadRequest`](crate::ErrorKind::BadRequest) if there can be no such page.
    pub(crate) fn check(&self) -> Result<()> {
        match (1..=MAX_LIST).contains(&self.limit) && self.delimiter.as_deref() != Some("") {
            true => Ok(()),
            false => Err(Error::bad_request(format!(
                "a page has 1 to {MAX_LIST} entries, and a delimiter is not empty"
            ))),
        }
    }

    /// The common prefix that stands for `key`, if one does.
    pub fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.as_deref()?;
        let rest = key.strip_prefix(self.prefix.as_str())?;
        let at = rest.find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }

    /// Whether `key` begins with the prefix and was not listed before.
    pub fn wants(&self, key: &Key) -> bool {
        let key = key.as_str();
        key.starts_with(self.prefix.as_str())
            && self.after.as_ref().is_none_or(|after| {
                key > after.key.as_str() && self.common_prefix(key) != Some(after.key.as_str())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_common_prefix_stands_for_is_behind_it() {
        let request = ListRequest {
            prefix: "p/".to_owned(),
            delimiter: Some("/".to_owned()),
            after: Some(After {
                key: "p/b/".to_owned(),
                token: None,
            }),
            limit: 10,
        };
        let wants = |key: &str| request.wants(&key.parse().expect("a key"));
        assert!(!wants("p/a") && !wants("p/b/") && !wants("p/b/c") && !wants("q"));
        assert!(wants("p/c") && wants("p/b0"));
        assert_eq!(request.common_prefix("p/b/c/d"), Some("p/b/"));
        assert_eq!(request.common_prefix("p/b"), None);
    }
}
