//! A built image until its run is over: in its layout, and as far as it is needed in the engine's store.

use std::sync::{Mutex, OnceLock};

use anyhow::Result;

use super::Context;
use crate::{
    model::{image::ImageRef, platform::Platform},
    plan::build::{BuildPlan, SpecCheck},
    tools::{
        docker::NOT_STARTED,
        engine_store::{Kept, Load, Sent},
        files::remove_directory,
        layout::Layout,
        process::Finished,
        store_lock::StoreLock,
        work::lock,
    },
};

/// A built image. Its layout stays until this is dropped, and no other run builds the connector meanwhile.
#[derive(Debug)]
pub struct Made {
    pub layout: Layout,
    _lock: StoreLock,
    /// What an engine that had an image before this one may lack.
    lacking: Sent,
    /// Held while the engine takes in a half: one after the other, so that the first can be started soon.
    loading: Mutex<()>,
    /// What the engine had under the image's name before.
    previous: OnceLock<Option<Kept>>,
}

impl Made {
    /// `lock` is the connector's, held since before its layout was emptied.
    pub fn new(layout: Layout, lock: StoreLock, lacking: Sent) -> Made {
        Made {
            layout,
            _lock: lock,
            lacking,
            loading: Mutex::default(),
            previous: OnceLock::new(),
        }
    }

    /// Puts one platform's half into the engine's store, unless it is there since its build.
    pub fn load(&self, context: &Context, plan: &BuildPlan, platform: Platform) -> Result<()> {
        match plan.in_store() {
            true => Ok(()),
            false => self.send(context, plan, platform, Sent::Everything),
        }
    }

    /// This very image in the engine's store; its name may be another's by now.
    pub fn image(&self, plan: &BuildPlan) -> ImageRef {
        plan.image.at(self.layout.digest())
    }

    fn send(
        &self,
        context: &Context,
        plan: &BuildPlan,
        platform: Platform,
        send: Sent,
    ) -> Result<()> {
        let _turn = lock(&self.loading);
        // What a manifest-only image shares with the next is its base; forgetting a name takes an engine seconds.
        self.previous.get_or_init(|| {
            let has_packages = plan.python.is_some();
            has_packages.then(|| context.engine.keep(&plan.image))?
        });
        let load = Load {
            layout: &self.layout,
            platform,
            name: &plan.image,
            base: &plan.base.used,
            say: &|line| context.report.note(line),
        };
        context.engine.load(&load, send)
    }

    /// Runs `spec` from what the engine has of the image's layers; sends it those that it lacks, and all of the image
    /// where it has not that one: an engine drops an image whose name another run gives to its own, and BuildKit's
    /// statements about one with a name differ from those about the layout's.
    pub fn run_spec(
        &self,
        context: &Context,
        plan: &BuildPlan,
        check: &SpecCheck,
    ) -> Result<Finished> {
        let image = self.image(plan);
        let run = || context.engine.run_spec(&image, check.platform, check.limit);
        if !plan.in_store() {
            self.send(context, plan, check.platform, self.lacking)?;
        }
        let finished = run()?;
        if finished.status.code() == Some(NOT_STARTED) {
            self.send(context, plan, check.platform, Sent::Everything)?;
            return run();
        }
        Ok(finished)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // What stays is replaced by the next build.
        let _ = remove_directory(&self.layout.directory);
    }
}

/// What `spec` is run of.
#[derive(Debug, Clone, Copy)]
pub enum SpecOf<'a> {
    /// What was built.
    Built(&'a Made),
    /// What a registry has, named by its digest.
    Pulled(&'a ImageRef),
}
