//! Embeds the window's configuration and permissions, if the feature `gui` asks for them, and leaves
//! out of a release what it never reads.

use std::env;

fn main() {
    without_unwinding();
    #[cfg(feature = "gui")]
    gui();
}

/// An eighth of a program are tables for unwinding, which `panic = "abort"` does not need. The
/// compiler leaves out no more than its own; this takes those of the standard library and of C too.
fn without_unwinding() {
    println!("cargo:rerun-if-changed=src-tauri/no_unwinding.ld");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|is| is == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        for program in ["kalit", "kalit-desktop"] {
            for argument in ["-Wl,--no-eh-frame-hdr", "-Wl,-T,src-tauri/no_unwinding.ld"] {
                println!("cargo:rustc-link-arg-bin={program}={argument}");
            }
        }
    }
}

/// Paths are relative to the repository root, which is the package's root as well.
#[cfg(feature = "gui")]
fn gui() {
    println!("cargo:rerun-if-changed=src-tauri/permissions");
    println!("cargo:rerun-if-changed=icons");
    let permissions = tauri_build::AppManifest::new().permissions_path_pattern("src-tauri/permissions/**/*");
    let attributes = tauri_build::Attributes::new()
        // The one capability stands in tauri.conf.json.
        .capabilities_path_pattern("src-tauri/capabilities/**/*")
        .app_manifest(permissions);
    if let Err(error) = tauri_build::try_build(attributes) {
        panic!("{error:#}");
    }
}
