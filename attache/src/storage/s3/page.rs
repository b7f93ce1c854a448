//! Pages of a listing: of objects, of their versions, and of uploads that nobody has completed
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).

use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use http::Method;
use percent_encoding::percent_decode_str;

use super::ask::Ask;
use super::dialect::Dialect;
use super::inner::Inner;
use super::refusal::{Fault, Refusal};
use super::xml::Element;

/// What a page has of one object, version or upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Names the version, or the upload; empty in a list of objects.
    pub(super) id: String,
    /// Length in bytes; 0 of what has none.
    pub(super) size: u64,
}

/// Where the next page begins: what its request has besides.
pub(super) type Next = Vec<(&'static str, String)>;

/// One page.
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// `None`: it is the last.
    pub(super) next: Option<Next>,
}

/// A listing, page by page: nothing of it stays in memory.
pub(super) struct Pages<'a> {
    inner: &'a Inner,
    pub(super) listed: Listed,
    prefix: String,
    /// Whether all but what has the prefix for its key is left out.
    of_one_key: bool,
    /// `None` behind the last.
    next: Option<Next>,
}

impl Pages<'_> {
    /// Leaves out what begins with the prefix and goes on, and ends where that begins: listings are in the order of keys.
    pub(super) fn of_one_key(self) -> Self {
        let of_one_key = true;
        Self { of_one_key, ..self }
    }

    /// The next page; `None` behind the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Fault> {
        let Some(next) = self.next.take() else {
            return Ok(None);
        };
        let Page { mut entries, next } = self.inner.page(self.listed, &self.prefix, &next).await?;
        let of_the_page = entries.len();
        if self.of_one_key {
            entries.retain(|entry| entry.key == self.prefix);
        }
        // Within a page some stores list all deletions behind all versions, whatever their keys.
        self.next = next.filter(|_| entries.len() == of_the_page);
        Ok(Some(entries))
    }
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Objects,
    Versions,
    Uploads,
}

impl Inner {
    /// A page of any kind, as `read` understands it.
    pub(super) async fn listing<T>(
        &self,
        ask: Ask<'_>,
        read: impl FnOnce(&Element) -> Option<T>,
    ) -> Result<T, Fault> {
        let ask = ask.query("encoding-type", "url");
        let document = self.ask(&ask).await?.document().await?;
        let page = Element::read(&document).and_then(|root| read(&root));
        page.ok_or_else(|| {
            Fault::Refused(Refusal {
                status: 502,
                code: "NotAListing".to_owned(),
                ..Refusal::default()
            })
        })
    }

    /// The page that begins at `next`, of what has a key with this prefix.
    pub(super) async fn page(
        &self,
        listed: Listed,
        prefix: &str,
        next: &Next,
    ) -> Result<Page, Fault> {
        let mut ask = Ask::new(Method::GET, "");
        ask = match listed {
            Listed::Objects => ask.query("list-type", "2"),
            Listed::Versions => ask.query("versions", ""),
            Listed::Uploads => ask.query("uploads", ""),
        };
        if !prefix.is_empty() {
            ask = ask.query("prefix", prefix);
        }
        for (name, value) in next {
            ask = ask.query(name, value);
        }
        let dialect = self.place.dialect;
        self.listing(ask, |root| read(root, listed, dialect)).await
    }

    /// What has a key with this prefix, from `first` on.
    pub(super) fn pages(&self, listed: Listed, prefix: &str, first: Next) -> Pages<'_> {
        Pages {
            inner: self,
            listed,
            prefix: prefix.to_owned(),
            of_one_key: false,
            next: Some(first),
        }
    }

    /// All entries of one prefix from `first` on, a page in memory at a time.
    pub(super) fn entries(
        &self,
        listed: Listed,
        prefix: &str,
        first: Next,
    ) -> impl Stream<Item = Result<Entry, Fault>> + use<'_> {
        let pages = self.pages(listed, prefix, first);
        stream::try_unfold(pages, |mut pages| async move {
            let page = pages.next().await?;
            Ok::<_, Fault>(page.map(|entries| (stream::iter(entries).map(Ok), pages)))
        })
        .try_flatten()
    }
}

/// How a listing writes names: as they are, or percent-encoded.
pub(super) fn names(root: &Element) -> impl Fn(&str) -> Option<String> {
    let decoded = root.text_of("EncodingType") == Some("url");
    move |text| match decoded {
        true => {
            let text = text.replace('+', " ");
            let text = percent_decode_str(&text).decode_utf8().ok()?;
            Some(text.into_owned())
        }
        false => Some(text.to_owned()),
    }
}

