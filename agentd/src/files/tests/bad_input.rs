//! The bad-input catalogue of the file API, rows B61 to B72, each with its stable code.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use shared::clock::Clock;
use shared::protocol::files::{
    DeleteFile, Expect, GlobFiles, ListDirectory, ReadBytes, SearchFiles, WriteFile,
};

use super::*;

fn list(path: &str) -> ListDirectory {
    ListDirectory { path: path.into(), after: None, limit: None }
}

fn page(path: &str, offset: u64, limit_bytes: u64) -> ReadBytes {
    ReadBytes { path: path.into(), offset, limit_bytes }
}

fn search_for(pattern: &str) -> SearchFiles {
    SearchFiles {
        pattern: pattern.to_owned(),
        literal: false,
        ignore_case: false,
        path: None,
        glob: None,
        context: 0,
        limit: None,
    }
}

#[tokio::test]
async fn b61_no_path_leads_out_of_the_workspace() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    std::fs::create_dir(sandbox.root().join("a")).unwrap();
    symlink(sandbox.outside(), sandbox.root().join("out"));
    symlink("../outside/secret", sandbox.root().join("out-file"));
    symlink("/proc/self/root", sandbox.root().join("magic"));
    symlink("/proc/self/cwd", sandbox.root().join("cwd"));
    let evil = sandbox.directory.path().join("root-evil/x");
    let missing = sandbox.outside().join("missing");
    let escapes = [
        "../x",
        "../outside/secret",
        "../outside/missing",
        "/etc/passwd",
        "/nowhere/at/all",
        "//",
        "//etc/passwd",
        "a/../../outside/secret",
        "../outside/secret/.",
        "..",
        "../",
        "out/secret",
        "out/missing",
        "out-file",
        "magic/etc/passwd",
        "magic/nowhere",
        "cwd/Cargo.toml",
        evil.to_str().unwrap(),
        missing.to_str().unwrap(),
    ];
    for path in escapes {
        table.row(&format!("B61 read {path}"), code(sandbox.lines(path).await), "path_escape");
        table.row(
            &format!("B61 list {path}"),
            code(sandbox.files.list(list(path)).await),
            "path_escape",
        );
        table.row(
            &format!("B61 write {path}"),
            code(sandbox.write(path, "x").await),
            "path_escape",
        );
        table.row(
            &format!("B61 edit {path}"),
            code(sandbox.edit(vec![edits(path, vec![edit("secret", "x")])]).await),
            "path_escape",
        );
    }
    for path in ["../outside/secret", "out/secret", "a/../../outside/secret", "out/missing"] {
        table.row(&format!("B61 delete {path}"), code(sandbox.delete(path).await), "path_escape");
    }
    table.row("B61 the link itself may go", code(sandbox.delete("out-file").await), "ok ()");
    let secret = std::fs::read_to_string(sandbox.outside().join("secret")).unwrap();
    table.row("B61 nothing outside was touched", secret, "secret\n");
    table.finish("B61");
}

#[tokio::test]
async fn b61_the_walk_without_openat2_decides_the_same() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    sandbox.put("a/b/file", "inside\n");
    symlink(sandbox.outside(), sandbox.root().join("out"));
    symlink(sandbox.root().join("a"), sandbox.root().join("absolute-inside"));
    symlink("a/../a/b", sandbox.root().join("relative"));
    symlink("loop-b", sandbox.root().join("loop-a"));
    symlink("loop-a", sandbox.root().join("loop-b"));
    let kernel = Root::open(&sandbox.root()).unwrap();
    let walk = kernel.clone().without_openat2();
    let absolute = sandbox.root().join("a/b/file");
    let cases = [
        ("a/b/file", "ok"),
        ("./a//b/./file", "ok"),
        ("a/b/../b/file", "ok"),
        ("absolute-inside/b/file", "ok"),
        ("relative/file", "ok"),
        ("relative/../b/file", "ok"),
        (absolute.to_str().unwrap(), "ok"),
        ("a/b/file/", "not_a_directory"),
        ("a/b/file/.", "not_a_directory"),
        ("a/b", "is_a_directory"),
        ("a/missing", "file_not_found"),
        ("out/secret", "path_escape"),
        ("relative/../../../outside/secret", "path_escape"),
        ("loop-a", "symlink_loop"),
    ];
    for (path, expected) in cases {
        for (way, root) in [("openat2", &kernel), ("walk", &walk)] {
            let opened = root.parse(&path.into()).and_then(|asked| root.open_file(&asked));
            let actual = opened.map_or_else(|error| error.code().as_str(), |_| "ok");
            table.row(&format!("B61 {way} {path}"), actual, expected);
        }
    }
    table.finish("B61 walk");
}

