//! Which pages may embed attachments.

/// `delivery.embed`: pages of which sites may embed attachments, as `Cross-Origin-Resource-Policy` has it
/// (<https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Embed {
    /// Pages of the same registrable domain. An IP address has none: in Chromium two ports of one address are not the same
    /// site (`ShouldAllowSameSite` in its `cross_origin_resource_policy.cc`).
    #[default]
    SameSite,
    /// Pages of every site.
    CrossOrigin,
}

impl Embed {
    /// Its word in the configuration and in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameSite => "same-site",
            Self::CrossOrigin => "cross-origin",
        }
    }
}
