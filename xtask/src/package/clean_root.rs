//! stub
use std::path::PathBuf;
pub fn prove(_packages: &[PathBuf]) -> anyhow::Result<()> {
    Ok(())
}
