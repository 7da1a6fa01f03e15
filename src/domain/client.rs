//! What kinds of OAuth clients there are.

/// What a client can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// Codes are made by the operator or owner; no redirect.
    SelfClient,
    /// A web application with a secret.
    Web,
    /// An application that cannot keep a secret; PKCE S256 is demanded.
    Public,
}

impl ClientKind {
    pub const ALL: [Self; 3] = [Self::SelfClient, Self::Web, Self::Public];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfClient => "self",
            Self::Web => "web",
            Self::Public => "public",
        }
    }
}

from_word!(ClientKind, str::eq, "kind", "a client is self, web or public");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_client_is_read_as_it_is_written() {
        for (kind, word) in ClientKind::ALL.into_iter().zip(["self", "web", "public"]) {
            assert_eq!(kind.as_str(), word);
            assert_eq!(word.parse::<ClientKind>().expect("a kind"), kind);
        }
        assert!("Web".parse::<ClientKind>().is_err());
    }
}
