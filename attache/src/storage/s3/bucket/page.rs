//! One page of a listing, with lengths, entity tags and common prefixes
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).

use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use http::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::ask::Ask;
use super::super::dialect::bare;
use super::super::inner::Inner;
use super::super::page::names;
use super::super::refusal::Fault;
use super::super::xml::Element;

/// Most keys and common prefixes of a page.
pub(super) const MOST: usize = 1000;

/// Which page.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// Keys that are greater follow.
    pub(super) after: Option<&'a str>,
    /// What the page before said.
    pub(super) token: Option<&'a str>,
    /// Most keys and common prefixes; 0 for as many as there may be.
    pub(super) most: usize,
}

/// What a page says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size: u64,
    /// The store's own, without quotes.
    pub(super) tag: String,
    pub(super) modified: OffsetDateTime,
    pub(super) class: String,
}

/// A page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<Listed>,
    pub(super) prefixes: Vec<String>,
    /// `None`: it is the last.
    pub(super) next: Option<String>,
}

pub(super) async fn page(inner: &Inner, asked: &Asked<'_>) -> Result<Page, Fault> {
    let mut ask = Ask::new(Method::GET, "").query("list-type", "2");
    if !asked.prefix.is_empty() {
        ask = ask.query("prefix", asked.prefix);
    }
    let rest = [
        ("delimiter", asked.delimiter),
        ("start-after", asked.after.filter(|_| asked.token.is_none())),
        ("continuation-token", asked.token),
    ];
    for (name, value) in rest {
        if let Some(value) = value {
            ask = ask.query(name, value);
        }
    }
    if asked.most > 0 {
        ask = ask.query("max-keys", &asked.most.min(MOST).to_string());
    }
    inner.listing(ask, read).await
}

/// All objects of one prefix, a page in memory at a time.
pub(super) fn objects<'a>(
    inner: &'a Inner,
    prefix: &'a str,
) -> impl Stream<Item = Result<Listed, Fault>> + 'a {
    stream::try_unfold(Some(None), move |token| async move {
        let Some(token) = token else {
            return Ok::<_, Fault>(None);
        };
        let asked = Asked {
            prefix,
            token: Option::as_deref(&token),
            ..Asked::default()
        };
        let page = page(inner, &asked).await?;
        Ok(Some((
            stream::iter(page.objects).map(Ok),
            page.next.map(Some),
        )))
    })
    .try_flatten()
}

fn read(root: &Element) -> Option<Page> {
    let name = names(root);
    let mut page = Page::default();
    for object in root.all("Contents") {
        let modified = OffsetDateTime::parse(object.text_of("LastModified")?, &Rfc3339).ok()?;
        page.objects.push(Listed {
            key: name(object.text_of("Key")?)?,
            size: object.text_of("Size")?.parse().ok()?,
            tag: object.text_of("ETag").map(bare).unwrap_or_default(),
            // As a header has it.
            modified: modified.replace_nanosecond(0).ok()?,
            class: object
                .text_of("StorageClass")
                .unwrap_or_default()
                .to_owned(),
        });
    }
    for prefix in root.all("CommonPrefixes") {
        page.prefixes.push(name(prefix.text_of("Prefix")?)?);
    }
    let token = root.text_of("NextContinuationToken");
    if root.text_of("IsTruncated") == Some("true") {
        page.next = token.filter(|token| !token.is_empty()).map(str::to_owned);
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &[u8]) -> Option<Page> {
        super::read(&Element::read(document)?)
    }

    #[test]
    fn a_page_says_what_is_known_of_each_object() {
        let document = b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
            <NextContinuationToken>t</NextContinuationToken><Contents><Key>a+b%2Bc/%C3%BC</Key>\
            <LastModified>2026-11-28T10:00:00.123Z</LastModified><ETag>&quot;abc-2&quot;</ETag><Size>7</Size>\
            <StorageClass>GLACIER</StorageClass></Contents><CommonPrefixes><Prefix>p%0A/</Prefix></CommonPrefixes></ListBucketResult>";
        let page = read(document).expect("a page");
        let [object] = page.objects.as_slice() else {
            panic!("{page:?}");
        };
        assert_eq!((object.key.as_str(), object.size), ("a b+c/ü", 7));
        assert_eq!(
            (object.tag.as_str(), object.class.as_str()),
            ("abc-2", "GLACIER")
        );
        assert_eq!(object.modified.unix_timestamp_nanos() % 1_000_000_000, 0);
        assert_eq!(page.prefixes, ["p\n/"]);
        assert_eq!(page.next.as_deref(), Some("t"));
        assert_eq!(read(b"<html>"), None);
        assert_eq!(read(b"<ListBucketResult/>"), Some(Page::default()));
    }
}
