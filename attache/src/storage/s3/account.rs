//! What the bucket's own settings mean for attachments in it.

use bytes::Bytes;
use http::Method;

use super::ask::Ask;
use super::dialect::Dialect;
use super::inner::Inner;
use super::refusal::Fault;
use super::xml::Element;
use crate::storage::Remark;

/// What a remark is about that is a fault: the store ignores conditions, and the configuration relies on them.
pub const IGNORES_CONDITIONS: &str = "conditional_writes_ignored";

/// What the others on conditions are about.
const CONDITIONS: &str = "conditional_writes";

/// Looks at versions, CORS and object lock, and whether the store creates without replacing.
///
/// What cannot be looked at is a remark too: attache needs no right to look at the settings.
pub(super) async fn remarks(inner: &Inner) -> Vec<Remark> {
    let (versioning, cors, conditions) =
        futures::join!(versioning(inner), cors(inner), conditional_writes(inner));
    let mut remarks = vec![versioning, cors];
    if inner.place.dialect == Dialect::S3 {
        remarks.push(object_lock(inner).await);
    }
    remarks.push(conditions);
    remarks
}

async fn versioning(inner: &Inner) -> Remark {
    match inner.versioning_status().await {
        Ok(None) => Remark::known(
            "versioning",
            "off: what is deleted is gone at once".to_owned(),
        ),
        Ok(Some(status)) => Remark::known(
            "versioning",
            format!(
                "{}: attache deletes every version of what it deletes; that takes the right to list and to delete versions ({})",
                status.to_ascii_lowercase(),
                match inner.place.dialect {
                    Dialect::S3 => "s3:ListBucketVersions, s3:DeleteObjectVersion",
                    Dialect::Gcs => "storage.objects.list, storage.objects.delete",
                }
            ),
        ),
        Err(fault) => Remark::unknown(
            "versioning",
            &format!(
                "{}; where the bucket keeps versions, what is deleted stays as one, and attache neither sees nor removes it",
                unreadable(&fault, "s3:GetBucketVersioning", inner.place.dialect)
            ),
        ),
    }
}

async fn cors(inner: &Inner) -> Remark {
    const NONE: &str = "no rule for GET: pages show and save what a redirect leads to; only scripts that read it (fetch, PDF.js), and direct \
                        uploads of a browser (PUT), need one for the origin of their page";
    let document = match inner.setting("cors").await {
        Ok(document) => document,
        Err(Fault::Refused(refusal)) if refusal.status == 404 => {
            return Remark::known("cors", NONE.to_owned());
        }
        Err(fault) => {
            let why = unreadable(&fault, "s3:GetBucketCORS", inner.place.dialect);
            return Remark::unknown("cors", &why);
        }
    };
    let origins = Element::read(&document)
        .map(|root| origins(&root))
        .unwrap_or_default();
    match origins.is_empty() {
        true => Remark::known("cors", NONE.to_owned()),
        false => Remark::known(
            "cors",
            format!(
                "scripts of {} may read what a redirect leads to",
                origins.join(", ")
            ),
        ),
    }
}

/// Of which pages scripts may read. S3 says it flat, Google in lists.
fn origins(root: &Element) -> Vec<String> {
    let of = |rule: &Element, list: &str, name: &str| -> Vec<String> {
        let lists = rule.all(list).flat_map(|list| list.all(name));
        let texts = rule.all(name).chain(lists);
        texts.map(|element| element.text.clone()).collect()
    };
    let rules = root.all("CORSRule").chain(root.all("Cors"));
    rules
        .filter(|rule| {
            let methods = [
                of(rule, "Methods", "AllowedMethod"),
                of(rule, "Methods", "Method"),
            ];
            methods.concat().iter().any(|method| method == "GET")
        })
        .flat_map(|rule| {
            [
                of(rule, "Origins", "AllowedOrigin"),
                of(rule, "Origins", "Origin"),
            ]
            .concat()
        })
        .collect()
}

async fn object_lock(inner: &Inner) -> Remark {
    match inner.setting("object-lock").await {
        Ok(document) => {
            let locked =
                Element::read(&document).is_some_and(|root| root.all("Rule").next().is_some());
            Remark::known(
                "object_lock",
                match locked {
                    true => "a rule keeps what is stored: nobody can delete it before that ends, and the sweep tries again".to_owned(),
                    false => "no rule that keeps everything".to_owned(),
                },
            )
        }
        Err(Fault::Refused(refusal)) if refusal.status == 404 => {
            Remark::known("object_lock", "off".to_owned())
        }
        Err(fault) => {
            let why = unreadable(
                &fault,
                "s3:GetBucketObjectLockConfiguration",
                inner.place.dialect,
            );
            Remark::unknown("object_lock", &why)
        }
    }
}

/// Creates something twice: a store that honours conditions refuses the second.
async fn conditional_writes(inner: &Inner) -> Remark {
    let key = inner.place.key("conditional_writes");
    let name = format!("attache/check/{}", uuid::Uuid::now_v7().simple());
    let ask = Ask::new(Method::PUT, &name)
        .body(Bytes::from_static(b"attache check"))
        .header(inner.place.dialect.create_only());
    let first = inner.ask(&ask).await;
    let second = match &first {
        Ok(_) => inner.ask(&ask).await,
        Err(_) => Ok(None).and_then(|nothing: Option<super::ask::Answered>| {
            nothing.ok_or_else(|| Fault::Ours(crate::Error::internal("the first was refused")))
        }),
    };
    if let Err(fault) = inner.delete(&name).await {
        tracing::warn!(name, %fault, "what was written to see whether conditions hold is left at the store");
    }
    let told = match (first, second, inner.place.conditional_writes) {
        (Ok(_), Err(fault), true) if fault.is_taken() => "honoured: two uploads of one name cannot replace each other".to_owned(),
        (Ok(_), Err(fault), false) if fault.is_taken() => format!(
            "honoured, but {key} is false: set it to true, and attache looks for nothing before it writes"
        ),
        (Ok(_), Ok(_), true) => {
            let cure = format!(
                "IGNORED: this store replaces what it was told to leave alone. Set {key} = false: attache then looks whether a name is free before it \
                 writes and whose the object is afterwards; two uploads of one name at the very same time are not kept apart. Direct uploads are off then"
            );
            return Remark::known(IGNORES_CONDITIONS, cure);
        }
        (Ok(_), Ok(_), false) => "ignored by the store; attache looks before and after it writes, and offers no direct uploads".to_owned(),
        (Err(fault), ..) | (_, Err(fault), _) => {
            return Remark::unknown(CONDITIONS, &format!("could not be tried ({fault}); a store that does not know them needs {key} = false"));
        }
    };
    Remark::known(CONDITIONS, told)
}

impl Inner {
    /// A setting of the bucket, as a document.
    async fn setting(&self, name: &str) -> Result<Bytes, Fault> {
        let ask = Ask::new(Method::GET, "").query(name, "");
        self.ask(&ask).await?.document().await
    }
}

fn unreadable(fault: &Fault, right: &str, dialect: Dialect) -> String {
    let right = match dialect {
        Dialect::S3 => right,
        Dialect::Gcs => "storage.buckets.get",
    };
    match fault {
        Fault::Refused(refusal) if refusal.status == 403 => format!(
            "not permitted to look; it takes {right} on the bucket, which attache needs for nothing else"
        ),
        fault => format!("the store does not report it ({fault})"),
    }
}
