//! `grapnel doctor` on a node, as docs/kubernetes.md says.

use grapnel_e2e::Cluster;

#[tokio::test]
async fn the_doctor_says_what_an_executor_has_of_its_cluster() {
    let cluster = Cluster::find().await;
    let doctor = ["-n", "grapnel", "exec", "ds/grapnel-executor", "--", "grapnel", "doctor"];
    let said = cluster.kubectl_says(&[&doctor[..], &["--output", "json"]].concat());
    let found: Vec<serde_json::Value> = serde_json::from_str(&said).expect(&said);
    let health = |check: &str| {
        let finding = found.iter().find(|finding| finding["check"] == check);
        finding.unwrap_or_else(|| panic!("{check}: {said}"))["health"].as_str().unwrap_or_default().to_owned()
    };
    for check in ["kubernetes", "permissions", "node", "mounts", "build cache", "artifacts"] {
        assert_eq!(health(check), "ok", "{check}: {said}");
    }
    // No plugin of this cluster knows NetworkPolicy, and the operator chose the open network.
    assert_eq!(health("builds' network"), "warning", "{said}");
}
