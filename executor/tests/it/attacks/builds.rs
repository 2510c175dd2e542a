//! Builds against their sandbox.

use grapnel_domain::{
    event::{BuildEvent, Outcome, Step},
    failure::FailureCode,
};
use grapnel_executor::engine::Engine as _;

use crate::site::Site;

#[tokio::test]
async fn b1_a_fork_bomb_hits_its_own_limit() {
    let site = Site::real(|_| {}).await;
    let came = site.attack("f() { f | f & }; f; sleep 1; exit 4").await;
    assert!(
        matches!(came.failed(), Some((FailureCode::BuildFailed | FailureCode::SandboxEnded, _))),
        "{:?}",
        came.outcome
    );
}

#[tokio::test]
async fn b2_a_memory_bomb_is_told_as_one() {
    let site = Site::real(|_| {}).await;
    let came = site.attack("python3 -c 'x = [bytearray(1 << 24) for _ in range(1000)]'").await;
    assert!(
        matches!(came.failed(), Some((FailureCode::OutOfMemory, said)) if said.contains("268435456")),
        "{:?}",
        came.outcome
    );
}

#[tokio::test]
async fn b4_control_sequences_html_and_one_endless_line_are_only_text() {
    let site = Site::real(|_| {}).await;
    let came = site
        .attack(
            "printf '\\033]0;title\\007\\033[2J</script><script>alert(1)</script>\\n'; printf '\\xff\\xfe\\x00\\n'; \
             head -c 300000 /dev/zero | tr '\\0' x; echo",
        )
        .await;
    assert!(came.is_ready(), "{:?}", came.outcome);
    came.says("</script><script>alert(1)</script>");
    let lines = came.events.iter().flat_map(|event| match event {
        BuildEvent::Log { lines, .. } => lines.iter().map(|line| line.text.len()).collect(),
        _ => Vec::new(),
    });
    let longest = lines.max().unwrap();
    assert_eq!(longest, 64 * 1024, "a line over 64 KiB comes in pieces");
}

#[tokio::test]
async fn b5_what_never_ends_and_what_stays_behind_is_ended() {
    let site = Site::real(|_| {}).await;
    let mut spec = site.running("trap '' TERM INT HUP; (setsid sleep 1000 &); while :; do sleep 1; done");
    spec.settings.limits.timeout_seconds = Some(3);
    let (outcome, _) = site.build(&spec, |_, _| {}).await;
    assert!(
        matches!(outcome, Outcome::Failed { ref failure } if failure.code == FailureCode::TimedOut),
        "{outcome:?}"
    );
    site.nothing_is_left().await;
}

#[tokio::test]
async fn b7_no_capability_no_gain_of_privilege_and_no_kernel_interface_to_play_with() {
    let site = Site::real(|_| {}).await;
    let came = site
        .attack(
            r#"id -u
grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t' ' '
refused() { if "$@" >/dev/null 2>&1; then echo "DONE: $*"; else echo "refused: $1"; fi; }
refused mknod /tmp/disk b 8 0
refused mknod /workspace/disk b 8 0
refused mount -t tmpfs none /mnt
refused unshare --user --map-root-user true
refused unshare --mount true
refused unshare --net true
refused chroot / true
refused sh -c 'echo b > /proc/sysrq-trigger'
refused sh -c 'echo x > /proc/sys/kernel/core_pattern'
refused sh -c 'echo 1 > /sys/kernel/mm/transparent_hugepage/enabled'
refused touch /etc/x
refused touch /usr/bin/x
refused su -c id
refused cat /proc/1/environ
refused cat /proc/1/mem
refused ls /proc/1/fd
refused cat /proc/kcore
refused dmesg
refused renice -n -5 $$
refused sh -c 'ulimit -n 10000000'
cp /bin/bash /workspace/bash && chmod u+s /workspace/bash && /workspace/bash -p -c 'echo "setuid gives $(id -u)"'
python3 - <<'PYTHON'
import ctypes, ctypes.util
libc = ctypes.CDLL(ctypes.util.find_library('c'), use_errno=True)
# add_key, keyctl, bpf, userfaultfd, ptrace(ATTACH, 1), perf_event_open, kexec_load, init_module, open_by_handle_at,
# and clone into a user namespace.
calls = {'add_key': (248, b'user', b'x', b'y', 1, -3), 'keyctl': (250, 0, -3, 0), 'bpf': (321, 0, 0, 0),
         'userfaultfd': (323, 0), 'ptrace': (101, 16, 1, 0, 0), 'perf': (298, 0, 0, -1, -1, 0),
         'kexec': (246, 0, 0, 0, 0), 'module': (175, 0, 0, b''), 'handle': (304, -100, 0, 0),
         'unshare': (272, 0x10000000)}
for name, arguments in calls.items():
    ctypes.set_errno(0)
    done = libc.syscall(*arguments)
    print(f'{name}: {"DONE" if done >= 0 else "refused"}')
PYTHON
ls -la /var/run/docker.sock /run/docker.sock 2>&1 | grep -c 'No such file'
ls /dev | tr '\n' ' '"#,
        )
        .await;
    assert!(came.is_ready(), "{:?}\n{}", came.outcome, came.log);
    assert!(!came.log.contains("DONE"), "{}", came.log);
    for line in [
        "10001",
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "setuid gives 10001",
    ] {
        came.says(line);
    }
    for device in ["sda", "vda", "kvm", "fuse", "mem"] {
        assert!(!came.log.split_whitespace().any(|word| word == device), "/dev/{device} is there");
    }
}

