//! The pages are embedded in the binary; a change to one of them is a change to it.

fn main() {
    println!("cargo::rerun-if-changed=pages");
}
