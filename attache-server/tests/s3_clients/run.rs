//! Runs a client's script before a server, and reads what it saw.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::ground::Ground;

/// What a client saw of one step: `step` is its name.
pub(crate) type Line = Map<String, Value>;

/// A program with its script and its packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// 1.44.8
    Boto,
    /// 1.35.99, before checksums were sent of its own accord.
    BotoOld,
    /// @aws-sdk/client-s3 3.1175.0
    AwsSdk,
    /// The same, as GROWI uses it.
    Growi,
    /// minio for JavaScript 8.0.7
    Minio,
    /// awscli 1.46.3
    AwsCli,
    /// 1.75.2
    Rclone,
    /// 2.4.0
    S3Cmd,
}

impl Client {
    /// The command line, without what it is told of a server; `None` where something is not installed.
    fn command(self) -> Option<Command> {
        let clients = test_support::s3_clients()?;
        let script = |name: &str| -> PathBuf {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3_clients");
            folder.join(name)
        };
        let python = |name: &str| {
            let mut command = Command::new(clients.with_file_name("python"));
            // No folder of compiled files beside the scripts.
            command.arg("-B").arg(script(name));
            command
        };
        let cli = |tool: &str, program: &Path| {
            let mut command = python("cli.py");
            command.arg(tool).arg(program);
            command
        };
        let node = |name: &str| {
            let packages = test_support::s3_node()?;
            let mut command = Command::new(test_support::node()?);
            command
                .args(["--no-warnings"])
                .arg(script(name))
                .env("S3_PACKAGES", packages.ancestors().nth(4)?);
            Some(command)
        };
        match self {
            Self::Boto => Some(python("boto.py")),
            Self::BotoOld => {
                let package = test_support::boto3_old()?;
                let mut command = python("boto.py");
                command.env("PYTHONPATH", package.ancestors().nth(2)?);
                Some(command)
            }
            Self::AwsSdk => node("aws.mjs"),
            Self::Growi => node("growi.mjs"),
            Self::Minio => node("minio.mjs"),
            Self::AwsCli => Some(cli("aws", &test_support::awscli()?)),
            Self::Rclone => Some(cli("rclone", &clients.with_file_name("rclone"))),
            Self::S3Cmd => Some(cli("s3cmd", &clients.with_file_name("s3cmd"))),
        }
    }

    /// Runs the script to its end; `None` where something is not installed.
    ///
    /// Panics if it fails, which it does when it meets what it cannot report as a step.
    pub(crate) fn run(self, ground: &Ground) -> Option<Vec<Line>> {
        let mut command = self.command()?;
        command
            .env("S3_ENDPOINT", &ground.endpoint)
            .env("S3_BUCKET", crate::ground::BUCKET)
            .env("S3_KEY", &ground.key)
            .env("S3_SECRET", &ground.secret)
            .stdin(Stdio::null());
        if ground.many {
            command.env("S3_MANY", "1");
        }
        for inherited in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            command.env_remove(inherited);
        }
        if let Some(certificate) = &ground.certificate {
            command
                .env("S3_CA", certificate)
                .env("NODE_EXTRA_CA_CERTS", certificate);
        }
        let output = command.output().expect("it starts");
        let stdout = String::from_utf8(output.stdout).expect("JSON");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{self:?} ended with {}\n{stderr}\n{}",
            output.status,
            ground.log()
        );
        let lines = stdout.lines();
        let lines = lines.map(|line| serde_json::from_str(line).expect("JSON"));
        Some(lines.collect())
    }
}
