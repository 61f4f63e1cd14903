//! The questions and orders that one repository takes.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read},
};

use anyhow::{Context, Error, Result, bail, ensure};
use camino::Utf8Path;
use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;
use ureq::{
    Body, RequestBuilder, SendBody,
    http::{HeaderMap, Response},
};
use url::Url;

use super::{
    Access, Arrived, Blob, BlobContent, Put, Reference, Repository, address,
    attachments::INDEX,
    session::{Scope, expect, read_document},
};
use crate::{
    model::{
        image::Digest,
        manifest_document::{ACCEPT, Document},
    },
    tools::{
        layer::Hashing,
        process::check_interrupted,
        retry::{Failed, is_transient, status_of},
    },
};

/// What a registry says to a mount.
enum Mount {
    Done,
    /// It has begun an upload instead, which goes there; it lapses when nothing follows.
    Upload(Url),
    Refused,
}

/// Of tags or of referrers: a list that goes on for ever fails.
const MOST_PAGES: usize = 100;

/// Some items of a list, and where the next ones are.
type Page<T> = (Vec<T>, Option<Url>);

impl Repository<'_> {
    /// Registry and path, as in an image's name.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.registry, self.name)
    }

    /// The same, asked by who is about to push. Token servers deny whoever only wants to pull what is not there yet;
    /// who pushes learns that it is not there.
    pub fn for_push(self) -> Self {
        Repository {
            access: Access::Push,
            ..self
        }
    }

    /// The digest that a tag points to, or whether a digest is there; asked with HEAD, which no registry counts as a
    /// pull. None when it is not there.
    pub fn digest(&self, reference: &Reference) -> Result<Option<Digest>> {
        self.digest_unless(&[404], reference)
    }

    /// The same; for who may not see it, it is not there.
    pub fn visible_digest(&self, reference: &Reference) -> Result<Option<Digest>> {
        self.digest_unless(&[401, 403, 404], reference)
    }

    /// None where the answer has one of the `absent` statuses.
    fn digest_unless(&self, absent: &[u16], reference: &Reference) -> Result<Option<Digest>> {
        let url = self.url(&format!("manifests/{reference}"));
        let answer = self.send(
            &self.scope(),
            &format!("HEAD {url}"),
            |headers| {
                authorized(
                    self.registries.asking.head(&url).header("accept", ACCEPT),
                    headers,
                )
                .call()
            },
            |response| {
                if absent.contains(&response.status().as_u16()) {
                    return Ok(None);
                }
                let response = expect(response, &[200])?;
                Ok(Some(digest_header(response.headers())))
            },
        )?;
        match answer {
            None => Ok(None),
            Some(Some(digest)) => Ok(Some(digest)),
            // Old registries leave the header out.
            Some(None) => Ok(self.manifest(reference)?.map(|document| document.digest)),
        }
    }

    /// Every tag; None when there is no such repository.
    pub fn tags(&self) -> Result<Option<Vec<String>>> {
        all_pages(self.url("tags/list?n=1000"), |url| self.page_of_tags(url))
    }

    fn page_of_tags(&self, url: &str) -> Result<Option<Page<String>>> {
        #[derive(Deserialize)]
        struct Answer {
            // Where there are none, some registries say null.
            tags: Option<Vec<String>>,
        }
        self.send(
            &self.scope(),
            &format!("GET {url}"),
            |headers| authorized(self.registries.asking.get(url), headers).call(),
            |response| {
                let mut response = expect(response, &[200, 404])?;
                if response.status() == 404 {
                    return Ok(None);
                }
                let next = next_page(url, response.headers());
                let bytes = read_document(&mut response)?;
                let answer: Answer = serde_json::from_slice(&bytes)
                    .context("read the list of tags")
                    .map_err(Failed::for_good)?;
                Ok(Some((answer.tags.unwrap_or_default(), next)))
            },
        )
    }

    /// An index or manifest; None when it is not there.
    ///
    /// # Errors
    /// When what comes is not what the digest, asked for or announced, promises.
    pub fn manifest(&self, reference: &Reference) -> Result<Option<Document>> {
        let url = self.url(&format!("manifests/{reference}"));
        self.send(
            &self.scope(),
            &format!("GET {url}"),
            |headers| {
                authorized(
                    self.registries.asking.get(&url).header("accept", ACCEPT),
                    headers,
                )
                .call()
            },
            |response| {
                let mut response = expect(response, &[200, 404])?;
                if response.status() == 404 {
                    return Ok(None);
                }
                let kind = media_type(response.headers());
                let promised = match reference {
                    Reference::Digest(digest) => Some(digest.clone()),
                    Reference::Tag(_) => digest_header(response.headers()),
                };
                let document = Document::new(kind, read_document(&mut response)?);
                same(promised.as_ref(), &document.digest)?;
                Ok(Some(document))
            },
        )
    }

    /// Stores an index or manifest under a tag or under its digest alone.
    pub fn put_manifest(&self, reference: &Reference, document: &Document) -> Result<Put> {
        let url = self.url(&format!("manifests/{reference}"));
        let mut tries = 0;
        let put = self.send(
            &self.push(None),
            &format!("PUT {url}"),
            |headers| {
                tries += 1;
                let request = self
                    .registries
                    .asking
                    .put(&url)
                    .header("content-type", &document.media_type);
                authorized(request, headers).send(&document.bytes)
            },
            |response| {
                let response = expect(response, &[200, 201, 202])?;
                same(digest_header(response.headers()).as_ref(), &document.digest)?;
                let subject = response.headers().get("oci-subject");
                Ok(Put {
                    digest: document.digest.clone(),
                    subject: subject.and_then(|value| value.to_str().ok()?.parse().ok()),
                })
            },
        );
        let refused = |error: &Error| status_of(error).is_some_and(|status| !is_transient(status));
        let stands = || matches!(self.digest(reference), Ok(Some(it)) if it == document.digest);
        match put {
            // Where tags can't be moved, the second order is refused though only the answer to the first was lost.
            Err(error) if tries > 1 && refused(&error) && stands() => Ok(Put {
                digest: document.digest.clone(),
                subject: None,
            }),
            put => put,
        }
    }

    /// Whether this repository has it, asked by HEAD; any answer but 200 and 404 is an error.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.head_blob(digest, &self.scope())
    }

    fn head_blob(&self, digest: &Digest, scope: &Scope) -> Result<bool> {
        let url = self.url(&format!("blobs/{digest}"));
        self.send(
            scope,
            &format!("HEAD {url}"),
            |headers| authorized(self.registries.asking.head(&url), headers).call(),
            |response| Ok(expect(response, &[200, 404])?.status() == 200),
        )
    }

    /// A small blob, such as a configuration.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let url = self.url(&format!("blobs/{digest}"));
        self.send(
            &self.scope(),
            &format!("GET {url}"),
            |headers| authorized(self.registries.asking.get(&url), headers).call(),
            |response| {
                let bytes = read_document(&mut expect(response, &[200])?)?;
                same(Some(digest), &Digest::of(&bytes))?;
                Ok(bytes)
            },
        )
    }

    /// Fetches a blob of any size into a file, which only appears when it is whole.
    pub fn download(&self, digest: &Digest, into: &Utf8Path) -> Result<()> {
        let url = self.url(&format!("blobs/{digest}"));
        let directory = into.parent().context("a file is in a directory")?;
        fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
        self.send(
            &self.scope(),
            &format!("GET {url}"),
            |headers| authorized(self.registries.downloading.get(&url), headers).call(),
            |response| {
                let body = expect(response, &[200])?.into_body().into_reader();
                let mut file =
                    tempfile::NamedTempFile::new_in(directory).map_err(Failed::for_good)?;
                let mut body = Hashing::new(Stoppable(body));
                io::copy(&mut body, &mut file).map_err(Failed::for_now)?;
                same(Some(digest), &body.finish().0)?;
                file.persist(into).map_err(Failed::for_good)?;
                Ok(())
            },
        )
    }

    /// Brings a blob into this repository: by a mount when `from` (a repository of the same registry, as its path) has it,
    /// not at all when it is there, else by an upload.
    pub fn push_blob(&self, blob: &Blob, from: Option<&str>) -> Result<Arrived> {
        let place = match self.mount(&blob.digest, from)? {
            Mount::Done => return Ok(Arrived::Mounted),
            Mount::Upload(place) => Some(place),
            Mount::Refused => None,
        };
        let scope = self.push(None);
        if self.head_blob(&blob.digest, &scope)? {
            return Ok(Arrived::Existed);
        }
        let upload = RefCell::new(Upload {
            repository: self,
            blob,
            place,
            asked: Asked::Place,
        });
        self.send(
            &scope,
            &format!("push blob {} to {}", blob.digest, self.full_name()),
            |headers| upload.borrow_mut().attempt(headers),
            |response| upload.borrow().judge(response),
        )?;
        Ok(Arrived::Uploaded)
    }

    /// Brings a blob here without its content; None when that can't be done: it is not there, nor in `from`, or the
    /// registry does not mount.
    pub fn mount_blob(&self, digest: &Digest, from: Option<&str>) -> Result<Option<Arrived>> {
        if let Mount::Done = self.mount(digest, from)? {
            return Ok(Some(Arrived::Mounted));
        }
        let is_there = self.head_blob(digest, &self.push(None))?;
        Ok(is_there.then_some(Arrived::Existed))
    }

    /// Asks for a blob of another repository, whether it is here already or not: where it is in both, that takes one
    /// request all the same.
    fn mount(&self, digest: &Digest, from: Option<&str>) -> Result<Mount> {
        let Some(from) = from.filter(|from| *from != self.name) else {
            return Ok(Mount::Refused);
        };
        let url = self.url(&format!("blobs/uploads/?mount={digest}&from={from}"));
        let answer = self.send(
            &self.push(Some(from)),
            &format!("POST {url}"),
            |headers| authorized(self.registries.asking.post(&url), headers).send_empty(),
            |response| {
                let response = expect(response, &[201, 202])?;
                if response.status() == 201 {
                    return Ok(Mount::Done);
                }
                let target = upload_target(&url, response.headers(), digest);
                Ok(target.map_or(Mount::Refused, Mount::Upload))
            },
        );
        match answer {
            // A token server may be the one that denies: it is asked about both repositories.
            Err(error) if matches!(status_of(&error), Some(401 | 403 | 404 | 405)) => {
                Ok(Mount::Refused)
            }
            answer => answer,
        }
    }

    /// What refers to a manifest (signatures, SBOMs); None for a registry that keeps no such lists, however it says so.
    pub fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let first = self.url(&format!("referrers/{subject}"));
        all_pages(first, |url| self.page_of_referrers(url))
    }

    fn page_of_referrers(&self, url: &str) -> Result<Option<Page<Descriptor>>> {
        self.send(
            &self.scope(),
            &format!("GET {url}"),
            |headers| {
                let request = self.registries.asking.get(url).header("accept", INDEX);
                authorized(request, headers).call()
            },
            |response| {
                let mut response = expect(response, &[200, 400, 404, 405, 406])?;
                if response.status() != 200 || media_type(response.headers()) != INDEX {
                    return Ok(None);
                }
                let next = next_page(url, response.headers());
                let bytes = read_document(&mut response)?;
                let index: ImageIndex = serde_json::from_slice(&bytes)
                    .context("read the list of referrers")
                    .map_err(Failed::for_good)?;
                Ok(Some((index.manifests().clone(), next)))
            },
        )
    }

    fn send<T>(
        &self,
        scope: &Scope,
        what: &str,
        call: impl FnMut(Option<&str>) -> Result<Response<Body>, ureq::Error>,
        read: impl FnMut(Response<Body>) -> Result<T, Failed>,
    ) -> Result<T> {
        self.registries
            .send(&self.registry, scope, what, call, read)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", address::base(&self.registry), self.name)
    }

    /// Leave for a question.
    fn scope(&self) -> Scope {
        match self.access {
            Access::Pull => Scope(format!("repository:{}:pull", self.name)),
            Access::Push => self.push(None),
        }
    }

    /// Leave to push here and, for a mount, to pull there.
    fn push(&self, from: Option<&str>) -> Scope {
        let from = from
            .map(|from| format!(" repository:{from}:pull"))
            .unwrap_or_default();
        Scope(format!("repository:{}:pull,push{from}", self.name))
    }
}

