//! The steps of a publish in their order, each done or left out for a reason.

use serde::Serialize;

use super::{Action, Found, Package, latest, request::Target};
use crate::{
    model::{
        image::{Digest, ImageRef},
        platform::{self, Platform},
        release::{Existing, Latest, Mode, ReleaseType, Signing},
        spec_runs::Trial,
    },
    plan::build::BuildPlan,
};

/// Everything that publishing one connector does: what is printed is what is executed.
#[derive(Debug, Clone, Serialize)]
pub struct PublishPlan {
    #[serde(flatten)]
    pub target: Target,
    pub action: Action,
    pub existing: Existing,
    pub signing: Signing,
    pub found: Found,
    /// The digest that this repository last published under the tag.
    pub published: Option<Digest>,
    pub platforms: Vec<Platform>,
    pub tests: Tests,
    pub steps: Vec<Planned>,
    /// None when nothing is built.
    pub build: Option<BuildPlan>,
}

/// Where the image that is tested comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tests {
    /// The engine's store; only what passed is pushed.
    WhatIsBuilt,
    /// The registry, by the digest that was pushed without a tag: the builder keeps no images to run.
    WhatIsPulled,
}

/// One step, and why it is done or not.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    pub step: Step,
    pub does: Does,
    pub because: String,
}

/// Whether a step is carried out; one that is not stays in the plan, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    Run,
    Skip,
}

/// What a publish consists of. A plan has each once; `Spec` follows `Push` where what is tested has to be pulled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Look at what the registry has.
    Exists,
    Build,
    /// Run `spec` on each platform.
    Spec,
    Scan,
    /// Blobs and manifests, by digest alone.
    Push,
    /// The version's tag.
    Tag,
    /// Read back what the tag points to.
    Verify,
    Latest,
    /// The Python package.
    Pypi,
    Outputs,
}

impl Step {
    /// Its name in plans, events and the names of logs, the same word as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Exists => "exists",
            Step::Build => "build",
            Step::Spec => "spec",
            Step::Scan => "scan",
            Step::Push => "push",
            Step::Tag => "tag",
            Step::Verify => "verify",
            Step::Latest => "latest",
            Step::Pypi => "pypi",
            Step::Outputs => "outputs",
        }
    }
}

/// What a plan is made from.
pub struct Inputs<'a> {
    pub target: Target,
    pub found: Found,
    pub published: Option<Digest>,
    pub platforms: &'a [Platform],
    pub mode: Mode,
    pub existing: Existing,
    pub signing: Signing,
    pub latest: Latest,
    pub release: ReleaseType,
    /// Whether the tag was given by hand.
    pub overridden: bool,
    pub package: Package,
    /// Made when something is built.
    pub build: Option<BuildPlan>,
}

impl PublishPlan {
    /// Decides every step; a publish that is refused gets a plan too, whose action says so.
    pub fn new(inputs: Inputs<'_>) -> PublishPlan {
        let action = inputs.action();
        let tests = inputs.tests(action);
        PublishPlan {
            steps: steps(&inputs, action, tests),
            tests,
            action,
            existing: inputs.existing,
            signing: inputs.signing,
            found: inputs.found,
            published: inputs.published,
            platforms: inputs.platforms.to_vec(),
            build: inputs.build,
            target: inputs.target,
        }
    }

    /// The image's repository under another tag.
    pub fn tagged(&self, tag: &str) -> ImageRef {
        ImageRef {
            tag: tag.parse().ok(),
            ..self.target.image.clone()
        }
    }

    /// Whether a step is carried out.
    pub fn does(&self, step: Step) -> bool {
        let planned = self.steps.iter().find(|planned| planned.step == step);
        planned.is_some_and(|planned| planned.does == Does::Run)
    }

    /// As lines for a reader.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} ({}) -> {}",
            self.target.connector, self.target.language, self.target.image
        )];
        for planned in &self.steps {
            let mark = match planned.does {
                Does::Run => '+',
                Does::Skip => '-',
            };
            let name = planned.step.as_str();
            lines.push(format!("  {mark} {name:<8} {}", planned.because));
            if let (Step::Build, Does::Run, Some(build)) = (planned.step, planned.does, &self.build)
            {
                lines.extend(
                    build
                        .lines()
                        .iter()
                        .skip(1)
                        .map(|line| format!("    {line}")),
                );
            }
        }
        lines
    }
}

impl Inputs<'_> {
    /// What the publish comes to, which is known before a build is planned.
    pub fn action(&self) -> Action {
        Action::decide(
            self.mode,
            self.existing,
            &self.found,
            self.published.as_ref(),
        )
    }

    fn tests(&self, action: Action) -> Tests {
        let elsewhere = self.build.as_ref().and_then(BuildPlan::builder).is_some();
        match elsewhere && action.pushes() {
            true => Tests::WhatIsPulled,
            false => Tests::WhatIsBuilt,
        }
    }

    /// Whether an image or a package is built.
    pub fn builds(&self) -> bool {
        let action = self.action();
        action.builds() || pypi_step(self, action).does == Does::Run
    }
}

