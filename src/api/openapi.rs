//! The OpenAPI 3.1 document, made from the router's own list and the list of modes.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AllOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::refusals;
use crate::app::accounts::{MODES, Method, ModeInfo, ParameterKind};

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "documents",
    responses((status = 200, description = "The OpenAPI 3.1 document")))]
pub async fn serve() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// The document as JSON, keys sorted.
pub fn document() -> Value {
    let mut document: OpenApi = super::described().into_openapi();
    document.info.title = "Mailward".to_owned();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(
        "The account desk of a mail organization: the Zoho Mail Users API, self-hosted. Ids in paths take a \
         zuid or an accountId; booleans and numbers may be sent as strings."
            .to_owned(),
    );
    document.info.license = Some(utoipa::openapi::License::new("Apache-2.0"));
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["components"]["securitySchemes"] = json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token; `Authorization: Zoho-oauthtoken …` works as well.",
        }
    });
    document["components"]["schemas"]["Envelope"] = envelope();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, methods) in paths {
            for operation in methods.as_object_mut().into_iter().flat_map(|methods| methods.values_mut()) {
                complete(path, operation);
            }
        }
    }
    document
}

fn envelope() -> Value {
    let codes: BTreeSet<_> = refusals::in_envelope().into_iter().map(|refusal| refusal.code).collect();
    json!({
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {
                "type": "object",
                "required": ["code", "description"],
                "properties": {"code": {"type": "integer"}, "description": {"type": "string"}},
            },
            "data": {
                "description": format!(
                    "What was asked for; on errors `errorCode` and `moreInfo`, which says what to do. \
                     The codes are {}.",
                    codes.into_iter().collect::<Vec<_>>().join(", ")
                ),
                "type": ["object", "array"],
            },
        },
    })
}

/// Adds to an operation what all of its kind have: the token, the envelope, the refusals.
fn complete(path: &str, operation: &mut Value) {
    let enveloped = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}});
    let signed = path.starts_with("/api/") || path == "/oauth/user/info";
    let in_envelope = path.starts_with("/api/") || path.starts_with("/self/") || path.starts_with("/health/");
    if signed {
        operation["security"] = json!([{"token": []}]);
    }
    let content = if in_envelope {
        enveloped.clone()
    } else {
        json!({"application/json": {"schema": {"type": "object"}}})
    };
    if let Some(responses) = operation["responses"].as_object_mut() {
        for response in responses.values_mut() {
            response["content"] = content.clone();
        }
    }
    let refusal = |description: &str| json!({"description": description, "content": enveloped});
    let mut add = |status: &str, response: Value| {
        if operation["responses"].get(status).is_none() {
            operation["responses"][status] = response;
        }
    };
    if signed || path.starts_with("/self/") {
        add("400", refusal("The request breaks a rule; moreInfo says which"));
        add("404", refusal("Nothing with that id in the caller's reach"));
        let unauthorized = json!({
            "description": "The token (or the password) does not open this. A missing scope comes as an array.",
            "content": {"application/json": {"schema": {"anyOf": [
                {"$ref": "#/components/schemas/Envelope"},
                {"type": "array"},
            ]}}},
        });
        add("401", unauthorized);
    }
    if path.starts_with("/api/") {
        add("403", refusal("The caller's rank does not reach, or somebody else set the block"));
    }
    if path != "/health/live" && path != "/openapi.json" {
        add("503", refusal("Not now; Retry-After says when. Nothing was changed"));
    }
}

/// The body of a `PUT`: one of the modes.
pub struct ModeBody;

impl ToSchema for ModeBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "ModeBody".into()
    }
}

impl PartialSchema for ModeBody {
    fn schema() -> RefOr<Schema> {
        let modes = MODES.iter().filter(|info| info.method == Method::Put);
        let all = modes.fold(OneOfBuilder::new(), |all, info| all.item(mode(info)));
        all.description(Some("What to do, by `mode`.")).into()
    }
}

/// The body of a `DELETE`.
pub struct DeleteBody;

impl ToSchema for DeleteBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "DeleteBody".into()
    }
}

