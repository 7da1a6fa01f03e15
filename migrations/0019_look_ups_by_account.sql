-- Beside: 18
-- On PostgreSQL this step and the next one replace views that mail servers ask all the time. A look-up locks them from
-- the top down; so does this, one by one, with a statement that changes nothing: locked in another order, the two
-- would wait for each other.
{POSTGRES} ALTER VIEW mail_auth.mp_user RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_auth.mp_session RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_auth.mp_gate RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_auth.mp_login RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_auth.mp_app RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_maps.mp_mailbox RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_maps.mp_rcpt RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_maps.mp_sender RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_maps.mp_sasl RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_auth.live_app_password RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_maps.live_credential RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_auth.account RESET (security_barrier);

{POSTGRES} ALTER VIEW mail_maps.account RESET (security_barrier);

{POSTGRES} ALTER VIEW mailbox_state RESET (security_barrier);

-- The contract's views know no organization: they come from an account to its app passwords by this. On SQLite they
-- stand in the files, which have it.
{POSTGRES} CREATE INDEX app_password_of_account_idx ON app_password (account_id);

-- PostgreSQL brings no join's condition into a UNION of joins: joined with live_credential, each question of who may
-- send as an address read every account. So each half is joined with the address.
{POSTGRES} CREATE OR REPLACE VIEW mail_maps.mp_sender AS
    SELECT d.address AS address, a.mbox || '@g' || a.generation AS login
      FROM mail_maps.address d JOIN mail_maps.account a ON a.account_id = d.account_id
     WHERE d.retired IS NULL
       AND a.generation IS NOT NULL
       AND (a.pw_until IS NULL OR a.pw_until > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT))
    UNION ALL
    SELECT d.address, a.mbox || '@a' || p.app_id
      FROM mail_maps.address d
      JOIN mail_maps.account a ON a.account_id = d.account_id
      JOIN mail_maps.app_password p ON p.account_id = d.account_id
     WHERE d.retired IS NULL
       AND (p.expires_at IS NULL OR p.expires_at > CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT));
