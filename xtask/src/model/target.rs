//! What distributions are chosen for: the interpreter of a base image on one platform.

use std::{fmt, str::FromStr};

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};
use serde::Serialize;

use super::{image::ImageRef, platform::Platform, text::as_text};

/// The CPython interpreter of a base image on one of its platforms. PyPy and free-threaded builds are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Target {
    pub platform: Platform,
    pub python: PythonVersion,
    pub libc: Libc,
}

impl Target {
    /// The values that environment markers see there (PEP 508, "Environment Markers"). The kernel's release
    /// and version are not known before the container runs, so they are empty as uv leaves them.
    pub fn markers(&self) -> Result<MarkerEnvironment, String> {
        let full = self.python.to_string();
        let short = format!("{}.{}", self.python.major, self.python.minor);
        MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: &full,
            os_name: "posix",
            platform_machine: self.platform.machine(),
            platform_python_implementation: "CPython",
            platform_release: "",
            platform_system: "Linux",
            platform_version: "",
            python_full_version: &full,
            python_version: &short,
            sys_platform: "linux",
        })
        .map_err(|error| error.to_string())
    }
}

impl Target {
    /// The platform as uv's `--python-platform` names it.
    pub fn uv_platform(&self) -> String {
        let machine = self.platform.machine();
        self.libc.manylinux().map_or_else(
            || format!("{machine}-unknown-linux-musl"),
            |tag| format!("{machine}-{tag}"),
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} with Python {} and {}",
            self.platform, self.python, self.libc
        )
    }
}

/// The CPython of a base image, which is the same on each of its platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Interpreter {
    pub python: PythonVersion,
    pub libc: Libc,
    /// Whom the image has to run a connector as.
    pub user: User,
}

/// Who a connector runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum User {
    Airbyte,
    /// Of an image without the other: python-connector-base before 3.0.0.
    Root,
}

impl User {
    /// The user's name in the image: its configuration and the build argument CONNECTOR_USER have it.
    pub fn as_str(self) -> &'static str {
        match self {
            User::Airbyte => "airbyte",
            User::Root => "root",
        }
    }
}

impl Interpreter {
    /// That of Airbyte's python-connector-base 4.0 (Debian bookworm).
    pub const USUAL: Interpreter = Interpreter {
        python: PythonVersion {
            major: 3,
            minor: 11,
            patch: 11,
        },
        libc: Libc::Glibc(2, 36),
        user: User::Airbyte,
    };

    /// What is planned with until the base image itself could be asked: that of Airbyte's python-connector-base by its
    /// version (changelog in `airbyte-ci/connectors/base_images/README.md`), of any other image the usual one.
    pub fn assumed(image: &ImageRef) -> Interpreter {
        let is_airbytes = image.repository.ends_with("/python-connector-base");
        let version = image.tag.as_ref().filter(|_| is_airbytes);
        let version = version.and_then(|tag| semver::Version::parse(&tag.to_string()).ok());
        let (minor, patch, user) = match version.map(|one| (one.major, one.minor, one.patch)) {
            Some((1, 0 | 1, _) | (1, 2, 0)) => (9, 18, User::Root),
            Some((1, ..)) => (9, 19, User::Root),
            Some((2, ..)) => (10, 14, User::Root),
            Some((3, ..)) => (10, 14, User::Airbyte),
            _ => return Interpreter::USUAL,
        };
        Interpreter {
            python: PythonVersion {
                major: 3,
                minor,
                patch,
            },
            user,
            ..Interpreter::USUAL
        }
    }

    /// The same on one of the image's platforms; whom it runs connectors as makes no difference to distributions.
    pub fn on(self, platform: Platform) -> Target {
        Target {
            platform,
            python: self.python,
            libc: self.libc,
        }
    }
}

/// A whole version of the interpreter, such as 3.11.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    pub major: u8,
    pub minor: u8,
    pub patch: u8,
}

impl PythonVersion {
    /// As constraints such as `requires-python` are asked about it (PEP 440).
    pub fn version(self) -> Version {
        Version::new([self.major, self.minor, self.patch].map(u64::from))
    }
}

impl FromStr for PythonVersion {
    type Err = String;

    /// Reads what `python --version` and `platform.python_version()` print; pre-releases are refused.
    fn from_str(text: &str) -> Result<PythonVersion, String> {
        let parts: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some([3, minor, patch]) => Ok(PythonVersion {
                major: 3,
                minor: *minor,
                patch: *patch,
            }),
            _ => Err(format!(
                "`{text}` is not a whole version of Python 3, such as 3.11.2"
            )),
        }
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

as_text!(PythonVersion);

/// The C library of a base image, which decides what binary wheels load there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Libc {
    /// Runs manylinux wheels up to this version (PEP 600).
    Glibc(u16, u16),
    /// Runs musllinux wheels up to this version (PEP 656).
    Musl(u16, u16),
}

impl Libc {
    /// The newest manylinux tag that it runs and that uv's `--python-platform` knows; None for another C library.
    pub fn manylinux(self) -> Option<String> {
        match self {
            Libc::Glibc(2, minor @ 31..) => Some(format!("manylinux_2_{}", minor.min(40))),
            Libc::Glibc(2, 28..=30) => Some("manylinux_2_28".to_owned()),
            Libc::Glibc(2, 17..=27) => Some("manylinux2014".to_owned()),
            Libc::Glibc(..) | Libc::Musl(..) => None,
        }
    }
}

impl fmt::Display for Libc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Libc::Glibc(major, minor) => write!(f, "glibc {major}.{minor}"),
            Libc::Musl(major, minor) => write!(f, "musl {major}.{minor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_assumed_of_airbytes_bases_goes_by_their_version() {
        for (image, python, user) in [
            ("airbyte/python-connector-base:1.1.0", "3.9.18", User::Root),
            ("airbyte/python-connector-base:1.2.0", "3.9.18", User::Root),
            ("airbyte/python-connector-base:1.2.2", "3.9.19", User::Root),
            ("airbyte/python-connector-base:2.0.0", "3.10.14", User::Root),
            (
                "airbyte/python-connector-base:3.0.0",
                "3.10.14",
                User::Airbyte,
            ),
            (
                "airbyte/python-connector-base:4.0.0",
                "3.11.11",
                User::Airbyte,
            ),
            (
                "airbyte/python-connector-base:latest",
                "3.11.11",
                User::Airbyte,
            ),
            ("airbyte/another:1.0.0", "3.11.11", User::Airbyte),
        ] {
            let assumed = Interpreter::assumed(&format!("docker.io/{image}").parse().unwrap());
            let found = (assumed.python.to_string(), assumed.user);
            assert_eq!(found, (python.to_owned(), user), "{image}");
        }
    }
}