#[tokio::test]
async fn b62_long_and_deep_names() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let long_name = "n".repeat(256);
    let long_path = "d/".repeat(2_049);
    for path in [long_name.as_str(), long_path.as_str()] {
        table.row("B62 read", code(sandbox.lines(path).await), "name_too_long");
        table.row("B62 write", code(sandbox.write(path, "x").await), "name_too_long");
    }
    let fits = "n".repeat(255);
    table.holds("B62 255 bytes are a name", sandbox.write(&fits, "x").await.is_ok());
    for path in ["", "a\0b"] {
        table.row("B62 no path", code(sandbox.lines(path).await), "invalid_path");
    }
    // A tree that is deeper than any path can name, made by descending.
    let mut at = rustix::fs::open(
        sandbox.root(),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..3_000 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        at = rustix::fs::openat(
            &at,
            "d",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    let deepest = vec!["d"; 2_000].join("/");
    table.holds("B62 a list 2,000 deep", sandbox.files.list(list(&deepest)).await.is_ok());
    table
        .holds("B62 a write 2,000 deep", sandbox.write(&format!("{deepest}/f"), "x").await.is_ok());
    let found = sandbox.files.search(search_for("needle")).await;
    table.holds("B62 a search goes as deep as paths do", found.is_ok());
    // The temporary directory is removed by path, which cannot reach the end of this tree.
    let removed = std::process::Command::new("rm").arg("-rf").arg(sandbox.root()).status().unwrap();
    assert!(removed.success());
    table.finish("B62");
}

#[tokio::test]
async fn b63_special_files_are_refused_at_once() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let root = sandbox.root();
    let fifo = root.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let began = SystemClock.now();
    for name in ["fifo", "socket"] {
        table.row(&format!("B63 {name}"), code(sandbox.lines(name).await), "not_a_regular_file");
        let raw = sandbox.files.read_bytes(page(name, 0, 10)).await;
        table.row(&format!("B63 raw {name}"), code(raw), "not_a_regular_file");
        table.row(
            &format!("B63 write {name}"),
            code(sandbox.write(name, "x").await),
            "not_a_regular_file",
        );
    }
    let devices = FilesHandle::open(
        Path::new("/dev"),
        &sandbox.directory.path().join("dev-notes"),
        Lifecycle::new(),
        Arc::new(SystemClock),
    )
    .unwrap();
    for name in ["zero", "null", "tty"] {
        let answer = code(devices.lines(read(name)).await);
        table.row(&format!("B63 /dev/{name}"), answer, "not_a_regular_file");
    }
    table.holds("B63 at once", began.elapsed() < Duration::from_secs(8));
    let proc = FilesHandle::open(
        Path::new("/proc"),
        &sandbox.directory.path().join("proc-notes"),
        Lifecycle::new(),
        Arc::new(SystemClock),
    )
    .unwrap();
    let lines = proc.lines(read("cpuinfo")).await.unwrap();
    table.holds("B63 cpuinfo has lines", lines.lines.len() > 5 && lines.size > 500);
    let (head, bytes) = proc.read_bytes(page("cpuinfo", 0, 1 << 20)).await.unwrap();
    table.holds("B63 cpuinfo has bytes", head.len > 500 && head.len == bytes.len() as u64);
    let magic = code(proc.lines(read("self/root/etc/passwd")).await);
    table.row("B63 magic link", magic, "path_escape");
    table.finish("B63");
}

