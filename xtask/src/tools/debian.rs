//! What comes from Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{failed, on_path, target};
use crate::command::{Failure, run, say};

/// A Debian package, and the names its program goes by.
pub(super) struct Package {
    name: &'static str,
    programs: &'static [&'static str],
    why: &'static str,
}

pub(super) const CHROMIUM: Package = Package {
    name: "chromium",
    programs: &["chromium", "chromium-browser"],
    why: "opens the web page",
};

pub(super) const CHROMEDRIVER: Package = Package {
    name: "chromium-driver",
    programs: &["chromedriver"],
    why: "drives Chromium",
};

pub(super) const NGINX: Package = Package {
    name: "nginx-light",
    programs: &["nginx"],
    why: "answers delegated deliveries, and is what relays are measured against",
};

pub(super) const RCLONE: Package = Package {
    name: "rclone",
    programs: &["rclone"],
    why: "serves blobs over HTTP, for comparison",
};

pub(super) const CURL: Package = Package {
    name: "curl",
    programs: &["curl"],
    why: "saves downloads, and speaks HTTP/2",
};

/// For its module `venv`; Python itself comes with it.
pub(super) const PYTHON: Package = Package {
    name: "python3-venv",
    programs: &["python3"],
    why: "runs REDbot, the lint for HTTP",
};

/// Not started, nor made the first process: only for its checks of unit files.
pub(super) const SYSTEMD: Package = Package {
    name: "systemd",
    programs: &["systemd-analyze"],
    why: "checks the unit file",
};

/// The program alone: the package `tinyproxy` starts it as a service.
pub(super) const TINYPROXY: Package = Package {
    name: "tinyproxy-bin",
    programs: &["tinyproxy"],
    why: "stands between attache and the store, as proxies of companies do",
};

/// A library, so it is not in the search path.
pub(super) const NSS_WRAPPER: Package = Package {
    name: "libnss-wrapper",
    programs: &["libnss_wrapper.so"],
    why: "tells that proxy where names are that exist only in a test",
};

/// Not in the search path: several versions may be installed.
pub(super) const POSTGRES: Package = Package {
    name: "postgresql",
    programs: &["postgres"],
    why: "is a catalog that several servers share",
};

pub(super) const PGBOUNCER: Package = Package {
    name: "pgbouncer",
    programs: &["pgbouncer"],
    why: "stands between attache and PostgreSQL, as pools of companies do",
};

pub(super) const DPKG_DEV: Package = Package {
    name: "dpkg-dev",
    programs: &["dpkg-shlibdeps"],
    why: "says which libraries a Debian package needs",
};

pub(super) const UMOCI: Package = Package {
    name: "umoci",
    programs: &["umoci"],
    why: "unpacks the container image",
};

pub(super) const OCI_IMAGE_TOOL: Package = Package {
    name: "oci-image-tool",
    programs: &["oci-image-tool"],
    why: "says whether the container image is what the specification wants",
};

/// What Docker and Kubernetes run containers with; it has no daemon.
pub(super) const RUNC: Package = Package {
    name: "runc",
    programs: &["runc"],
    why: "runs the container image",
};

impl Package {
    pub(super) fn installed(&self) -> Result<PathBuf, Failure> {
        self.find().ok_or_else(|| {
            Failure::new(format!(
                "xtask: {} is installed, yet {} is not in the search path",
                self.name,
                self.programs.join(" or ")
            ))
        })
    }

    pub(super) fn find(&self) -> Option<PathBuf> {
        if self.name == POSTGRES.name {
            return postgres().or_else(|| on_path("postgres"));
        }
        self.programs
            .iter()
            .find_map(|program| match program.ends_with(".so") {
                true => library(program),
                false => on_path(program),
            })
    }
}

