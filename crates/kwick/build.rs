//! How the program is linked: its relocations packed, which saves two megabytes that every process would else have in memory.
#![expect(clippy::disallowed_methods, reason = "this is how cargo and a build script talk")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    // Where Rust brings its own linker, which knows the option by this name.
    if target("ARCH") == "x86_64" && target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bins=-Wl,--pack-dyn-relocs=relr");
    }
}
