//! Style, script and icon, in the binary. Their address holds a hash of their content, so browsers keep them for ever.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// Below the pages, so that they are in the way of no other service's.
const PLACE: &str = "/admin/assets/";

/// Where the assets are.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) matrix: String,
    pub(crate) regions: String,
    pub(crate) dialog: String,
    pub(crate) icon: String,
}

pub(crate) static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| Addresses {
    style: address("style.css"),
    script: address("live.js"),
    matrix: address("matrix.js"),
    regions: address("regions.js"),
    dialog: address("dialog.js"),
    icon: address("icon.svg"),
});

fn address(name: &str) -> String {
    let mut text = String::from(PLACE);
    if let Some(file) = Files::get(name) {
        for byte in file.metadata.sha256_hash().iter().take(8) {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text.push('/');
    text.push_str(name);
    text
}

/// One asset. An address with another hash is of another version of this program, and is not found.
pub(crate) async fn serve(Path(path): Path<String>) -> Result<Response, Problem> {
    let missing = || Problem::not_found("there is no such file");
    let (_, name) = path.split_once('/').ok_or_else(missing)?;
    let kind = match name.rsplit_once('.') {
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => return Err(missing()),
    };
    let file = Files::get(name).ok_or_else(missing)?;
    if address(name) != format!("{PLACE}{path}") {
        return Err(missing());
    }
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, file.data).into_response())
}
