//! Builds that reach for what is not theirs.

use grapnel_e2e::Cluster;

use super::{attack, attacked, hook_of};
use crate::{only_on, pod_of};

#[tokio::test]
async fn b6_a_pod_has_no_credential_no_socket_and_no_file_of_the_cluster_or_of_ours() {
    let cluster = Cluster::find().await;
    let script = r#"
ls -a /var/run/secrets /run/secrets 2>&1 | sed 's/^/secrets: /'
ls -a /run/grapnel/link 2>&1 | sed 's/^/link: /'
python3 - <<'PYTHON'
import os, stat
names = {'kubeconfig', 'admin.key', 'secret.key', 'token', 'docker.sock', 'containerd.sock', 'dockershim.sock'}
for top, directories, files in os.walk('/'):
    directories[:] = [name for name in directories if os.path.join(top, name) not in ('/proc', '/sys', '/opt', '/usr')]
    for name in files:
        path = os.path.join(top, name)
        if stat.S_ISSOCK(os.lstat(path).st_mode): print('socket:', path)
        if name in names or name.endswith('.journal'): print('file:', path)
PYTHON
cut -d' ' -f5 /proc/self/mountinfo | sed 's/^/mounted: /'
for host in kubernetes.default.svc 10.96.0.1; do
    for path in /api/v1/namespaces/grapnel/secrets /api/v1/nodes /api/v1/namespaces/grapnel-builds/pods; do
        echo "api $(curl -sk -m 3 -o /dev/null -w '%{http_code}' https://$host$path)"
    done
done
"#;
    let came = attack(&cluster, "b6", script, &[]).await;
    assert!(came.is_ready(), "{}", came.log);
    let found = |kind: &str| -> Vec<_> {
        came.log.lines().filter_map(|line| line.strip_prefix(kind)).map(str::to_owned).collect()
    };
    assert!(found("secrets: ").iter().all(|line| line.contains("No such file")), "{}", came.log);
    assert!(found("file: ").is_empty(), "{}", came.log);
    // Its own runner's, and nobody else's.
    assert!(found("socket: ").iter().all(|socket| socket == "/run/grapnel/link/socket"), "{}", came.log);
    let mounted = found("mounted: ");
    assert!(mounted.iter().any(|place| place == "/workspace"), "{mounted:?}");
    for place in ["serviceaccount", "docker", "kubelet", "/var/lib", "/var/run/secrets"] {
        assert!(!mounted.iter().any(|mounted| mounted.contains(place)), "{place}: {mounted:?}");
    }
    // Without a network plugin it reaches the API server, and is nobody there.
    let answers = found("api ");
    assert_eq!(answers.len(), 6, "{}", came.log);
    assert!(answers.iter().all(|code| ["401", "403", "000"].contains(&code.as_str())), "{}", came.log);
    assert!(answers.iter().any(|code| code != "000"), "it was there to be asked: {}", came.log);
}

#[tokio::test]
async fn b7_a_pod_has_no_capability_no_gain_of_privilege_and_no_kernel_interface_to_play_with() {
    let cluster = Cluster::find().await;
    let script = r#"
id -u
grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t' ' '
refused() { if "$@" >/dev/null 2>&1; then echo "DONE: $*"; else echo "refused: $1"; fi; }
refused mknod /tmp/disk b 8 0
refused mknod /workspace/disk b 8 0
refused mount -t tmpfs none /mnt
refused mount -o remount,rw /
refused umount /run/grapnel/link
refused unshare --user --map-root-user true
refused unshare --mount true
refused unshare --net true
refused chroot / true
refused sh -c 'echo b > /proc/sysrq-trigger'
refused sh -c 'echo x > /proc/sys/kernel/core_pattern'
refused sh -c 'echo 1 > /sys/kernel/mm/transparent_hugepage/enabled'
refused sh -c 'echo 1 > /sys/fs/cgroup/pids/pids.max'
refused mkdir /sys/fs/cgroup/memory/own
refused touch /etc/x
refused touch /usr/bin/x
refused sh -c 'echo 192.0.2.1 registry.npmjs.org >> /etc/hosts'
refused su -c id
refused cat /proc/1/environ
refused cat /proc/1/mem
refused ls /proc/1/fd
refused ls /proc/1/root/
refused cat /proc/kcore
refused dmesg
refused renice -n -5 $$
cp /bin/bash /workspace/bash && chmod u+s /workspace/bash && /workspace/bash -p -c 'echo "setuid gives $(id -u)"'
python3 - <<'PYTHON'
import ctypes, ctypes.util
libc = ctypes.CDLL(ctypes.util.find_library('c'), use_errno=True)
# add_key, keyctl, bpf, userfaultfd, ptrace(ATTACH, 1), perf_event_open, kexec_load, init_module, open_by_handle_at,
# and unshare of the user namespace.
calls = {'add_key': (248, b'user', b'x', b'y', 1, -3), 'keyctl': (250, 0, -3, 0), 'bpf': (321, 0, 0, 0),
         'userfaultfd': (323, 0), 'ptrace': (101, 16, 1, 0, 0), 'perf': (298, 0, 0, -1, -1, 0),
         'kexec': (246, 0, 0, 0, 0), 'module': (175, 0, 0, b''), 'handle': (304, -100, 0, 0),
         'unshare': (272, 0x10000000)}
for name, arguments in calls.items():
    ctypes.set_errno(0)
    done = libc.syscall(*arguments)
    print(f'{name}: {"DONE" if done >= 0 else "refused"}')
PYTHON
echo "devices: $(ls /dev | tr '\n' ' ')"
"#;
    let came = attack(&cluster, "b7", script, &[]).await;
    assert!(came.is_ready() && !came.log.contains("DONE"), "{}", came.log);
    assert_eq!(came.log.matches("refused").count(), 25 + 10, "{}", came.log);
    for line in [
        "10001",
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "setuid gives 10001",
    ] {
        came.says(line);
    }
    let devices = came.log.lines().find_map(|line| line.strip_prefix("devices: ")).expect("it lists them");
    for device in ["sda", "vda", "kvm", "fuse", "mem", "kmsg"] {
        assert!(!devices.split_whitespace().any(|found| found == device), "/dev/{device} is there");
    }
}

