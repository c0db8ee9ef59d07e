//! cargo sets no soname, and a library without one is remembered by its path; nor does it keep the code below a thread that has yet
//! to return (meson.build).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libumf-fence.so.0");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
