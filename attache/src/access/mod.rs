//! What a caller may do: scopes, and the owners whose attachments it may touch.
//!
//! Plain values. Who a caller is, and how that is proven, is decided where requests come in.

pub mod access_key;
pub mod access_keys;
pub mod config;
pub mod key_file;
pub mod keys;
pub mod links;
pub mod seal;
pub mod sealed;
pub mod secrets_file;
pub mod tokens;

use std::fmt;
use std::str::FromStr;

use crate::attachment::Owner;
use crate::error::{Error, Result};

/// One kind of permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// See, list and download attachments, and make temporary URLs of them.
    Read,
    /// Upload.
    Write,
    /// Delete.
    Delete,
    /// Operate the server: status, metrics, reload, sweep. Opens no attachment.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Admin];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| {
                Error::bad_request("a scope is one of \"read\", \"write\", \"delete\", \"admin\"")
            })
    }
}

/// A set of permissions. None implies another.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every permission.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether `scope` is among them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Those that it holds.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contain(*scope))
    }
}

const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | bit(scope)))
    }
}

impl fmt::Display for Scopes {
    /// Their words with a space between, as in the `scope` claim of a token (RFC 8693 section 4.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// Which owners: `page:42`, all that begin alike (`page:*`, `page:2026-*`), or everything (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerPattern {
    /// Everything, attachments without an owner included.
    All,
    /// Owners that begin with this.
    Prefix(String),
    /// One owner.
    One(Owner),
}

impl OwnerPattern {
    fn matches(&self, owner: Option<&Owner>) -> bool {
        match (self, owner) {
            (Self::All, _) => true,
            (Self::Prefix(prefix), Some(owner)) => owner.as_str().starts_with(prefix.as_str()),
            (Self::One(one), Some(owner)) => one == owner,
            (_, None) => false,
        }
    }
}

impl FromStr for OwnerPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::All),
            // What remains must be the beginning of an owner; with a letter more it is one.
            Some(prefix) if prefix.contains(':') && !prefix.contains('*') => {
                format!("{prefix}x").parse::<Owner>()?;
                Ok(Self::Prefix(prefix.to_owned()))
            }
            Some(_) => Err(Error::bad_request(
                "a pattern of owners is \"*\", \"kind:*\" or \"kind:id\"; the only \"*\" comes last",
            )),
            None => text.parse().map(Self::One),
        }
    }
}

impl fmt::Display for OwnerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::One(owner) => f.write_str(owner.as_str()),
        }
    }
}

/// The owners whose attachments a caller may touch. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(Vec<OwnerPattern>);

impl Owners {
    /// Everything.
    pub fn all() -> Self {
        Self(vec![OwnerPattern::All])
    }

    /// Whether what hangs on `owner`, or on nothing, is among them.
    pub fn contain(&self, owner: Option<&Owner>) -> bool {
        self.0.iter().any(|pattern| pattern.matches(owner))
    }

    /// Whether they are everything.
    pub fn are_all(&self) -> bool {
        self.0.contains(&OwnerPattern::All)
    }

    /// One by one.
    pub fn patterns(&self) -> &[OwnerPattern] {
        &self.0
    }
}

impl FromIterator<OwnerPattern> for Owners {
    fn from_iter<I: IntoIterator<Item = OwnerPattern>>(patterns: I) -> Self {
        Self(patterns.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_what_it_says_and_prints_as_it_was_written() {
        let owner = |text: &str| text.parse::<Owner>().expect("an owner");
        for (pattern, inside, outside) in [
            ("page:42", vec!["page:42"], vec!["page:4", "page:421"]),
            (
                "page:*",
                vec!["page:42", "page:*"],
                vec!["pages:1", "user:1"],
            ),
            ("page:4*", vec!["page:4", "page:42"], vec!["page:5"]),
        ] {
            let parsed: OwnerPattern = pattern.parse().expect("a pattern");
            assert_eq!(parsed.to_string(), pattern);
            let owners: Owners = [parsed].into_iter().collect();
            assert!(inside.iter().all(|text| owners.contain(Some(&owner(text)))));
            assert!(
                !outside
                    .iter()
                    .any(|text| owners.contain(Some(&owner(text))))
            );
            assert!(!owners.contain(None), "{pattern} is not everything");
        }
        assert!(Owners::all().contain(None) && Owners::all().contain(Some(&owner("a:b"))));
        assert!(!Owners::default().contain(None));
        for wrong in [
            "", "page", "page*", "pa*e:1", "page:*x*", "PAGE:*", "page: *", "**",
        ] {
            assert!(wrong.parse::<OwnerPattern>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_scope_implies_another() {
        for scope in Scope::ALL {
            let one: Scopes = [scope].into_iter().collect();
            assert_eq!(one.to_string(), scope.as_str());
            assert_eq!(one.iter().count(), 1);
            assert_eq!(scope.as_str().parse::<Scope>().expect("known"), scope);
        }
        assert_eq!(Scopes::all().to_string(), "read write delete admin");
        assert!("Read".parse::<Scope>().is_err());
    }
}