#[tokio::test]
async fn b64_sparse_and_changing_files() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let sparse = std::fs::File::create(sandbox.root().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let began = SystemClock.now();
    let (head, bytes) =
        sandbox.files.read_bytes(page("sparse", (1 << 40) - 10, 1 << 30)).await.unwrap();
    table.holds("B64 the last page of 1 TiB", head.size == 1 << 40 && bytes.len() == 10);
    table.row("B64 lines of 1 TiB of NUL", code(sandbox.lines("sparse").await), "binary_file");
    let search = sandbox.files.search(search_for("x")).await.unwrap();
    table.holds("B64 a search passes it over", search.files.is_empty());
    table.holds("B64 at once", began.elapsed() < Duration::from_secs(8));

    // A reader between two looks at a growing, shrinking and replaced file tells that it changed.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let path = sandbox.root().join("busy");
    std::fs::write(&path, "line\n".repeat(200_000)).unwrap();
    let writer = {
        let (stop, path) = (Arc::clone(&stop), path.clone());
        std::thread::spawn(move || {
            let mut round = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                match round % 3 {
                    0 => std::fs::write(&path, "line\n".repeat(200_000)).unwrap(),
                    1 => std::fs::OpenOptions::new()
                        .write(true)
                        .open(&path)
                        .unwrap()
                        .set_len(500_000)
                        .unwrap(),
                    _ => {
                        let next = path.with_extension("next");
                        std::fs::write(&next, "line\n".repeat(150_000)).unwrap();
                        std::fs::rename(&next, &path).unwrap();
                    }
                }
            }
        })
    };
    let mut told = false;
    while !told && began.elapsed() < Duration::from_secs(30) {
        let lines = sandbox.files.lines(read("busy")).await.unwrap();
        told = lines.changed_during_read;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    table.holds("B64 changed_during_read is told", told);
    table.finish("B64");
}

#[tokio::test]
async fn b65_encodings_line_ends_and_long_lines() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let utf16 = |text: &str| -> Vec<u8> {
        b"\xff\xfe".iter().copied().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
    };
    sandbox.put("elf", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0");
    sandbox.put("utf16", utf16("one é\r\ntwo\r\n"));
    sandbox.put("utf32", b"\xff\xfe\0\0a\0\0\0");
    sandbox.put("bom", "\u{feff}one\ntwo\n");
    sandbox.put("latin", b"caf\xe9\nok\n");
    sandbox.put("mixed", "a\r\nb\nc");
    sandbox.put("empty", "");

    let error = sandbox.lines("elf").await.unwrap_err();
    table.row("B65 binary", error.code.clone(), "binary_file");
    table.row("B65 guess", error.details["type"].clone(), "application/x-elf");
    table.row("B65 size", error.details["size"].clone(), "13");
    table.row("B65 utf-32", code(sandbox.lines("utf32").await), "binary_file");
    let cases = [
        ("utf16", "utf-16le", "crlf", vec!["one é", "two"]),
        ("bom", "utf-8-bom", "lf", vec!["one", "two"]),
        ("latin", "iso-8859-1", "lf", vec!["café", "ok"]),
        ("mixed", "utf-8", "mixed", vec!["a", "b", "c"]),
        ("empty", "utf-8", "none", vec![]),
    ];
    for (name, encoding, ends, lines) in cases {
        let read = sandbox.files.lines(read(name)).await.unwrap();
        table.row(&format!("B65 encoding of {name}"), read.encoding, encoding);
        table.row(&format!("B65 line ends of {name}"), read.line_ending, ends);
        table.holds(&format!("B65 lines of {name}"), read.lines == lines);
        table.holds(&format!("B65 count of {name}"), read.total_lines == Some(lines.len() as u64));
    }
    sandbox.edit(vec![edits("utf16", vec![edit("one é", "eins\nü")])]).await.unwrap();
    let stored = std::fs::read(sandbox.root().join("utf16")).unwrap();
    table.holds("B65 UTF-16 and CRLF kept", stored == utf16("eins\r\nü\r\ntwo\r\n"));
    sandbox.edit(vec![edits("bom", vec![edit("two", "2")])]).await.unwrap();
    table.row("B65 mark kept", sandbox.content("bom"), "\u{feff}one\n2\n");
    sandbox.edit(vec![edits("latin", vec![edit("café", "thé")])]).await.unwrap();
    let stored = std::fs::read(sandbox.root().join("latin")).unwrap();
    table.holds("B65 one-byte text kept", stored == b"th\xe9\nok\n");
    let odd = sandbox.edit(vec![edits("latin", vec![edit("thé", "茶")])]).await;
    table.row("B65 a character the file cannot hold", code(odd), "invalid_edit");

    sandbox.put("long", format!("{}\nend\n", "x".repeat(32 << 20)));
    let read = sandbox.files.lines(read("long")).await.unwrap();
    table.holds("B65 a line of 32 MiB is cut", read.lines[0].len() == 1_024 && read.lines_cut == 1);
    table.holds("B65 the line after it is whole", read.lines[1] == "end");
    table.finish("B65");
}

