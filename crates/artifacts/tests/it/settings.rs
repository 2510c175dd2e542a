//! Where artifacts are, as it is set.

use std::collections::BTreeMap;

use grapnel_artifacts::{SETTINGS, StoreConfig};
use grapnel_runtime::{
    Settings,
    settings::{Sources, shared},
};

fn read(env: &[(&str, &str)]) -> Result<StoreConfig, String> {
    let env = env.iter().map(|(name, value)| (format!("GRAPNEL_{name}"), (*value).to_owned()));
    let env: BTreeMap<_, _> = env.chain([("GRAPNEL_DATA_DIR".to_owned(), "/data".to_owned())]).collect();
    let sources = Sources { env: env.into_iter().collect(), ..Sources::default() };
    let mut settings = Settings::load(&[shared::SETTINGS, SETTINGS], &sources);
    let config = StoreConfig::read(&mut settings);
    settings.finish().map_err(|error| error.to_string())?;
    Ok(config.unwrap())
}

const KEY: [(&str, &str); 2] =
    [("ARTIFACTS_ACCESS_KEY_ID", "harbour"), ("ARTIFACTS_SECRET_ACCESS_KEY", "s3cret")];

#[test]
fn artifacts_are_below_the_data_directory_where_nothing_else_is_said() {
    assert_eq!(read(&[]).unwrap().place(), "/data/artifacts");
    assert_eq!(read(&[("ARTIFACTS_URL", "file:///mnt/shared%20disk")]).unwrap().place(), "/mnt/shared disk");
}

#[test]
fn a_bucket_is_named_by_its_address_its_server_and_a_key() {
    let amazon = read(&[&KEY[..], &[("ARTIFACTS_URL", "s3://sites")]].concat()).unwrap();
    assert_eq!(amazon.place(), "s3://sites in us-east-1");
    let own = [("ARTIFACTS_URL", "s3://sites/a/b/"), ("ARTIFACTS_ENDPOINT", "http://127.0.0.1:9000")];
    let own = read(&[&KEY[..], &own].concat()).unwrap();
    assert_eq!(own.place(), "s3://sites at http://127.0.0.1:9000");
    own.open().unwrap();
    assert!(!format!("{own:?}").contains("s3cret"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_no_secret_is() {
    let wrong = [
        ("ARTIFACTS_URL", "s3://sites"),
        ("ARTIFACTS_SECRET_ACCESS_KEY", "hunter2"),
        ("ARTIFACTS_PATH_STYLE", "maybe"),
        ("CA_BUNDLE", "/nowhere"),
    ];
    let told = read(&wrong).unwrap_err();
    insta::assert_snapshot!(told, @r"
    the settings are wrong:
      artifacts.access_key_id (GRAPNEL_ARTIFACTS_ACCESS_KEY_ID): is missing: artifacts.url names a bucket, and nobody gets in without a key
      GRAPNEL_ARTIFACTS_PATH_STYLE = `maybe`: must be `true` or `false`
      GRAPNEL_CA_BUNDLE = `/nowhere`: cannot be read: No such file or directory (os error 2)
    ");
    for url in
        ["sites", "s3://", "s3:sites", "s3://sites?x=y", "s3://key@sites", "file://host/path", "http://x/"]
    {
        let told = read(&[&KEY[..], &[("ARTIFACTS_URL", url)]].concat()).unwrap_err();
        assert!(told.contains("must be `file:///a/directory` or `s3://bucket/prefix`"), "{url}: {told}");
    }
    for endpoint in ["minio:9000", "ftp://minio", "https://minio/bucket", "https://key:secret@minio"] {
        let wrong = [("ARTIFACTS_URL", "s3://sites"), ("ARTIFACTS_ENDPOINT", endpoint)];
        let told = read(&[&KEY[..], &wrong].concat()).unwrap_err();
        assert!(told.contains("must be such as"), "{endpoint}: {told}");
    }
}
