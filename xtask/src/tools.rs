//! What the tests need beyond cargo, installed where it is missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{Failure, run, say};

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
        ])?;
        let redbot = redbot(root)?;
        let promtool = promtool(root)?;
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
        })
    }
}

/// A Debian package, and the names its program goes by.
struct Package {
    name: &'static str,
    programs: &'static [&'static str],
    why: &'static str,
}

const CHROMIUM: Package = Package {
    name: "chromium",
    programs: &["chromium", "chromium-browser"],
    why: "opens the web page",
};

const CHROMEDRIVER: Package = Package {
    name: "chromium-driver",
    programs: &["chromedriver"],
    why: "drives Chromium",
};

const NGINX: Package = Package {
    name: "nginx-light",
    programs: &["nginx"],
    why: "answers delegated deliveries, and is what relays are measured against",
};

const RCLONE: Package = Package {
    name: "rclone",
    programs: &["rclone"],
    why: "serves blobs over HTTP, for comparison",
};

const CURL: Package = Package {
    name: "curl",
    programs: &["curl"],
    why: "saves downloads, and speaks HTTP/2",
};

/// For its module `venv`; Python itself comes with it.
const PYTHON: Package = Package {
    name: "python3-venv",
    programs: &["python3"],
    why: "runs REDbot, the lint for HTTP",
};

/// Not started, nor made the first process: only for its checks of unit files.
const SYSTEMD: Package = Package {
    name: "systemd",
    programs: &["systemd-analyze"],
    why: "checks the unit file",
};

/// The program alone: the package `tinyproxy` starts it as a service.
const TINYPROXY: Package = Package {
    name: "tinyproxy-bin",
    programs: &["tinyproxy"],
    why: "stands between attache and the store, as proxies of companies do",
};

/// A library, so it is not in the search path.
const NSS_WRAPPER: Package = Package {
    name: "libnss-wrapper",
    programs: &["libnss_wrapper.so"],
    why: "tells that proxy where names are that exist only in a test",
};

/// Something from npm, pinned by a lock file in a folder of xtask.
struct NpmPackage {
    folder: &'static str,
    /// What is used of it.
    entry: &'static str,
    why: &'static str,
}

const AZURITE: NpmPackage = NpmPackage {
    folder: "azurite",
    entry: "node_modules/azurite/dist/src/blob/main.js",
    why: "Azurite, the emulator of Azure Blob Storage that the storage tests run against (365 MB)",
};

const CONTENT_DISPOSITION: NpmPackage = NpmPackage {
    folder: "content-disposition",
    entry: "node_modules/content-disposition/dist/index.js",
    why: "content-disposition, a parser that file names are read back with",
};

const BENCH_NODE: NpmPackage = NpmPackage {
    folder: "bench/node",
    entry: "node_modules/@azure/storage-blob/package.json",
    why: "Microsoft's SDK for JavaScript and express, which attache is measured against",
};

impl Package {
    fn installed(&self) -> Result<PathBuf, Failure> {
        self.find().ok_or_else(|| {
            Failure::new(format!(
                "xtask: {} is installed, yet {} is not in the search path",
                self.name,
                self.programs.join(" or ")
            ))
        })
    }

    fn find(&self) -> Option<PathBuf> {
        self.programs
            .iter()
            .find_map(|program| match program.ends_with(".so") {
                true => library(program),
                false => on_path(program),
            })
    }
}

/// The oldest Node.js that Azurite 3.37.0 was seen to run on. Its own `engines` asks for 22 and is only a warning.
const OLDEST_NODE: u32 = 20;