#[tokio::test]
async fn b66_names_that_are_hard_to_show() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let names: [&[u8]; 6] =
        [b"a\nb", b"a\x1b[2Jb", b"bad\xff\xfe", b"-rf", "a\u{202e}txt".as_bytes(), b" space "];
    for name in names {
        let shown = String::from_utf8_lossy(name).escape_debug().to_string();
        let request =
            WriteFile { path: bytes_path(name), len: 2, expect: Expect::Absent, mode: None };
        let prepared = sandbox.files.plan_write(request, Bytes::from_static(b"x\n")).await.unwrap();
        sandbox.files.apply(prepared).await.unwrap();
        let on_disk = sandbox.root().join(std::ffi::OsStr::from_bytes(name));
        table.holds(&format!("B66 write {shown}"), on_disk.exists());
        let mut request = read("x");
        request.path = bytes_path(name);
        let lines = sandbox.files.lines(request).await.unwrap();
        table.holds(&format!("B66 read {shown}"), lines.lines == ["x"]);
    }
    let listed = sandbox.files.list(list(".")).await.unwrap();
    let exact: Vec<Vec<u8>> = listed
        .entries
        .iter()
        .map(|entry| entry.name.bytes.clone().unwrap_or(entry.name.path.clone().into_bytes()))
        .collect();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    expected.sort();
    table.holds("B66 listed with exact bytes", exact == expected);
    let plain = listed.entries.iter().all(|entry| !entry.name.path.chars().any(char::is_control));
    table.holds("B66 shown without control characters", plain);
    let glob = GlobFiles { pattern: "*".to_owned(), path: None, limit: None };
    let found = sandbox.files.glob(glob).await.unwrap();
    table.holds("B66 found by a glob", found.paths.len() == names.len());
    let search = sandbox.files.search(search_for("x")).await.unwrap();
    table.holds("B66 found by a search", search.matches == names.len() as u64);
    for name in names {
        let request = DeleteFile { path: bytes_path(name), expect: Expect::Any };
        let prepared = sandbox.files.plan_delete(request).await.unwrap();
        table.holds("B66 deleted", sandbox.files.apply(prepared).await.is_ok());
    }
    table.finish("B66");
}

#[tokio::test]
async fn b67_edits_that_cannot_apply() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let original = "fn one() {}\r\nfn two(a: u32) {\r\n    a + 1\r\n}\r\nx\r\nx\r\n";
    sandbox.put("file", original);
    let stale = FileEdits {
        path: "file".into(),
        edits: vec![edit("one", "uno")],
        expect_hash: Some("b3:00".to_owned()),
    };
    let cases = [
        ("no match", edits("file", vec![edit("fn two(a: u64) {", "y")]), "no_match"),
        ("two matches", edits("file", vec![edit("x", "y")]), "ambiguous_match"),
        ("overlap", edits("file", vec![edit("one() {}", "y"), edit("fn one", "z")]), "overlap"),
        ("empty old text", edits("file", vec![edit("", "y")]), "invalid_edit"),
        ("old is new", edits("file", vec![edit("one", "one")]), "invalid_edit"),
        ("no edits", edits("file", vec![]), "invalid_request"),
        ("stale hash", stale, "file_changed"),
        ("missing file", edits("missing", vec![edit("a", "b")]), "file_not_found"),
        ("directory", edits(".", vec![edit("a", "b")]), "is_a_directory"),
    ];
    for (name, request, expected) in cases {
        table.row(&format!("B67 {name}"), code(sandbox.edit(vec![request]).await), expected);
        table.row(&format!("B67 {name}: file untouched"), sandbox.content("file"), original);
    }
    let miss = sandbox.edit(vec![edits("file", vec![edit("fn two(a: u64) {", "y")])]).await;
    let message = miss.unwrap_err().message;
    table.holds("B67 a miss shows the nearest lines", message.contains("2  fn two(a: u32) {"));
    let twice = sandbox.edit(vec![edits("file", vec![edit("x", "y")])]).await.unwrap_err();
    table.row("B67 the count is told", twice.details["count"].clone(), "2");
    table.row("B67 the lines are told", twice.details["lines"].clone(), "5, 6");
    let same = vec![edits("file", vec![edit("one", "1")]), edits("./file", vec![edit("two", "2")])];
    table.row("B67 one file twice", code(sandbox.edit(same).await), "invalid_request");
    let crlf = edits("file", vec![edit("fn two(a: u32) {\n    a + 1\n}", "fn two() {\n}")]);
    table.holds("B67 CRLF is no mismatch", sandbox.edit(vec![crlf]).await.is_ok());
    table.row(
        "B67 CRLF is kept",
        sandbox.content("file"),
        "fn one() {}\r\nfn two() {\r\n}\r\nx\r\nx\r\n",
    );
    table.finish("B67");
}

