//! Real OpenClaw releases, installed by npm under `target/`.

use std::path::PathBuf;

use anyhow::Context;

/// One installed release and the Node that runs it.
#[derive(Clone, Debug)]
pub struct Release {
    /// The `node` program.
    pub node: PathBuf,
    /// `node_modules/openclaw`.
    pub package_dir: PathBuf,
}

/// The release of this version, from the directory that `KALIT_OPENCLAW_DIR` names.
pub async fn release(version: &str) -> anyhow::Result<Release> {
    let installed = std::env::var_os("KALIT_OPENCLAW_DIR").context("KALIT_OPENCLAW_DIR is not set")?;
    let installed = PathBuf::from(installed);
    let release = Release {
        node: installed.join("node24/node_modules/node/bin/node"),
        package_dir: installed.join(version).join("node_modules/openclaw"),
    };
    for path in [&release.node, &release.package_dir] {
        anyhow::ensure!(path.exists(), "{} is missing", path.display());
    }
    Ok(release)
}
