//! Who may do what, written by hand from the charter. Nothing here knows the product: no imports.
//!
//! Read a cell as: a caller whose token has the column's scope, sending the row's call. What the
//! cell says is explained above each table; `rights::expected` puts the tables together.

/// The columns of `CALLS`, each with what the token may do.
pub const SCOPES: [(&str, &str); 12] = [
    ("org.ALL", "ZohoMail.organization.accounts.ALL"),
    ("org.UPDATE", "ZohoMail.organization.accounts.UPDATE"),
    ("org.READ", "ZohoMail.organization.accounts.READ"),
    ("org.CREATE", "ZohoMail.organization.accounts.CREATE"),
    ("org.DELETE", "ZohoMail.organization.accounts.DELETE"),
    ("own.ALL", "ZohoMail.accounts.ALL"),
    ("own.UPDATE", "ZohoMail.accounts.UPDATE"),
    ("own.READ", "ZohoMail.accounts.READ"),
    ("domains", "ZohoMail.organization.domains.ALL"),
    ("partner", "ZohoMail.partner.organization.ALL"),
    ("profile", "AaaServer.profile.READ"),
    ("none", "ZohoMail.messages.ALL"),
];

/// Which form of a call a scope opens.
///
/// - `admin`: the administrators of that organization. A member or the help desk is answered 403,
///   anybody of another organization 404; whom the call may touch is in `MODES` and `CREATE`.
/// - `staff`: the same, and the help desk too, as far as `MODES` lets it.
/// - `own`: the person on the own account alone; what counts as naming it is in `NAMING`. On the
///   path of another organization there is no own account: 401 as for `-`.
/// - `any`: whoever the token belongs to.
/// - `open`: no token is asked for, and a bad one does not matter.
/// - `403`: this door never does that.
/// - `-`: the scope does not fit; 401 INVALID_OAUTHSCOPE, whoever asks.
///
/// `PUT` rows stand twice: for modes of administrators only, and for modes with both forms.
#[rustfmt::skip]
pub const CALLS: &str = "
                                                              org.                             own.
method  path                                        modes     ALL   UPDATE READ  CREATE DELETE ALL  UPDATE READ domains partner profile none
GET     /api/organization/{zoid}/accounts           .         staff -      staff -      -      -    -      -    -       -       -       -
POST    /api/organization/{zoid}/accounts           .         admin -      -     admin  -      -    -      -    -       -       -       -
PUT     /api/organization/{zoid}/accounts           admin     staff staff  -     -      -      -    -      -    -       -       -       -
PUT     /api/organization/{zoid}/accounts           both      staff staff  -     -      -      own  own    -    -       -       -       -
DELETE  /api/organization/{zoid}/accounts           delete    admin -      -     -      admin  -    -      -    -       -       -       -
GET     /api/organization/{zoid}/accounts/{id}      .         staff -      staff -      -      -    -      -    -       -       -       -
PUT     /api/organization/{zoid}/accounts/{id}      admin     staff staff  -     -      -      -    -      -    -       -       -       -
PUT     /api/organization/{zoid}/accounts/{id}      both      staff staff  -     -      -      own  own    -    -       -       -       -
DELETE  /api/organization/{zoid}/accounts/{id}      delete    admin -      -     -      admin  -    -      -    -       -       -       -
DELETE  /api/organization/{zoid}/accounts/{id}/throttle . staff staff -    -     -      -    -      -    -       -       -       -
POST    /api/organization/{zoid}/accounts/{id}/compromised secure admin admin - -      -      -    -      -    -       -       -       -
GET     /api/accounts                               .         -     -      -     -      -      any  -      any  -       -       -       -
GET     /api/accounts/{accountId}                   .         -     -      -     -      -      own  -      own  -       -       -       -
PUT     /api/accounts/{accountId}                   admin     -     -      -     -      -      403  403    -    -       -       -       -
PUT     /api/accounts/{accountId}                   both      -     -      -     -      -      own  own    -    -       -       -       -
GET     /api/accounts/{accountId}/appPasswords      .         -     -      -     -      -      own  -      own  -       -       -       -
GET     /api/accounts/{accountId}/history           .         -     -      -     -      -      own  -      own  -       -       -       -
POST    /api/accounts/{accountId}/appPasswords      app       -     -      -     -      -      own  own    -    -       -       -       -
DELETE  /api/accounts/{accountId}/appPasswords/{appPasswordId} app  -  -   -     -      -      own  own    -    -       -       -       -
GET     /api/accounts/{accountId}/applications      .         -     -      -     -      -      own  -      own  -       -       -       -
DELETE  /api/accounts/{accountId}/applications/{clientId} .   -     -      -     -      -      own  own    -    -       -       -       -
GET     /api/organization/{zoid}/changes/{changeId} .         staff -      staff -      -      -    -      -    -       -       -       -
GET     /api/organization                           .         admin -      admin -      -      -    -      -    -       admin   -       -
GET     /api/organization/{zoid}                    .         admin -      admin -      -      -    -      -    -       admin   -       -
GET     /api/organization/{zoid}/domains            .         -     -      -     -      -      -    -      -    admin   -       -       -
GET     /api/organization/{zoid}/domains/{domainName} .       -     -      -     -      -      -    -      -    admin   -       -       -
GET     /oauth/user/info                            .         -     -      -     -      -      -    -      -    -       -       any     -
POST    /self/password                              .         open  open   open  open   open   open open   open open    open    open    open
POST    /oauth/v2/token                             .         open  open   open  open   open   open open   open open    open    open    open
POST    /oauth/v2/token/revoke                      .         open  open   open  open   open   open open   open open    open    open    open
POST    /oauth/v2/introspect                        .         open  open   open  open   open   open open   open open    open    open    open
GET     /.well-known/oauth-authorization-server     .         open  open   open  open   open   open open   open open    open    open    open
GET     /health/live                                .         open  open   open  open   open   open open   open open    open    open    open
GET     /health/ready                               .         open  open   open  open   open   open open   open open    open    open    open
GET     /openapi.json                               .         open  open   open  open   open   open open   open open    open    open    open
";