#[tokio::test]
async fn b8_a_pod_cannot_write_to_layers_that_others_read() {
    let cluster = Cluster::find().await;
    let script = "mkdir -p node_modules && echo clean > node_modules/mark-b8";
    let layers = || {
        let find = "find /var/lib/grapnel/caches -name mark-b8 | sort | xargs -r sha256sum";
        cluster.on_node("1", &["sh", "-c", find])
    };
    let url = hook_of(&cluster, "b8", script, &[]);
    only_on(&cluster, "node1", async {
        let first = cluster.trigger(&url).await;
        cluster.ready(&first).await;
        let before = cluster.until(|| Some(layers()).filter(|found| !found.is_empty()), layers).await;
        // Another project's build does not see it; the project's own sees it, and fails after it has spoilt what it sees.
        let spoil =
            "for f in $(find / -name mark-b8 2>/dev/null); do echo SEEN $f; echo spoiled > $f; done; exit 1";
        let stranger = attacked(&cluster, "b8-stranger", spoil, &[]).await;
        assert!(!stranger.log.contains("SEEN"), "{}", stranger.log);
        cluster.cli(&["project", "update", "b8", "--build", spoil]);
        let own = cluster.trigger(&url).await;
        cluster.ended(&own).await;
        let log = cluster.log(&own);
        assert!(log.contains("SEEN /workspace/node_modules/mark-b8"), "{log}");
        assert_eq!(layers(), before);
        cluster.cli(&["project", "update", "b8", "--build", "cat node_modules/mark-b8"]);
        let next = cluster.trigger(&url).await;
        cluster.ready(&next).await;
        assert!(cluster.log(&next).contains("clean"), "{}", cluster.log(&next));
    })
    .await;
}

#[tokio::test]
async fn b10_a_pod_has_nothing_of_another_build_or_of_ours() {
    let cluster = Cluster::find().await;
    let neighbour =
        "export OTHERS_SECRET=b10-secret-of-another; echo begun; exec -a b10-secret-command sleep 40";
    let neighbours = hook_of(&cluster, "b10-neighbour", neighbour, &[]);
    let look = r#"
env
cat /proc/*/environ 2>/dev/null | tr '\0' '\n'
cat /proc/*/cmdline 2>/dev/null | tr '\0' ' '
ls -R /run /cache /workspace
cat /proc/self/mountinfo /etc/hosts /etc/resolv.conf
hostname
cat /proc/1/environ || echo closed
"#;
    only_on(&cluster, "node1", async {
        let beside = cluster.trigger(&neighbours).await;
        cluster.says(&beside, "begun").await;
        let came = attacked(&cluster, "b10", look, &[]).await;
        assert!(came.is_ready(), "{}", came.log);
        assert_eq!(cluster.deployment(&beside).expect("it is there")["state"], "DEPLOYMENT_STATE_BUILDING");
        came.says("closed");
        came.says("DEPLOY_HOOK_NAME=desk");
        cluster.cli(&["deployment", "cancel", &beside]);
        let pod = pod_of(&beside, 1);
        for secret in
            ["b10-secret", &pod, "gra_", "grh_", "DATABASE_URL", "SECRET_KEY", "EXECUTOR_KEY", "AWS_"]
        {
            assert!(!came.log.contains(secret), "{secret}: {}", came.log);
        }
    })
    .await;
}
