//! Package sources of a Debian-family system: where its mirror is, read and never written.

use std::fmt::Write;

/// One stanza of package sources (`sources.list(5)`), its fields as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Field name as `sources.list(5)` spells it, and its value; lines of a long value keep their line ends.
    fields: Vec<(String, String)>,
}

/// Which system it is (`os-release(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `debian`, `ubuntu`, and what it says it is like.
    pub family: Vec<String>,
    /// `bookworm`, `noble`.
    pub codename: String,
}

impl Release {
    /// Reads the text of /etc/os-release. What it does not say is empty, so an empty text is of a system without apt.
    pub fn parse(os_release: &str) -> Release {
        let value = |key: &str| {
            let line = os_release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
                .unwrap_or_default()
        };
        let like = format!("{} {}", value("ID"), value("ID_LIKE"));
        Release {
            family: like.split_whitespace().map(str::to_owned).collect(),
            codename: value("VERSION_CODENAME"),
        }
    }

    /// Whether its packages are Debian's or Ubuntu's.
    pub fn has_apt(&self) -> bool {
        self.family
            .iter()
            .any(|name| name == "debian" || name == "ubuntu")
    }
}

impl Source {
    fn field(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str, word: &str) -> bool {
        self.field(name)
            .is_some_and(|value| value.split_whitespace().any(|found| found == word))
    }

    fn set(&mut self, name: &str, value: String) {
        match self
            .fields
            .iter_mut()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
        {
            Some((_, old)) => *old = value,
            None => self.fields.push((name.to_owned(), value)),
        }
    }

    /// This source with `from` in the names of its suites replaced by `to`.
    fn with_suites(&self, from: &str, to: &str) -> Source {
        let suites = self.field("Suites").unwrap_or_default().split_whitespace();
        let suites: Vec<String> = suites
            .map(|suite| match suite.strip_prefix(from) {
                Some(rest) if rest.is_empty() || rest.starts_with('-') => format!("{to}{rest}"),
                _ => suite.to_owned(),
            })
            .collect();
        let mut source = self.clone();
        source.set("Suites", suites.join(" "));
        source
    }
}

