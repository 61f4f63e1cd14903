//! Hashes of distribution files.

use std::{fmt, str::FromStr};

use super::text::as_text;

/// The hash of a distribution file as lock files and `--hash` write it: `sha256:` and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(String);

impl Hash {
    /// `ALGORITHM:DIGITS`, where the algorithm is sha256, sha384 or sha512.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hash {
    type Err = String;

    /// Only algorithms that pip and uv take for `--hash`: an md5 proves nothing.
    fn from_str(text: &str) -> Result<Hash, String> {
        let digits = |hex: &str, length: usize| {
            hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let good = match text.split_once(':') {
            Some(("sha256", hex)) => digits(hex, 64),
            Some(("sha384", hex)) => digits(hex, 96),
            Some(("sha512", hex)) => digits(hex, 128),
            _ => false,
        };
        if good {
            Ok(Hash(text.to_owned()))
        } else {
            Err(format!("`{text}` is no sha256, sha384 or sha512 hash"))
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

as_text!(Hash);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_hashes_of_strong_algorithms() {
        let sha256 = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(sha256.parse::<Hash>().unwrap().as_str(), sha256);
        assert!(
            format!("sha512:{}", "0a".repeat(64))
                .parse::<Hash>()
                .is_ok()
        );
        for bad in [
            "",
            "sha256:",
            "sha256:abc",
            &"0a".repeat(32),
            &format!("md5:{}", "0a".repeat(16)),
            &format!("sha256:{}", "0A".repeat(32)),
            &format!("sha256:{}", "0g".repeat(32)),
        ] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
