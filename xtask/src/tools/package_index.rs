//! Finds and fetches files on package indexes (PEP 503, 691), by uv's and pip's own configuration.

use std::{
    collections::HashMap,
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use ureq::{Agent, Body, ResponseExt as _, http::Response};
use url::Url;

use super::{
    http,
    index_addresses::{Index, Secret, Settings},
    process::check_interrupted,
    retry::{self, Clock, Failed, Policy, expect_success, network_fault, status_of, while_doing},
    work::lock,
};
use crate::model::{
    hash::Hash,
    index_page::{ACCEPT, IndexFile, Notation, PageReader, Texts},
    locked_file::LockedFile,
    problem::Problem,
};

/// No index page takes this long, even on a bad day.
const PAGE: Duration = Duration::from_secs(60);
/// A line over which nothing comes for so long is dead.
const STALL: Duration = Duration::from_secs(20);
const OTHER_BYTES: &str =
    "never install it as it is: find out which of the two is right, then lock again";
/// Pages of projects with thousands of files have 10 MB.
const LARGEST_PAGE: u64 = 100 << 20;

/// The package indexes of this machine.
#[derive(Debug)]
pub struct PackageIndex {
    indexes: Vec<Index>,
    pages: Mutex<HashMap<(Url, Texts), Page>>,
    asking: Agent,
    downloading: Agent,
    policy: Policy,
}

/// What was found on a page by whoever came first; the others wait for him. None where the index has no such project.
type Page = Arc<Mutex<Option<Arc<Option<Vec<IndexFile>>>>>>;

/// Where a file is.
#[derive(Debug, Clone)]
pub struct Source {
    pub file: IndexFile,
    authorization: Option<Secret>,
}

impl PackageIndex {
    /// The indexes that uv and pip are configured with here.
    pub fn configured() -> Result<PackageIndex> {
        Ok(PackageIndex::of(
            Settings::gather()?.indexes()?,
            STALL,
            Policy::NETWORK,
        ))
    }

    /// The one index at this address.
    pub fn at(address: &str) -> Result<PackageIndex> {
        let index = Settings::without_pip().index(None, address)?;
        Ok(PackageIndex::of(vec![index], STALL, Policy::NETWORK))
    }

    /// Every file of a project, whose name is normalized; none when no index has it.
    pub fn files(&self, package: &str) -> Result<Vec<IndexFile>> {
        let mut files = Vec::new();
        for index in &self.indexes {
            let listed = self.project(index, package, &Texts::new())?;
            files.extend(listed.iter().flatten().cloned());
        }
        Ok(files)
    }

    /// Of `indexes`, which are asked in their order; a download in which nothing arrives for `stall` is given up.
    pub fn of(indexes: Vec<Index>, stall: Duration, policy: Policy) -> PackageIndex {
        PackageIndex {
            indexes,
            pages: Mutex::default(),
            asking: http::asking(PAGE),
            downloading: http::downloading(stall),
            policy,
        }
    }

    /// Looks a locked file up: by name and hash, or by hash alone (a wheel before an sdist) where it has no name.
    pub fn locate(&self, wanted: &LockedFile) -> Result<Source> {
        let mut differs = None;
        let mut listed = false;
        for index in &self.indexes {
            let found = self.project(index, &wanted.package, &texts(wanted))?;
            let Some(files) = found.as_ref() else {
                continue;
            };
            listed = true;
            match choose(files, wanted) {
                Choice::Found(file) => {
                    let authorization = index
                        .authorization()?
                        .filter(|_| same_host(&file.url, &index.address));
                    return Ok(Source {
                        file,
                        authorization,
                    });
                }
                Choice::Differs(hash) => differs = Some((index, hash)),
                Choice::Missing => {}
            }
        }
        let asked: Vec<&str> = self
            .indexes
            .iter()
            .filter_map(|index| index.address.host_str())
            .collect();
        let asked = asked.join(", ");
        let label = wanted.label();
        let problem = match differs {
            Some((index, hash)) => Problem::failure(format!(
                "{label}: {} has a file of that name with {hash}, the lock asks for {}",
                index.address,
                hashes(&wanted.hashes)
            ))
            .help(OTHER_BYTES),
            None if listed => Problem::failure(format!(
                "{label} is not on the package index ({asked}), which has other files of {}",
                wanted.package
            ))
            .help(format!(
                "its author may have removed it: lock {} again",
                wanted.package
            )),
            None => Problem::failure(format!(
                "{} is no project of the package index ({asked})",
                wanted.package
            ))
            .help("a private index is named by UV_INDEX or pip's extra-index-url; one in pyproject.toml or the lock is not asked"),
        };
        Err(problem.into())
    }

    /// Those files of a project that have one of these texts; None when the index does not have the project.
    fn project(
        &self,
        index: &Index,
        package: &str,
        texts: &Texts,
    ) -> Result<Arc<Option<Vec<IndexFile>>>> {
        let address = index
            .address
            .join(&format!("{package}/"))
            .with_context(|| format!("address of {package}"))?;
        let key = (address.clone(), texts.clone());
        let page = Arc::clone(lock(&self.pages).entry(key).or_default());
        let mut page = lock(&page);
        if let Some(files) = page.as_ref() {
            return Ok(Arc::clone(files));
        }
        let authorization = index.authorization()?;
        let read = retry::retry(&self.policy, &Clock, || {
            while_doing(
                self.read_page(&address, texts, authorization.as_ref()),
                &format!("GET {address}"),
            )
        });
        let files = match read {
            Ok(files) => Some(files),
            Err(error) => match status_of(&error) {
                Some(404 | 410) => None,
                _ => return Err(denied(error, &address)),
            },
        };
        Ok(Arc::clone(page.insert(Arc::new(files))))
    }

    fn read_page(
        &self,
        address: &Url,
        texts: &Texts,
        authorization: Option<&Secret>,
    ) -> Result<Vec<IndexFile>, Failed> {
        let mut response =
            expect_success(get(&self.asking, address, authorization, "accept", ACCEPT)?)?;
        let kind = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        let notation = Notation::of(kind);
        let no_page = |error: String| {
            Failed::for_good(anyhow::anyhow!("not a page of a package index: {error}"))
        };
        // Where redirections led to: what relative addresses on the page refer to.
        let at = response.get_uri().to_string().parse::<Url>();
        let at = at.map_err(|error| no_page(error.to_string()))?;
        let mut page = PageReader::new(notation, &at, texts);
        let mut body = response
            .body_mut()
            .with_config()
            .limit(LARGEST_PAGE)
            .reader();
        let mut piece = vec![0; 64 << 10];
        loop {
            match body.read(&mut piece).map_err(Failed::for_now)? {
                0 => return page.finish().map_err(no_page),
                read => page.push(&piece[..read]).map_err(no_page)?,
            }
        }
    }

    /// Fetches a locked file into `into`, which is emptied before each attempt, and checks its hash. An address in the
    /// lock counts for nothing: the machine's indexes may be mirrors, and only they say what was withdrawn.
    pub fn fetch(&self, wanted: &LockedFile, into: &mut std::fs::File) -> Result<Fetched> {
        let Source {
            file,
            authorization,
        } = self.locate(wanted)?;
        let got = self
            .download(&file.url, authorization.as_ref(), wanted, into)
            .map_err(|error| denied(error, &file.url))?;
        Ok(Fetched {
            hash: verified(wanted, &file.url, &got)?,
            name: file.name,
            yanked: file.yanked,
        })
    }

    /// Streams a file to disk; gives its hash by the lock's algorithm.
    fn download(
        &self,
        url: &Url,
        authorization: Option<&Secret>,
        wanted: &LockedFile,
        into: &mut std::fs::File,
    ) -> Result<String> {
        retry::retry(&self.policy, &Clock, || {
            while_doing(
                self.attempt(url, authorization, wanted, into),
                &format!("GET {url}"),
            )
        })
    }

    fn attempt(
        &self,
        url: &Url,
        authorization: Option<&Secret>,
        wanted: &LockedFile,
        into: &mut std::fs::File,
    ) -> Result<String, Failed> {
        use std::io::Seek;
        // Compressed once more on the way, the bytes would not be the file's.
        let response = expect_success(get(
            &self.downloading,
            url,
            authorization,
            "accept-encoding",
            "identity",
        )?)?;
        let length = response.body().content_length();
        into.rewind()
            .and_then(|()| into.set_len(0))
            .map_err(Failed::for_good)?;
        let mut body = response.into_body().into_reader();
        let mut digests = Digests::like(&wanted.hashes);
        let mut buffer = vec![0; 64 << 10];
        let mut total = 0;
        loop {
            check_interrupted().map_err(Failed::for_good)?;
            let count = body.read(&mut buffer).map_err(Failed::for_now)?;
            if count == 0 {
                break;
            }
            digests.add(&buffer[..count]);
            into.write_all(&buffer[..count])
                .context("write to the store")
                .map_err(Failed::for_good)?;
            total += count as u64;
        }
        match length {
            Some(length) if length != total => Err(Failed::for_now(anyhow::anyhow!(
                "ended after {total} of {length} bytes"
            ))),
            _ => Ok(digests.finish()),
        }
    }
}

/// A file that was fetched and verified.
#[derive(Debug)]
pub struct Fetched {
    /// Its name on the index.
    pub name: String,
    /// The one of the locked hashes that it has.
    pub hash: Hash,
    pub yanked: Option<String>,
}

/// The hash of one file by the algorithm that a lock uses.
#[derive(Clone)]
pub(super) enum Digests {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Digests {
    /// By the algorithm of the first hash.
    pub fn like(hashes: &[Hash]) -> Digests {
        let algorithm = hashes
            .first()
            .and_then(|hash| hash.as_str().split(':').next());
        match algorithm {
            Some("sha384") => Digests::Sha384(Sha384::default()),
            Some("sha512") => Digests::Sha512(Sha512::default()),
            _ => Digests::Sha256(Sha256::default()),
        }
    }

    /// Takes the file's next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        match self {
            Digests::Sha256(hasher) => hasher.update(bytes),
            Digests::Sha384(hasher) => hasher.update(bytes),
            Digests::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// `ALGORITHM:DIGITS`, as locks write it.
    pub fn finish(self) -> String {
        match self {
            Digests::Sha256(hasher) => format!("sha256:{:x}", hasher.finalize()),
            Digests::Sha384(hasher) => format!("sha384:{:x}", hasher.finalize()),
            Digests::Sha512(hasher) => format!("sha512:{:x}", hasher.finalize()),
        }
    }
}

fn verified(wanted: &LockedFile, url: &Url, got: &str) -> Result<Hash> {
    if let Some(hash) = wanted.hashes.iter().find(|hash| hash.as_str() == got) {
        return Ok(hash.clone());
    }
    Err(Problem::failure(format!(
        "{}: {url} gave a file with {got}, the lock asks for {}",
        wanted.label(),
        hashes(&wanted.hashes)
    ))
    .help(OTHER_BYTES)
    .into())
}

fn hashes(hashes: &[Hash]) -> String {
    hashes
        .iter()
        .map(Hash::as_str)
        .collect::<Vec<_>>()
        .join(" or ")
}

/// What tells the entries of a file on a page from others: the version, since all files of one are asked for together.
fn texts(wanted: &LockedFile) -> Texts {
    if wanted.name.is_empty() {
        let digits = wanted
            .hashes
            .iter()
            .filter_map(|hash| hash.as_str().split_once(':'));
        digits.map(|(_, digits)| digits.to_owned()).collect()
    } else if !wanted.version.is_empty() && wanted.name.contains(&wanted.version) {
        vec![wanted.version.clone()]
    } else {
        vec![wanted.name.clone()]
    }
}

enum Choice {
    Found(IndexFile),
    /// The name is there with another hash.
    Differs(Hash),
    Missing,
}

fn choose(files: &[IndexFile], wanted: &LockedFile) -> Choice {
    let right = |file: &&IndexFile| file.hashes.iter().any(|hash| wanted.hashes.contains(hash));
    if wanted.name.is_empty() {
        // A wheel for every platform first: the same one must do wherever it is used.
        let ending = |end: &str| {
            files
                .iter()
                .filter(right)
                .find(|file| file.name.ends_with(end))
        };
        let wheel = ending("-none-any.whl").or_else(|| ending(".whl"));
        return wheel
            .or_else(|| files.iter().find(right))
            .cloned()
            .map_or(Choice::Missing, Choice::Found);
    }
    let Some(file) = files.iter().find(|file| file.name == wanted.name) else {
        return Choice::Missing;
    };
    // Only hashes of one algorithm can be compared; the download is checked in any case.
    let algorithm = |hash: &Hash| hash.as_str().split(':').next().map(str::to_owned);
    let other = file.hashes.iter().find(|hash| {
        wanted
            .hashes
            .iter()
            .any(|w| algorithm(w) == algorithm(hash))
    });
    match other {
        Some(other) if !right(&file) => Choice::Differs(other.clone()),
        _ => Choice::Found(file.clone()),
    }
}

fn same_host(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

fn get(
    agent: &Agent,
    url: &Url,
    authorization: Option<&Secret>,
    name: &str,
    value: &str,
) -> Result<Response<Body>, Failed> {
    let mut request = agent.get(url.as_str()).header(name, value);
    if let Some(Secret(value)) = authorization {
        request = request.header("authorization", value);
    }
    request.call().map_err(network_fault)
}

/// Says the next step where an index wants to know who asks.
fn denied(error: anyhow::Error, url: &Url) -> anyhow::Error {
    match status_of(&error) {
        Some(401 | 403) => Problem::environment(format!("{error:#}"))
            .help(format!(
                "credentials for {} are read from the index address, UV_INDEX_<NAME>_USERNAME and _PASSWORD, or netrc; \
                 a user's password from a keyring where `keyring-provider` is `subprocess`",
                url.host_str().unwrap_or_default()
            ))
            .into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::tools::index_addresses::Login;
    use crate::tools::test_server::{Answer, Server};

    const FAST: Policy = Policy {
        tries: 3,
        total: Duration::from_secs(60),
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    fn sha256(bytes: &[u8]) -> Hash {
        format!("sha256:{:x}", Sha256::digest(bytes))
            .parse()
            .unwrap()
    }

    fn locked(content: &[u8]) -> LockedFile {
        LockedFile {
            package: "a-b".into(),
            version: "1".into(),
            name: "a_b-1.tar.gz".into(),
            hashes: vec![sha256(content)],
        }
    }

    fn page(hash: Option<&Hash>) -> Answer {
        let fragment = hash
            .map(|hash| format!("#{}", hash.as_str().replace(':', "=")))
            .unwrap_or_default();
        Answer::ok(
            "text/html",
            format!("<a href='../files/a_b-1.tar.gz{fragment}' data-yanked='old'>a_b-1.tar.gz</a>"),
        )
    }

    fn file(content: &str) -> Answer {
        Answer::ok("application/octet-stream", content)
    }

    /// Fetches `a_b-1.tar.gz` with content `hello` from a server that gives these answers in turn.
    fn fetch(
        answers: Vec<Answer>,
        wanted: &LockedFile,
        authorization: Option<&str>,
    ) -> (Result<Fetched>, Vec<u8>, Vec<String>) {
        let server = Server::start(answers);
        let index = Index {
            address: server.url("/simple/"),
            login: authorization.map(|value| Login::Known(Secret(value.to_owned()))),
        };
        let client = PackageIndex::of(vec![index], server.patience, FAST);
        let mut target = tempfile::tempfile().unwrap();
        let result = client.fetch(wanted, &mut target);
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut target).unwrap();
        target.read_to_end(&mut bytes).unwrap();
        (result, bytes, server.requests())
    }

    fn first_words(requests: &[String]) -> Vec<&str> {
        requests
            .iter()
            .map(|request| request.lines().next().unwrap().split(' ').nth(1).unwrap())
            .collect()
    }

    #[test]
    fn faults_that_pass_are_tried_again() {
        let wanted = locked(b"hello");
        let hash = &wanted.hashes[0];
        let meet = |name, fault| {
            let answers = vec![page(Some(hash)), fault, file("hello")];
            let (result, bytes, requests) = fetch(answers, &wanted, None);
            let fetched = result.unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert_eq!(
                (fetched.name.as_str(), fetched.yanked.as_deref()),
                ("a_b-1.tar.gz", Some("old")),
                "{name}"
            );
            assert_eq!(bytes, b"hello", "{name}");
            let file = "/simple/files/a_b-1.tar.gz";
            assert_eq!(
                first_words(&requests),
                ["/simple/a-b/", file, file],
                "{name}"
            );
        };
        thread::scope(|scope| {
            for (name, fault) in [
                ("busy", Answer::status(429).header("Retry-After: 0")),
                ("broken", Answer::status(500)),
                ("truncated", file("hello").cut(2)),
                ("stalled", file("hello").cut(2).stalled()),
                ("silent", file("hello").cut(0).stalled()),
                ("hung up", Answer::hang_up()),
            ] {
                scope.spawn(move || meet(name, fault));
            }
        });
    }

    #[test]
    fn what_can_not_be_had_is_said() {
        let wanted = locked(b"hello");
        let (right, other) = (&wanted.hashes[0], sha256(b"other"));
        for (answers, expected) in [
            (
                vec![Answer::status(404)],
                "a-b is no project of the package index (127.0.0.1)".to_owned(),
            ),
            (
                vec![Answer::ok("text/html", "<a href='x'>a_b-2.tar.gz</a>")],
                "a_b-1.tar.gz is not on the package index".to_owned(),
            ),
            (
                vec![page(Some(&other))],
                format!("has a file of that name with {other}, the lock asks for {right}"),
            ),
            (
                vec![page(Some(right)), file("other")],
                format!("gave a file with {other}, the lock asks for {right}"),
            ),
            (
                vec![page(None), file("other")],
                format!("gave a file with {other}, the lock asks for {right}"),
            ),
            (
                vec![Answer::status(401)],
                "answered with status 401".to_owned(),
            ),
            (
                vec![page(Some(right)), Answer::status(403)],
                "answered with status 403".to_owned(),
            ),
            (
                vec![Answer::ok("application/vnd.pypi.simple.v1+json", "<html>")],
                "not a page of a package index".to_owned(),
            ),
            (
                vec![
                    Answer::status(503),
                    Answer::status(503),
                    Answer::status(503),
                ],
                "tried 3 times: ".to_owned(),
            ),
        ] {
            let (result, _, _) = fetch(answers, &wanted, None);
            let error = format!("{:#}", result.unwrap_err());
            assert!(error.contains(&expected), "{expected}\n{error}");
            assert!(!error.contains("Basic"), "{error}");
        }
    }

    #[test]
    fn relative_addresses_refer_to_where_redirections_led() {
        let wanted = locked(b"hello");
        let moved = Answer::status(302).header("Location: /moved/simple/a-b/");
        let (result, _, requests) = fetch(vec![moved, page(None), file("hello")], &wanted, None);
        result.unwrap();
        assert_eq!(
            first_words(&requests),
            [
                "/simple/a-b/",
                "/moved/simple/a-b/",
                "/moved/simple/files/a_b-1.tar.gz"
            ]
        );
    }

    #[test]
    fn credentials_go_to_the_index_and_nowhere_else() {
        let wanted = locked(b"hello");
        let (result, _, requests) =
            fetch(vec![page(None), file("hello")], &wanted, Some("Basic abc"));
        result.unwrap();
        assert!(
            requests
                .iter()
                .all(|request| request.to_lowercase().contains("authorization: basic abc")),
            "{requests:?}"
        );
        let other = Server::start(vec![file("hello")]);
        let link = other.url("/f/a_b-1.tar.gz");
        let page = Answer::ok("text/html", format!("<a href='{link}'>a_b-1.tar.gz</a>"));
        fetch(vec![page], &wanted, Some("Basic abc")).0.unwrap();
        let asked = other.requests();
        assert_eq!(first_words(&asked), ["/f/a_b-1.tar.gz"]);
        assert!(
            !asked[0].to_lowercase().contains("authorization"),
            "{asked:?}"
        );
    }

    #[test]
    fn a_file_known_by_its_hash_alone_is_the_wheel() {
        let (wheel, sdist) = (sha256(b"hello"), sha256(b"sdist"));
        let wanted = LockedFile {
            name: String::new(),
            hashes: vec![sdist.clone(), wheel.clone()],
            ..locked(b"")
        };
        let json = format!(
            r#"{{"files":[{{"filename":"a_b-1.tar.gz","url":"../f/s","hashes":{{"sha256":"{}"}}}},{{"filename":"a_b-1-py3-none-any.whl","url":"../f/w","hashes":{{"sha256":"{}"}}}}]}}"#,
            &sdist.as_str()[7..],
            &wheel.as_str()[7..]
        );
        let (result, _, requests) = fetch(
            vec![
                Answer::ok("application/vnd.pypi.simple.v1+json", json),
                file("hello"),
            ],
            &wanted,
            None,
        );
        let fetched = result.unwrap();
        assert_eq!(
            (fetched.name.as_str(), &fetched.hash),
            ("a_b-1-py3-none-any.whl", &wheel)
        );
        assert!(
            requests[0]
                .to_lowercase()
                .contains("accept: application/vnd.pypi.simple.v1+json")
        );
    }
}
