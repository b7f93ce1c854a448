//! Operations: the unit of counting and of breaking.

use std::fmt::Debug;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a service tells apart.
pub trait Operation:
    Copy + Debug + Eq + Ord + Hash + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The code with which the service says that it is too busy.
    const BUSY: &'static str;
}

/// Defines the operations of a service: `Op` with `ALL`, `name`, `Display` and `FromStr`.
#[macro_export]
macro_rules! operations {
    ($(#[$about:meta])* busy = $busy:literal; $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[non_exhaustive]
        pub enum Op {
            $($(#[$doc])* $name,)*
        }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name used in counts and in fault rules.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        impl $crate::operation::Operation for Op {
            const BUSY: &'static str = $busy;
        }

        impl std::fmt::Display for Op {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for Op {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|op| op.name().eq_ignore_ascii_case(name))
                    .ok_or_else(|| format!("no operation is called {name:?}"))
            }
        }
    };
}