/// Reads a file in the deb822 style (`*.sources`).
pub fn parse_stanzas(text: &str) -> Vec<Source> {
    let mut sources = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(fields) = sources.last_mut() else {
            continue;
        };
        if line.trim().is_empty() {
            sources.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            let last: Option<&mut (String, String)> = fields.last_mut();
            if let Some((_, value)) = last {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    sources
        .into_iter()
        .filter(|fields| !fields.is_empty())
        .map(|fields| Source { fields })
        .collect()
}

/// Reads a file in the one-line style (`sources.list`, `*.list`).
pub fn parse_lines(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

/// `deb [signed-by=KEYRING arch=amd64] URI SUITE COMPONENT...`
fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let components: Vec<&str> = words.collect();
    let mut fields = vec![
        ("Types".to_owned(), kind.to_owned()),
        ("URIs".to_owned(), uri.to_owned()),
        ("Suites".to_owned(), suite.to_owned()),
    ];
    if !components.is_empty() {
        fields.push(("Components".to_owned(), components.join(" ")));
    }
    for (name, value) in options
        .split_whitespace()
        .filter_map(|option| option.split_once('='))
    {
        let name = match name {
            "arch" => "Architectures",
            "signed-by" => "Signed-By",
            "trusted" => "Trusted",
            name => name,
        };
        fields.push((name.to_owned(), value.replace(',', " ")));
    }
    Some(Source { fields })
}

/// The distribution's own binary sources for `codename`, third parties' left out; updates and security included.
pub fn distribution(sources: &[Source], codename: &str) -> Vec<Source> {
    let suites = ["", "-updates", "-security"].map(|suffix| format!("{codename}{suffix}"));
    let wanted = |source: &&Source| {
        source.has("Types", "deb")
            && source.field("Enabled") != Some("no")
            && source.has("Components", "main")
            && suites.iter().any(|suite| source.has("Suites", suite))
    };
    sources.iter().filter(wanted).cloned().collect()
}

/// The sources of another release on the same mirrors, with the same keyring.
pub fn of_release(sources: &[Source], codename: &str, other: &str) -> Vec<Source> {
    sources
        .iter()
        .map(|source| source.with_suites(codename, other))
        .collect()
}

/// Only what mmdebstrap's root needs, for any architecture.
pub fn for_roots(sources: &[Source]) -> Vec<Source> {
    let mut sources = sources.to_vec();
    for source in &mut sources {
        source
            .fields
            .retain(|(name, _)| !name.eq_ignore_ascii_case("Architectures"));
        source.set("Types", "deb".to_owned());
        source.set("Components", "main".to_owned());
    }
    sources
}

/// The sources in the deb822 style.
pub fn stanzas(sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources {
        for (name, value) in &source.fields {
            // Writing to a String can't fail.
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "# where packages come from
Types: deb
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQ==

Types: deb
URIs: https://third.example/apt
Suites: bookworm
Components: main-of-theirs

Enabled: no
Types: deb
URIs: http://old.example/debian
Suites: bookworm
Components: main
";

    #[test]
    fn finds_the_distribution_among_stanzas() {
        let found = distribution(&parse_stanzas(STANZAS), "bookworm");
        let uris: Vec<_> = found
            .iter()
            .filter_map(|source| source.field("URIs"))
            .collect();
        assert_eq!(
            uris,
            [
                "http://mirror.example/debian",
                "http://mirror.example/debian-security"
            ]
        );
        assert_eq!(parse_stanzas(&stanzas(&found)), found);
        assert!(
            stanzas(&found).contains("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n")
        );
    }

    #[test]
    fn reads_one_line_sources() {
        for (line, expected) in [
            (
                "deb http://m/debian bookworm main",
                Some("Types: deb\nURIs: http://m/debian\nSuites: bookworm\nComponents: main\n\n"),
            ),
            (
                "deb [arch=amd64,arm64 signed-by=/k.gpg] https://m/ubuntu noble-updates main universe # note",
                Some(
                    "Types: deb\nURIs: https://m/ubuntu\nSuites: noble-updates\nComponents: main universe\nArchitectures: amd64 arm64\nSigned-By: /k.gpg\n\n",
                ),
            ),
            (
                "deb [ signed-by=/k.gpg ] http://m/debian /",
                Some("Types: deb\nURIs: http://m/debian\nSuites: /\nSigned-By: /k.gpg\n\n"),
            ),
            ("# deb http://m/debian bookworm main", None),
            ("deb [broken", None),
            ("", None),
        ] {
            let read = parse_lines(line);
            assert_eq!(
                read.first()
                    .map(|source| stanzas(std::slice::from_ref(source)))
                    .as_deref(),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn another_release_comes_from_the_same_mirror() {
        let found = distribution(&parse_stanzas(STANZAS), "bookworm");
        let newer = of_release(&found, "bookworm", "trixie");
        let suites: Vec<_> = newer
            .iter()
            .filter_map(|source| source.field("Suites"))
            .collect();
        assert_eq!(suites, ["trixie trixie-updates", "trixie-security"]);
        let roots = stanzas(&for_roots(&found));
        assert!(!roots.contains("contrib") && !roots.contains("deb-src"));
    }

    #[test]
    fn knows_systems_by_what_they_are_like() {
        for (text, family, codename, apt) in [
            (
                "ID=debian\nVERSION_CODENAME=bookworm\n",
                &["debian"][..],
                "bookworm",
                true,
            ),
            (
                "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=\"noble\"\n",
                &["ubuntu", "debian"],
                "noble",
                true,
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                &["rocky", "rhel", "centos", "fedora"],
                "",
                false,
            ),
            ("", &[], "", false),
        ] {
            let release = Release::parse(text);
            assert_eq!(release.family, family);
            assert_eq!(
                (release.codename.as_str(), release.has_apt()),
                (codename, apt)
            );
        }
    }
}