/// A blob's way into a repository. An attempt that fails begins anew, unless only its answer was lost.
struct Upload<'u> {
    repository: &'u Repository<'u>,
    blob: &'u Blob,
    /// Where the content goes, when the registry has said so; good for one attempt.
    place: Option<Url>,
    asked: Asked,
}

/// What was asked last for an upload, so what its answer is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Place,
    Storing,
    /// Whether the content that was sent has arrived.
    Arrival,
}

impl Upload<'_> {
    /// One attempt up to its last answer, which is for `judge`.
    fn attempt(&mut self, headers: Option<&str>) -> Result<Response<Body>, ureq::Error> {
        let digest = &self.blob.digest;
        let asking = &self.repository.registries.asking;
        if self.asked != Asked::Place {
            self.asked = Asked::Arrival;
            let url = self.repository.url(&format!("blobs/{digest}"));
            let answer = authorized(asking.head(&url), headers).call()?;
            if answer.status() != 404 {
                return Ok(answer);
            }
            self.asked = Asked::Place;
        }
        let start = self.repository.url("blobs/uploads/");
        let place = match self.place.take() {
            Some(place) => place,
            None => {
                let answer = authorized(asking.post(&start), headers).send_empty()?;
                if answer.status() != 202 {
                    return Ok(answer);
                }
                upload_target(&start, answer.headers(), digest)?
            }
        };
        self.asked = Asked::Storing;
        self.store(&place, headers.filter(|_| same_origin(&start, &place)))
    }

    fn store(&self, place: &Url, headers: Option<&str>) -> Result<Response<Body>, ureq::Error> {
        let uploading = &self.repository.registries.uploading;
        let request = uploading
            .put(place.as_str())
            .header("content-type", "application/octet-stream")
            .header("content-length", self.blob.size.to_string());
        let request = authorized(request, headers);
        match &self.blob.content {
            BlobContent::Bytes(bytes) => request.send(bytes),
            BlobContent::File(path) => {
                let mut content = Stoppable(File::open(path)?);
                request.send(SendBody::from_reader(&mut content))
            }
        }
    }

    /// Whether the answer says that the blob is there.
    fn judge(&self, response: Response<Body>) -> Result<(), Failed> {
        let good: &[u16] = match self.asked {
            Asked::Place => &[],
            Asked::Storing => &[201, 204],
            Asked::Arrival => &[200],
        };
        let place_is_gone = self.asked == Asked::Storing && response.status() == 404;
        let response = expect(response, good).map_err(|failed| match place_is_gone {
            true => Failed::for_now(failed.error),
            false => failed,
        })?;
        same(
            digest_header(response.headers()).as_ref(),
            &self.blob.digest,
        )
    }
}

