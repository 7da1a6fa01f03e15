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
use crate::app::accounts::{MODES, Method, ModeInfo, Parameter, ParameterKind};
use crate::wire::MAX_LIST;

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
            for (method, operation) in methods.as_object_mut().into_iter().flatten() {
                complete(path, operation);
                if method != "get" && !path.starts_with("/oauth/") {
                    headers_of_changes(path, operation);
                }
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
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        // A number of a query that has no value was left out (RFC 6749, 3.1, says so of its own).
        if parameter["in"] == "query" && parameter["schema"]["type"] == "integer" {
            let number = parameter["schema"].take();
            parameter["schema"] = json!({"anyOf": [number, {"type": "string", "maxLength": 0}]});
        }
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
    if path.starts_with("/self/") {
        add("403", refusal("A second factor is wanted, or another one than was sent"));
    }
    if path.starts_with("/self/") || path.ends_with("/appPasswords") {
        add("429", refusal("Too many wrong passwords; Retry-After says how long to wait"));
    }
    if path != "/health/live" && path != "/openapi.json" {
        add("503", refusal("Not now; Retry-After says when. Nothing was changed"));
    }
}

/// What every call that changes something may say beside its body.
fn headers_of_changes(path: &str, operation: &mut Value) {
    let header = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "header", "required": false, "schema": schema, "description": description});
    let mut headers = vec![
        header(
            "X-Mailward-Dry-Run",
            json!({"type": "string", "enum": ["true", "false"]}),
            "true: only say what would happen. Every check is made, nothing is stored; the answer is 200 with the \
             forecast in data, and carries the same header.",
        ),
        header(
            "X-Mailward-Reason",
            json!({"type": "string", "maxLength": 200}),
            "Why, for the audit log, in the caller's words.",
        ),
    ];
    if path.starts_with("/api/") {
        headers.push(header(
            "Idempotency-Key",
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}),
            "Make the call once, however often it is sent within 24 hours with this key. A repeat gets the first \
             answer and the header X-Mailward-Repeated; refusals are not kept.",
        ));
        let refusal = |description: &str| {
            json!({
                "description": description,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}},
            })
        };
        operation["responses"]["409"] =
            refusal("The call was made with this Idempotency-Key, and its answer carried a secret");
        operation["responses"]["422"] = refusal("The Idempotency-Key was used for another request");
    }
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.extend(headers),
        None => operation["parameters"] = json!(headers),
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
            .property(
                "zuid",
                loose("The user; may be left out where the path names one.", &[Type::Integer, Type::Null]),
            );
    }
    for parameter in info.parameters {
        object = object.property(parameter.name, kind(parameter));
        if parameter.mandatory {
            object = object.required(parameter.name);
        }
    }
    object
}

/// What may be left out may be null too, which is the same.
fn kind(parameter: &Parameter) -> RefOr<Schema> {
    let (meaning, null) = (parameter.meaning, (!parameter.mandatory).then_some(Type::Null));
    let types = |one: Type| match &null {
        None => SchemaType::Type(one),
        Some(null) => SchemaType::Array(vec![one, null.clone()]),
    };
    let list = |items: ObjectBuilder| -> RefOr<Schema> {
        let list = ArrayBuilder::new().schema_type(types(Type::Array)).items(items);
        list.max_items(Some(MAX_LIST)).description(Some(meaning)).into()
    };
    let with = |one: Type| -> Vec<Type> { std::iter::once(one).chain(null.clone()).collect() };
    match parameter.kind {
        ParameterKind::Text => {
            ObjectBuilder::new().schema_type(types(Type::String)).description(Some(meaning)).into()
        }
        ParameterKind::Number => loose(meaning, &with(Type::Integer)).into(),
        ParameterKind::Flag => loose(meaning, &with(Type::Boolean)).into(),
        ParameterKind::Addresses | ParameterKind::Words => {
            list(ObjectBuilder::new().schema_type(Type::String))
        }
        ParameterKind::Users => list(loose("A zuid", &[Type::Integer])),
        ParameterKind::Object => {
            ObjectBuilder::new().schema_type(types(Type::Object)).description(Some(meaning)).into()
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
    /// With role admin: a help-desk administrator. Default false.
    is_custom_admin: Option<bool>,
    /// What a custom administrator may do: read, reset, switches, rename.
    verbs: Option<Vec<String>>,
    /// The domains whose users a custom administrator sees and changes. All when left out.
    domains: Option<Vec<String>>,
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
    /// The person's current password: an app password outlives the token that asks for it.
    current_password: String,
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
    /// A code of the second factor, or a recovery code, from who has one.
    code: Option<String>,
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
