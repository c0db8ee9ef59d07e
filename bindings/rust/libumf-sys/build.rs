// SPDX-License-Identifier: MIT
//! Finds the installed library with pkg-config, or in the folder that LIBUMF_LIBDIR names. The
//! shared object is linked: a process has one libumf, however many of its parts are in Rust.

fn main() -> Result<(), pkg_config::Error> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBUMF_LIBDIR");
    if let Ok(folder) = std::env::var("LIBUMF_LIBDIR") {
        println!("cargo::rustc-link-search=native={folder}");
        println!("cargo::rustc-link-lib=dylib=umf-fence");
    } else {
        pkg_config::Config::new().atleast_version("0.1").statik(false).probe("libumf")?;
    }
    Ok(())
}