fn authorized<B>(request: RequestBuilder<B>, authorization: Option<&str>) -> RequestBuilder<B> {
    match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    }
}

/// The type of what comes, without parameters.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get("content-type");
    let value = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Whether the right content came; another one may be a fault on the way.
fn same(promised: Option<&Digest>, got: &Digest) -> Result<(), Failed> {
    match promised {
        Some(promised) if promised != got => Err(Failed::for_now(anyhow::anyhow!(
            "the content has digest {got}, not {promised}"
        ))),
        _ => Ok(()),
    }
}

/// Where an upload goes: the Location that the registry gave, absolute or not, with the digest added.
fn upload_target(start: &str, headers: &HeaderMap, digest: &Digest) -> Result<Url, ureq::Error> {
    let location = headers
        .get("location")
        .and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| named(start, location));
    let mut target =
        target.ok_or_else(|| ureq::Error::BadUri(format!("upload location {location:?}")))?;
    target
        .query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    Ok(target)
}

/// The address in `Link: <…>; rel="next"` ("Pagination" of the distribution specification).
fn next_page(url: &str, headers: &HeaderMap) -> Option<Url> {
    let link = headers.get("link")?.to_str().ok()?;
    let (target, relation) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = relation.replace([' ', '"'], "").contains("rel=next");
    named(url, target).filter(|_| is_next)
}

