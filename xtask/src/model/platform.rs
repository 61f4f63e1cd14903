//! Platforms of an image index.

use std::{fmt, str::FromStr};

use super::text::as_text;

/// A platform that connector images are built for, written `os/architecture` as in an OCI image index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    LinuxAmd64,
    LinuxArm64,
}

impl Platform {
    /// Every one there is: what is built for unless configuration says otherwise.
    pub const ALL: [Platform; 2] = [Platform::LinuxAmd64, Platform::LinuxArm64];

    /// The platform that containers run on natively on this host (a Mac's engine runs Linux).
    pub fn host() -> Platform {
        match std::env::consts::ARCH {
            "aarch64" => Platform::LinuxArm64,
            _ => Platform::LinuxAmd64,
        }
    }

    /// Architecture as the OCI image specification (and Go) names it.
    pub fn architecture(self) -> &'static str {
        match self {
            Platform::LinuxAmd64 => "amd64",
            Platform::LinuxArm64 => "arm64",
        }
    }

    /// Architecture as the kernel (`uname -m`), Python wheels and QEMU name it.
    pub fn machine(self) -> &'static str {
        match self {
            Platform::LinuxAmd64 => "x86_64",
            Platform::LinuxArm64 => "aarch64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Platform::LinuxAmd64 => "linux/amd64",
            Platform::LinuxArm64 => "linux/arm64",
        })
    }
}

impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Platform, String> {
        match text {
            "linux/amd64" | "linux/x86_64" => Ok(Platform::LinuxAmd64),
            "linux/arm64" | "linux/arm64/v8" | "linux/aarch64" => Ok(Platform::LinuxArm64),
            _ => Err(format!(
                "unsupported platform `{text}` (supported: linux/amd64, linux/arm64)"
            )),
        }
    }
}

as_text!(Platform);

/// `linux/amd64,linux/arm64`, as buildx takes several platforms.
pub fn join(platforms: &[Platform]) -> String {
    platforms
        .iter()
        .map(Platform::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_buildx_prints() {
        for (text, expected) in [
            ("linux/amd64", Some(Platform::LinuxAmd64)),
            ("linux/arm64", Some(Platform::LinuxArm64)),
            ("linux/arm64/v8", Some(Platform::LinuxArm64)),
            ("linux/arm/v7", None),
            ("arm64", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Platform>().ok(), expected, "{text}");
        }
    }
}
