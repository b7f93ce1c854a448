//! What describes a deployment: manifests and a chart for Kubernetes, a file for Compose. They are held against the schemas of those who
//! read them, and against the binary that they run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::command;
use crate::{fails, in_repository, said, succeeds};

/// The oldest that the chart says that it is for, one in between, and the newest that there is a schema of.
const KUBERNETES: [&str; 3] = ["1.25", "1.31", "1.37"];

/// Each document of a file of YAML.
fn documents(python: &Path, file: &Path) -> Vec<Value> {
    let script = "import json, sys, yaml; \
                  print(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))";
    let output = succeeds(Command::new(python).args(["-c", script]).arg(file));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Unknown fields are faults, too.
fn kubernetes(validate: &Path, version: &str, file: &Path) -> Command {
    let mut command = Command::new(validate);
    command
        .args(["--strict", "--kubernetes-version", version])
        .arg(file);
    command
}

fn one<'a>(documents: &'a [Value], kind: &str) -> Option<&'a Value> {
    let mut of_kind = documents.iter().filter(|document| document["kind"] == kind);
    let found = of_kind.next();
    assert!(of_kind.next().is_none(), "one {kind} at most");
    found
}

/// What `attache config` makes of the environment of a container, and of its file.
fn configured(container: &Value, file: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut config = command(folder.path(), &[]);
    config.arg("config");
    for variable in container["env"].as_array().unwrap() {
        let text = |key: &str| variable[key].as_str().unwrap();
        config.env(text("name"), text("value"));
    }
    if let Some(file) = file {
        let path = folder.path().join("attache.toml");
        fs::write(&path, file).unwrap();
        config.env("ATTACHE_CONFIG", path);
    }
    // What the platform puts there.
    config.envs([
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token"),
        ("ATTACHE_PORT", "tcp://10.0.0.1:80"),
    ]);
    said(&succeeds(&mut config))
}

/// What both the manifests and the chart promise of their pods.
fn locked_down(documents: &[Value]) -> &Value {
    let deployment = one(documents, "Deployment").unwrap();
    let pod = &deployment["spec"]["template"];
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["spec"]["securityContext"]["runAsUser"], 65_532);
    let container = &pod["spec"]["containers"][0];
    let allowed = &container["securityContext"];
    assert_eq!(allowed["readOnlyRootFilesystem"], true);
    assert_eq!(allowed["allowPrivilegeEscalation"], false);
    assert_eq!(allowed["capabilities"]["drop"][0], "ALL");
    let image = container["image"].as_str().unwrap();
    let version = format!(":{}", env!("CARGO_PKG_VERSION"));
    assert!(image.ends_with(&version), "{image}");
    // Whoever is asked finds the pods.
    let labels = pod["metadata"]["labels"].as_object().unwrap();
    for selector in [
        &deployment["spec"]["selector"]["matchLabels"],
        &one(documents, "Service").unwrap()["spec"]["selector"],
    ] {
        for (label, value) in selector.as_object().unwrap() {
            assert_eq!(labels.get(label), Some(value), "{label}");
        }
    }
    // What is mounted is there to be mounted.
    let named = |list: &Value| -> BTreeSet<String> {
        let items = list.as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        named(&container["volumeMounts"]),
        named(&pod["spec"]["volumes"])
    );
    container
}

#[test]
fn kubernetes_takes_the_manifests_and_a_mistake_in_them_would_be_found() {
    let Some(validate) = test_support::kubernetes_validate() else {
        return;
    };
    let python = validate.with_file_name("python");
    let manifests = in_repository("deploy/kubernetes/attache.yaml");
    for version in KUBERNETES {
        succeeds(&mut kubernetes(&validate, version, &manifests));
    }
    let container = locked_down(&documents(&python, &manifests)).clone();
    configured(&container, None);

    let text = fs::read_to_string(&manifests).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mistaken = folder.path().join("mistaken.yaml");
    for (right, wrong) in [
        ("replicas: 3", "replicas: three"),
        ("readOnlyRootFilesystem", "readonlyRootFilesystem"),
        ("targetPort: http", "targetPort: [http]"),
        (
            "maxUnavailable: 1\n  selector",
            "maxUnavailable: 1\n  select",
        ),
    ] {
        assert!(text.contains(right), "{right}");
        fs::write(&mistaken, text.replace(right, wrong)).unwrap();
        fails(&mut kubernetes(&validate, KUBERNETES[2], &mistaken));
    }
}

/// Helm, which keeps its own files in `folder`.
fn helm(helm: &Path, folder: &Path) -> Command {
    let mut command = Command::new(helm);
    command
        .current_dir(in_repository("deploy/helm"))
        .env("HELM_CACHE_HOME", folder)
        .env("HELM_CONFIG_HOME", folder)
        .env("HELM_DATA_HOME", folder)
        .env_remove("KUBECONFIG");
    command
}

/// No values, and each file of them that we ship.
fn examples() -> Vec<Option<PathBuf>> {
    let files = fs::read_dir(in_repository("deploy/helm/examples")).unwrap();
    let files = files.map(|entry| Some(entry.unwrap().path()));
    let all: Vec<_> = std::iter::once(None).chain(files).collect();
    assert!(all.len() > 2, "{all:?}");
    all
}

