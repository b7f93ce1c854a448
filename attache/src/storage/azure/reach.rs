//! The causes below an error of Microsoft's crates.

use azure_core::error::ErrorKind as AzureErrorKind;

use crate::http::reach::find;

/// The refusal among the causes.
pub(super) fn find_response(error: &azure_core::Error) -> Option<&azure_core::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let azure = error.downcast_ref::<azure_core::Error>();
        if let Some(azure) = azure.filter(|azure| {
            matches!(
                azure.kind(),
                AzureErrorKind::HttpResponse {
                    raw_response: Some(_),
                    ..
                }
            )
        }) {
            return Some(azure);
        }
        cause = error.source();
    }
    None
}

pub(super) fn http_status(error: &azure_core::Error) -> Option<u16> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(AzureErrorKind::HttpResponse { status, .. }) = error
            .downcast_ref::<azure_core::Error>()
            .map(azure_core::Error::kind)
        {
            return Some(u16::from(*status));
        }
        cause = error.source();
    }
    None
}

pub(super) fn find_azure(error: &azure_core::Error) -> Option<&AzureErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = None;
    while let Some(error) = cause {
        if let Some(azure) = error.downcast_ref::<azure_core::Error>() {
            last = Some(azure.kind());
        }
        cause = error.source();
    }
    last
}

pub(super) fn timed_out(error: &azure_core::Error) -> bool {
    find::<std::io::Error>(error).is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}
