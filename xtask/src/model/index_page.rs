//! Pages of a package index: one project's files, as JSON or HTML.

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

/// The files on a project's page that was read from `address`.
pub fn parse(text: &str, notation: Notation, address: &Url) -> Result<Vec<IndexFile>, String> {
    match notation {
        Notation::Json => json(text, address),
        Notation::Html => Ok(html(text, address)),
    }
}

#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
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

fn json(text: &str, address: &Url) -> Result<Vec<IndexFile>, String> {
    let page: Page = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let files = page.files.into_iter().filter_map(|file| {
        Some(IndexFile {
            url: address.join(&file.url).ok()?,
            hashes: file
                .hashes
                .iter()
                .filter_map(|(algorithm, digits)| format!("{algorithm}:{digits}").parse().ok())
                .collect(),
            yanked: match file.yanked {
                serde_json::Value::Bool(true) => Some(String::new()),
                serde_json::Value::String(reason) => Some(reason),
                _ => None,
            },
            name: file.filename,
        })
    });
    Ok(files.collect())
}

fn html(text: &str, address: &Url) -> Vec<IndexFile> {
    let mut base = address.clone();
    let mut files = Vec::new();
    let mut rest = text;
    while let Some((_, tag)) = rest.split_once('<') {
        let Some((tag, after)) = tag.split_once('>') else {
            break;
        };
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
            <a data-yanked='broken' href='../../files/a_b-1-py3-none-any.whl#md5=00'>a_b-1-py3-none-any.whl</a>
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
        assert_eq!(parse(&json, Notation::Json, &address()).unwrap(), expected);
        assert_eq!(parse(&html, Notation::Html, &address()).unwrap(), expected);
    }

    #[test]
    fn pages_that_are_no_pages_end_well() {
        assert!(parse("<html>", Notation::Json, &address()).is_err());
        for text in [
            "",
            "<",
            "<a",
            "<a href>x",
            "<a =''>x</a>",
            "<a \" href=x",
            "<a href=http://[>x</a>",
        ] {
            let files = parse(text, Notation::Html, &address()).unwrap();
            assert!(files.len() <= 1, "{text}: {files:?}");
        }
    }

    #[test]
    fn a_base_moves_relative_addresses() {
        let files = parse(
            "<base href='https://other.invalid/'><a href='f/x.zip'>x.zip</a>",
            Notation::Html,
            &address(),
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
