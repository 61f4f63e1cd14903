//! The files of a build context that stay out of an image, as a `.dockerignore` lists them.

use camino::Utf8Path;
use glob::{MatchOptions, Pattern};

/// What a `.dockerignore` says (Docker's documentation, ".dockerignore file").
#[derive(Debug, Clone, Default)]
pub struct IgnoredFiles {
    /// In the file's order: the last one that matches decides.
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Ignore,
    Keep,
}

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

impl IgnoredFiles {
    /// Reads the text of a `.dockerignore`; an error for a pattern that docker would refuse too.
    pub fn parse(text: &str) -> Result<IgnoredFiles, String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.map(str::trim).filter(|line| !line.is_empty());
        let rules = lines.map(|line| {
            let (effect, path) = match line.strip_prefix('!') {
                Some(path) => (Effect::Keep, path.trim()),
                None => (Effect::Ignore, line),
            };
            let path = path.trim_start_matches("./").trim_matches('/');
            let pattern =
                Pattern::new(path).map_err(|error| format!("pattern `{line}`: {error}"))?;
            Ok(Rule { pattern, effect })
        });
        Ok(IgnoredFiles {
            rules: rules.collect::<Result<_, String>>()?,
        })
    }

    /// Whether the file or directory at `path` (below the context's top) stays out, itself or by a directory above it.
    pub fn holds(&self, path: &Utf8Path) -> bool {
        let matches = |rule: &&Rule| {
            path.ancestors()
                .any(|path| rule.pattern.matches_with(path.as_str(), OPTIONS))
        };
        let last = self.rules.iter().rev().find(matches);
        last.is_some_and(|rule| rule.effect == Effect::Ignore)
    }

    /// Whether nothing below an ignored directory can be kept, so that it need not be read.
    pub fn is_final(&self) -> bool {
        self.rules.iter().all(|rule| rule.effect == Effect::Ignore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_decides() {
        let ignored = IgnoredFiles::parse(
            "# secrets first\nsecrets\n**/.env\n**/*.pyc\n/build/\nicon.svg\n*.log\n!keep.log\n",
        )
        .unwrap();
        for (path, expected) in [
            ("secrets", true),
            ("secrets/a/b.json", true),
            ("a/secrets", false),
            (".env", true),
            ("a/b/.env", true),
            ("a.pyc", true),
            ("a/__pycache__/b.pyc", true),
            ("build/x", true),
            ("a/build/x", false),
            ("icon.svg", true),
            ("a/icon.svg", false),
            ("x.log", true),
            ("a/x.log", false),
            ("keep.log", false),
            ("main.py", false),
        ] {
            assert_eq!(ignored.holds(Utf8Path::new(path)), expected, "{path}");
        }
        assert!(!ignored.is_final());
        assert!(IgnoredFiles::parse("a\nb").unwrap().is_final());
        assert!(IgnoredFiles::parse("a[").is_err());
    }
}
