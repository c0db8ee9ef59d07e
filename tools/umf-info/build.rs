// SPDX-License-Identifier: MIT
//! Says where the library is: in LIBUMF_LIBDIR, which meson sets, or where the linker looks.

fn main() {
    println!("cargo::rerun-if-env-changed=LIBUMF_LIBDIR");
    if let Ok(folder) = std::env::var("LIBUMF_LIBDIR") {
        println!("cargo::rustc-link-search=native={folder}");
    }
    println!("cargo::rustc-link-lib=dylib=umf-fence");
}