#[tokio::test]
async fn b68_writes_that_the_system_refuses() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    symlink("loop-b", sandbox.root().join("loop-a"));
    symlink("loop-a", sandbox.root().join("loop-b"));
    table.row("B68 loop", code(sandbox.write("loop-a", "x").await), "symlink_loop");
    table.row(
        "B68 below a file",
        {
            sandbox.put("file", "old\n");
            code(sandbox.write("file/x", "x").await)
        },
        "not_a_directory",
    );
    // A program that runs may be replaced: the rename gives the name a new file.
    std::fs::copy("/bin/sleep", sandbox.root().join("busy")).unwrap();
    let mut child =
        std::process::Command::new(sandbox.root().join("busy")).arg("60").spawn().unwrap();
    table.holds("B68 a running program", sandbox.write("busy", "x").await.is_ok());
    child.kill().unwrap();
    child.wait().unwrap();

    let proc = FilesHandle::open(
        Path::new("/proc"),
        &sandbox.directory.path().join("proc-notes"),
        Lifecycle::new(),
        Arc::new(SystemClock),
    )
    .unwrap();
    let request = WriteFile { path: "holdfast".into(), len: 1, expect: Expect::Any, mode: None };
    let refused = proc.plan_write(request, Bytes::from_static(b"x")).await.map(drop);
    table.holds("B68 a file system without files", refused.is_err());

    if nix::unistd::geteuid().is_root() {
        b68_as_root(&sandbox, &mut table).await;
    } else {
        let file = sandbox.root().join("file");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o444)).unwrap();
        table.row(
            "B68 read-only file",
            code(sandbox.write("file", "x").await),
            "permission_denied",
        );
    }
    table.row("B68 old content whole", sandbox.content("file"), "old\n");
    table.holds("B68 nothing is left behind", sandbox.leftovers().is_empty());
    table.finish("B68");
}

/// What only root can set up: a full file system, a read-only mount, an immutable file.
async fn b68_as_root(sandbox: &Sandbox, table: &mut Table) {
    let mount = sandbox.root().join("small");
    std::fs::create_dir(&mount).unwrap();
    let run = |program: &str, args: &[&str]| {
        std::process::Command::new(program)
            .args(args)
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let at = mount.to_str().unwrap();
    if run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", at]) {
        std::fs::write(mount.join("kept"), "old\n").unwrap();
        let big = "x".repeat(1 << 20);
        table.row("B68 full disk", code(sandbox.write("small/kept", &big).await), "disk_full");
        table.row("B68 full disk: old content", sandbox.content("small/kept"), "old\n");
        if run("mount", &["-o", "remount,ro", at]) {
            let refused = code(sandbox.write("small/kept", "x").await);
            table.row("B68 read-only mount", refused, "read_only_fs");
        }
        table.row("B70 delete a mount", code(sandbox.delete("small").await), "directory_not_empty");
        assert!(run("umount", &[at]));
    }
    let file = sandbox.root().join("file");
    let path = file.to_str().unwrap();
    if run("chattr", &["+i", path]) {
        table.row("B68 immutable", code(sandbox.write("file", "x").await), "permission_denied");
        assert!(run("chattr", &["-i", path]));
    }
}

