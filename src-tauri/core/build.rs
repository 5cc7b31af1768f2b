//! Lists the files of `lang`, so that adding a language is adding one file, with what each language calls
//! itself.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs};

#[expect(
    clippy::disallowed_methods,
    reason = "what cargo tells a build script stands in its environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../lang");
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let (mut names, mut texts) = (String::new(), String::new());
    for file in files {
        let code = file.file_stem().and_then(|stem| stem.to_str()).ok_or("no name")?;
        let path = file.canonicalize()?;
        let language: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let name = language["name"].as_str().ok_or("a language without a name")?;
        write!(names, "({code:?}, {name:?}),")?;
        write!(texts, "include_str!({path:?}),")?;
    }
    let list = format!("(&[{names}], &[{texts}])");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("languages.rs"), list)?;
    Ok(())
}
