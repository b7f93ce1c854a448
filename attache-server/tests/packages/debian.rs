//! The Debian package, installed by dpkg into a root of its own and run from there.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Listening, in_repository, is_root, succeeds};

/// The package that `cargo xtask package` has just made.
fn package() -> String {
    let package = std::env::var("ATTACHE_TEST_DEBIAN_PACKAGE");
    package.expect("ATTACHE_TEST_DEBIAN_PACKAGE: cargo xtask package says which one")
}

/// Held against the repository each time, as nothing else of the package is.
#[test]
fn what_the_debian_package_is_made_of_is_there() {
    let manifest = fs::read_to_string(in_repository("attache-server/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let here = in_repository("attache-server");
    for asset in deb["assets"].as_array().unwrap() {
        let source = asset[0].as_str().unwrap();
        if source.starts_with("target/") {
            continue;
        }
        let found = match source.split_once("/*") {
            Some((folder, end)) => fs::read_dir(here.join(folder))
                .unwrap()
                .any(|entry| entry.unwrap().path().to_str().unwrap().ends_with(end)),
            None => here.join(source).is_file(),
        };
        assert!(found, "{source}");
    }
    let scripts = here.join(deb["maintainer-scripts"].as_str().unwrap());
    let postinst = fs::read_to_string(scripts.join("postinst")).unwrap();
    assert!(postinst.contains("\n#DEBHELPER#\n"), "{postinst}");
    let changes = fs::read_to_string(scripts.join("changelog")).unwrap();
    let version = format!("attache ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changes.starts_with(&version), "{changes}");
    let units = here.join(deb["systemd-units"]["unit-scripts"].as_str().unwrap());
    for unit in ["attache.service", "attache.sysusers"] {
        assert!(units.join(unit).is_file(), "{unit}");
    }
}

#[test]
#[ignore = "cargo xtask package runs it, on what it has made"]
fn the_debian_package_says_what_it_is_what_it_needs_and_what_it_brings() {
    let package = package();
    let dpkg_deb = |arguments: &[&str]| {
        let mut command = Command::new("dpkg-deb");
        command.arg(arguments[0]).arg(&package);
        let output = succeeds(command.args(&arguments[1..]));
        String::from_utf8(output.stdout).unwrap()
    };
    let field = |name: &str| dpkg_deb(&["--field", name]).trim().to_owned();
    assert_eq!(field("Package"), "attache");
    let version = field("Version");
    assert_eq!(version, format!("{}-1", env!("CARGO_PKG_VERSION")));
    let depends = field("Depends");
    for wanted in ["libc6 (>= ", "systemd-sysusers"] {
        assert!(depends.contains(wanted), "{wanted}: {depends}");
    }
    let content = dpkg_deb(&["--contents"]);
    for wanted in [
        "-rwxr-xr-x 0/0 ",
        "./usr/bin/attache\n",
        "./etc/attache/attache.toml\n",
        "./usr/lib/systemd/system/attache.service\n",
        "./usr/lib/sysusers.d/attache.conf\n",
        "./usr/share/doc/attache/copyright\n",
        "./usr/share/doc/attache/LICENSE-APACHE\n",
        "./usr/share/doc/attache/LICENSE-MIT\n",
        "./usr/share/doc/attache/docs/operating.md\n",
        "./usr/share/doc/attache/examples/nginx/attache.conf\n",
    ] {
        assert!(content.contains(wanted), "{wanted}: {content}");
    }
    // What an administrator changes is kept by an upgrade.
    let conffiles = dpkg_deb(&["--info", "conffiles"]);
    assert_eq!(conffiles.trim(), "/etc/attache/attache.toml");
}

/// A root in which nothing is installed.
struct Root {
    folder: PathBuf,
}

impl Root {
    fn new(folder: PathBuf) -> Self {
        let dpkg = folder.join("var/lib/dpkg");
        for inside in ["info", "updates", "triggers"] {
            fs::create_dir_all(dpkg.join(inside)).unwrap();
        }
        fs::create_dir_all(folder.join("etc")).unwrap();
        fs::write(dpkg.join("status"), "").unwrap();
        // Not only for root: who runs it has to come in.
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// dpkg on this root. Scripts are those of the package, run outside of it and told where it is; what it depends on is not there. In
    /// namespaces where nobody sees a systemd, so that no service of this machine is touched.
    fn dpkg(&self, arguments: &[&str]) {
        succeeds(
            Command::new("unshare")
                .args(["--mount", "sh", "-c", ALONE, "sh"])
                .arg("dpkg")
                .arg("--root")
                .arg(&self.folder)
                .args(["--force-depends", "--force-script-chrootless"])
                .args(arguments)
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("DEBIAN_FRONTEND", "noninteractive"),
        );
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The number of the user of the service, or of its group: the same column in both files.
    fn number(&self, file: &str) -> Option<u32> {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let row = text.lines().find(|line| line.starts_with("attache:"))?;
        row.split(':').nth(2)?.parse().ok()
    }
}

const ALONE: &str = "mount -t tmpfs none /run && exec \"$@\"";

#[test]
#[ignore = "cargo xtask package runs it, on what it has made"]
fn the_debian_package_installs_runs_and_leaves_what_was_stored_when_it_is_purged() {
    if !is_root("installing the Debian package") {
        return;
    }
    let package = package();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let root = Root::new(folder.path().join("root"));
    root.dpkg(&["--install", &package]);

    // The configuration is for the service and for nobody else.
    let (user, group) = (root.number("etc/passwd"), root.number("etc/group"));
    let (user, group) = (user.unwrap(), group.unwrap());
    assert!(user > 0 && group > 0);
    let config = root.path("etc/attache/attache.toml");
    for (path, mode) in [(root.path("etc/attache"), 0o750), (config.clone(), 0o640)] {
        let about = fs::metadata(&path).unwrap();
        let found = (about.uid(), about.gid(), about.mode() & 0o7777);
        assert_eq!(found, (0, group, mode), "{}", path.display());
    }
    // It is started when somebody has said what is stored where.
    let wanted = root.path("etc/systemd/system/multi-user.target.wants/attache.service");
    assert!(fs::symlink_metadata(wanted).is_err());

    // As the unit runs it.
    let state = root.path("var/lib/attache");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(user), Some(group)).unwrap();
    let mut child = Command::new(root.path("usr/bin/attache"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .current_dir(&state)
        .env_clear()
        .uid(user)
        .gid(group)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Listening::of(&mut child);
    server.works(&[]);
    drop(server);
    succeeds(Command::new("kill").args(["-TERM", &child.id().to_string()]));
    assert!(child.wait().unwrap().success());

    // An upgrade leaves what an administrator has changed, and so does a removal.
    let changed = fs::read_to_string(&config).unwrap() + "# ours\n";
    fs::write(&config, &changed).unwrap();
    fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).unwrap();
    root.dpkg(&["--install", &package]);
    root.dpkg(&["--remove", "attache"]);
    assert!(!root.path("usr/bin/attache").exists());
    assert_eq!(fs::read_to_string(&config).unwrap(), changed);
    assert_eq!(fs::metadata(&config).unwrap().mode() & 0o7777, 0o600);

    // A purge takes the configuration, and nothing that was stored.
    root.dpkg(&["--purge", "attache"]);
    assert!(!config.exists());
    assert!(state.join("attache-data/attache.db").is_file());
    assert_eq!(root.number("etc/passwd"), Some(user), "files keep an owner");
}
