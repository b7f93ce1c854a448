//! What keeps a blob from being changed, deleted or read although the caller has the right to: leases, retention, legal
//! holds, customer-provided keys, and the archive tier.

use stand_in::answer::Fail;

use crate::blob::Call;
use crate::state::{Blob, Container, Guard};

/// Checks a read: what is archived, or encrypted with a key that the call does not bring, cannot be read.
pub(crate) fn for_read(call: &Call, blob: &Blob, guard: Option<Guard>) -> Result<(), Fail> {
    has_key(call, guard)?;
    not_archived(blob)
}

/// Checks a look at the properties, which an archived blob has too.
pub(crate) fn for_look(call: &Call, guard: Option<Guard>) -> Result<(), Fail> {
    has_key(call, guard)
}

/// Checks a write over `blob`, or to its metadata and properties.
pub(crate) fn for_write(
    call: &Call,
    container: Option<Guard>,
    guard: Option<Guard>,
    blob: Option<&Blob>,
) -> Result<(), Fail> {
    let Some(blob) = blob else { return Ok(()) };
    for_delete(call, container, guard)?;
    has_key(call, guard)?;
    not_archived(blob)
}

/// Checks a deletion, which needs no key and takes archived blobs.
pub(crate) fn for_delete(
    call: &Call,
    container: Option<Guard>,
    guard: Option<Guard>,
) -> Result<(), Fail> {
    for guard in [guard, container].into_iter().flatten() {
        match guard {
            Guard::Leased if call.header("x-ms-lease-id").is_none() => {
                return Err(Fail::new(
                    412,
                    "LeaseIdMissing",
                    "There is currently a lease on the blob and no lease ID was specified in the request.",
                ));
            }
            Guard::RetentionPolicy => {
                return Err(Fail::new(
                    409,
                    "BlobImmutableDueToPolicy",
                    "This operation is not permitted as the blob is immutable due to a policy.",
                ));
            }
            Guard::LegalHold => {
                return Err(Fail::new(
                    409,
                    "BlobImmutableDueToLegalHold",
                    "This operation is not permitted as the blob is immutable due to one or more legal holds.",
                ));
            }
            Guard::Leased | Guard::CustomerKey => {}
        }
    }
    Ok(())
}

/// What Get Container Properties tells of policies
/// (<https://learn.microsoft.com/rest/api/storageservices/get-container-properties>).
pub(crate) fn of_container(container: &Container) -> [(&'static str, bool); 2] {
    let is = |guard: Guard| container.guard == Some(guard);
    [
        ("x-ms-has-immutability-policy", is(Guard::RetentionPolicy)),
        ("x-ms-has-legal-hold", is(Guard::LegalHold)),
    ]
}

fn has_key(call: &Call, guard: Option<Guard>) -> Result<(), Fail> {
    if guard == Some(Guard::CustomerKey) && call.header("x-ms-encryption-key").is_none() {
        return Err(Fail::new(
            409,
            "BlobUsesCustomerSpecifiedEncryption",
            "The blob is encrypted with customer specified encryption, but it was not provided in the request.",
        ));
    }
    Ok(())
}

fn not_archived(blob: &Blob) -> Result<(), Fail> {
    if blob.tier.as_deref() == Some("Archive") {
        return Err(Fail::new(
            409,
            "BlobArchived",
            "This operation is not permitted on an archived blob.",
        ));
    }
    Ok(())
}
