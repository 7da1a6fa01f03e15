//! Style and scripts, in the binary. Their addresses carry a digest of what they hold, so that
//! browsers keep them for ever and never keep an old one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::console::texts;
use crate::error::Error;

struct Asset {
    kind: &'static str,
    body: &'static [u8],
    /// `style.3f2a….css`
    name: String,
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, body: &'static [u8]) -> Self {
        Self { kind, body, name: format!("{stem}.{}.{ending}", &hex::encode(Sha256::digest(body))[..12]) }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("style", "css", "text/css; charset=utf-8", include_bytes!("../../assets/style.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let kind = "text/javascript; charset=utf-8";
    Asset::new("mailward", "js", kind, include_bytes!("../../assets/mailward.js"))
});
static HTMX: LazyLock<Asset> = LazyLock::new(|| {
    let kind = "text/javascript; charset=utf-8";
    Asset::new("htmx", "js", kind, include_bytes!("../../assets/htmx.min.js"))
});
static PASSKEY: LazyLock<Asset> = LazyLock::new(|| {
    let kind = "text/javascript; charset=utf-8";
    Asset::new("passkey", "js", kind, include_bytes!("../../assets/passkey.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")));

/// The addresses of the assets, as pages name them.
pub struct Names {
    pub style: String,
    pub script: String,
    pub htmx: String,
    pub passkey: String,
    pub icon: String,
}

pub static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let address = |asset: &Asset| format!("/assets/{}", asset.name);
    Names {
        style: address(&STYLE),
        script: address(&SCRIPT),
        htmx: address(&HTMX),
        passkey: address(&PASSKEY),
        icon: address(&ICON),
    }
});

/// One of them, by its full name.
pub async fn serve(Path(name): Path<String>) -> Response {
    let all: [&Asset; 5] = [&STYLE, &SCRIPT, &HTMX, &PASSKEY, &ICON];
    match all.into_iter().find(|asset| asset.name == name) {
        Some(asset) => (
            [
                (header::CONTENT_TYPE, asset.kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ],
            asset.body,
        )
            .into_response(),
        None => super::refusals::page(&Error::NoRoute(texts::ENGLISH.no_such_page.to_owned()), ""),
    }
}