/// The admin form of each mode: `ok`, or `403`, for each rank of the caller and of the target. The help
/// desk stands here with every verb; `verb` is the one that the mode needs, `-` that none will do.
/// The body is what the mode needs besides `mode` and `zuid`. Modes of `app` have an address of their
/// own below the person's account, and no admin form; `secure` has one below the user's.
#[rustfmt::skip]
pub const MODES: &str = "
                                        a member on                   the help desk on              an admin on                   a super admin on
mode                   forms  verb      self member desk admin super  self member desk admin super  self member desk admin super  self member desk admin super  body
resetPassword          admin  reset     403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"password\":\"t*c9ma\"}
emailupdate            both   rename    403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"emailAddress\":\"rebecca@zylker.example\"}
displaynameupdate      both   rename    403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"displayName\":\"Rebecca\"}
displaynameemailupdate both   rename    403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"displayName\":\"Rebecca\",\"emailAddress\":\"rebecca@zylker.example\"}
enableUser             both   switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"unblockIncoming\":\"true\"}
disableUser            admin  switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"blockIncoming\":\"true\"}
disableUser            admin  -         403  403    403  403   403    403  403    403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"removeAlias\":\"true\"}
enableMailAccount      both   switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {}
disableMailAccount     both   switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {}
updateIncomingStatus   admin  switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"incomingBlocked\":\"true\"}
updateOutgoingStatus   admin  switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"outgoingBlocked\":\"true\"}
updateIMAPStatus       both   switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"imapAccessEnabled\":\"false\"}
updatePOPStatus        both   switches  403  403    403  403   403    403  ok     403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"popAccessEnabled\":\"false\"}
addEmailAlias          admin  -         403  403    403  403   403    403  403    403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"emailAlias\":[\"rebecca@zylker.example\"]}
deleteEmailAlias       admin  -         403  403    403  403   403    403  403    403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"emailAlias\":[\"alias@zylker.example\"]}
updatePersonalInfo     admin  -         403  403    403  403   403    403  403    403  403   403    ok   ok     ok   403   403    ok   ok     ok   ok    ok     {\"country\":\"in\"}
changeRole             admin  -         403  403    403  403   403    403  403    403  403   403    403  ok     403  403   403    403  ok     ok   ok    ok     {\"role\":\"member\"}
changeRole             admin  -         403  403    403  403   403    403  403    403  403   403    403  403    403  403   403    403  ok     ok   ok    ok     {\"role\":\"admin\",\"isCustomAdmin\":true,\"verbs\":[\"reset\"]}
changeRole             admin  -         403  403    403  403   403    403  403    403  403   403    ok   403    403  403   403    403  ok     ok   ok    ok     {\"role\":\"admin\"}
changeRole             admin  -         403  403    403  403   403    403  403    403  403   403    403  403    403  403   403    ok   ok     ok   ok    ok     {\"role\":\"super_admin\"}
updateTFAStatus        admin  -         403  403    403  403   403    403  403    403  403   403    403  403    403  403   403    403  ok     ok   ok    ok     {\"tfaEnabled\":\"false\"}
createAppPassword      app    -         n/a  n/a    n/a  n/a   n/a    n/a  n/a    n/a  n/a   n/a    n/a  n/a    n/a  n/a   n/a    n/a  n/a    n/a  n/a   n/a    {\"name\":\"Telephone\",\"currentPassword\":\"correct-horse-7\"}
revokeAppPassword      app    -         n/a  n/a    n/a  n/a   n/a    n/a  n/a    n/a  n/a   n/a    n/a  n/a    n/a  n/a   n/a    n/a  n/a    n/a  n/a   n/a    {\"appPasswordId\":\"100000000001\"}
secureAccount          secure -         403  403    403  403   403    403  403    403  403   403    403  ok     ok   403   403    403  ok     ok   ok    ok     {}
deleteUser             delete -         403  403    403  403   403    403  403    403  403   403    403  ok     ok   403   403    403  ok     ok   ok    ok     {}
";

/// Who may create a user of that role.
#[rustfmt::skip]
pub const CREATE: &str = "
role        member desk admin super
member      403    403  ok    ok
help_desk   403    403  403   ok
admin       403    403  403   ok
super_admin 403    403  403   ok
";

/// The own form: what it answers to a request that names somebody by the path's id and the body's zuid.
/// `401` is the answer for a scope that does not fit; `n/a` cannot be sent.
#[rustfmt::skip]
pub const NAMING: &str = "
path   zuid   organization-path own-path
own    none   ok                ok
own    own    ok                ok
own    other  401               400
other  none   401               404
other  own    401               404
other  other  401               404
none   none   401               n/a
none   own    ok                n/a
none   other  401               n/a
";
