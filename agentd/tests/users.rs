//! A command against the daemon that started it: what it can reach where it runs as another user, and
//! where it runs as the same. `docs/design/012-stop-and-limits.md`.

mod bench;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bench::served::{Programs, Served};
use bench::shell;
use shared::ids::{IdSource, OpId, SystemIds};
use shared::protocol::Method;
use shared::protocol::files::{Edit, EditFiles, FileEdits, FilePath};
use shared::protocol::process::{OutputWindow, ProcessView, StartProcess, ViewOutput, WaitProcess};

/// Nobody, on every system.
const NOBODY: u32 = 65_534;

/// Not a test by itself: the child that [`Served::start`] starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

/// Not a test by itself: what a hostile program does and a shell cannot.
#[test]
fn attack_when_asked_to() {
    let Ok(asked) = std::env::var("AGENTD_TEST_ATTACK") else { return };
    let (what, whom) = asked.split_once(' ').unwrap();
    let succeeded = match what {
        "connect" => std::os::unix::net::UnixStream::connect(whom).is_ok(),
        "trace" => {
            let pid: i32 = whom.parse().unwrap();
            #[expect(unsafe_code, reason = "the safe wrapper is not built in")]
            // SAFETY: it touches no memory of this process.
            let attached = unsafe { nix::libc::ptrace(nix::libc::PTRACE_SEIZE, pid, 0, 0) };
            attached == 0
        }
        other => panic!("{other}"),
    };
    assert!(succeeded, "refused");
}

struct Scene {
    dir: tempfile::TempDir,
    ids: SystemIds,
    served: Option<Served>,
    programs: Programs,
}