#[tokio::test]
async fn b8_a_build_cannot_write_to_layers_that_others_read() {
    let site = Site::real(|_| {}).await;
    let came = site.attacked("mkdir node_modules && echo clean > node_modules/file").await;
    assert!(came.is_ready());
    let before = site.found_by_the_next();
    let spoil = "for f in $(find / -xdev -name file 2>/dev/null); do echo spoiled > $f; done; \
        echo spoiled > node_modules/file; mount | grep -c lowerdir; cat /proc/self/mountinfo; exit 1";
    let came = site.attacked(spoil).await;
    assert!(came.failed().is_some());
    assert_eq!(site.found_by_the_next(), before);
}

#[tokio::test]
async fn b9_a_build_that_changes_its_source_changes_only_its_own() {
    let site = Site::real(|_| {}).await;
    let came = site.attack("echo changed > index.html; rm -rf .git; git init -q . ; git config core.fsmonitor 'touch /tmp/x'").await;
    assert!(came.is_ready(), "{:?}", came.outcome);
    let came = site.attacked("cat index.html; git status --porcelain; git log --oneline").await;
    came.says("hi");
    came.says("Begin");
}

#[tokio::test]
async fn b10_nothing_of_another_build_or_of_ours_is_in_a_build() {
    let site = Site::real(|_| {}).await;
    let came = site
        .attack(
            "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '; \
             ls -R /run /cache /workspace; cat /proc/self/mountinfo; hostname; cat /etc/hosts /etc/resolv.conf",
        )
        .await;
    assert!(came.is_ready(), "{:?}", came.outcome);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for secret in ["gra_", "grh_", "DATABASE_URL", "SSH_AUTH_SOCK", "GRAPNEL_TEST", "AWS_"] {
        assert!(!came.log.contains(secret), "{secret}: {}", came.log);
    }
    // As a word: a machine may be called by two letters.
    let mut words = came.log.split(|c: char| !c.is_alphanumeric() && !"-._".contains(c));
    assert!(words.all(|word| word != host), "{host}: {}", came.log);
}

#[tokio::test]
async fn b12_a_build_that_prints_our_own_words_is_not_taken_for_us() {
    let site = Site::real(|_| {}).await;
    let came = site.attack("echo '--- output'; echo '[READY]'; echo 'published 1 file'; exit 3").await;
    assert!(matches!(came.failed(), Some((FailureCode::BuildFailed, _))), "{:?}", came.outcome);
    let outputs =
        came.events.iter().filter(|it| matches!(it, BuildEvent::StepStarted { step: Step::Output, .. }));
    assert_eq!(outputs.count(), 0);
}

#[tokio::test]
async fn b13_killing_the_first_process_ends_nothing_of_ours() {
    let site = Site::real(|_| {}).await;
    let came =
        site.attack("kill -9 1; kill -TERM 1; kill -STOP 1; kill -SEGV 1; sleep 0.3; echo still here").await;
    came.says("still here");
    assert!(came.is_ready(), "{:?}", came.outcome);
}

#[tokio::test]
async fn b14_trees_that_their_owner_has_closed_and_made_deep_go_away() {
    let site = Site::real(|_| {}).await;
    let came = site
        .attack(
            "mkdir -p closed/deep node_modules/closed && touch closed/deep/file && chmod 000 closed/deep closed node_modules/closed; \
             chattr +i index.html 2>/dev/null && echo IMMUTABLE; \
             python3 -c \"
import os
for _ in range(400):
    os.mkdir('d' * 100); os.chdir('d' * 100)
\"",
        )
        .await;
    assert!(came.is_ready() && !came.log.contains("IMMUTABLE"), "{:?}\n{}", came.outcome, came.log);
}

#[tokio::test]
async fn b15_files_of_any_time_are_built_cached_and_published() {
    let site = Site::real(|_| {}).await;
    let came = site
        .attack(
            "mkdir -p dist node_modules && touch -d 1901-12-14 dist/old node_modules/old && touch -d 2500-01-01 dist/new node_modules/new; \
             echo x > dist/x; LC_ALL=xx_YY.nonsense TZ=:/dev/zero date >/dev/null",
        )
        .await;
    assert!(came.is_ready(), "{:?}", came.outcome);
}

