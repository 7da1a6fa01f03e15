//! The `Authorization` header: an access token in one of two schemes, or a client's name and secret.

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::params::decoded;

/// What a request says about who sends it.
#[derive(Debug)]
pub enum Credentials {
    /// No header, or an empty one.
    None,
    /// An access token, by `Zoho-oauthtoken` or `Bearer` (RFC 6750 §2.1).
    Token(SecretString),
    /// An OAuth client's authentication (RFC 6749 §2.3.1), decoded.
    Basic { user: String, secret: SecretString },
    /// Another scheme, several headers, or something that breaks the rules of its scheme.
    Unusable,
}

/// Reads the values of all `Authorization` headers of a request; more than one is unusable.
pub fn authorization<'h>(headers: impl IntoIterator<Item = &'h [u8]>) -> Credentials {
    let mut headers = headers.into_iter();
    let (first, second) = (headers.next(), headers.next());
    if second.is_some() {
        return Credentials::Unusable;
    }
    let header = first.unwrap_or_default().trim_ascii();
    if header.is_empty() {
        return Credentials::None;
    }
    let end = header.iter().position(|byte| *byte == b' ').unwrap_or(header.len());
    let (scheme, value) = (&header[..end], header[end..].trim_ascii_start());
    let credentials = if [&b"Zoho-oauthtoken"[..], b"Bearer"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
        token(value)
    } else if scheme.eq_ignore_ascii_case(b"Basic") {
        basic(value)
    } else {
        None
    };
    credentials.unwrap_or(Credentials::Unusable)
}

/// `b64token` of RFC 6750 §2.1.
fn token(value: &[u8]) -> Option<Credentials> {
    let text = std::str::from_utf8(value).ok()?;
    let body = text.trim_end_matches('=');
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    (!body.is_empty() && body.bytes().all(good)).then(|| Credentials::Token(text.into()))
}

fn basic(value: &[u8]) -> Option<Credentials> {
    let pair = Zeroizing::new(BASE64_STANDARD.decode(value).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let user = decoded(&pair[..colon]).ok()?;
    let secret = decoded(&pair[colon + 1..]).ok()?;
    // No text of ours holds a NUL, and PostgreSQL could not even look for one.
    let usable = !user.is_empty() && !user.contains('\0') && !secret.contains('\0');
    usable.then(|| Credentials::Basic { user: user.to_string(), secret: secret.as_str().into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use url::form_urlencoded::byte_serialize;

    use super::*;

    fn token_of(header: &str) -> Option<String> {
        match authorization([header.as_bytes()]) {
            Credentials::Token(token) => Some(token.expose_secret().into()),
            Credentials::None | Credentials::Basic { .. } | Credentials::Unusable => None,
        }
    }

    fn basic_of(header: &str) -> Option<(String, String)> {
        match authorization([header.as_bytes()]) {
            Credentials::Basic { user, secret } => Some((user, secret.expose_secret().into())),
            Credentials::None | Credentials::Token(_) | Credentials::Unusable => None,
        }
    }

    #[test]
    fn both_schemes_carry_a_token_in_any_case() {
        for header in [
            "Zoho-oauthtoken 1000.ab.cd",
            "zoho-OAUTHTOKEN 1000.ab.cd",
            "Bearer 1000.ab.cd",
            " bearer   1000.ab.cd ",
        ] {
            assert_eq!(token_of(header).as_deref(), Some("1000.ab.cd"), "{header}");
        }
        assert_eq!(token_of("Bearer a-b_c~d+e/f==").as_deref(), Some("a-b_c~d+e/f=="));
    }

    #[test]
    fn no_header_and_an_empty_one_are_no_credentials() {
        assert!(matches!(authorization(None), Credentials::None));
        assert!(matches!(authorization([&b""[..]]), Credentials::None));
        assert!(matches!(authorization([&b"  "[..]]), Credentials::None));
    }

    #[test]
    fn what_breaks_the_rules_is_unusable() {
        for header in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a=b",
            "Bearer ==",
            "Bearer a,b",
            "Bearer \"a\"",
            "Bearer\ta",
            "Authtoken abc",
            "1000.ab.cd",
            "Basic",
            "Basic !!!",
            "Basic YWI=",
            "Basic OmE=",
            "Bearer é",
            "Basic AAo6YQ==",
            "Basic JTAwOmE=",
            "Basic YToA",
        ] {
            assert!(matches!(authorization([header.as_bytes()]), Credentials::Unusable), "{header}");
        }
        assert!(matches!(authorization([&b"Bearer \xff"[..]]), Credentials::Unusable));
    }

    #[test]
    fn two_headers_are_unusable_even_when_they_agree() {
        assert!(matches!(authorization([&b"Bearer a"[..], b"Bearer a"]), Credentials::Unusable));
    }

    #[test]
    fn a_client_authenticates_with_form_encoded_name_and_secret() {
        let header = |pair: &str| format!("basic {}", BASE64_STANDARD.encode(pair));
        assert_eq!(basic_of(&header("1000.A:b%3Ac+d:e")), Some(("1000.A".into(), "b:c d:e".into())));
        assert_eq!(basic_of(&header("1000.A:")), Some(("1000.A".into(), String::new())));
        assert_eq!(basic_of(&header("1000.A:%zz")), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let basic = format!("Basic {}", BASE64_STANDARD.encode("me:Sesame"));
        for header in ["Bearer Sesame", &basic] {
            assert!(!format!("{:?}", authorization([header.as_bytes()])).contains("Sesame"));
        }
    }

    proptest! {
        #[test]
        fn every_client_secret_comes_back(user in "[^\0]{1,20}", secret in "[^\0]{0,20}") {
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encode(&user), encode(&secret));
            prop_assert_eq!(basic_of(&format!("Basic {}", BASE64_STANDARD.encode(pair))), Some((user, secret)));
        }

        #[test]
        fn no_header_makes_the_parser_panic(scheme in "(Bearer|Zoho-oauthtoken|Basic|.{0,5})", value: Vec<u8>) {
            authorization([[scheme.as_bytes(), b" ", &value].concat().as_slice()]);
        }
    }
}
