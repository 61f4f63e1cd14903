//! `sandbox`: an engine of the repository's own.

mod lifecycle;

use anyhow::Result;

pub use self::lifecycle::{Sandbox, Status, Up};

use super::Context;
use crate::{
    flags::{Json, SandboxDown, SandboxUp},
    model::{platform, problem::Exit},
};

/// Brings up what is not up, with `--compiler` an image with a compiler too where docker.io is out of reach, and prints
/// what runs. Ends with 3 when something is to be brought up and this is not Linux, or not root.
pub fn up(context: &Context, flags: &SandboxUp) -> Result<Exit> {
    let sandbox = context.sandbox();
    let up = sandbox.up(context.report)?;
    if flags.compiler {
        sandbox.compiler(&up, context.report)?;
    }
    status(context, &flags.output)
}

/// Prints what runs and where, changing nothing; ends with 0 whether or not all of it does.
pub fn status(context: &Context, flags: &Json) -> Result<Exit> {
    let status = context.sandbox().status()?;
    if flags.json {
        context.report.json(&status)?;
    } else {
        describe(&status)
            .iter()
            .for_each(|line| context.report.result(line));
    }
    Ok(Exit::Success)
}

/// Stops what `up` started, with `--purge` removing its data; ends with 0 also where nothing ran.
pub fn down(context: &Context, flags: &SandboxDown) -> Result<Exit> {
    let sandbox = context.sandbox();
    let stopped = if flags.purge {
        sandbox.purge(context.report)?
    } else {
        sandbox.down(context.report)?
    };
    context.report.note(match stopped.as_slice() {
        [] => "nothing of the sandbox was running".to_owned(),
        stopped => format!("stopped or removed: {}", stopped.join(", ")),
    });
    Ok(Exit::Success)
}

fn describe(status: &Status) -> Vec<String> {
    let running =
        |address: &Option<String>| address.clone().unwrap_or_else(|| "not running".to_owned());
    let mut lines = vec![
        format!("engine       {}", running(&status.docker_host)),
        format!("registry     {}", running(&status.registry)),
        format!("platforms    {}", platform::join(&status.platforms)),
        format!("data         {}", status.directory),
    ];
    for (name, stand_in) in status.stand_ins.iter().flatten() {
        lines.push(format!(
            "base image   {name} -> {}",
            stand_in.clone().without_digest()
        ));
    }
    lines.push(match (&status.docker_host, status.up) {
        (Some(host), true) => {
            format!("use it       add --sandbox to a command, or export DOCKER_HOST={host}")
        }
        _ => "start it     cargo xtask sandbox up".to_owned(),
    });
    lines
}
