//! Clients of S3, as their users install them, before attache and before moto: what each sees is the same, but for what
//! `s3_clients/known.rs` justifies.
//!
//! Each runs a script (`s3_clients/*.py`, `*.mjs`) that prints a line of JSON for a step. Where a ground would show nothing new of a client
//! it has no test there: over https only those that frame or sign bodies otherwise then; of boto3 of 2024 and awscli, Azure has
//! seen the requests by boto3; more than a thousand objects are not sent to Azurite, which takes a minute for them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "s3_clients/compare.rs"]
mod compare;
#[path = "s3_clients/ground.rs"]
mod ground;
#[path = "s3_clients/known.rs"]
mod known;
#[path = "s3_clients/run.rs"]
mod run;
mod support;

use std::collections::HashMap;
use std::sync::Mutex;

use compare::compare;
use ground::{Ground, Kind};
use known::known;
use run::{Client, Line};

/// The same script before both.
async fn try_client(client: Client, kind: Kind) {
    let Some(mut theirs) = before_moto(client).await else {
        return;
    };
    let Some(ground) = Ground::attache(kind).await else {
        return;
    };
    if !ground.many {
        theirs.retain(|line| !line["step"].as_str().unwrap().starts_with("many: "));
    }
    let ours = client.run(&ground).expect("it ran before");
    compare(&theirs, &ours, &known(client, kind));
}

/// What a client sees of moto, once for all grounds.
async fn before_moto(client: Client) -> Option<Vec<Line>> {
    static SEEN: Mutex<Option<HashMap<Client, Vec<Line>>>> = Mutex::new(None);
    // Two tests of a client that begin together both ask, which costs time and does no harm.
    if let Some(lines) = SEEN.lock().unwrap().get_or_insert_default().get(&client) {
        return Some(lines.clone());
    }
    let moto = Ground::moto().await?;
    let lines = client.run(&moto)?;
    SEEN.lock()
        .unwrap()
        .get_or_insert_default()
        .insert(client, lines.clone());
    Some(lines)
}

macro_rules! tried {
    ($($name:ident: $client:ident on $kind:ident;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                try_client(Client::$client, Kind::$kind).await;
            }
        )+
    };
}

tried! {
    boto3_sees_what_it_sees_of_moto: Boto on Http;
    boto3_sees_the_same_over_https: Boto on Https;
    boto3_sees_the_same_on_a_stand_in_for_azure: Boto on FakeAzure;
    boto3_sees_the_same_on_azurite: Boto on Azurite;
    boto3_sees_the_same_on_a_stand_in_for_s3: Boto on FakeS3;
    boto3_of_2024_sees_what_it_sees_of_moto: BotoOld on Http;
    boto3_of_2024_sees_the_same_over_https: BotoOld on Https;
    the_aws_sdk_sees_what_it_sees_of_moto: AwsSdk on Http;
    the_aws_sdk_sees_the_same_over_https: AwsSdk on Https;
    the_aws_sdk_sees_the_same_on_a_stand_in_for_azure: AwsSdk on FakeAzure;
    the_aws_sdk_sees_the_same_on_azurite: AwsSdk on Azurite;
    growi_sees_what_it_sees_of_moto: Growi on Http;
    growi_sees_the_same_on_a_stand_in_for_azure: Growi on FakeAzure;
    growi_sees_the_same_on_azurite: Growi on Azurite;
    growi_sees_the_same_on_a_stand_in_for_google: Growi on FakeGcs;
    minio_sees_what_it_sees_of_moto: Minio on Http;
    minio_sees_the_same_over_https: Minio on Https;
    minio_sees_the_same_on_azurite: Minio on Azurite;
    awscli_prints_what_it_prints_of_moto: AwsCli on Http;
    rclone_prints_what_it_prints_of_moto: Rclone on Http;
    rclone_prints_the_same_on_azurite: Rclone on Azurite;
    rclone_prints_the_same_on_a_stand_in_for_s3: Rclone on FakeS3;
    s3cmd_prints_what_it_prints_of_moto: S3Cmd on Http;
    s3cmd_prints_the_same_on_a_stand_in_for_azure: S3Cmd on FakeAzure;
}