fn steps(inputs: &Inputs<'_>, action: Action, tests: Tests) -> Vec<Planned> {
    let mut steps = vec![run(Step::Exists, inputs.found.describe())];
    steps.push(built(action, Step::Build, build_reason(inputs, action)));
    let platforms = platform::join(inputs.platforms);
    let spec = built(action, Step::Spec, spec_reason(inputs, tests));
    let scan = built(
        action,
        Step::Scan,
        format!("what {platforms} hold, before any of it is pushed"),
    );
    let push = pushed(
        action,
        Step::Push,
        "by digest, without a tag; what is there already is left".to_owned(),
    );
    steps.extend(match tests {
        Tests::WhatIsBuilt => [spec, scan, push],
        Tests::WhatIsPulled => [scan, push, spec],
    });
    steps.push(pushed(action, Step::Tag, tag_reason(inputs, action)));
    steps.push(pushed(
        action,
        Step::Verify,
        "the tag has to answer with the digest that was built".to_owned(),
    ));
    steps.push(latest_step(inputs, action));
    steps.push(pypi_step(inputs, action));
    steps.push(run(Step::Outputs, "what happened".to_owned()));
    steps
}

fn spec_reason(inputs: &Inputs<'_>, tests: Tests) -> String {
    let specs = inputs.build.iter().flat_map(|build| &build.specs);
    let left_out: Vec<Platform> = specs
        .filter(|check| check.trial == Trial::LeftOut)
        .map(|check| check.platform)
        .collect();
    let tried = inputs
        .platforms
        .iter()
        .filter(|platform| !left_out.contains(platform));
    let tried: Vec<Platform> = tried.copied().collect();
    let of = match tests {
        Tests::WhatIsBuilt => "the very image that is pushed",
        Tests::WhatIsPulled => "what is pulled by the digest pushed",
    };
    let line = format!("on {}, of {of}", platform::join(&tried));
    match left_out.is_empty() {
        true => line,
        false => format!("{line}; not on {}", platform::join(&left_out)),
    }
}

fn build_reason(inputs: &Inputs<'_>, action: Action) -> String {
    let image = &inputs.target.image;
    match action {
        Action::Try => "a dry run builds and tests".to_owned(),
        Action::Publish => format!("{image} is not there"),
        Action::Repair => "a platform is missing".to_owned(),
        Action::Replace => "forced".to_owned(),
        Action::Keep => format!("{image} exists"),
        Action::Refuse => refusal(inputs),
    }
}

/// Why nothing is done.
fn refusal(inputs: &Inputs<'_>) -> String {
    match (&inputs.found, &inputs.published) {
        (Found::Unknown { because }, _) => because.clone(),
        (found, Some(ours)) => format!(
            "it was published from here as {ours}, and the registry has {} now",
            found
                .digest()
                .map_or("nothing".to_owned(), Digest::to_string)
        ),
        _ => "refused".to_owned(),
    }
}

fn tag_reason(inputs: &Inputs<'_>, action: Action) -> String {
    let image = &inputs.target.image;
    let signed = match inputs.signing {
        Signing::On => ", once its digest is signed",
        Signing::Off => "",
    };
    match (action, inputs.found.digest()) {
        (Action::Replace | Action::Repair, Some(old)) => {
            format!("{image}, instead of {old}{signed}")
        }
        _ => format!("{image}{signed}"),
    }
}

fn latest_step(inputs: &Inputs<'_>, action: Action) -> Planned {
    let never = latest::never(
        &inputs.target.version,
        inputs.latest,
        inputs.release,
        inputs.overridden,
    );
    match (never, action) {
        (Some(because), _) => skip(Step::Latest, because),
        (None, Action::Try) => skip(Step::Latest, "a dry run moves nothing".to_owned()),
        (None, Action::Refuse) => skip(Step::Latest, "nothing is published".to_owned()),
        (None, Action::Keep) => run(
            Step::Latest,
            "to the version that exists, unless latest is newer".to_owned(),
        ),
        (None, _) => run(Step::Latest, "last, unless latest is newer".to_owned()),
    }
}

/// Why a release is no package, whatever the index holds; None when it may be one.
pub fn never_a_package(release: ReleaseType, overridden: bool) -> Option<String> {
    let main = release == ReleaseType::Main && !overridden;
    (!main).then(|| "only a main release is a package too".to_owned())
}

fn pypi_step(inputs: &Inputs<'_>, action: Action) -> Planned {
    let never = never_a_package(inputs.release, inputs.overridden);
    let (does, because) = match (&inputs.package, never) {
        (Package::None, _) => (
            Does::Skip,
            "remoteRegistries.pypi is not enabled".to_owned(),
        ),
        _ if action == Action::Refuse => (Does::Skip, "nothing is published".to_owned()),
        (_, Some(because)) => (Does::Skip, because),
        (Package::Exists { name }, None) => (Does::Skip, format!("{name} is on the index")),
        (Package::Unknown { because }, None) => (Does::Skip, because.clone()),
        (Package::Missing { name }, None) if action == Action::Try => {
            (Does::Run, format!("{name} is built and not uploaded"))
        }
        (Package::Missing { name }, None) => (Does::Run, format!("{name} is not on the index")),
    };
    Planned {
        step: Step::Pypi,
        does,
        because,
    }
}

fn run(step: Step, because: String) -> Planned {
    Planned {
        step,
        does: Does::Run,
        because,
    }
}

fn skip(step: Step, because: String) -> Planned {
    Planned {
        step,
        does: Does::Skip,
        because,
    }
}

/// A step that goes with the build.
fn built(action: Action, step: Step, because: String) -> Planned {
    match (action.builds(), step) {
        (true, _) => run(step, because),
        (false, Step::Build) => skip(step, because),
        (false, _) => skip(step, "nothing is built".to_owned()),
    }
}

/// A step that goes with the push.
fn pushed(action: Action, step: Step, because: String) -> Planned {
    match action {
        _ if action.pushes() => run(step, because),
        Action::Try => skip(step, "a dry run pushes nothing".to_owned()),
        _ => skip(step, "nothing is built".to_owned()),
    }
}