impl PartialSchema for DeleteBody {
    fn schema() -> RefOr<Schema> {
        let deletes = MODES.iter().filter(|info| info.method == Method::Delete);
        deletes.fold(AllOfBuilder::new(), |all, info| all.item(mode(info))).into()
    }
}

fn mode(info: &ModeInfo) -> ObjectBuilder {
    let mut object = ObjectBuilder::new()
        .description(Some(info.summary))
        .examples([serde_json::from_str::<Value>(info.sample).unwrap_or_default()]);
    if info.method == Method::Put {
        let names = std::iter::once(info.name).chain(info.also.iter().copied());
        object = object
            .property("mode", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)))
            .required("mode")
            .property("zuid", loose("The user; may be left out where the path names one.", &[Type::Integer]));
    }
    for parameter in info.parameters {
        object = object.property(parameter.name, kind(parameter.kind, parameter.meaning));
        if parameter.mandatory {
            object = object.required(parameter.name);
        }
    }
    object
}

fn kind(kind: ParameterKind, meaning: &str) -> RefOr<Schema> {
    let list = |items: ObjectBuilder| -> RefOr<Schema> {
        ArrayBuilder::new().items(items).max_items(Some(100)).description(Some(meaning)).into()
    };
    match kind {
        ParameterKind::Text => {
            ObjectBuilder::new().schema_type(Type::String).description(Some(meaning)).into()
        }
        ParameterKind::Number => loose(meaning, &[Type::Integer]).into(),
        ParameterKind::Flag => loose(meaning, &[Type::Boolean]).into(),
        ParameterKind::Addresses => list(ObjectBuilder::new().schema_type(Type::String)),
        ParameterKind::Users => list(loose("A zuid", &[Type::Integer])),
        ParameterKind::Object => {
            ObjectBuilder::new().schema_type(Type::Object).description(Some(meaning)).into()
        }
    }
}

/// A value that may also come as a string.
fn loose(meaning: &str, types: &[Type]) -> ObjectBuilder {
    let types = types.iter().cloned().chain([Type::String]).collect();
    ObjectBuilder::new().schema_type(SchemaType::Array(types)).description(Some(meaning))
}

/// A new user.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described, never built: the body is read by wire::Body")]
pub struct NewUserBody {
    /// The whole address, on a verified domain of the organization.
    primary_email_address: String,
    /// The first password.
    password: String,
    /// Whether the password only opens the choice of a new one. Default false.
    one_time_password: Option<bool>,
    first_name: Option<String>,
    last_name: Option<String>,
    display_name: Option<String>,
    /// member (default), admin or super_admin.
    role: Option<String>,
    country: Option<String>,
    language: Option<String>,
    time_zone: Option<String>,
    /// Days until the user is disabled; -1 for never.
    user_expiry: Option<i64>,
}

/// A new app password.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described, never built: the body is read by wire::Body")]
pub struct NewAppPasswordBody {
    /// What the person calls the device.
    name: String,
    /// Of imap, pop and smtp; all when left out.
    protocols: Option<Vec<String>>,
    /// Days until it opens nothing any more.
    expires_in_days: Option<i64>,
}

/// A person's own new password.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described, never built: the body is read by wire::Body")]
pub struct OwnPasswordBody {
    /// An own address.
    address: String,
    /// The current password, permanent or one-time.
    password: String,
    new_password: String,
    /// Whether tokens and sessions of the old password end. Default true.
    reset_auth_token: Option<bool>,
}

/// Parameters of the token endpoint.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described, never built: the form is read by wire::Params")]
pub struct TokenBody {
    /// authorization_code, refresh_token or client_credentials.
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    refresh_token: Option<String>,
    /// For client_credentials: scopes, separated by commas.
    scope: Option<String>,
    /// For client_credentials: `ZohoMail.` and the zoid.
    soid: Option<String>,
}

/// Parameters of a revocation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described, never built: the form is read by wire::Params")]
pub struct RevokeBody {
    token: String,
}

/// Parameters of an introspection.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described, never built: the form is read by wire::Params")]
pub struct IntrospectBody {
    token: String,
    client_id: Option<String>,
    client_secret: Option<String>,
}
