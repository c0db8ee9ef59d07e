//! cargo sets no soname, and a library without one is remembered by its path.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libumf-fence.so.0");
}
