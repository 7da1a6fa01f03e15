-- The account desk. One text for both engines: {ID} is an integer primary key,
-- {BYTES} a byte string. Times are milliseconds since 1970. A switch or a block is
-- NULL when off, and otherwise the JSON of who set it, with which rank, when and why.

CREATE TABLE id_block (
    kind TEXT NOT NULL PRIMARY KEY,
    next_id BIGINT NOT NULL
);

CREATE TABLE organization (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    disabled TEXT,
    policy TEXT NOT NULL,
    one_time_opens_mail BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);

-- Kept apart from organization, so that creating a user does not meet every token check.
CREATE TABLE organization_counter (
    organization_id BIGINT NOT NULL PRIMARY KEY REFERENCES organization (id),
    next_ordinal BIGINT NOT NULL
);

CREATE TABLE domain (
    organization_id BIGINT NOT NULL REFERENCES organization (id),
    name TEXT NOT NULL,
    id BIGINT NOT NULL,
    verification_code TEXT NOT NULL,
    verified_at BIGINT,
    verified_by TEXT,
    is_primary BOOLEAN NOT NULL,
    disabled TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, name)
);
CREATE UNIQUE INDEX domain_name_key ON domain (name);

CREATE TABLE person (
    organization_id BIGINT NOT NULL REFERENCES organization (id),
    id BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    version BIGINT NOT NULL,
    role TEXT NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    profile TEXT NOT NULL,
    password_phc TEXT,
    password_kind TEXT NOT NULL,
    password_until BIGINT,
    password_at BIGINT NOT NULL,
    password_history TEXT NOT NULL,
    session_epoch BIGINT NOT NULL,
    self_renames TEXT NOT NULL,
    disabled TEXT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX person_organization_id_ordinal_key ON person (organization_id, ordinal);
CREATE INDEX person_role_idx ON person (organization_id, role);
CREATE INDEX person_expires_at_idx ON person (expires_at);

-- How many persons each run of 4096 ordinals holds: lists find their page by it.
CREATE TABLE person_count (
    organization_id BIGINT NOT NULL REFERENCES organization (id),
    block BIGINT NOT NULL,
    persons BIGINT NOT NULL,
    PRIMARY KEY (organization_id, block)
);

CREATE TABLE account (
    organization_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    mailbox TEXT NOT NULL,
    primary_address TEXT NOT NULL,
    primary_domain TEXT NOT NULL,
    generation BIGINT NOT NULL,
    mail_disabled TEXT,
    incoming_blocked TEXT,
    outgoing_blocked TEXT,
    imap_off TEXT,
    pop_off TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, person_id) REFERENCES person (organization_id, id)
);
CREATE UNIQUE INDEX account_id_key ON account (id);
CREATE UNIQUE INDEX account_mailbox_key ON account (mailbox);
CREATE INDEX account_domain_idx ON account (organization_id, primary_domain);
CREATE INDEX account_person_idx ON account (organization_id, person_id);

-- Every address of the installation, in use or kept for its former account.
CREATE TABLE address (
    address TEXT NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    freed_at BIGINT,
    kept_until BIGINT
);
CREATE INDEX address_account_idx ON address (organization_id, account_id);

CREATE TABLE client (
    id TEXT NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    owner_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    secret_hash {BYTES},
    redirect_uris TEXT NOT NULL,
    disabled TEXT,
    created_at BIGINT NOT NULL,
    FOREIGN KEY (organization_id, owner_id) REFERENCES person (organization_id, id)
);
CREATE INDEX client_owner_idx ON client (organization_id, owner_id);

CREATE TABLE grant_code (
    hash {BYTES} NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    client_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    scope TEXT NOT NULL,
    redirect_uri TEXT,
    challenge TEXT,
    offline BOOLEAN NOT NULL,
    grant_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX grant_code_person_idx ON grant_code (organization_id, person_id);
CREATE INDEX grant_code_client_idx ON grant_code (client_id, created_at);
CREATE INDEX grant_code_expires_at_idx ON grant_code (expires_at);

CREATE TABLE refresh_token (
    hash {BYTES} NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    client_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    scope TEXT NOT NULL,
    grant_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    minted TEXT NOT NULL
);
CREATE INDEX refresh_token_person_idx ON refresh_token (organization_id, person_id, client_id, created_at);
CREATE INDEX refresh_token_grant_idx ON refresh_token (grant_id);

CREATE TABLE access_token (
    hash {BYTES} NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    client_id TEXT,
    epoch BIGINT NOT NULL,
    scope TEXT NOT NULL,
    grant_id BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX access_token_grant_idx ON access_token (grant_id, created_at);
CREATE INDEX access_token_person_idx ON access_token (organization_id, person_id);
CREATE INDEX access_token_expires_at_idx ON access_token (expires_at);

-- What was done and refused, each entry in canonical form (docs/audit.md). id is the change's;
-- step counts the accounts that one change touched.
CREATE TABLE audit (
    organization_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    verb TEXT NOT NULL,
    person_id BIGINT,
    entry TEXT NOT NULL,
    PRIMARY KEY (organization_id, id, step)
);
CREATE INDEX audit_at_idx ON audit (organization_id, at);
CREATE INDEX audit_person_idx ON audit (organization_id, person_id, at);

-- Refusals of the running minute, counted; a finished minute becomes an audit entry.
CREATE TABLE refusal (
    organization_id BIGINT NOT NULL,
    minute BIGINT NOT NULL,
    actor TEXT NOT NULL,
    verb TEXT NOT NULL,
    target TEXT NOT NULL,
    refusals BIGINT NOT NULL,
    person_id BIGINT,
    entry TEXT NOT NULL,
    PRIMARY KEY (organization_id, minute, actor, verb, target)
);
CREATE INDEX refusal_minute_idx ON refusal (minute);

-- Effects of changes on the world outside, a row for each target: the look-ups, one mail server,
-- the person. due_at is NULL when there is nothing left to do; position orders what was committed.
CREATE TABLE outbox (
    position {NEW_ID},
    change_id BIGINT NOT NULL,
    organization_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    target TEXT NOT NULL,
    effect TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT,
    tries BIGINT NOT NULL,
    outcome TEXT,
    done_at BIGINT
);
CREATE INDEX outbox_due_idx ON outbox (target, due_at);
CREATE INDEX outbox_change_idx ON outbox (organization_id, change_id);
CREATE INDEX outbox_done_at_idx ON outbox (done_at);

-- Wrong tries and token requests, counted in windows; shared by all nodes.
CREATE TABLE throttle (
    subject TEXT NOT NULL PRIMARY KEY,
    window_end BIGINT NOT NULL,
    tries BIGINT NOT NULL
);
CREATE INDEX throttle_window_end_idx ON throttle (window_end);

CREATE TABLE sign_in (
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    last_door TEXT NOT NULL,
    PRIMARY KEY (organization_id, person_id)
);