/// promtool alone, out of Debian's package of Prometheus (19 MB): installing that would start a server, and bring a web page.
pub(super) fn promtool(root: &Path) -> Result<PathBuf, Failure> {
    if let Some(promtool) = on_path("promtool") {
        return Ok(promtool);
    }
    let folder = target(root).join("tools").join("prometheus");
    let entry = folder.join("usr/bin/promtool");
    if entry.is_file() {
        return Ok(entry);
    }
    say(&format!(
        "xtask: fetching promtool, which checks the alert rules, into {}, once",
        folder.display()
    ));
    let missing = "install promtool so that it is in the search path";
    if on_path("apt-get").is_none() {
        return Err(Failure::new(format!(
            "xtask: there is no apt-get; {missing}"
        )));
    }
    fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    run(as_root("apt-get")?.arg("update"))?;
    run(Command::new("apt-get")
        .current_dir(&folder)
        .args(["download", "prometheus"]))?;
    let packages = fs::read_dir(&folder).map_err(failed("read", &folder))?;
    let package = packages
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure::new(format!("xtask: apt-get fetched nothing; {missing}")))?;
    run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(&package)
        .arg(&folder))?;
    let _ = fs::remove_file(package);
    match entry.is_file() {
        true => Ok(entry),
        false => Err(Failure::new(format!(
            "xtask: Debian's prometheus has no promtool; {missing}"
        ))),
    }
}

/// Debian's Python comes without the module that makes virtual environments.
pub(super) fn has_venv() -> bool {
    let python = PYTHON.find().unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", "import venv, ensurepip"]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

pub(super) fn install_missing_packages(wanted: &[&'static Package]) -> Result<(), Failure> {
    let missing: Vec<&Package> = wanted
        .iter()
        .copied()
        .filter(|package| package.find().is_none() || (package.name == PYTHON.name && !has_venv()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }

    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if on_path("apt-get").is_none() {
        return Err(Failure::new(format!(
            "xtask: {} is needed, and this system has no apt-get to install them with; \
             install them by hand so that these programs are in the search path: {}",
            names.join(", "),
            missing
                .iter()
                .map(|package| package.programs[0])
                .collect::<Vec<_>>()
                .join(", ")
        )));
    }
    for package in &missing {
        say(&format!(
            "xtask: installing {}, which {}",
            package.name, package.why
        ));
    }
    let installs = |wanted: &Package| names.contains(&wanted.name);
    run(as_root("apt-get")?.arg("update"))?;
    if installs(&POSTGRES) {
        run(as_root("sh")?.args(["-c", WITHOUT_CLUSTER]))?;
    }
    run(as_root("apt-get")?
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&names))?;
    if installs(&POSTGRES) {
        // What is installed later by hand is as Debian has it.
        run(as_root("rm")?.arg(CLUSTER_SETTING))?;
    }
    if installs(&PGBOUNCER) && Path::new("/run/systemd/system").is_dir() {
        // Debian starts it, before a server that is not there. The tests start their own.
        run(as_root("systemctl")?.args(["disable", "--now", "pgbouncer"]))?;
    }
    Ok(())
}

/// Debian's package makes and starts a server, on the usual port, unless it is told not to while it is installed.
const WITHOUT_CLUSTER: &str = "mkdir -p /etc/postgresql-common/createcluster.d && \
    echo 'create_main_cluster = off' >/etc/postgresql-common/createcluster.d/attache-tests.conf";

const CLUSTER_SETTING: &str = "/etc/postgresql-common/createcluster.d/attache-tests.conf";

/// `program` itself for root, else through sudo.
pub(super) fn as_root(program: &str) -> Result<Command, Failure> {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .map_err(|error| Failure::new(format!("xtask: id: {error}")))?;
    let mut command = if id.stdout.trim_ascii() == b"0" {
        Command::new(program)
    } else if on_path("sudo").is_some() {
        let mut command = Command::new("sudo");
        // sudo drops the environment, so the variable below has to stand on its command line.
        command.args(["DEBIAN_FRONTEND=noninteractive", program]);
        command
    } else {
        return Err(Failure::new(format!(
            "xtask: {program} needs root, and there is no sudo; run it as root"
        )));
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

/// Where Debian has its libraries: in a folder for the kind of machine.
fn library(name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join(name)))
        .find(|candidate| candidate.is_file())
}

/// Of the versions that Debian has installed, the oldest: what is promised of it holds for more installations.
fn postgres() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib/postgresql").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join("bin/postgres")))
        .filter(|program| program.is_file())
        .min()
}
