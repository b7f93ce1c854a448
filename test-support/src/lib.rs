//! What attache's tests stand on.
//!
//! - [`Azurite`]: Microsoft's emulator of Blob Storage, with bearer tokens over HTTPS or with account keys over HTTP.
//! - [`Chromium`]: a headless browser, driven through [`fantoccini`].
//! - [`Postgres`]: PostgreSQL with passwords, with or without TLS, that can be stopped and started again; [`Database`]: one
//!   of it; [`PgBouncer`]: a pool before it.
//! - [`Moto`]: a stand-in for S3 that others wrote, to compare with; [`s3_clients`], [`boto3_old`], [`awscli`], [`s3_node`]: clients
//!   of S3; [`tus_node`], [`tus_python`]: clients of tus.
//! - [`Tinyproxy`]: a proxy, and names that only it knows.
//! - [`nginx`], [`curl`], [`node`], [`python`], [`content_disposition`], [`redbot`], [`promtool`], [`systemd_analyze`], [`helm`],
//!   [`dclint`], [`kubernetes_validate`], [`umoci`], [`oci_image_tool`], [`runc`], [`xtask`]: where they lie; what
//!   they are told belongs to the test.
//!
//! # One rule for what is missing
//!
//! Every entry point answers `Option`. `None` means that the tool is not on this machine, and the reason and the remedy
//! (`cargo xtask test`) have been printed; the test returns early. With `ATTACHE_TEST_REQUIRE_ALL=1`, which
//! `cargo xtask test` sets, a missing tool panics instead, so that CI never passes by skipping. A tool that is there and
//! does not start always panics.
//!
//! # Nothing is left running
//!
//! Each child is ended with its process group when its owner is dropped, and also ends by itself once its stdin closes:
//! the owner may be a static, which is never dropped, or the test process may be killed.

mod azurite;
mod certificate;
mod child;
mod chromium;
mod daemon;
pub mod layers;
mod moto;
mod pgbouncer;
mod postgres;
mod tinyproxy;
mod tool;
mod unprivileged;

pub use azurite::{Azurite, azurite_token};
pub use chromium::Chromium;
pub use fantoccini;
pub use moto::Moto;
pub use pgbouncer::PgBouncer;
pub use postgres::{Database, Postgres};
pub use tinyproxy::Tinyproxy;
pub use tool::{
    awscli, boto3_old, content_disposition, curl, dclint, helm, kubernetes_validate, nginx, node,
    oci_image_tool, promtool, python, redbot, runc, s3_clients, s3_node, systemd_analyze, tus_node,
    tus_python, umoci, xtask,
};
