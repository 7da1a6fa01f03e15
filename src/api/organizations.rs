//! Organization and domain details.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::api::door::{Call, Path};
use crate::api::envelope::success;
use crate::api::views;
use crate::app::App;
use crate::app::accounts::read;
use crate::domain::email_address::DomainName;
use crate::error::{Error, Result};

/// The caller's own organization.
#[utoipa::path(get, path = "/api/organization", tag = "organization",
    responses((status = 200, description = "The organization")))]
pub async fn own(State(app): State<App>, call: Call) -> Result<Response> {
    let view = read::organization(&app, &call.context.caller, None).await?;
    Ok(success(views::organization(&view, &app.config.public_url())))
}

/// An organization.
#[utoipa::path(get, path = "/api/organization/{zoid}", tag = "organization",
    params(("zoid" = i64, Path, description = "The organization")),
    responses((status = 200, description = "The organization")))]
pub async fn show(State(app): State<App>, call: Call, Path(zoid): Path<String>) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let view = read::organization(&app, &call.context.caller, Some(zoid)).await?;
    Ok(success(views::organization(&view, &app.config.public_url())))
}

/// The organization's domains.
#[utoipa::path(get, path = "/api/organization/{zoid}/domains", tag = "organization",
    params(("zoid" = i64, Path, description = "The organization")),
    responses((status = 200, description = "An object with the array domainVO")))]
pub async fn domains(State(app): State<App>, call: Call, Path(zoid): Path<String>) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let url = app.config.public_url();
    let domains = read::domains(&app, &call.context.caller, zoid).await?;
    let listed: Vec<_> = domains.iter().map(|domain| views::domain(domain, &url)).collect();
    Ok(success(json!({"domainVO": listed})))
}

/// One domain.
#[utoipa::path(get, path = "/api/organization/{zoid}/domains/{domainName}", tag = "organization",
    params(("zoid" = i64, Path, description = "The organization"),
           ("domainName" = String, Path, description = "The domain's name")),
    responses((status = 200, description = "A domain object")))]
pub async fn domain(
    State(app): State<App>,
    call: Call,
    Path((zoid, name)): Path<(String, String)>,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let domains = read::domains(&app, &call.context.caller, zoid).await?;
    let name = DomainName::parse(&name).ok();
    let found = domains.iter().find(|domain| Some(&domain.name) == name.as_ref());
    let found = found.ok_or_else(|| Error::NotFound("this organization has no such domain".to_owned()))?;
    Ok(success(views::domain(found, &app.config.public_url())))
}
