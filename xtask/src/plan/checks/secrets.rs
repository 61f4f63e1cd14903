//! Credentials that got into a file: private keys, and tokens that their issuers gave a prefix to be found by.

use std::collections::HashSet;

use camino::Utf8Path;
use memchr::memmem;

use super::{Check, Defect, Run, Subject};
use crate::model::{connector_files::is_of_tests, finding::Severity, yaml::Place};

/// The same search twice: what it finds in a test ends no run with 1.
pub const CHECKS: &[Check] = &[
    Check {
        id: "secrets",
        description: "no private key and no token with a known prefix in any file",
        severity: Severity::Error,
        applies: "all; not looked at: build results, what git ignores",
        run: Run::Connector(secrets),
    },
    // Tests make up keys of their own, which look like real ones.
    Check {
        id: "secrets-in-tests",
        description: "no private key and no token with a known prefix in a file of tests",
        severity: Severity::Warning,
        applies: "all with tests",
        run: Run::Connector(secrets_in_tests),
    },
];

/// What a token of one issuer looks like.
struct Token {
    issuer: &'static str,
    prefix: &'static str,
    /// Least length of what follows.
    length: usize,
    follows: fn(u8) -> bool,
}

const fn token(
    issuer: &'static str,
    prefix: &'static str,
    length: usize,
    follows: fn(u8) -> bool,
) -> Token {
    Token {
        issuer,
        prefix,
        length,
        follows,
    }
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// As the issuers document them.
const TOKENS: [Token; 18] = [
    token("GitHub", "ghp_", 36, alphanumeric),
    token("GitHub", "gho_", 36, alphanumeric),
    token("GitHub", "ghu_", 36, alphanumeric),
    token("GitHub", "ghs_", 36, alphanumeric),
    token("GitHub", "github_pat_", 40, url_safe),
    token("GitLab", "glpat-", 20, url_safe),
    token("AWS", "AKIA", 16, upper),
    token("AWS", "ASIA", 16, upper),
    token("Google", "AIza", 35, url_safe),
    token("Slack", "xoxb-", 30, url_safe),
    token("Slack", "xoxp-", 30, url_safe),
    token("Stripe", "sk_live_", 24, alphanumeric),
    token("Stripe", "rk_live_", 24, alphanumeric),
    token("Shopify", "shpat_", 32, hex),
    token("npm", "npm_", 36, alphanumeric),
    token("PyPI", "pypi-AgEIcHlwaS5vcmc", 50, url_safe),
    token("Docker Hub", "dckr_pat_", 27, url_safe),
    token("Hugging Face", "hf_", 34, alphanumeric),
];

const HELP: &str =
    "revoke it, remove it from the file and from git's history, and read it from the configuration";

fn secrets(subject: &Subject) -> Vec<Defect> {
    in_files(subject, |path| !is_of_tests(path))
}

fn secrets_in_tests(subject: &Subject) -> Vec<Defect> {
    in_files(subject, is_of_tests)
}

fn in_files(subject: &Subject, wanted: fn(&Utf8Path) -> bool) -> Vec<Defect> {
    let mut defects = Vec::new();
    let files = subject.files.files.iter();
    for (path, content) in files.filter(|(path, _)| wanted(path)) {
        let Some(text) = content.lossy() else {
            continue;
        };
        let tokens = TOKENS.iter().flat_map(|token| token.in_text(&text));
        defects.extend(private_keys(&text).chain(tokens).map(|(offset, what)| {
            // The secret itself is not repeated.
            subject.in_file(path.as_str(), Place::of(&text, offset), what, HELP)
        }));
    }
    defects
}

impl Token {
    fn in_text<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, String)> + 'a {
        let bytes = text.as_bytes();
        memmem::find_iter(bytes, self.prefix)
            .filter(move |offset| {
                let alone = match &bytes[..*offset] {
                    // As JSON writes the end of a line, and a tab.
                    [.., b'\\', b'n' | b'r' | b't'] | [] => true,
                    [.., before] => !url_safe(*before),
                };
                let rest = &bytes[offset + self.prefix.len()..];
                let body = rest
                    .iter()
                    .take_while(|byte| (self.follows)(**byte))
                    .count();
                alone && body >= self.length && !is_placeholder(&rest[..body])
            })
            .map(|offset| {
                (
                    offset,
                    format!("a token of {} begins with {}", self.issuer, self.prefix),
                )
            })
    }
}

/// `xxxxxxxx`, `AKIAIOSFODNN7EXAMPLE`.
fn is_placeholder(body: &[u8]) -> bool {
    let different: HashSet<&u8> = body.iter().collect();
    different.len() < 8 || memmem::find(&body.to_ascii_uppercase(), b"EXAMPLE").is_some()
}

/// PEM headers with key material behind them: an empty header is a placeholder or a pattern.
fn private_keys(text: &str) -> impl Iterator<Item = (usize, String)> {
    const END: &str = "PRIVATE KEY-----";
    const LEAST: usize = 48;
    memmem::find_iter(text.as_bytes(), END).filter_map(|offset| {
        let line = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let start = line + text[line..offset].rfind("-----BEGIN ")?;
        let body = without_headers(&text[offset + END.len()..]);
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let length = body.bytes().take_while(|byte| base64(byte)).count();
        let real = length >= LEAST && !is_placeholder(&body.as_bytes()[..length]);
        real.then(|| (start, "a private key".to_owned()))
    })
}

/// What follows the headers of RFC 1421, such as `Proc-Type: 4,ENCRYPTED`. Ends of lines may be escaped, as in JSON.
fn without_headers(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        while let Some(next) = ["\\r", "\\n"].iter().find_map(|end| rest.strip_prefix(end)) {
            rest = next.trim_start();
        }
        let end = rest.find(['\n', '\\']).unwrap_or(rest.len());
        let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        match rest[..end].split_once(": ") {
            Some((header, _)) if header.bytes().all(name) => rest = &rest[end..],
            _ => return rest,
        }
    }
}
