//! Pages of a package index: one project's files, as JSON or HTML.

use memchr::memmem::Finder;
use serde::Deserialize;
use url::Url;

use super::hash::Hash;

/// A distribution file as an index offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    pub name: String,
    pub url: Url,
    /// Hashes that the index states, of algorithms worth stating.
    pub hashes: Vec<Hash>,
    /// The reason, or nothing, where the file was withdrawn (PEP 592).
    pub yanked: Option<String>,
}

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// PEP 691.
    Json,
    /// PEP 503.
    Html,
}

impl Notation {
    /// By the Content-Type of the answer; an index that says nothing means HTML.
    pub fn of(content_type: Option<&str>) -> Notation {
        let kind = content_type.unwrap_or_default();
        if kind.contains("json") {
            Notation::Json
        } else {
            Notation::Html
        }
    }
}

/// What to ask an index for, in the order of liking.
pub const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// What is looked for on a page: files whose entry has one of these texts in it; without any, all files.
///
/// Pages of projects with many wheels have megabytes, of which a build wants two files.
pub type Texts = Vec<String>;

/// Takes a project's page in pieces, so that no page of JSON has to be held whole, and keeps the files that were asked
/// for.
#[derive(Debug)]
pub struct PageReader<'a> {
    address: &'a Url,
    wanted: Vec<Finder<'a>>,
    notation: Notation,
    /// What has come and is not judged yet: of JSON one entry, of HTML all.
    pending: Vec<u8>,
    place: Place,
    files: Vec<IndexFile>,
}

/// How far [`PageReader`] has read JSON.
#[derive(Debug, Default)]
struct Place {
    /// Bytes of `pending` that were looked at; past its end after a backslash that ends a piece.
    read: usize,
    /// Where the present entry begins in `pending`.
    entry: Option<usize>,
    /// Open braces and brackets.
    depth: usize,
    in_text: bool,
    /// An array of the page's object is open, as `files` is one.
    in_list: bool,
    /// There was such an array.
    listed: bool,
    ended: bool,
}

