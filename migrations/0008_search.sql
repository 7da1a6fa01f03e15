-- Finding people by any three letters of a name or an address. Each engine has its own index of
-- trigrams behind the same table: rowid is the person's id, text the names and addresses in lower case.

{SQLITE} CREATE VIRTUAL TABLE person_text USING fts5(text, organization_id UNINDEXED, tokenize = 'trigram');

{POSTGRES} CREATE EXTENSION IF NOT EXISTS pg_trgm;

{POSTGRES} CREATE TABLE person_text (
    rowid BIGINT NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL,
    text TEXT NOT NULL
);

{POSTGRES} CREATE INDEX person_text_trigram_idx ON person_text USING gin (text gin_trgm_ops);

INSERT INTO person_text (rowid, organization_id, text)
SELECT p.id, p.organization_id,
       lower(p.first_name || ' ' || p.last_name || ' ' || p.display_name || ' ' || COALESCE(
           (SELECT string_agg(d.address, ' ') FROM account a
            JOIN address d ON d.organization_id = a.organization_id AND d.account_id = a.id
            WHERE a.organization_id = p.organization_id AND a.person_id = p.id AND d.freed_at IS NULL), ''))
FROM person p;

-- Two letters: the beginnings of addresses.
CREATE INDEX address_start_idx ON address (organization_id, substr(address, 1, 2), account_id) WHERE freed_at IS NULL;

-- Written once, at the first sign-in.
ALTER TABLE person ADD COLUMN signed_in_at BIGINT;

UPDATE person SET signed_in_at = (
    SELECT s.last_at FROM sign_in s WHERE s.organization_id = person.organization_id AND s.person_id = person.id);

-- The filters of the list. Few rows stand in each, but for those who never signed in.
CREATE INDEX person_disabled_idx ON person (organization_id, id) WHERE disabled IS NOT NULL;
CREATE INDEX person_one_time_idx ON person (organization_id, id) WHERE password_kind = 'one_time';
CREATE INDEX person_never_signed_in_idx ON person (organization_id, id) WHERE signed_in_at IS NULL;
CREATE INDEX account_blocked_idx ON account (organization_id, person_id)
    WHERE mail_disabled IS NOT NULL OR incoming_blocked IS NOT NULL OR outgoing_blocked IS NOT NULL;
