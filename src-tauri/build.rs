//! Embeds the window's configuration and permissions; without the feature `gui` (the CLI alone)
//! there is nothing to do.

fn main() {
    #[cfg(feature = "gui")]
    gui();
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
