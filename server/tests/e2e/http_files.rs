//! Files of a folder: their types and tags, parts of them, and no way out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::harness::Server;
use crate::http_connection::{Connection, get, request, wait_until};

/// A folder to be served, with a secret beside it; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{}-{name}", std::process::id()));
        let folder = Folder(root);
        fs::create_dir_all(folder.www().join("sub/.hidden"))
            .expect("the folder for tests can be written");
        fs::write(folder.0.join("secret.txt"), "secret").expect("it can be written");
        for (name, text) in [
            ("index.html", "<p>home"),
            ("a.js", "0123456789"),
            ("sub/b.txt", "sub"),
            ("sub/.hidden/c", "secret"),
            (".env", "secret"),
            ("with space.css", "p {}"),
            ("empty", ""),
        ] {
            fs::write(folder.www().join(name), text).expect("it can be written");
        }
        symlink(folder.0.join("secret.txt"), folder.www().join("link.txt"))
            .expect("links can be made");
        symlink("..", folder.www().join("up")).expect("links can be made");
        folder
    }

    fn www(&self) -> PathBuf {
        self.0.join("www")
    }

    fn serve(&self) -> Server {
        Server::start(&["--static", self.www().to_str().expect("a path of text")])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // One that stays behind lies in the build folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with(path: &str, header: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n")
}

#[test]
fn files_have_types_and_tags_and_nothing_else_is_there() {
    let folder = Folder::new("files");
    let server = folder.serve();
    let mut connection = Connection::open(&server);
    for (path, content_type, text) in [
        ("/", "text/html; charset=utf-8", "<p>home"),
        ("/index.html", "text/html; charset=utf-8", "<p>home"),
        ("/a.js", "text/javascript; charset=utf-8", "0123456789"),
        ("/a.js?v=1", "text/javascript; charset=utf-8", "0123456789"),
        ("/sub/b.txt", "text/plain; charset=utf-8", "sub"),
        ("/sub%2Fb.txt", "text/plain; charset=utf-8", "sub"),
        ("/with%20space.css", "text/css; charset=utf-8", "p {}"),
        ("/empty", "application/octet-stream", ""),
    ] {
        let file = connection.ask(get(path));
        assert_eq!(
            (
                file.status,
                file.header("content-type"),
                file.text().as_str()
            ),
            (200, Some(content_type), text),
            "{path}"
        );
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        let tag = file.header("etag").expect("a tag").to_owned();
        for condition in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".into(),
        ] {
            let same = connection.ask(with(path, &format!("If-None-Match: {condition}")));
            assert_eq!(
                (same.status, same.header("etag")),
                (304, Some(&*tag)),
                "{path} {condition}"
            );
        }
        assert_eq!(
            connection.ask(with(path, "If-None-Match: \"x\"")).status,
            200
        );
        connection.send(request("HEAD", path));
        let head = connection.answer_to_head();
        assert_eq!(
            head.header("content-length"),
            Some(&*text.len().to_string()),
            "{path}"
        );
    }
    for path in [
        "/.env",
        "/sub/.hidden/c",
        "/link.txt",
        "/up/secret.txt",
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/sub/%2e%2e/a.js",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%00",
        "/a.js%00",
        "/a.js%00.txt",
        "//a.js",
        "/./a.js",
        "/%",
        "/%zz",
        "/%ff",
        "/sub",
        "/etc/passwd",
        "//etc/passwd",
        "/a.js/",
    ] {
        let answer = connection.ask(get(path));
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.text().contains("secret"), "{path}");
    }
}

#[test]
fn parts_of_a_file_are_what_was_asked_for() {
    let folder = Folder::new("parts");
    let server = folder.serve();
    let mut connection = Connection::open(&server);
    let tag = connection
        .ask(get("/a.js"))
        .header("etag")
        .expect("a tag")
        .to_owned();
    for (range, status, text, part) in [
        ("bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=5-99", 206, "56789", Some("bytes 5-9/10")),
        (
            "bytes=10-",
            416,
            "the file has no such part\n",
            Some("bytes */10"),
        ),
        (
            "bytes=-0",
            416,
            "the file has no such part\n",
            Some("bytes */10"),
        ),
        ("bytes=3-1", 200, "0123456789", None),
        ("bytes=0-1,3-4", 200, "0123456789", None),
        ("lines=0-1", 200, "0123456789", None),
    ] {
        let answer = connection.ask(with("/a.js", &format!("Range: {range}")));
        assert_eq!(
            (
                answer.status,
                answer.text().as_str(),
                answer.header("content-range")
            ),
            (status, text, part),
            "{range}"
        );
    }
    let same = connection.ask(with(
        "/a.js",
        &format!("Range: bytes=0-0\r\nIf-Range: {tag}"),
    ));
    assert_eq!((same.status, same.text().as_str()), (206, "0"));
    let other = connection.ask(with("/a.js", "Range: bytes=0-0\r\nIf-Range: \"x\""));
    assert_eq!((other.status, other.text().as_str()), (200, "0123456789"));
    assert_eq!(
        connection.ask(with("/empty", "Range: bytes=0-")).status,
        416
    );
    // Only a GET has parts.
    connection.send("HEAD /a.js HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0\r\n\r\n");
    let head = connection.answer_to_head();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("10"))
    );
}

#[test]
fn a_file_that_changes_is_served_anew_and_one_that_goes_is_gone() {
    let folder = Folder::new("change");
    let server = folder.serve();
    let mut connection = Connection::open(&server);
    let before = connection.ask(get("/a.js"));
    fs::write(folder.www().join("a.js"), "changed").expect("it can be written");
    fs::write(folder.www().join("new.html"), "new").expect("it can be written");
    fs::remove_file(folder.www().join("sub/b.txt")).expect("it was there");
    wait_until("the folder is read again", || {
        let texts = ["/a.js", "/new.html", "/sub/b.txt"].map(|path| connection.ask(get(path)));
        texts[0].body == b"changed" && texts[1].body == b"new" && texts[2].status == 404
    });
    let tag = before.header("etag").expect("a tag");
    assert_eq!(
        connection
            .ask(with("/a.js", &format!("If-None-Match: {tag}")))
            .text(),
        "changed"
    );
}
