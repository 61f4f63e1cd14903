//! The flow of the action that this project replaces, as data: what it runs for one connector, in order.

use crate::model::platform::{self, Platform};

/// The template of a Python connector's image; what it deviates in stands at its top.
pub const DOCKERFILE: &str = include_str!("Dockerfile.old-python");

/// What of that it deviates in.
pub fn deviations() -> impl Iterator<Item = &'static str> {
    DOCKERFILE
        .lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("#   - "))
}

/// One connector in the old flow.
pub struct OldFlow<'a> {
    pub connector: &'a str,
    /// The connector's directory, which is copied whole.
    pub directory: String,
    /// Where [`DOCKERFILE`] was written to.
    pub dockerfile: String,
    /// The directory of the named context `pip`.
    pub pip: String,
    pub base_image: String,
    /// Registry and repository, without a tag.
    pub repository: String,
    pub version: String,
    /// Platform that the engine's containers run on natively.
    pub native: Platform,
    /// Platforms of the published image.
    pub platforms: &'a [Platform],
    /// Flags that the network here needs on every build: proxies, certificates.
    pub network: &'a [String],
    /// How the scanner is called, up to the image; None where there is no scanner.
    pub scan: Option<&'a [String]>,
}

/// A command of the old flow.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    pub program: String,
    pub arguments: Vec<String>,
}

impl OldFlow<'_> {
    /// Built once for the host's platform and tried there; then built again for all platforms and pushed; then
    /// scanned, the host's platform alone; then tagged as the latest.
    pub fn steps(&self) -> Vec<Step> {
        let image = format!("{}:{}", self.repository, self.version);
        let native = self.native.to_string();
        let latest = format!("{}:latest", self.repository);
        let mut steps = vec![
            self.build("build for the host", &image, &[self.native], "--load"),
            docker("spec on the host", &["run", "--rm", &image, "spec"]),
            self.build("build and push all", &image, self.platforms, "--push"),
        ];
        steps.extend(self.scan.and_then(|scan| {
            let (program, arguments) = scan.split_first()?;
            let mut arguments = arguments.to_vec();
            arguments.extend([format!("registry:{image}"), "--platform".to_owned(), native]);
            Some(Step {
                name: "scan the host's",
                program: program.clone(),
                arguments,
            })
        }));
        let tag = ["buildx", "imagetools", "create", "--tag", &latest, &image];
        steps.push(docker("tag latest", &tag));
        steps
    }

    fn build(&self, name: &'static str, image: &str, platforms: &[Platform], result: &str) -> Step {
        let mut arguments = vec![
            format!("--platform={}", platform::join(platforms)),
            format!("--file={}", self.dockerfile),
            format!("--build-context=pip={}", self.pip),
            format!("--build-arg=BASE_IMAGE={}", self.base_image),
            format!("--build-arg=CONNECTOR_NAME={}", self.connector),
            format!("--tag={image}"),
            result.to_owned(),
        ];
        arguments.extend_from_slice(self.network);
        arguments.push(self.directory.clone());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        docker(name, &[&["buildx", "build"], &arguments[..]].concat())
    }
}

fn docker(name: &'static str, arguments: &[&str]) -> Step {
    Step {
        name,
        program: "docker".to_owned(),
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow<'a>(scan: Option<&'a [String]>, network: &'a [String]) -> OldFlow<'a> {
        OldFlow {
            connector: "source-x",
            directory: "/c/source-x".to_owned(),
            dockerfile: "/d/Dockerfile".to_owned(),
            pip: "/d/pip".to_owned(),
            base_image: "r/base@sha256:0".to_owned(),
            repository: "r/airbyte/source-x".to_owned(),
            version: "1.2.3".to_owned(),
            native: Platform::LinuxAmd64,
            platforms: &Platform::ALL,
            network,
            scan,
        }
    }

    #[test]
    fn builds_twice_tries_the_host_alone_and_scans_after_the_push() {
        let scan = ["grype".to_owned(), "--fail-on=high".to_owned()];
        let network = ["--network=host".to_owned()];
        let steps = flow(Some(&scan), &network).steps();
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        let expected = [
            "build for the host",
            "spec on the host",
            "build and push all",
            "scan the host's",
            "tag latest",
        ];
        assert_eq!(names, expected);
        let line = |index: usize| {
            let step: &Step = &steps[index];
            format!("{} {}", step.program, step.arguments.join(" "))
        };
        assert_eq!(
            line(0),
            "docker buildx build --platform=linux/amd64 --file=/d/Dockerfile --build-context=pip=/d/pip \
             --build-arg=BASE_IMAGE=r/base@sha256:0 --build-arg=CONNECTOR_NAME=source-x --tag=r/airbyte/source-x:1.2.3 \
             --load --network=host /c/source-x"
        );
        assert_eq!(line(1), "docker run --rm r/airbyte/source-x:1.2.3 spec");
        assert!(
            line(2).contains("--platform=linux/amd64,linux/arm64") && line(2).contains("--push")
        );
        assert_eq!(
            line(3),
            "grype --fail-on=high registry:r/airbyte/source-x:1.2.3 --platform linux/amd64"
        );
        assert_eq!(
            line(4),
            "docker buildx imagetools create --tag r/airbyte/source-x:latest r/airbyte/source-x:1.2.3"
        );
    }

    #[test]
    fn the_dockerfile_says_what_it_deviates_in() {
        assert_eq!(deviations().count(), 4);
        assert!(deviations().all(|line| !line.is_empty()));
    }

    #[test]
    fn without_a_scanner_nothing_is_scanned() {
        assert!(
            flow(None, &[])
                .steps()
                .iter()
                .all(|step| step.name != "scan the host's")
        );
    }
}