fn node() -> Result<PathBuf, Failure> {
    let missing = "it runs Azurite, the emulator of Azure Blob Storage; install Node.js with npm \
                   (https://nodejs.org, or your distribution's package) and try again";
    let node = on_path("node")
        .ok_or_else(|| Failure::new(format!("xtask: the tests need Node.js: {missing}")))?;
    if on_path("npm").is_none() {
        return Err(Failure::new(format!(
            "xtask: the tests need npm: {missing}"
        )));
    }
    let output = Command::new(&node)
        .arg("--version")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("xtask: {}: {error}", node.display())))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        return Err(Failure::new(format!(
            "xtask: the tests need Node.js {OLDEST_NODE} or newer, and {} is {version:?}",
            node.display()
        )));
    }
    Ok(node)
}

/// Installs a pinned package below the target folder, unless the same lock file was installed there before.
fn from_npm(root: &Path, package: &NpmPackage) -> Result<PathBuf, Failure> {
    let source = root.join("xtask").join(package.folder);
    let folder = target(root).join("tools").join(package.folder);
    let entry = folder.join(package.entry);
    let stamp = folder.join("installed-lock.json");
    let lock = source.join("package-lock.json");

    let wanted = fs::read(&lock).map_err(failed("read", &lock))?;
    if entry.is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(entry);
    }

    say(&format!(
        "xtask: installing {} into {} from npm, once",
        package.why,
        folder.display()
    ));
    fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    for name in ["package.json", "package-lock.json"] {
        let from = source.join(name);
        fs::copy(&from, folder.join(name)).map_err(failed("copy", &from))?;
    }
    run(Command::new("npm").current_dir(&folder).args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]))?;
    if !entry.is_file() {
        return Err(Failure::new(format!(
            "xtask: npm ci ended well and {} is not there",
            entry.display()
        )));
    }
    // Last, so that an interrupted installation is done again.
    fs::write(&stamp, wanted).map_err(failed("write", &stamp))?;
    Ok(entry)
}

/// Installs the pinned REDbot into a virtual environment below the target folder, unless it was installed there before.
fn redbot(root: &Path) -> Result<PathBuf, Failure> {
    let requirements = root.join("xtask/redbot/requirements.txt");
    let folder = target(root).join("tools").join("redbot");
    let entry = folder.join("bin").join("redbot");
    let stamp = folder.join("installed-requirements.txt");

    let wanted = fs::read(&requirements).map_err(failed("read", &requirements))?;
    if entry.is_file() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(entry);
    }

    say(&format!(
        "xtask: installing REDbot, the lint for HTTP that answers are checked with, into {} from PyPI, once",
        folder.display()
    ));
    let python = PYTHON.find().unwrap_or_else(|| "python3".into());
    run(Command::new(python)
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    run(Command::new(folder.join("bin").join("pip"))
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
        ])
        .arg(&requirements))?;
    if !entry.is_file() {
        return Err(Failure::new(format!(
            "xtask: pip ended well and {} is not there",
            entry.display()
        )));
    }
    // Last, so that an interrupted installation is done again.
    fs::write(&stamp, wanted).map_err(failed("write", &stamp))?;
    Ok(entry)
}

/// promtool alone, out of Debian's package of Prometheus (19 MB): installing that would start a server, and bring a web page.
fn promtool(root: &Path) -> Result<PathBuf, Failure> {
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
fn has_venv() -> bool {
    let python = PYTHON.find().unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.args(["-c", "import venv, ensurepip"]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn install_missing_packages(wanted: &[&'static Package]) -> Result<(), Failure> {
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
    run(as_root("apt-get")?.arg("update"))?;
    run(as_root("apt-get")?
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&names))
}

/// `program` itself for root, else through sudo.
fn as_root(program: &str) -> Result<Command, Failure> {
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

/// The target folder of cargo.
pub(crate) fn target(root: &Path) -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => root.join(folder),
        None => root.join("target"),
    }
}

/// `program` in the search path, or in the `sbin` folders that users' paths often lack.
/// Where Debian has its libraries: in a folder for the kind of machine.
fn library(name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join(name)))
        .find(|candidate| candidate.is_file())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn failed<'a>(verb: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Failure + 'a {
    move |error| Failure::new(format!("xtask: {verb} {}: {error}", path.display()))
}
