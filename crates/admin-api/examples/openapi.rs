//! Writes the OpenAPI document: `cargo run -p admin-api --example openapi > docs/openapi.json`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(admin_api::openapi_json().as_bytes())
}
