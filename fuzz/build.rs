// SPDX-License-Identifier: MIT
fn main() {
    println!("cargo::rerun-if-changed=calls.c");
    println!("cargo::rerun-if-changed=../include/libumf.h");
    cc::Build::new()
        .file("calls.c")
        .include("../include")
        .flag("-Wall")
        .flag("-Wextra")
        .compile("calls");
}
