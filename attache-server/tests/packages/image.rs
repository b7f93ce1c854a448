//! The container image, unpacked by umoci and run by runc, which is what Docker and Kubernetes run containers with.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::noise;
use crate::{Listening, fails, is_root, said, stripped, succeeds};

/// User and group in the image.
const USER: u32 = 65_532;

/// An image of the binary under test, in `folder`; `None` without the tools.
fn make(folder: &Path) -> Option<PathBuf> {
    let xtask = test_support::xtask()?;
    let out = folder.join("image");
    succeeds(
        Command::new(xtask)
            .args(["image", "--binary"])
            .arg(stripped())
            .arg(&out)
            .env("SOURCE_DATE_EPOCH", "1700000000"),
    );
    Some(out)
}

/// What the image says of itself: the blob that the manifest names as its configuration.
fn config(image: &Path) -> Value {
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let index = read(&image.join("index.json"));
    let manifest = read(&blob(image, &index["manifests"][0]));
    read(&blob(image, &manifest["config"]))
}

fn blob(image: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap();
    image.join("blobs").join(digest.replace(':', "/"))
}

fn blobs(image: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(image.join("blobs/sha256")).unwrap();
    let files = files.map(|file| file.unwrap());
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .collect()
}

#[test]
fn an_image_is_what_the_specification_says_and_the_same_to_the_byte_each_time() {
    let (Some(validator), Some(umoci)) = (test_support::oci_image_tool(), test_support::umoci())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = make(folder.path()) else {
        return;
    };
    let validate = |image: &Path| {
        let mut command = Command::new(&validator);
        command
            .args(["validate", "--type", "image", "--ref"])
            .arg(format!("name={}", env!("CARGO_PKG_VERSION")))
            .arg(image);
        command
    };
    succeeds(&mut validate(&image));
    succeeds(
        Command::new(umoci)
            .args(["stat", "--json", "--image"])
            .arg(format!("{}:{}", image.display(), env!("CARGO_PKG_VERSION"))),
    );

    let config = config(&image);
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(config["os"], "linux");
    let run = &config["config"];
    assert_eq!(run["User"], format!("{USER}:{USER}"));
    assert_eq!(run["Entrypoint"], json!(["/attache"]));
    assert_eq!(run["Cmd"], json!(["serve"]));
    assert_eq!(run["Volumes"], json!({ "/var/lib/attache": {} }));
    assert_eq!(
        run["Labels"]["org.opencontainers.image.version"],
        env!("CARGO_PKG_VERSION")
    );

    let made = blobs(&image);
    assert_eq!(made.len(), 4, "two layers and two documents");
    for (name, bytes) in &made {
        let digest = Sha256::digest(bytes);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(*name, digest);
    }
    let again = tempfile::tempdir().unwrap();
    let again = make(again.path()).map(|image| (blobs(&image), fs::read(image.join("index.json"))));
    let (blobs_again, index_again) = again.unwrap();
    assert!(made == blobs_again, "the blobs are the same");
    assert_eq!(
        fs::read(image.join("index.json")).unwrap(),
        index_again.unwrap()
    );

    // It is not written into something else, and what is broken is found.
    let xtask = test_support::xtask().unwrap();
    let refused = fails(
        Command::new(xtask)
            .args(["image", "--binary"])
            .arg(stripped())
            .arg(&image),
    );
    assert!(refused.contains("is not empty"), "{refused}");
    let (largest, bytes) = made.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut bytes = bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(image.join("blobs/sha256").join(largest), bytes).unwrap();
    fails(&mut validate(&image));
}

/// A running container, which ends with its owner.
struct Container {
    runc: PathBuf,
    state: PathBuf,
    log: PathBuf,
    child: Child,
}

/// An image unpacked for runc.
struct Bundle {
    runc: PathBuf,
    folder: PathBuf,
    config: Value,
}

