//! A key: its path, what it means, how it is read and shown, and whether it is read at start only, in one place.
//!
//! A section is a struct whose fields are written with [`section!`](crate::section). The macro makes the struct, its default and the table of
//! its keys, so that a new key is one item in the section that owns the decision.

use std::any::Any;

use super::value::Raw;

/// What is known of a key besides how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `upload.block_bytes`
    pub path: &'static str,
    /// What it means, for `attache.example.toml`.
    pub docs: &'static str,
    /// A value to show where there is no default.
    pub example: Option<&'static str>,
    /// Variables of other programs that say the same, besides `ATTACHE_…`.
    pub variables: &'static [&'static str],
    /// A reload does not change it.
    pub start_only: bool,
    /// Its value is a table with names of the operator's own: `[s3.buckets.NAME]`.
    pub table: bool,
}

/// The keys of one part of the configuration, with their values.
pub trait Section: Any {
    /// The keys, in the order in which they are shown.
    fn keys(&self) -> &'static [Key];

    /// Reads the value of the key at `index`.
    ///
    /// # Errors
    ///
    /// What is wrong, to be put behind the key.
    fn read(&mut self, index: usize, raw: &Raw) -> Result<(), String>;

    /// The value of the key at `index` as TOML; `None` if it is not set.
    fn show(&self, index: usize) -> Option<String>;

    /// Puts the value of the key at `index` back to that of `old`, which is a section of the same type; whether they differed.
    fn keep(&mut self, index: usize, old: &dyn Section) -> bool;

    /// Visits this section, and then those below it, in the order in which they are shown.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Section));

    /// As [`each`](Self::each).
    fn each_mut(&mut self, visit: &mut dyn FnMut(&mut dyn Section));

    /// Reads the files that keys name into fields beside them. `read` is given a path and the key that has it, and reports
    /// what cannot be read.
    fn read_files(&mut self, read: &mut dyn FnMut(&std::path::Path, &str) -> Option<String>) {
        let _ = read;
    }
}

/// Makes a section.
///
/// ```ignore
/// section! {
///     /// `[download]`
///     #[derive(Clone, Debug, PartialEq, Eq)]
///     pub struct DownloadConfig in "download" {
///         /// How long the store may send nothing.
///         idle_timeout: Duration = Duration::from_secs(60) => Time,
///         /// The pages that may …
///         #[start_only = true] #[table = true] #[example = "…"] #[variables = ["AZURE_TENANT_ID"]]
///         tenant: Option<String> = None => SomeText,
///     }
///     sections {
///         /// `[download.…]`, which has keys of its own.
///         part: PartConfig,
///     }
///     files {
///         /// What `key_file` holds.
///         key_pem: Option<Secret> from key_file = Secret::new,
///     }
///     values {
///         // The value of another key, which the file wins over.
///         secret from secret_file = Secret::new,
///     }
/// }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $section:literal {
            $(
                $(#[doc = $doc:literal])+
                $(#[start_only = $start_only:literal])?
                $(#[table = $table:literal])?
                $(#[example = $example:literal])?
                $(#[variables = $variables:expr])?
                $field:ident : $type:ty = $default:expr => $format:expr,
            )*
        }
        $(sections {
            $(
                $(#[doc = $part_doc:literal])+
                $part:ident : $part_type:ty,
            )*
        })?
        $(files {
            $(
                $(#[doc = $content_doc:literal])+
                $content:ident : Option<$content_type:ty> from $file:ident = $make:expr,
            )*
        })?
        $(values {
            $($target:ident from $target_file:ident = $target_make:expr,)*
        })?
    ) => {
        $(#[$meta])*
        #[allow(
            rustdoc::bare_urls,
            rustdoc::broken_intra_doc_links,
            rustdoc::invalid_html_tags,
            reason = "the text stands in a file of the operator's, too"
        )]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                pub $field: $type,
            )*
            $($(
                $(#[doc = $part_doc])+
                pub $part: $part_type,
            )*)?
            $($(
                $(#[doc = $content_doc])+
                pub $content: Option<$content_type>,
            )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($($part: Default::default(),)*)?
                    $($($content: None,)*)?
                }
            }
        }

        $crate::section! {
            @keys $name in $section
            [$($field, concat!($($doc, "\n"),+), $crate::section!(@bool $($start_only)?), $crate::section!(@bool $($table)?),
                $crate::section!(@option $($example)?), $crate::section!(@list $($variables)?), $format;)*]
            [$($($content from $file, $section, $make;)*)? $($($target from $target_file, $section, $target_make;)*)?]
            [$($($part)*)?]
        }
    };
    (@keys $name:ident in $section:literal
        [$($field:ident, $doc:expr, $start_only:expr, $table:expr, $example:expr, $variables:expr, $format:expr;)*]
        [$($content:ident from $file:ident, $file_section:literal, $make:expr;)*]
        [$($part:ident)*]
    ) => {
        impl $crate::config::key::Section for $name {
            fn keys(&self) -> &'static [$crate::config::key::Key] {
                const KEYS: &[$crate::config::key::Key] = &[
                    $($crate::config::key::Key {
                        path: concat!($section, ".", stringify!($field)),
                        docs: $doc,
                        example: $example,
                        variables: $variables,
                        start_only: $start_only,
                        table: $table,
                    },)*
                ];
                KEYS
            }

            fn read(&mut self, index: usize, raw: &$crate::config::value::Raw) -> Result<(), String> {
                type Read = fn(&mut $name, &$crate::config::value::Raw) -> Result<(), String>;
                const READ: &[Read] = &[
                    $(|section, raw| {
                        section.$field = $crate::config::value::Format::read(&$format, raw)?;
                        Ok(())
                    },)*
                ];
                READ[index](self, raw)
            }

            fn show(&self, index: usize) -> Option<String> {
                type Show = fn(&$name) -> Option<String>;
                const SHOW: &[Show] = &[
                    $(|section| $crate::config::value::Format::show(&$format, &section.$field),)*
                ];
                SHOW[index](self)
            }

            fn keep(&mut self, index: usize, old: &dyn $crate::config::key::Section) -> bool {
                type Keep = fn(&mut $name, &$name) -> bool;
                const KEEP: &[Keep] = &[
                    $(|section, old| {
                        let differs = section.$field != old.$field;
                        section.$field.clone_from(&old.$field);
                        differs
                    },)*
                ];
                let old: &dyn std::any::Any = old;
                old.downcast_ref::<Self>().is_some_and(|old| KEEP[index](self, old))
            }

            fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn $crate::config::key::Section)) {
                visit(self);
                $(self.$part.each(visit);)*
            }

            fn each_mut(&mut self, visit: &mut dyn FnMut(&mut dyn $crate::config::key::Section)) {
                visit(self);
                $(self.$part.each_mut(visit);)*
            }

            fn read_files(&mut self, read: &mut dyn FnMut(&std::path::Path, &str) -> Option<String>) {
                let _ = &read;
                $(
                    let text = self.$file.as_deref().and_then(|path| {
                        read(path, concat!($file_section, ".", stringify!($file)))
                    });
                    if let Some(text) = text {
                        self.$content = Some($make(text));
                    }
                )*
            }
        }
    };
    (@bool) => { false };
    (@bool $value:expr) => { $value };
    (@option) => { None };
    (@option $value:expr) => { Some($value) };
    (@list) => { &[] };
    (@list $value:expr) => { &$value };
}
