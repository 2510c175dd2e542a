//! Builds that would stay, or leave something behind.

use grapnel_e2e::Cluster;

use super::attack;

#[tokio::test]
async fn b5_what_never_ends_in_a_pod_and_what_stays_behind_is_ended() {
    let cluster = Cluster::find().await;
    let script = "trap '' TERM INT HUP
(setsid sleep 987651 &)
(setsid bash -c \"trap '' TERM; exec -a b5-daemon sleep 987652\" &)
sleep 1
exec -a b5-deaf sleep 987653";
    let came = attack(&cluster, "b5", script, &["--timeout", "5"]).await;
    came.failed("TIMED_OUT");
    let left = cluster.on_node("1", &["pgrep", "-af", "b5-d(aemon|eaf)|sleep 98765[123]"]);
    assert!(left.is_empty(), "{left}");
}

#[tokio::test]
async fn b13_killing_the_first_process_of_a_pod_ends_nothing_of_ours() {
    let cluster = Cluster::find().await;
    let script = "kill -9 1; kill -TERM 1; kill -STOP 1; kill -SEGV 1; sleep 0.3; echo still here";
    let came = attack(&cluster, "b13", script, &[]).await;
    came.says("still here");
    assert!(came.is_ready(), "{}", came.log);
}

#[tokio::test]
async fn b14_trees_that_a_pod_has_closed_and_made_deep_go_away() {
    let cluster = Cluster::find().await;
    let script = "mkdir -p closed/deep node_modules/closed && touch closed/deep/file
chmod 000 closed/deep closed node_modules/closed
mkdir /cache/closed && touch /cache/closed/file && chmod 000 /cache/closed
chattr +i dist/index.html 2>/dev/null && echo IMMUTABLE
python3 -c \"
import os
for _ in range(400):
    os.mkdir('d' * 100); os.chdir('d' * 100)
\"
exit 1";
    let came = attack(&cluster, "b14", script, &[]).await;
    came.failed("BUILD_FAILED");
    assert!(!came.log.contains("IMMUTABLE"), "{}", came.log);
}

#[tokio::test]
async fn b16_a_pod_that_speaks_to_the_runners_socket_harms_only_itself() {
    let cluster = Cluster::find().await;
    let script = r"python3 - <<'PYTHON'
import socket, struct, os
path = '/run/grapnel/link/socket'
for round in range(200):
    try:
        s = socket.socket(socket.AF_UNIX); s.settimeout(0.2); s.connect(path)
        s.send(os.urandom(64)); s.send(struct.pack('<QBI', 1, 4, 0xffffffff)); s.send(b'x' * 100000)
    except OSError:
        pass
try:
    os.unlink(path); print('UNLINKED')
except OSError:
    print('it stays')
PYTHON
echo survived";
    // Its own result may be wrong; nothing else is, and another one was built after it.
    let came = attack(&cluster, "b16", script, &[]).await;
    came.says("it stays");
    assert!(!came.log.contains("UNLINKED"), "{}", came.log);
}