#[tokio::test]
async fn b69_limits() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let too_big = "x".repeat((16 << 20) + 1);
    table.row("B69 16 MiB + 1", code(sandbox.write("big", &too_big).await), "file_too_large");
    table.holds("B69 16 MiB", sandbox.write("big", &too_big[1..]).await.is_ok());
    sandbox.put("bigger", &too_big);
    let edit_big = sandbox.edit(vec![edits("bigger", vec![edit("y", "z")])]).await;
    table.row("B69 edit of 16 MiB + 1", code(edit_big), "file_too_large");

    let many = sandbox.root().join("many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..2_500 {
        std::fs::File::create(many.join(format!("{number:05}"))).unwrap();
    }
    let mut names = Vec::new();
    let mut request = list("many");
    loop {
        let page = sandbox.files.list(request.clone()).await.unwrap();
        names.extend(page.entries.iter().map(|entry| entry.name.path.clone()));
        request.after = page.entries.last().map(|entry| entry.name.clone());
        if !page.more {
            break;
        }
    }
    let expected: Vec<String> = (0..2_500).map(|number| format!("{number:05}")).collect();
    table.holds("B69 a large directory comes in pages", names == expected);

    let glob =
        |pattern: &str| GlobFiles { pattern: pattern.to_owned(), path: None, limit: Some(10) };
    let found = sandbox.files.glob(glob("**/**/**")).await.unwrap();
    table.holds("B69 glob **/**/**", found.paths.len() == 10 && found.truncated);
    let long = "a".repeat(4_097);
    table.row("B69 long glob", code(sandbox.files.glob(glob(&long)).await), "pattern_too_long");
    table.row("B69 bad glob", code(sandbox.files.glob(glob("a[")).await), "invalid_pattern");
    let search = |pattern: &str| sandbox.files.search(search_for(pattern));
    table.row("B69 long pattern", code(search(&long).await), "pattern_too_long");
    table.row("B69 bad pattern", code(search("(").await), "invalid_pattern");
    table.row("B69 huge pattern", code(search("((a{1000}){1000}){1000}").await), "invalid_pattern");
    std::fs::write(sandbox.root().join("as"), "a".repeat(8 << 20)).unwrap();
    let began = SystemClock.now();
    table.holds("B69 (a+)+$ is linear", search("(a+)+$").await.is_ok());
    table.holds("B69 within the budget", began.elapsed() < Duration::from_secs(11));
    table.finish("B69");
}

#[tokio::test]
async fn b70_b71_directories_the_root_and_ranges() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    sandbox.put("d/file", "1\n2\n3\n");
    table.row("B70 write over a directory", code(sandbox.write("d", "x").await), "is_a_directory");
    table.row("B70 write to a/", code(sandbox.write("new/", "x").await), "is_a_directory");
    table.row(
        "B70 delete a full directory",
        code(sandbox.delete("d").await),
        "directory_not_empty",
    );
    let root = sandbox.root();
    for path in [".", "./", "d/..", root.to_str().unwrap()] {
        table.row("B70 delete the root", code(sandbox.delete(path).await), "root_refused");
    }
    table.row("B70 delete what is not there", code(sandbox.delete("no").await), "file_not_found");
    let absent = DeleteFile { path: "d/file".into(), expect: Expect::Absent };
    let refused = sandbox.files.plan_delete(absent).await.map(drop);
    table.row("B70 delete what is absent", code(refused), "invalid_request");
    table.row(
        "B70 create over a file",
        code(sandbox.write_expecting("d/file", "x", Expect::Absent).await),
        "already_exists",
    );

    for (line, limit, expected) in [
        (Some(0), None, "invalid_range"),
        (Some(4), None, "invalid_range"),
        (Some(u64::MAX), None, "invalid_range"),
        (Some(1), Some(0), "invalid_range"),
    ] {
        let mut request = read("d/file");
        (request.line, request.limit) = (line, limit);
        let error = sandbox.files.lines(request).await.unwrap_err();
        table.row(&format!("B71 {line:?} {limit:?}"), error.code.clone(), expected);
        table.row("B71 the line count is told", error.details["lines"].clone(), "3");
    }
    let beyond = sandbox.files.read_bytes(page("d/file", 99, 10)).await.unwrap();
    table.holds("B71 bytes beyond the end are none", beyond.1.is_empty());
    let beyond = sandbox.files.read_bytes(page("d/file", u64::MAX, u64::MAX)).await.unwrap();
    table.holds("B71 the largest offset", beyond.1.is_empty());
    table.finish("B70, B71");
}

#[tokio::test]
async fn b72_a_hard_link_and_a_bind_mount_count_as_inside() {
    let sandbox = Sandbox::new();
    let mut table = Table::default();
    let outside = sandbox.outside().join("secret");
    std::fs::hard_link(&outside, sandbox.root().join("hard")).unwrap();
    table.holds("B72 it is read", sandbox.lines("hard").await.unwrap() == ["secret"]);
    sandbox.write("hard", "mine\n").await.unwrap();
    let kept = std::fs::read_to_string(&outside).unwrap();
    table.row("B72 a write leaves the other name alone", kept, "secret\n");
    table.finish("B72");
}
