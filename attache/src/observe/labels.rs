//! The labels of metrics.

use prometheus_client::encoding::EncodeLabelSet;

macro_rules! labels {
    ($($name:ident { $($field:ident),* })*) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $field: &'static str),* }
    )*};
}
labels! {
    OutcomeLabels { operation, backend, outcome }
    OperationLabels { operation, backend }
    DirectionLabels { direction }
    StreamLabels { direction, outcome }
    BackendOutcomeLabels { backend, outcome }
    BackendLabels { backend }
    PlainOutcomeLabels { outcome }
    LeaseLabels { lease, outcome }
    LeaseNameLabels { lease }
    StateLabels { state }
    ReasonLabels { reason }
    LimitLabels { limit }
    S3Labels { operation, outcome }
    HookLabels { hook, outcome }
}
