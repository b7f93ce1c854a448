//! What the account's own settings mean for attachments in it.

use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::headers::HeaderName;
use azure_storage_blob::models::{BlobServiceProperties, CorsRule};

use super::config::WEB;
use super::inner::Inner;
use crate::attachment::ObjectKey;
use crate::storage::Remark;

/// Looks at soft delete and CORS (<https://learn.microsoft.com/rest/api/storageservices/get-blob-service-properties>) and at
/// versioning, which only the answer about an object tells: `sample` is one that exists.
///
/// What cannot be looked at is a remark too: the first two belong to the account, and the roles that attache needs end at
/// the container.
pub(super) async fn remarks(inner: &Inner, sample: &ObjectKey) -> Vec<Remark> {
    let properties = match inner.client.get_properties(None).await {
        Ok(answer) => answer.into_model(),
        Err(error) => Err(error),
    };
    let (soft_delete, cors) = match &properties {
        Ok(properties) => (
            Remark::known("soft_delete", soft_delete(properties)),
            Remark::known("cors", cors(properties.cors.as_deref().unwrap_or_default())),
        ),
        Err(error) => {
            let why = unreadable(error);
            (
                Remark::unknown("soft_delete", &why),
                Remark::unknown("cors", &why),
            )
        }
    };
    let versioning = match inner.blob(sample.as_str()).get_properties(None).await {
        Ok(answer) => {
            let id = HeaderName::from_static("x-ms-version-id");
            let on = answer.headers().get_optional_str(&id).is_some();
            Remark::known("versioning", versioning(on))
        }
        Err(error) => Remark::unknown("versioning", &unreadable(&error)),
    };
    let mut remarks = vec![soft_delete, versioning, cors];
    if inner.target.container == WEB {
        remarks.push(Remark::known("container", PUBLIC.to_owned()));
    }
    remarks
}

/// Said at the start, too.
pub(super) const PUBLIC: &str = "\"$web\" is the account's static web site: where that is switched on, everybody who knows a name can read the file";

fn soft_delete(properties: &BlobServiceProperties) -> String {
    let policy = properties.delete_retention_policy.as_ref();
    let on = policy.filter(|policy| policy.enabled == Some(true));
    match on.map(|policy| policy.days) {
        Some(Some(days)) => format!(
            "on: what is deleted can be restored for {days} days, and is stored and billed as long"
        ),
        Some(None) => "on: what is deleted can be restored for a while".to_owned(),
        None => "off: what is deleted is gone at once".to_owned(),
    }
}

fn versioning(on: bool) -> String {
    match on {
        true => "on: what is deleted stays as a previous version, which attache neither sees nor removes; a lifecycle rule \
                 of the account can"
            .to_owned(),
        false => "off".to_owned(),
    }
}

fn cors(rules: &[CorsRule]) -> String {
    let readable = |rule: &&CorsRule| {
        let methods = rule.allowed_methods.as_deref().unwrap_or_default();
        methods.split(',').any(|method| method.trim() == "GET")
    };
    let origins: Vec<&str> = rules
        .iter()
        .filter(readable)
        .filter_map(|rule| rule.allowed_origins.as_deref())
        .collect();
    if origins.is_empty() {
        return "no rule for GET: pages show and save what a redirect leads to; only scripts that read it (fetch, PDF.js) need \
                one for the origin of their page"
            .to_owned();
    }
    format!(
        "scripts of {} may read what a redirect leads to",
        origins.join(", ")
    )
}

fn unreadable(error: &azure_core::Error) -> String {
    match error.kind() {
        AzureErrorKind::HttpResponse { status, .. } if u16::from(*status) == 403 => {
            "not permitted to look; it takes Microsoft.Storage/storageAccounts/blobServices/read on the account, which attache \
             needs for nothing else. The portal shows it under Data protection and Resource sharing (CORS)"
                .to_owned()
        }
        AzureErrorKind::HttpResponse { status, .. } => {
            format!("the account does not report it (response {})", u16::from(*status))
        }
        _ => "the account does not report it".to_owned(),
    }
}
