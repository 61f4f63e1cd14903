//! A whole publish by the fake docker, to a registry that takes manifests and has every blob.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::end_to_end::publish::{at_version, one, run_at};

/// What a registry was told, and how it behaves.
#[derive(Default)]
struct Registry {
    /// By their paths.
    manifests: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
    /// The path at which a manifest is stored, and the answer says that it is not.
    mute: Option<String>,
}

impl Registry {
    /// Starts one; its address.
    fn start() -> (Arc<Mutex<Registry>>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let registry = Arc::new(Mutex::new(Registry::default()));
        let its = Arc::clone(&registry);
        thread::spawn(move || {
            for stream in listener.incoming() {
                its.lock().unwrap().answer(stream.unwrap());
            }
        });
        (registry, address)
    }

    fn answer(&mut self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let lines = reader.by_ref().lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let request = head[0].trim_end_matches(" HTTP/1.1").to_owned();
        let (method, path) = request.split_once(' ').unwrap();
        let length = head.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let (status, answer) = match (method, self.manifests.get(path)) {
            ("PUT", _) => {
                self.manifests.insert(path.to_owned(), body);
                let is_mute = self.mute.as_deref() == Some(path);
                (if is_mute { 403 } else { 201 }, Vec::new())
            }
            (_, Some(manifest)) => (200, manifest.clone()),
            ("HEAD", None) if path.contains("/blobs/") => (200, Vec::new()),
            _ => (404, Vec::new()),
        };
        // What has a tag was put by its digest before.
        let has_content = |(path, content): (&String, &Vec<u8>)| {
            let digest = path.split("/manifests/").nth(1)?;
            (*content == answer && digest.starts_with("sha256:")).then(|| digest.to_owned())
        };
        let digest = self.manifests.iter().find_map(has_content);
        let digest = digest.map(|digest| format!("Docker-Content-Digest: {digest}\r\n"));
        let head = format!(
            "HTTP/1.1 {status} X\r\n{}Content-Type: application/vnd.oci.image.index.v1+json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            digest.unwrap_or_default(),
            answer.len()
        );
        let body = if method == "HEAD" { &[] } else { &answer[..] };
        // A client that hung up is the client's business.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        self.requests.push(request);
    }
}

/// As behind a gateway that gives up on a registry which sets the tag all the same.
#[test]
fn a_tag_that_was_set_unheard_is_known_to_the_next_run_and_never_pulled() {
    let (registry, address) = Registry::start();
    let tag = "/v2/airbyte/source-a/manifests/v1";
    let start = ["source-a", "--tag-override=v1", "--json"];
    let repo = one();
    run_at(&address, &repo, &start).code(0);
    // Another image under the same tag.
    let repo = at_version(repo, "1.2.4");
    registry.lock().unwrap().mute = Some(tag.to_owned());
    run_at(
        &address,
        &repo,
        &[&start[..], &["--force-publish"]].concat(),
    )
    .code(1)
    .says("status 403");
    let again = run_at(&address, &repo, &start).code(0);
    assert_eq!(again.json()["connectors"][0]["action"], "exists");
    let pulled = format!("GET {tag}");
    let registry = registry.lock().unwrap();
    assert!(
        !registry.requests.contains(&pulled),
        "{:?}",
        registry.requests
    );
}
