//! A small file goes the whole way of an attachment: written, read, signed, opened, deleted.

use attache::access::links::LinkProof;
use attache::attachment::AttachmentId;
use attache::attachment::NewAttachment;
use attache::attachment::filename::Disposition;
use attache::delivery::config::DeliveryMode;
use attache::delivery::{Delivery, DeliveryRequest};
use attache::secret::SignedUrl;
use attache::storage::s3::IGNORES_CONDITIONS;
use attache::{Attache, Error, ErrorKind};
use bytes::Bytes;

use super::sheet::{SKIPPED, Sheet};
use crate::cli::outcome::CommandError;
use crate::cli::{out, progress};

/// What is written, read and deleted.
const TEST_FILE: &[u8] = b"attache check wrote this file, and deletes it a moment later\n";

/// Of links of our own. Not for anybody: it is never shown.
const BASE: &str = "http://localhost";

/// The whole way of an attachment, through the service.
pub(super) async fn try_a_file(sheet: &mut Sheet, store: &Attache) -> Result<(), CommandError> {
    let busy = progress::spinner("writing, reading, signing, opening and deleting a small file");
    let new = NewAttachment {
        filename: "attache-check.txt".parse().ok(),
        created_by: "attache:check".parse().ok(),
        content_type: Some("text/plain".to_owned()),
        size: Some(TEST_FILE.len() as u64),
        ..NewAttachment::default()
    };
    let bytes = Bytes::from_static(TEST_FILE);
    let written = store.upload(new, futures::stream::iter([Ok(bytes)])).await;
    let id = match written {
        Ok(uploaded) => uploaded.attachment.id,
        Err(error) => {
            busy.finish_and_clear();
            return sheet.failed("write", &error);
        }
    };
    let read = read_back(store, &id).await;
    let signed = store.url(&id, None, Disposition::Attachment, BASE).await;
    let opened = match &signed {
        Ok(temporary) => open_signed(store, &id, &temporary.url).await,
        Err(_) => Ok(""),
    };
    let remarks = match store.find(&id).await {
        Ok(attachment) => store.parts().storage.remarks(&attachment.key).await,
        Err(_) => Vec::new(),
    };
    let deleted = delete(store, &id).await;
    busy.finish_and_clear();
    sheet.ok("write", format!("{} bytes, as {id}", TEST_FILE.len()))?;
    match read {
        Ok(()) => sheet.ok("read", "the same bytes")?,
        Err(error) => sheet.failed("read", &error)?,
    }
    match signed {
        Ok(temporary) => {
            let by = match temporary.url.expose().starts_with(BASE) {
                true => "`attache serve` serves it",
                false => "the store serves it",
            };
            let until = out::timestamp(temporary.expires_at);
            sheet.ok("sign", format!("a URL until {until}; {by}"))?;
            match opened {
                Ok(how) => sheet.ok("open", how)?,
                Err(error) => sheet.failed("open", &error)?,
            }
        }
        Err(error) => {
            sheet.failed("sign", &error)?;
            sheet.skipped("open", SKIPPED)?;
        }
    }
    for remark in remarks {
        match remark.known {
            true if remark.about == IGNORES_CONDITIONS => {
                let code = ErrorKind::Misconfigured.code();
                sheet.wrong("conditional_writes", remark.text, Some(code))?;
            }
            true => sheet.ok(remark.about, remark.text)?,
            false => sheet.skipped(remark.about, remark.text)?,
        }
    }
    match deleted {
        Ok(()) => sheet.ok("delete", "gone"),
        // That a policy keeps the bytes is not a fault, but worth knowing.
        Err(error) if error.kind() == ErrorKind::Retained => {
            sheet.skipped("delete", error.detail())
        }
        Err(error) => sheet.failed("delete", &error),
    }
}

/// Opens a signed URL of the store as a browser would; checks a link of our own as a running server would.
async fn open_signed(
    store: &Attache,
    id: &AttachmentId,
    url: &SignedUrl,
) -> attache::Result<&'static str> {
    let storage = store.parts().config.storage();
    if !url.expose().starts_with(BASE)
        && let Some(bytes) = storage.open_signed_url(url, 2 * TEST_FILE.len()).await?
    {
        same(&bytes)?;
        return Ok("the URL returned the same bytes, without a credential");
    }
    let proof: LinkProof = url.expose().parse()?;
    store.check_link(id, Disposition::Attachment, &proof)?;
    Ok("its signature is valid; a running server accepts it")
}

fn same(bytes: &[u8]) -> attache::Result<()> {
    if bytes == TEST_FILE {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DigestMismatch,
        "the bytes read differ from those written",
    ))
}

async fn read_back(store: &Attache, id: &AttachmentId) -> attache::Result<()> {
    let request = DeliveryRequest {
        via: Some(DeliveryMode::Relay),
        ..DeliveryRequest::default()
    };
    let attachment = store.find(id).await?;
    let Delivery::Relay {
        body: Some(body), ..
    } = store.deliver(&attachment, &request).await?
    else {
        return Err(Error::internal(
            "a relay was asked for, and something else came",
        ));
    };
    same(&body.collect(2 * TEST_FILE.len()).await?)
}

async fn delete(store: &Attache, id: &AttachmentId) -> attache::Result<()> {
    store.delete(id).await?;
    match store.find(id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::internal("it was deleted, but is still there")),
    }
}