impl Bundle {
    /// As umoci makes it of the image, with a root that is read-only and no capability.
    fn unpack(runc: &Path, umoci: &Path, image: &Path, folder: &Path) -> Self {
        succeeds(
            Command::new(umoci)
                .args(["unpack", "--image"])
                .arg(format!("{}:{}", image.display(), env!("CARGO_PKG_VERSION")))
                .arg(folder),
        );
        let config = fs::read(folder.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["root"]["readonly"] = json!(true);
        config["process"]["terminal"] = json!(false);
        config["process"]["capabilities"] = json!({});
        // Control groups are another matter, and not everywhere the same.
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup");
        Self {
            runc: runc.to_owned(),
            folder: folder.to_owned(),
            config,
        }
    }

    /// As `docker run --network host --volume DATA:/var/lib/attache --env …`, with an address that only this machine reaches.
    fn with_volume(mut self, data: &Path) -> Self {
        let namespaces = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        let mounts = self.config["mounts"].as_array_mut().unwrap();
        // The image says that there is a volume; umoci makes it one in memory.
        let volume = mounts
            .iter_mut()
            .find(|mount| mount["destination"] == "/var/lib/attache")
            .unwrap();
        *volume = json!({
            "destination": "/var/lib/attache",
            "type": "bind",
            "source": data,
            "options": ["bind", "rw", "nosuid", "nodev", "noexec"],
        });
        let variables = self.config["process"]["env"].as_array_mut().unwrap();
        let listen = variables
            .iter_mut()
            .find(|variable| **variable == "ATTACHE_SERVER__LISTEN=0.0.0.0:8080")
            .unwrap();
        *listen = json!("ATTACHE_SERVER__LISTEN=127.0.0.1:0");
        variables.push(json!("ATTACHE_AUTH__MODE=token"));
        self
    }

    /// A container of it that runs `arguments` of attache, or what the image says.
    fn run(&self, arguments: Option<&[&str]>) -> Container {
        let mut config = self.config.clone();
        if let Some(arguments) = arguments {
            let all: Vec<&str> = ["/attache"].iter().chain(arguments).copied().collect();
            config["process"]["args"] = json!(all);
        }
        fs::write(self.folder.join("config.json"), config.to_string()).unwrap();
        let state = self.folder.join("state");
        let log = self.folder.join("log");
        let child = Command::new(&self.runc)
            .arg("--root")
            .arg(&state)
            .arg("run")
            .arg("--bundle")
            .arg(&self.folder)
            .arg(NAME)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Container {
            runc: self.runc.clone(),
            state,
            log,
            child,
        }
    }
}

/// Names are by the folder of the state, of which each container here has its own.
const NAME: &str = "attache";

impl Container {
    fn runc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.runc);
        command.arg("--root").arg(&self.state).args(arguments);
        command
    }

    /// Another process of attache in it, as by `docker exec`.
    fn exec(&self, arguments: &[&str]) -> Output {
        let mut command = self.runc(&["exec", NAME, "/attache"]);
        succeeds(command.args(arguments))
    }

    /// Waits until it ends.
    fn output(mut self) -> Output {
        let status = self.child.wait().unwrap();
        let mut stdout = Vec::new();
        if let Some(mut out) = self.child.stdout.take() {
            out.read_to_end(&mut stdout).unwrap();
        }
        Output {
            status,
            stdout,
            stderr: fs::read(&self.log).unwrap(),
        }
    }

    /// Ends it as engines do, and as the image says.
    fn stop(self) -> Output {
        succeeds(&mut self.runc(&["kill", NAME, "TERM"]));
        self.output()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What has ended is not there any more.
        let _ = self.runc(&["delete", "--force", NAME]).output();
        let _ = self.child.wait();
    }
}

/// Everything below a folder, with what changes when somebody writes to it.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, u32, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                folders.push(path.clone());
            }
            let time = (about.mtime(), about.mtime_nsec());
            found.insert(
                path,
                (about.mode(), about.uid(), about.size(), time.0, time.1),
            );
        }
    }
    found
}

#[test]
fn the_image_runs_without_rights_and_writes_to_nothing_but_its_volume() {
    let (Some(umoci), Some(runc)) = (test_support::umoci(), test_support::runc()) else {
        return;
    };
    if !is_root("running the container image") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = make(folder.path()) else {
        return;
    };
    let bundle = Bundle::unpack(&runc, &umoci, &image, &folder.path().join("bundle"));
    let root = bundle.folder.join("rootfs");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(USER), Some(USER)).unwrap();

    // It has no shell, and nothing that its user could change but the folder of the volume.
    for shell in ["bin/sh", "usr/bin/sh", "bin/bash", "usr/bin/dpkg"] {
        assert!(!root.join(shell).exists(), "{shell}");
    }
    let before = snapshot(&root);
    for (path, (mode, user, ..)) in &before {
        let volume = path.ends_with("var/lib/attache");
        assert_eq!(*user, if volume { USER } else { 0 }, "{}", path.display());
        assert_eq!(mode & 0o6022, 0, "{}", path.display());
    }

    // As it is, it listens on all its addresses, so it does not start with everything open to everybody.
    let open = bundle.run(None).output();
    assert!(!open.status.success());
    assert!(said(&open).contains("auth.mode"), "{}", said(&open));

    let bundle = bundle.with_volume(&data);
    let create = [
        "token",
        "create",
        "--name",
        "test",
        "--scope",
        "read,write,delete",
    ];
    let token = bundle.run(Some(&create)).output();
    assert!(token.status.success(), "{}", said(&token));
    let token = String::from_utf8(token.stdout).unwrap();
    let bearer = format!("Bearer {}", token.trim());

    let mut container = bundle.run(None);
    let server = Listening::of(&mut container.child);
    let nobody = server.ask("POST", "/v1/attachments?filename=a", &[], b"hello");
    assert_eq!(nobody.status, 401, "{}", nobody.text());
    let headers = [("authorization", bearer.as_str())];
    server.works(&headers);
    let kept = server.ask(
        "POST",
        "/v1/attachments?filename=kept",
        &headers,
        &noise(100),
    );
    let id = kept.json()["id"].as_str().unwrap().to_owned();
    let url = format!("http://{}", server.address);
    container.exec(&["health", "--ready", "--url", &url]);
    let process = container.exec(&["ls", "--json"]);
    assert!(said(&process).contains(&id), "{}", said(&process));
    drop(server);
    let ended = container.stop();
    assert!(ended.status.success(), "{}", said(&ended));

    // Another container goes on with the same volume.
    let mut container = bundle.run(None);
    let server = Listening::of(&mut container.child);
    let fetched = server.ask("GET", &format!("/download/{id}"), &headers, b"");
    assert!(fetched.body == noise(100), "{}", fetched.text());
    drop(server);
    let ended = container.stop();
    assert!(ended.status.success(), "{}", said(&ended));

    assert!(data.join("attache-data/attache.db").is_file());
    assert_eq!(snapshot(&root), before, "the root is as it was");
}
