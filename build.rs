// SPDX-License-Identifier: MIT
//! Link arguments for the cdylib, which cargo does not set; and `cfg(modeled)` for src/model.
//!
//! - `-soname`: a program that links with a library without a soname stores the library's path.
//! - `-z nodelete`: dlclose() must not unmap code in which a thread still runs (see meson.build).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if ["CARGO_CFG_LOOM", "CARGO_CFG_SHUTTLE"].iter().any(|name| std::env::var_os(name).is_some()) {
        println!("cargo::rustc-cfg=modeled");
    }
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libumf-fence.so.0");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