#[tokio::test]
async fn b16_a_build_that_speaks_to_the_runners_socket_harms_only_itself() {
    let site = Site::real(|_| {}).await;
    let came = site
        .attack(
            "python3 - <<'PYTHON'
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
    pass
PYTHON
echo survived",
        )
        .await;
    assert!(!came.log.contains("UNLINKED"), "{}", came.log);
    // Its own result may be wrong; nothing else is, and attack() has built again after it.
}

#[tokio::test]
async fn p1_the_profile_is_what_the_engine_was_told() {
    let site = Site::real(|_| {}).await;
    let engine = site.engine.clone();
    let own = site.own();
    let mut spec = site.running("echo inspect; sleep 5");
    spec.settings.limits.memory_bytes = Some(300 << 20);
    spec.settings.limits.milli_cpus = Some(500);
    spec.settings.limits.processes = Some(99);
    spec.settings.limits.open_files = Some(333);
    let inspected = std::sync::Mutex::new(String::new());
    site.build(&spec, |event, cancel| {
        if super::printed(std::slice::from_ref(event)).contains("inspect\n") {
            let output = std::process::Command::new("docker")
                .args(["inspect", &format!("grapnel-{}", spec.id)])
                .output();
            *inspected.lock().unwrap() = String::from_utf8(output.unwrap().stdout).unwrap();
            cancel.cancel();
        }
    })
    .await;
    let inspected: serde_json::Value = serde_json::from_str(&inspected.lock().unwrap()).unwrap();
    let host = &inspected[0]["HostConfig"];
    let expected = serde_json::json!({
        "Privileged": false, "ReadonlyRootfs": true, "PidsLimit": 99, "NanoCpus": 500_000_000,
        "Memory": 300 << 20, "MemorySwap": 300 << 20, "CapAdd": null, "CapDrop": ["ALL"], "PidMode": "",
        "IpcMode": "private", "UTSMode": "", "UsernsMode": "", "CgroupnsMode": "private", "OomScoreAdj": 500,
        "Devices": null, "PortBindings": null, "NetworkMode": "none",
    });
    for (name, value) in expected.as_object().unwrap() {
        let found = &host[name];
        let empty = value.is_null() && found.as_array().is_some_and(Vec::is_empty)
            || found.as_object().is_some_and(serde_json::Map::is_empty);
        assert!(found == value || empty, "{name}: {found}");
    }
    assert!(
        host["Ulimits"]
            .as_array()
            .unwrap()
            .contains(&serde_json::json!({"Name": "nofile", "Hard": 333, "Soft": 333}))
    );
    assert_eq!(inspected[0]["Config"]["User"], "10001:10001");
    assert!(engine.list(&own).await.unwrap().sandboxes.is_empty());
}

#[tokio::test]
async fn p2_root_inside_has_no_power_either_and_only_where_it_was_asked_for() {
    let site = Site::real(|_| {}).await;
    let mut spec = site.running("id -u; grep CapEff /proc/self/status; touch /etc/x || echo refused; mount -t tmpfs none /mnt || echo refused");
    spec.settings.run_as_root = true;
    let (outcome, events) = site.build(&spec, |_, _| {}).await;
    let log = super::printed(&events);
    assert!(matches!(outcome, Outcome::Ready { .. }), "{outcome:?} {log}");
    assert!(log.starts_with("0\nCapEff:\t0000000000000000\n"), "{log}");
    assert_eq!(log.matches("refused\n").count(), 2, "{log}");
}

#[tokio::test]
async fn p4_another_runtime_is_the_engines_to_have() {
    let mut site = Site::real(|_| {}).await;
    site.pipeline.sandbox.runtime = Some("io.containerd.runc.v2".into());
    let came = site.attacked("echo built").await;
    came.says("built");
    assert!(came.is_ready(), "{:?}", came.outcome);
    site.pipeline.sandbox.runtime = Some("no-such-runtime".into());
    let came = site.attacked("echo built").await;
    assert!(
        matches!(came.failed(), Some((_, said)) if said.contains("no-such-runtime")),
        "{:?}",
        came.outcome
    );
    site.nothing_is_left().await;
}

#[tokio::test]
async fn p5_an_operators_seccomp_profile_takes_the_place_of_the_engines() {
    let mut site = Site::real(|_| {}).await;
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO" }],
    });
    site.pipeline.sandbox.seccomp = Some(profile.to_string());
    let came = site.attacked("ln -s a b && echo LINKED; touch c && echo touched").await;
    assert!(came.is_ready() && !came.log.contains("LINKED"), "{}", came.log);
    came.says("touched");
}