fn read(root: &Element, listed: Listed, dialect: Dialect) -> Option<Page> {
    let key_of = names(root);
    let (elements, id): (&[&str], _) = match (listed, dialect) {
        (Listed::Objects, _) => (&["Contents"], ""),
        (Listed::Versions, Dialect::S3) => (&["Version", "DeleteMarker"], "VersionId"),
        (Listed::Versions, Dialect::Gcs) => (&["Version"], "Generation"),
        (Listed::Uploads, _) => (&["Upload"], "UploadId"),
    };
    let mut entries = Vec::new();
    for element in root
        .children
        .iter()
        .filter(|e| elements.contains(&e.name.as_str()))
    {
        let found = element.text_of(id);
        let size: Option<u64> = element.text_of("Size").and_then(|size| size.parse().ok());
        entries.push(Entry {
            key: key_of(element.text_of("Key")?)?,
            id: found.unwrap_or_default().to_owned(),
            size: size.unwrap_or_default(),
        });
    }
    let markers: &[(&str, &'static str)] = match (listed, dialect) {
        (Listed::Objects, _) => &[("NextContinuationToken", "continuation-token")],
        (Listed::Versions, Dialect::S3) => &[
            ("NextKeyMarker", "key-marker"),
            ("NextVersionIdMarker", "version-id-marker"),
        ],
        (Listed::Versions, Dialect::Gcs) => &[
            ("NextMarker", "marker"),
            ("NextGenerationMarker", "generation-marker"),
        ],
        (Listed::Uploads, _) => &[
            ("NextKeyMarker", "key-marker"),
            ("NextUploadIdMarker", "upload-id-marker"),
        ],
    };
    let marker = |(element, parameter): &(&str, &'static str)| {
        let text = root.text_of(element).filter(|text| !text.is_empty())?;
        let text = match element.contains("Key") || *element == "NextMarker" {
            true => key_of(text)?,
            false => text.to_owned(),
        };
        Some((*parameter, text))
    };
    let is_last = root.text_of("IsTruncated") != Some("true");
    let next: Next = markers.iter().filter_map(marker).collect();
    Some(Page {
        entries,
        // One that is not the last and says no more would be asked for again and again.
        next: (!is_last && !next.is_empty()).then_some(next),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &[u8], listed: Listed, dialect: Dialect) -> Option<Page> {
        super::read(&Element::read(document)?, listed, dialect)
    }

    #[test]
    fn keys_are_decoded_and_a_page_that_is_not_the_last_says_where_the_next_begins() {
        let document = b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
            <NextContinuationToken>t</NextContinuationToken><Contents><Key>a+b%2Bc/%C3%BC</Key><Size>7</Size></Contents></ListBucketResult>";
        let page = read(document, Listed::Objects, Dialect::S3).expect("a page");
        assert_eq!(page.entries[0].key, "a b+c/ü");
        assert_eq!(page.entries[0].size, 7);
        assert_eq!(
            page.next,
            Some(vec![("continuation-token", "t".to_owned())])
        );
    }

    #[test]
    fn versions_and_markers_of_deletions_are_listed_together() {
        let document = b"<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker>\
            <NextVersionIdMarker>1</NextVersionIdMarker><Version><Key>a</Key><VersionId>1</VersionId></Version>\
            <DeleteMarker><Key>a</Key><VersionId>2</VersionId></DeleteMarker></ListVersionsResult>";
        let page = read(document, Listed::Versions, Dialect::S3).expect("a page");
        let ids: Vec<&str> = page.entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["1", "2"]);
        let next = page.next.expect("another page");
        assert_eq!(next[1], ("version-id-marker", "1".to_owned()));
        let google = b"<ListBucketResult><Version><Key>a</Key><Generation>7</Generation></Version></ListBucketResult>";
        let page = read(google, Listed::Versions, Dialect::Gcs).expect("a page");
        assert_eq!(page.entries[0].id, "7");
        assert_eq!(page.next, None);
    }

    #[test]
    fn a_page_without_a_way_on_is_the_last() {
        let document = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
        let page = read(document, Listed::Objects, Dialect::S3).expect("a page");
        assert_eq!(page.next, None);
        assert!(read(b"<html>", Listed::Objects, Dialect::S3).is_none());
    }
}