/// The items of all pages; None when there is no list. A page that can't be had is an error: a part is never taken for
/// the whole.
fn all_pages<T>(
    first: String,
    page: impl Fn(&str) -> Result<Option<Page<T>>>,
) -> Result<Option<Vec<T>>> {
    let (mut url, mut items) = (first.clone(), Vec::new());
    for _ in 0..MOST_PAGES {
        let Some((more, next)) = page(&url)? else {
            ensure!(url == first, "GET {url}: this next page is not there");
            return Ok(None);
        };
        items.extend(more);
        match next {
            None => return Ok(Some(items)),
            Some(next) if same_origin(&first, &next) => url = next.into(),
            Some(next) => bail!("GET {url}: the next page is on another host: {next}"),
        }
    }
    bail!("GET {first}: more than {MOST_PAGES} pages")
}

/// The address that an answer of `asked` names, absolute or not. Behind a proxy that ends TLS, registries write http for
/// the host that was asked by https: how it was asked counts.
fn named(asked: &str, address: &str) -> Option<Url> {
    let asked = Url::parse(asked).ok()?;
    let mut url = asked.join(address).ok()?;
    if (url.host(), url.port()) == (asked.host(), asked.port()) {
        url.set_scheme(asked.scheme()).ok()?;
    }
    Some(url)
}

/// Nothing secret goes to another host.
fn same_origin(start: &str, target: &Url) -> bool {
    Url::parse(start).is_ok_and(|start| start.origin() == target.origin())
}

/// Fails when Ctrl-C was pressed.
struct Stoppable<R>(R);

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        check_interrupted().map_err(io::Error::other)?;
        self.0.read(buffer)
    }
}
