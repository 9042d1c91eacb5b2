//! Updates a fleet over HTTP, with pages to watch it.
fn main() {}
