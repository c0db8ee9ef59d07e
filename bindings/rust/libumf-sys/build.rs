// SPDX-License-Identifier: MIT
//! Finds the installed library with pkg-config. The shared object is linked: a process has one
//! libumf, however many of its parts are in Rust.

fn main() -> Result<(), pkg_config::Error> {
    println!("cargo::rerun-if-changed=build.rs");
    pkg_config::Config::new().atleast_version("0.1").statik(false).probe("libumf")?;
    Ok(())
}
