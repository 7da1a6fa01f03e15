-- The web console: sessions of browsers, second factors, ways back in, and finding people.

-- A browser that signed in. hash is the cookie's SHA-256; a row counts only while its epoch is
-- the person's. stage says how far the sign-in has come; id names the session to its owner.
CREATE TABLE web_session (
    hash {BYTES} NOT NULL PRIMARY KEY,
    id BIGINT NOT NULL,
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    stage TEXT NOT NULL,
    password_mark {BYTES},
    ceremony TEXT,
    created_at BIGINT NOT NULL,
    proved_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    source TEXT NOT NULL,
    agent TEXT NOT NULL
);
CREATE INDEX web_session_person_idx ON web_session (organization_id, person_id);
CREATE INDEX web_session_expires_at_idx ON web_session (expires_at);

-- An authenticator app. seed_sealed is encrypted under a key from a file; last_step is the step of
-- the last accepted code, which opens nothing twice. Not confirmed: proposed, not yet in use.
CREATE TABLE totp (
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    seed_sealed {BYTES} NOT NULL,
    confirmed_at BIGINT,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, person_id)
);

-- A WebAuthn credential; data is what the library keeps of it, as JSON.
CREATE TABLE passkey (
    credential {BYTES} NOT NULL PRIMARY KEY,
    id BIGINT NOT NULL,
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX passkey_person_idx ON passkey (organization_id, person_id);

CREATE TABLE recovery_code (
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    hash {BYTES} NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (organization_id, person_id, hash)
);

-- Where a forgotten password may be recovered: an address outside this installation that was
-- proved, and serves from a time on.
CREATE TABLE recovery_address (
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    address TEXT NOT NULL,
    proved_at BIGINT,
    serves_from BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, person_id)
);

-- A link that was sent by mail, for proving a recovery address or for choosing a new password.
CREATE TABLE recovery_link (
    hash {BYTES} NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    purpose TEXT NOT NULL,
    address TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    password_mark {BYTES},
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX recovery_link_person_idx ON recovery_link (organization_id, person_id);
CREATE INDEX recovery_link_expires_at_idx ON recovery_link (expires_at);
