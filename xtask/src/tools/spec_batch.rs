//! One container of a base image in which the `spec` of one connector after another is tried.

use std::{
    io::{BufRead, BufReader},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use super::docker::Engine;
use crate::model::{image::ImageRef, platform::Platform, run_as::RunAs};

const SCRIPT: &str = include_str!("spec_batch.py");
/// For pulling the base and importing the CDK under emulation, beside the time that a connector gets itself.
const START: Duration = Duration::from_secs(600);

/// A running container.
pub struct SpecBatch {
    /// Dropped to end it.
    requests: Option<Sender<Vec<u8>>>,
    answers: Receiver<String>,
    container: Option<JoinHandle<()>>,
    engine: Engine,
    name: String,
}

/// How a connector's own process ended, and what it printed.
#[derive(Debug)]
pub struct Tried {
    /// 0 when it is content.
    pub status: i32,
    pub timed_out: bool,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Tried {
        status: i32,
        timed_out: bool,
        stdout: String,
        stderr: String,
    },
    Untried {
        error: String,
    },
}

impl SpecBatch {
    /// Starts a container of `base` that runs as an image on top of it would.
    pub fn start(
        engine: &Engine,
        base: &ImageRef,
        platform: Platform,
        run_as: &RunAs,
    ) -> Result<SpecBatch> {
        let [python, program] = run_as.entry_point.as_slice() else {
            bail!(
                "{} is no Python program alone",
                run_as.entry_point.join(" ")
            );
        };
        let base = base.to_string();
        let mut arguments = vec!["--interactive", "--user", &run_as.user];
        arguments.extend(["--workdir", &run_as.work_directory, "--entrypoint", python]);
        for variable in &run_as.variables {
            arguments.extend(["--env", variable]);
        }
        arguments.extend([&base, "-c", SCRIPT, program]);
        let (name, container) = engine.alone("specs", platform, &arguments)?;
        let (requests, to_write) = mpsc::channel::<Vec<u8>>();
        let (heard, answers) = mpsc::channel();
        let container = container
            .input_from(move |pipe| {
                to_write.iter().try_for_each(|request| {
                    pipe.write_all(&request)?;
                    pipe.flush()
                })
            })
            .output_to(move |pipe| {
                let lines = BufReader::new(pipe).lines().map_while(Result::ok);
                lines.for_each(|line| _ = heard.send(line));
            });
        let (remover, of) = (engine.clone(), name.clone());
        let container = thread::spawn(move || {
            let ended = container.finish();
            if !ended.is_ok_and(|finished| finished.status.success()) {
                remover.remove_container(&of);
            }
        });
        Ok(SpecBatch {
            requests: Some(requests),
            answers,
            container: Some(container),
            engine: engine.clone(),
            name,
        })
    }

    /// Runs `spec` of the connector whose own layer this is, a gzipped tar archive. An error means that it could not be
    /// tried here, and after one the container is of no more use.
    pub fn spec(&mut self, layer: &[u8], limit: Duration) -> Result<Tried> {
        let head = serde_json::json!({"limit": limit.as_secs_f64(), "size": layer.len()});
        let mut request = format!("{head}\n").into_bytes();
        request.extend_from_slice(layer);
        let requests = self.requests.as_ref().context("the container has ended")?;
        requests.send(request).context("the container has ended")?;
        let answer = self.answers.recv_timeout(limit + START);
        let answer = answer.context("the container does not answer")?;
        let answer: Answer = serde_json::from_str(&answer).context("read its answer")?;
        let (status, timed_out, stdout, stderr) = match answer {
            Answer::Tried {
                status,
                timed_out,
                stdout,
                stderr,
            } => (status, timed_out, text(&stdout)?, text(&stderr)?),
            Answer::Untried { error } => bail!("{error}"),
        };
        Ok(Tried {
            status,
            timed_out,
            stdout,
            stderr,
        })
    }
}

impl Drop for SpecBatch {
    fn drop(&mut self) {
        self.requests = None;
        // One that waits for requests ends with them.
        if let Some(container) = self.container.take() {
            if !container.is_finished() && self.is_stuck() {
                self.engine.remove_container(&self.name);
            }
            let _ = container.join();
        }
    }
}

impl SpecBatch {
    /// Whether the container goes on although nothing is asked any more.
    fn is_stuck(&self) -> bool {
        // Its end closes the channel.
        !matches!(
            self.answers.recv_timeout(END),
            Err(mpsc::RecvTimeoutError::Disconnected)
        )
    }
}

/// How long a container takes to end.
const END: Duration = Duration::from_secs(10);

fn text(base64: &str) -> Result<String> {
    let bytes = BASE64_STANDARD.decode(base64).context("read its answer")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