impl<'a> PageReader<'a> {
    /// For the page at `address`, to which relative addresses on it refer.
    pub fn new(notation: Notation, address: &'a Url, wanted: &'a [String]) -> PageReader<'a> {
        PageReader {
            address,
            wanted: wanted.iter().map(Finder::new).collect(),
            notation,
            pending: Vec::new(),
            place: Place::default(),
            files: Vec::new(),
        }
    }

    /// Takes the next piece, cut off anywhere. Fails where JSON can't be a page's; HTML is looked at by
    /// [`finish`](Self::finish) alone.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        self.pending.extend_from_slice(piece);
        if self.notation == Notation::Html {
            return Ok(());
        }
        while self.place.read < self.pending.len() {
            self.step()?;
        }
        // What lies before the present entry is done with.
        let done = self.place.entry.map_or(self.pending.len(), |entry| entry);
        self.pending.drain(..done);
        self.place.read -= done;
        self.place.entry = self.place.entry.map(|_| 0);
        Ok(())
    }

    /// Goes on to the next sign that counts.
    fn step(&mut self) -> Result<(), String> {
        let place = &mut self.place;
        let rest = &self.pending[place.read..];
        if place.in_text {
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                place.read = self.pending.len();
                return Ok(());
            };
            place.in_text = rest[found] == b'\\';
            // What follows a backslash ends nothing.
            place.read += found + if place.in_text { 2 } else { 1 };
            return Ok(());
        }
        let at = place.read;
        place.read += 1;
        match rest[0] {
            b'"' => place.in_text = true,
            sign @ (b'{' | b'[') => {
                match (sign, place.depth) {
                    (b'[', 1) => (place.in_list, place.listed) = (true, true),
                    (b'{', 2) if place.in_list => place.entry = Some(at),
                    _ => {}
                }
                place.depth += 1;
            }
            b'}' | b']' => {
                place.depth = place
                    .depth
                    .checked_sub(1)
                    .ok_or("more is closed than was opened")?;
                match place.depth {
                    0 => place.ended = true,
                    1 => place.in_list = false,
                    2 => {
                        if let Some(entry) = place.entry.take() {
                            self.entry(entry, at + 1)?;
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, from: usize, to: usize) -> Result<(), String> {
        let text = &self.pending[from..to];
        let wanted = |text: &[u8]| self.wanted.iter().any(|wanted| wanted.find(text).is_some());
        if self.wanted.is_empty() || wanted(text) {
            let file: File = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            self.files.extend(file.placed(self.address));
        }
        Ok(())
    }

    /// The files that were asked for, in the page's order.
    pub fn finish(mut self) -> Result<Vec<IndexFile>, String> {
        match self.notation {
            Notation::Json if !self.place.ended => Err("it is no JSON, or ends early".into()),
            Notation::Json if !self.place.listed => Err("it lists no files".into()),
            Notation::Json => Ok(self.files),
            Notation::Html => {
                let text = String::from_utf8_lossy(&self.pending);
                self.files = html(&text, self.address);
                let wanted = |text: &str| {
                    let mut all = self.wanted.iter();
                    all.any(|wanted| wanted.find(text.as_bytes()).is_some())
                };
                if !self.wanted.is_empty() {
                    self.files.retain(|file| {
                        wanted(&file.name) || file.hashes.iter().any(|hash| wanted(hash.as_str()))
                    });
                }
                Ok(self.files)
            }
        }
    }
}

#[derive(Deserialize)]
struct File {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    yanked: serde_json::Value,
}

impl File {
    /// None where its address is none.
    fn placed(self, page: &Url) -> Option<IndexFile> {
        let stated = self.hashes.iter();
        Some(IndexFile {
            url: page.join(&self.url).ok()?,
            hashes: stated
                .filter_map(|(algorithm, digits)| format!("{algorithm}:{digits}").parse().ok())
                .collect(),
            yanked: match self.yanked {
                serde_json::Value::Bool(true) => Some(String::new()),
                serde_json::Value::String(reason) => Some(reason),
                _ => None,
            },
            name: self.filename,
        })
    }
}

fn html(text: &str, address: &Url) -> Vec<IndexFile> {
    let mut base = address.clone();
    let mut files = Vec::new();
    let mut rest = text;
    while let Some((_, tag)) = rest.split_once('<') {
        if tag.starts_with("!--") {
            // `<!-->` is a whole one (HTML, "Comments").
            rest = tag[1..].split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        // A quote that nothing closes is of no account.
        let Some(end) = tag_end(tag).or_else(|| tag.find('>')) else {
            break;
        };
        let (tag, after) = (&tag[..end], &tag[end + 1..]);
        rest = after;
        let (name, attributes) = tag
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((tag, ""));
        let attribute = |wanted: &str| attribute(attributes, wanted);
        if name.eq_ignore_ascii_case("base") {
            base = attribute("href")
                .and_then(|href| address.join(&href).ok())
                .unwrap_or(base);
        }
        if !name.eq_ignore_ascii_case("a") {
            continue;
        }
        let Some(mut url) = attribute("href").and_then(|href| base.join(&href).ok()) else {
            continue;
        };
        let hash = url
            .fragment()
            .and_then(|fragment| fragment.replacen('=', ":", 1).parse().ok());
        url.set_fragment(None);
        let text = after.split_once('<').map_or(after, |(text, _)| text);
        files.push(IndexFile {
            name: unescape(text.trim()),
            url,
            hashes: hash.into_iter().collect(),
            yanked: attribute("data-yanked"),
        });
    }
    files
}

/// Where the `>` of a tag is: a quoted value may hold others.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut before = ' ';
    for (at, sign) in text.char_indices() {
        match (quote, sign) {
            (Some(open), sign) if sign == open => quote = None,
            (Some(_), _) => {}
            (None, '>') => return Some(at),
            (None, '"' | '\'') if before == '=' => quote = Some(sign),
            (None, _) => {}
        }
        if !sign.is_ascii_whitespace() {
            before = sign;
        }
    }
    None
}

/// The value of one attribute of a tag, unescaped; empty when it has none.
fn attribute(mut text: &str, wanted: &str) -> Option<String> {
    loop {
        text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if text.is_empty() {
            return None;
        }
        let end = text
            .find(|c: char| c == '=' || c.is_ascii_whitespace())
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let (value, rest) = match rest.trim_start().strip_prefix('=') {
            None => ("", rest),
            Some(value) => {
                let value = value.trim_start();
                match value.chars().next() {
                    Some(quote @ ('"' | '\'')) => {
                        value[1..].split_once(quote).unwrap_or((&value[1..], ""))
                    }
                    _ => value
                        .split_once(|c: char| c.is_ascii_whitespace())
                        .unwrap_or((value, "")),
                }
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescape(value));
        }
        // A stray quote or sign must not hold the loop up.
        text = if end == 0 && rest.len() == text.len() {
            &text[1..]
        } else {
            rest
        };
    }
}

/// The character references that occur in addresses and names.
fn unescape(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#43;", "+"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (reference, character)| {
        text.replace(reference, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Url {
        "https://index.invalid/root/simple/a-b/".parse().unwrap()
    }

    fn file(name: &str, url: &str, hash: bool, yanked: Option<&str>) -> IndexFile {
        IndexFile {
            name: name.to_owned(),
            url: url.parse().unwrap(),
            hashes: if hash {
                vec![format!("sha256:{}", "0a".repeat(32)).parse().unwrap()]
            } else {
                vec![]
            },
            yanked: yanked.map(str::to_owned),
        }
    }

    /// What a page gives that comes in pieces of so many bytes.
    fn parse_in(
        size: usize,
        text: &str,
        notation: Notation,
        wanted: &[&str],
    ) -> Result<Vec<IndexFile>, String> {
        let (address, wanted) = (address(), wanted.iter().map(|text| text.to_string()));
        let wanted: Texts = wanted.collect();
        let mut page = PageReader::new(notation, &address, &wanted);
        for piece in text.as_bytes().chunks(size) {
            page.push(piece)?;
        }
        page.finish()
    }

    fn parse(text: &str, notation: Notation) -> Result<Vec<IndexFile>, String> {
        parse_in(1 << 20, text, notation, &[])
    }

    #[test]
    fn json_and_html_say_the_same() {
        let hash = "0a".repeat(32);
        let json = format!(
            r#"{{"meta":{{"api-version":"1.1"}},"name":"a-b","files":[
            {{"filename":"a_b-1.tar.gz","url":"https://files.invalid/x/a_b-1.tar.gz","hashes":{{"sha256":"{hash}","md5":"00"}}}},
            {{"filename":"a_b-1-py3-none-any.whl","url":"../../files/a_b-1-py3-none-any.whl","hashes":{{}},"yanked":"broken"}},
            {{"filename":"a_b-2.zip","url":"/f/a_b-2.zip","hashes":{{"sha256":"{hash}"}},"yanked":true}}]}}"#
        );
        let html = format!(
            "<!DOCTYPE html><html><body><h1>Links for a-b</h1>
            <a href=\"https://files.invalid/x/a_b-1.tar.gz#sha256={hash}\" data-requires-python=\"&gt;=3.7\">a_b-1.tar.gz</a><br/>
            <a data-requires-python=\">=3.7\" data-yanked='broken' title=it's href='../../files/a_b-1-py3-none-any.whl#md5=00'>a_b-1-py3-none-any.whl</a>
            <A HREF=\"/f/a_b-2.zip#sha256={hash}\" data-yanked>a_b-2.zip</A></body></html>"
        );
        let expected = [
            file(
                "a_b-1.tar.gz",
                "https://files.invalid/x/a_b-1.tar.gz",
                true,
                None,
            ),
            file(
                "a_b-1-py3-none-any.whl",
                "https://index.invalid/root/files/a_b-1-py3-none-any.whl",
                false,
                Some("broken"),
            ),
            file(
                "a_b-2.zip",
                "https://index.invalid/f/a_b-2.zip",
                true,
                Some(""),
            ),
        ];
        for (page, notation) in [(&json, Notation::Json), (&html, Notation::Html)] {
            assert_eq!(parse(page, notation).unwrap(), expected);
            for (wanted, of) in [
                (vec!["a_b-1"], 0..2),
                (vec!["a_b-2.zip", "nothing"], 2..3),
                (vec![".tar.gz"], 0..1),
                (vec!["nothing"], 0..0),
            ] {
                for size in [1, 2, 3, 64, 1000] {
                    let files = parse_in(size, page, notation, &wanted).unwrap();
                    assert_eq!(files, expected[of.clone()], "{wanted:?} in {size}");
                }
            }
            let hash = ["0a0a"];
            assert_eq!(parse_in(7, page, notation, &hash).unwrap().len(), 2);
        }
    }

    #[test]
    fn texts_hide_their_signs_and_other_objects_are_no_files() {
        let page = r#"{"meta":{"x":{"filename":1}},"name":"}]\"{[","versions":["1","[2"],
            "files":[{"filename":"a\\","url":"a","more":{"x":[{}]}},{"filename":"\"}b","url":"b","yanked":"}\\\"]"}]}"#;
        for size in [1, 2, 5, 1000] {
            let files = parse_in(size, page, Notation::Json, &[]).unwrap();
            let found: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(found, [r"a\", "\"}b"], "{size}");
            assert_eq!(files[1].yanked.as_deref(), Some(r#"}\"]"#));
        }
    }

    #[test]
    fn pages_that_are_no_pages_end_well() {
        for text in [
            "<html>",
            "",
            "{}",
            "]",
            r#"{"files":["#,
            r#"{"files":[{"url":"x"}]}"#,
        ] {
            assert!(parse(text, Notation::Json).is_err(), "{text}");
        }
        for text in [
            "",
            "<",
            "<a",
            "<a href>x",
            "<a =''>x</a>",
            "<a \" href=x",
            "<a href=http://[>x</a>",
        ] {
            let files = parse(text, Notation::Html).unwrap();
            assert!(files.len() <= 1, "{text}: {files:?}");
        }
    }

    #[test]
    fn an_open_quote_costs_no_other_file_and_comments_hold_none() {
        let page =
            "<!--><a href='a'>a</a><!-- <a href='b'>b</a> > --><a href=\"c>c</a><a href=d>d</a>";
        let files = parse(page, Notation::Html).unwrap();
        let found: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(found, ["a", "c", "d"]);
        assert!(files[1].url.as_str().ends_with("/c"));
    }

    #[test]
    fn a_base_moves_relative_addresses() {
        let files = parse(
            "<base href='https://other.invalid/'><a href='f/x.zip'>x.zip</a>",
            Notation::Html,
        );
        assert_eq!(
            files.unwrap()[0].url.as_str(),
            "https://other.invalid/f/x.zip"
        );
    }

    #[test]
    fn the_content_type_tells_the_notation() {
        for (kind, expected) in [
            (Some("application/vnd.pypi.simple.v1+json"), Notation::Json),
            (Some("application/vnd.pypi.simple.v1+html"), Notation::Html),
            (Some("text/html; charset=utf-8"), Notation::Html),
            (None, Notation::Html),
        ] {
            assert_eq!(Notation::of(kind), expected, "{kind:?}");
        }
    }
}
