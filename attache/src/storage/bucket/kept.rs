//! What a client says of an object, as headers and metadata of an object on a network.
//!
//! What a header can hold as it is stands where the store has a place for it, so that other programs read it and signed URLs serve it. The
//! rest, which headers or names cannot hold, is one more field of the metadata: JSON, in base64.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Properties;
use crate::error::{Error, ErrorKind, Result};

/// How a store keeps metadata.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Its name in messages.
    pub(crate) store: &'static str,
    /// What names of metadata of ours begin with.
    pub(crate) ours: &'static str,
    /// Whether it keeps metadata of this name, which is none of ours and means nothing to others.
    pub(crate) takes: fn(&str) -> bool,
    /// Most bytes of names and values of metadata together.
    pub(crate) max_bytes: usize,
}

impl Form {
    /// A name of ours.
    pub(crate) fn name(&self, word: &str) -> String {
        format!("{}{word}", self.ours)
    }
}

/// What the store's own headers and metadata do not say.
const MORE: &str = "more";

/// The object has no type; stores give every object one.
const UNTYPED: &str = "untyped";

/// The type of an object for which none was named.
pub(crate) const DEFAULT_TYPE: &str = "application/octet-stream";

/// The properties that are headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct More {
    properties: Properties,
    /// The headers as they were before `properties` replaced them, by a second request: until that is done, the object has these.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Headers>,
}

impl Headers {
    /// What an object with these properties has: where a header cannot hold the value, nothing.
    pub(crate) fn of(properties: &Properties) -> Self {
        let plain = |value: &Option<String>| value.clone().filter(|value| is_plain(value));
        Self {
            content_type: plain(&properties.content_type),
            cache_control: plain(&properties.cache_control),
            content_disposition: plain(&properties.content_disposition),
            content_encoding: plain(&properties.content_encoding),
            content_language: plain(&properties.content_language),
        }
    }
}

/// Adds what is kept of `properties` in the metadata of an object. `before` are its headers if they are replaced after its metadata.
///
/// # Errors
///
/// [`ErrorKind::BadRequest`] if it is more than the store keeps.
pub(crate) fn write(
    form: &Form,
    properties: &Properties,
    before: Option<Headers>,
    metadata: &mut HashMap<String, String>,
) -> Result<()> {
    let mut more = More {
        properties: properties.clone(),
        before,
    };
    let rest = &mut more.properties;
    rest.metadata.retain(|name, value| {
        let plain = (form.takes)(name) && !name.starts_with(form.ours) && is_plain(value);
        if plain {
            metadata.insert(name.clone(), value.clone());
        }
        !plain
    });
    if more.before.is_none() {
        let held = Headers::of(properties);
        for (field, held) in fields(rest).into_iter().zip(list(&held)) {
            if held.is_some() {
                *field = None;
            }
        }
    }
    if Headers::of(properties).content_type.is_none() {
        metadata.insert(form.name(UNTYPED), "1".to_owned());
    }
    if more.before.is_some() || more.properties != Properties::default() {
        let json = serde_json::to_vec(&more)
            .map_err(|error| Error::internal("properties are no JSON").with_source(error))?;
        metadata.insert(form.name(MORE), crate::base64::encode(json));
    }
    let bytes: usize = metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > form.max_bytes {
        let Form {
            store, max_bytes, ..
        } = form;
        return Err(Error::new(
            ErrorKind::BadRequest,
            format!(
                "the metadata, tags and headers of the object take {bytes} bytes as {store} keeps them, and it keeps {max_bytes}"
            ),
        ));
    }
    Ok(())
}

/// What an object with these headers and this metadata, whose names are in lower case, says.
pub(crate) fn read(
    form: &Form,
    headers: &Headers,
    metadata: &BTreeMap<String, String>,
) -> Properties {
    let more: More = metadata
        .get(&form.name(MORE))
        .and_then(|text| serde_json::from_slice(&crate::base64::decode(text)?).ok())
        .unwrap_or_default();
    let mut properties = more.properties;
    let sent = Headers::of(&properties);
    let no_headers = Headers::default();
    let before = list(more.before.as_ref().unwrap_or(&no_headers));
    let replaced = more.before.is_some();
    let untyped = metadata.contains_key(&form.name(UNTYPED));
    let mut now = headers.clone();
    if untyped && now.content_type.as_deref() == Some(DEFAULT_TYPE) {
        now.content_type = None;
    }
    for (at, field) in fields(&mut properties).into_iter().enumerate() {
        let (raw, now, sent) = (list(headers)[at], list(&now)[at], list(&sent)[at]);
        // Another program that sets a header has the last word.
        let ours = match replaced {
            true => now == sent || raw == before[at],
            false => field.is_some() && now == sent,
        };
        if !ours {
            field.clone_from(now);
        }
    }
    for (name, value) in metadata {
        if !name.starts_with(form.ours) {
            properties.metadata.insert(name.clone(), value.clone());
        }
    }
    properties
}