impl Scene {
    /// `is_other`: commands run as nobody and the daemon does not; else both do.
    fn new(is_other: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(dir.path(), 0o755);
        let programs = Programs::copied_to(dir.path());
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::chown(&root, Some(NOBODY), Some(NOBODY)).unwrap();
        let served = if is_other {
            Served::start_with(dir.path(), &[("HOLDFAST_RUN_AS", "nobody".to_owned())])
        } else {
            for path in [dir.path(), &programs.agentd] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            Served::start_as(dir.path(), NOBODY, &programs)
        };
        let scene = Self { dir, ids: SystemIds::new(), served: Some(served), programs };
        // As `agentd join` leaves it: a file that only the daemon's user may read.
        let key = scene.path("state/identity-key");
        std::fs::write(&key, "the key").unwrap();
        open(&key, 0o600);
        if !is_other {
            std::os::unix::fs::chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn daemon(&self) -> &Served {
        self.served.as_ref().unwrap()
    }

    async fn call<M: Method>(&self, request: &M) -> M::Reply {
        let op: OpId = (&self.ids as &dyn IdSource).id();
        self.daemon().call(op, request).await.unwrap()
    }

    async fn run(&self, request: StartProcess) -> (ProcessView, String) {
        let process_id = (&self.ids as &dyn IdSource).id();
        let started = self.call(&StartProcess { process_id, ..request }).await;
        let process_id = started.process_id;
        let view = self.call(&WaitProcess { process_id, timeout_ms: 30_000 }).await;
        let window = OutputWindow::HeadTail { head_bytes: None, tail_bytes: None };
        (view, self.call(&ViewOutput { process_id, window }).await.text)
    }

    /// The eleven attacks, each with whether it was refused.
    async fn attacks(&self) -> Vec<(&'static str, bool)> {
        let pid = self.daemon().pid();
        // Whoever reaches a keeper may take its link: not one whose process is asked here.
        let process_id = (&self.ids as &dyn IdSource).id();
        let victim = self.call(&StartProcess { process_id, ..shell("sleep 600") }).await;
        let test = self.programs.test.display();
        let helper = |what: &str| {
            format!(
                "AGENTD_TEST_ATTACK=\"{what}\" {test} --exact attack_when_asked_to >/dev/null 2>&1"
            )
        };
        let state = self.path("state");
        let agentd = self.programs.agentd.display();
        let keepers = state.join("processes/keepers");
        let connect =
            helper(&format!("connect {}/{}/socket", keepers.display(), victim.process_id));
        let descriptors = "found=; for fd in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
             [ -e /proc/$$/fd/$fd ] && found=1; done; [ -n \"$found\" ]";
        let rows: [(&'static str, String); 11] = [
            ("read the key", format!("cat {}/identity-key", state.display())),
            ("read its environment", format!("cat /proc/{pid}/environ")),
            ("read its memory", format!("dd if=/proc/{pid}/mem bs=1 count=1 skip=4096")),
            ("trace it", helper(&format!("trace {pid}"))),
            ("see its memory map, as a debugger does", format!("grep -q . /proc/{pid}/maps")),
            (
                "have its restart load a library",
                "[ -w /etc/ld.so.preload ] || [ -w /etc ]".to_owned(),
            ),
            (
                "replace its program or unit",
                format!("[ -w {agentd} ] || [ -w /etc/systemd/system ]"),
            ),
            ("connect to a socket of it", connect),
            ("use a descriptor of it", descriptors.to_owned()),
            ("end it", format!("kill -0 {pid}")),
            ("halt it", format!("kill -CONT {pid}")),
        ];
        let mut results = Vec::new();
        for (name, attack) in rows {
            let (view, text) = self.run(shell(&format!("{attack} && echo REACHED"))).await;
            assert!(bench::exit(&view).is_some(), "{name}: {view:?}");
            results.push((name, !text.contains("REACHED")));
        }
        results
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.served.take().unwrap().kill();
        bench::end_workspace(&self.path("state/processes"));
    }
}

fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("{test}: skipped, only root can start programs of another user");
    }
    is_root
}

#[tokio::test]
async fn a_command_of_another_user_reaches_nothing_of_its_daemon() {
    if !is_root("separate user") {
        return;
    }
    let scene = Scene::new(true);
    let results = scene.attacks().await;
    let reached: Vec<_> = results.iter().filter(|(_, refused)| !refused).collect();
    println!("separate user: {} of {} refused", results.len() - reached.len(), results.len());
    assert!(reached.is_empty(), "{reached:?}");
}

/// The control, and the documented list: as the same user, without any right of root, what Linux
/// itself lets a user do to their own programs is possible, and the rest is not.
#[tokio::test]
async fn a_command_of_the_same_user_reaches_what_is_documented_and_no_more() {
    if !is_root("same user") {
        return;
    }
    let scene = Scene::new(false);
    let results = scene.attacks().await;
    let reached: Vec<&str> =
        results.iter().filter(|(_, refused)| !refused).map(|(name, _)| *name).collect();
    println!("same user: {} of {} refused", results.len() - reached.len(), results.len());
    let documented = [
        "read the key",
        "replace its program or unit",
        "connect to a socket of it",
        "end it",
        "halt it",
    ];
    assert_eq!(reached, documented);
}

#[tokio::test]
async fn commands_and_files_of_another_user_are_theirs() {
    if !is_root("separate user") {
        return;
    }
    let scene = Scene::new(true);
    let (view, text) =
        scene.run(shell("id -u; id -G; echo made > made; echo \"$USER $HOME\"")).await;
    assert_eq!(
        bench::exit(&view),
        Some(shared::protocol::process::Exit::Code { code: 0 }),
        "{text}"
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], NOBODY.to_string());
    assert!(!lines[1].split(' ').any(|group| group == "0"), "no group of root: {}", lines[1]);
    assert!(lines[2].starts_with("nobody "), "{}", lines[2]);
    let made = std::fs::metadata(scene.path("root/made")).unwrap();
    assert_eq!(made.uid(), NOBODY);
    // What the daemon changes stays theirs, and what they may not read is refused.
    let secret = scene.path("root/secret");
    std::fs::write(&secret, "made").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let edit = |path: &str| EditFiles {
        files: vec![FileEdits {
            path: FilePath { path: path.to_owned(), bytes: None },
            edits: vec![Edit {
                old_text: "made".to_owned(),
                new_text: "changed".to_owned(),
                replace_all: false,
            }],
            expect_hash: None,
        }],
    };
    scene.call(&edit("made")).await;
    assert_eq!(std::fs::read_to_string(scene.path("root/made")).unwrap(), "changed\n");
    assert_eq!(std::fs::metadata(scene.path("root/made")).unwrap().uid(), NOBODY);
    let op: OpId = (&scene.ids as &dyn IdSource).id();
    let error = scene.daemon().call(op, &edit("secret")).await.unwrap_err();
    assert_eq!(error.code, "permission_denied", "{error:?}");
}