#[test]
fn helm_and_kubernetes_take_the_chart_and_attache_what_it_configures() {
    let (Some(program), Some(validate)) =
        (test_support::helm(), test_support::kubernetes_validate())
    else {
        return;
    };
    let python = validate.with_file_name("python");
    let folder = tempfile::tempdir().unwrap();
    for values in examples() {
        let with = |arguments: &[&str]| {
            let mut command = helm(&program, folder.path());
            command.args(arguments);
            if let Some(values) = &values {
                command.arg("--values").arg(values);
            }
            command
        };
        succeeds(&mut with(&["lint", "--strict", "attache"]));
        let rendered = folder.path().join("rendered.yaml");
        let output = succeeds(&mut with(&["template", "files", "attache"]));
        fs::write(&rendered, output.stdout).unwrap();
        for version in KUBERNETES {
            succeeds(&mut kubernetes(&validate, version, &rendered));
        }
        let documents = documents(&python, &rendered);
        let container = locked_down(&documents);
        let file = &one(&documents, "ConfigMap").unwrap()["data"]["attache.toml"];
        let file = file.as_str().unwrap();
        let shown = configured(container, Some(file));
        // The file is the one that is read: everything of it is in effect.
        for line in file.lines().map(str::trim) {
            // One mode may be written as such, and is shown in a list.
            let line = line.replace("mode = \"token\"", "mode = [\"token\"]");
            assert!(shown.contains(&line), "{values:?}: {line}: {shown}");
        }
        assert!(shown.contains("0.0.0.0:8080"), "{shown}");
        let replicas = &one(&documents, "Deployment").unwrap()["spec"]["replicas"];
        let several = replicas.as_u64().unwrap() > 1;
        assert_eq!(one(&documents, "PodDisruptionBudget").is_some(), several);
    }
}

#[test]
fn the_chart_refuses_what_would_go_wrong_later() {
    let Some(program) = test_support::helm() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let postgres = "config.catalog.url=postgres://attache@db/attache";
    for (set, words) in [
        (vec!["replicas=2"], "config.catalog.url"),
        (vec!["replicas=2", postgres], "key.secret"),
        (
            vec!["replicas=2", postgres, "key.secret=key"],
            "config.storage",
        ),
        (vec!["persistence.enabled=false"], "would go with the pod"),
        (
            vec!["persistence.enabled=false", postgres],
            "would go with the pod",
        ),
        (vec!["config.auth.mode=open"], "/config/auth/mode"),
        (vec!["config.auth.mode={jwt,open}"], "/config/auth/mode"),
        (vec!["replica=2"], "'replica'"),
        (vec!["service.port=http"], "/service/port"),
        (vec!["image.digest=latest"], "/image/digest"),
    ] {
        let mut command = helm(&program, folder.path());
        command.args(["template", "files", "attache"]);
        for set in &set {
            command.arg("--set").arg(set);
        }
        let refused = fails(&mut command);
        assert!(refused.contains(words), "{set:?}: {refused}");
    }
}

#[test]
fn compose_takes_its_file_with_three_replicas_postgresql_and_nginx() {
    let (Some(node), Some(dclint), Some(validate)) = (
        test_support::node(),
        test_support::dclint(),
        test_support::kubernetes_validate(),
    ) else {
        return;
    };
    let lint = |file: &Path| {
        let mut command = Command::new(&node);
        command.arg(&dclint).arg("--quiet").arg(file);
        command
    };
    let file = in_repository("deploy/compose/compose.yaml");
    succeeds(&mut lint(&file));
    let text = fs::read_to_string(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mistaken = folder.path().join("compose.yaml");
    for (right, wrong) in [
        ("read_only:", "readonly:"),
        ("condition: service_healthy", "condition: healthy"),
    ] {
        assert!(text.contains(right), "{right}");
        fs::write(&mistaken, text.replace(right, wrong)).unwrap();
        fails(&mut lint(&mistaken));
    }

    let documents = documents(&validate.with_file_name("python"), &file);
    let services = documents[0]["services"].as_object().unwrap();
    let replicas: BTreeMap<&String, &Value> = services
        .iter()
        .filter(|(_, service)| service["image"] == "attache")
        .collect();
    assert_eq!(replicas.len(), 3);
    let first = replicas.values().next().unwrap();
    for (name, service) in &replicas {
        assert_eq!(service, first, "{name} is like the others");
        assert_eq!(service["read_only"], true);
    }
    // nginx asks all of them, and nobody else.
    let nginx = fs::read_to_string(in_repository("deploy/nginx/replicas.conf")).unwrap();
    let asked: BTreeSet<&str> = nginx
        .lines()
        .filter_map(|line| line.trim().strip_prefix("server "))
        .filter_map(|line| line.split_once(":8080 "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(asked, replicas.keys().map(|name| name.as_str()).collect());
    // What it mounts of the repository is there.
    let mounted = services["nginx"]["volumes"][0].as_str().unwrap();
    let mounted = mounted.split(':').next().unwrap();
    assert!(file.with_file_name(mounted).is_file(), "{mounted}");
    for image in ["nginx", "database"] {
        let image = services[image]["image"].as_str().unwrap();
        let (name, version) = image.split_once(':').unwrap();
        assert!(["nginx", "postgres"].contains(&name) && !version.is_empty());
    }
}