fn fields(properties: &mut Properties) -> [&mut Option<String>; 5] {
    [
        &mut properties.content_type,
        &mut properties.cache_control,
        &mut properties.content_disposition,
        &mut properties.content_encoding,
        &mut properties.content_language,
    ]
}

fn list(headers: &Headers) -> [&Option<String>; 5] {
    [
        &headers.content_type,
        &headers.cache_control,
        &headers.content_disposition,
        &headers.content_encoding,
        &headers.content_language,
    ]
}

/// Whether a header holds the value as it is: also where signatures take runs of spaces for one
/// (<https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key#constructing-the-canonicalized-headers-string>).
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|b| (b' '..=b'~').contains(&b))
        && value.trim() == value
        && !value.contains("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        store: "the store",
        ours: "attache_",
        takes: |name| !name.contains('-'),
        max_bytes: 8 * 1024,
    };

    fn typed(content_type: Option<&str>) -> Properties {
        Properties {
            content_type: content_type.map(str::to_owned),
            ..Properties::default()
        }
    }

    fn written(properties: &Properties, before: Option<Headers>) -> BTreeMap<String, String> {
        let mut metadata = HashMap::new();
        write(&FORM, properties, before, &mut metadata).expect("small");
        metadata.into_iter().collect()
    }

    fn with_type(content_type: &str) -> Headers {
        Headers {
            content_type: Some(content_type.to_owned()),
            ..Headers::default()
        }
    }

    #[test]
    fn what_is_written_is_read_before_and_after_the_headers_follow() {
        let kinds = [
            Some("text/plain"),
            Some("te\u{e9}t"),
            Some(DEFAULT_TYPE),
            None,
        ];
        for old in kinds {
            let mut on_wire = Headers::of(&typed(old));
            on_wire
                .content_type
                .get_or_insert_with(|| DEFAULT_TYPE.to_owned());
            assert_eq!(
                read(&FORM, &on_wire, &written(&typed(old), None)),
                typed(old)
            );
            for new in kinds {
                let metadata = written(&typed(new), Some(on_wire.clone()));
                assert_eq!(
                    read(&FORM, &on_wire, &metadata),
                    typed(new),
                    "{old:?} {new:?}"
                );
                let mut after = Headers::of(&typed(new));
                after
                    .content_type
                    .get_or_insert_with(|| DEFAULT_TYPE.to_owned());
                assert_eq!(
                    read(&FORM, &after, &metadata),
                    typed(new),
                    "{old:?} {new:?}"
                );
            }
        }
    }

    #[test]
    fn another_program_that_sets_a_header_has_the_last_word() {
        for ours in [Some("text/plain"), Some("te\u{e9}t"), None] {
            for before in [None, Some(Headers::default())] {
                let metadata = written(&typed(ours), before);
                let read = read(&FORM, &with_type("image/png"), &metadata);
                assert_eq!(read, typed(Some("image/png")), "{ours:?}");
            }
        }
    }

    #[test]
    fn plain_metadata_is_readable_by_others_and_too_much_is_refused() {
        let pairs = [("mtime", "1"), ("a-b", "2"), ("attache_x", "3")];
        let mut properties = Properties {
            metadata: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..typed(Some("text/plain"))
        };
        let metadata = written(&properties, None);
        assert_eq!(metadata.get("mtime").map(String::as_str), Some("1"));
        assert_eq!(metadata.len(), 2, "{metadata:?}");
        assert_eq!(read(&FORM, &with_type("text/plain"), &metadata), properties);
        properties.cache_control = Some("\u{e9}".repeat(4000));
        let error = write(&FORM, &properties, None, &mut HashMap::new());
        assert_eq!(error.expect_err("too much").kind(), ErrorKind::BadRequest);
    }
}
