-- Every statement of the program as it was when the account desk was finished and its tables were the steps 1 to 3
-- (migrations/0001 to 0003): what a node of that time asks while a newer one has migrated the database. Each on one line.
DELETE FROM access_token
DELETE FROM access_token WHERE expires_at < $1
DELETE FROM access_token WHERE grant_id = $1
DELETE FROM access_token WHERE grant_id = $1 AND hash NOT IN ( SELECT hash FROM access_token WHERE grant_id = $1 ORDER BY created_at DESC, hash LIMIT $2)
DELETE FROM access_token WHERE hash = $1
DELETE FROM access_token WHERE organization_id = $1 AND client_id = $2
DELETE FROM access_token WHERE organization_id = $1 AND person_id = $2
DELETE FROM account WHERE organization_id = $1 AND person_id = $2
DELETE FROM app_password WHERE organization_id = $1 AND account_id = $2
DELETE FROM app_password WHERE organization_id = $1 AND id = $2
DELETE FROM client WHERE organization_id = $1 AND id = $2
DELETE FROM client WHERE organization_id = $1 AND owner_id = $2
DELETE FROM grant_code
DELETE FROM grant_code WHERE expires_at < $1
DELETE FROM grant_code WHERE organization_id = $1 AND client_id = $2
DELETE FROM grant_code WHERE organization_id = $1 AND person_id = $2
DELETE FROM mail_server WHERE name = $1
DELETE FROM outbox WHERE done_at < $1
DELETE FROM person WHERE organization_id = $1 AND id = $2 AND version = $3 RETURNING ordinal
DELETE FROM refresh_token
DELETE FROM refresh_token WHERE grant_id = $1
DELETE FROM refresh_token WHERE organization_id = $1 AND client_id = $2
DELETE FROM refresh_token WHERE organization_id = $1 AND person_id = $2
DELETE FROM refusal WHERE organization_id = $1 AND minute = $2 AND actor = $3 AND verb = $4 AND target = $5
DELETE FROM retained_mailbox WHERE mailbox = $1
DELETE FROM setting WHERE name = $1
DELETE FROM sign_in WHERE organization_id = $1 AND person_id = $2
DELETE FROM throttle WHERE subject = $1
DELETE FROM throttle WHERE window_end <= $1
INSERT INTO access_token (hash, organization_id, person_id, client_id, epoch, scope, grant_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
INSERT INTO account (organization_id, id, person_id, mailbox, primary_address, primary_domain, generation, mail_disabled, incoming_blocked, outgoing_blocked, imap_off, pop_off, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
INSERT INTO address (address, organization_id, account_id, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (address) DO UPDATE SET organization_id = $2, account_id = $3, created_at = $4, freed_at = NULL, kept_until = NULL WHERE address.freed_at IS NOT NULL
INSERT INTO app_password (organization_id, id, account_id, name, digest, imap, pop, smtp, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
INSERT INTO audit (organization_id, id, step, at, actor, verb, person_id, entry) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
INSERT INTO client (id, organization_id, owner_id, name, kind, secret_hash, redirect_uris, disabled, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
INSERT INTO domain (organization_id, name, id, verification_code, verified_at, verified_by, is_primary, disabled, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (name) DO NOTHING
INSERT INTO grant_code (hash, organization_id, person_id, client_id, epoch, scope, redirect_uri, challenge, offline, grant_id, created_at, expires_at, used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
INSERT INTO id_block (kind, next_id) VALUES ($1, $2) ON CONFLICT (kind) DO UPDATE SET next_id = id_block.next_id + $3
INSERT INTO id_block (kind, next_id) VALUES ($1, $2) ON CONFLICT (kind) DO UPDATE SET next_id = id_block.next_id + $3 RETURNING next_id
INSERT INTO mail_server (name, url, key_file, certificate_sha256, ca_file, created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET url = $2, key_file = $3, certificate_sha256 = $4, ca_file = $5
INSERT INTO organization (id, name, disabled, policy, one_time_opens_mail, created_at) VALUES ($1, $2, $3, $4, $5, $6)
INSERT INTO organization_counter (organization_id, next_ordinal) VALUES ($1, 0)
INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries) VALUES ($1, $2, $3, $4, $5, $6, $6, 0)
INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries) VALUES ($1, $2, $3, $4, $5, $6, $6, 0) RETURNING position
INSERT INTO outbox (change_id, organization_id, account_id, target, effect, created_at, due_at, tries, outcome, done_at) SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), name, CAST($4 AS TEXT), CAST($5 AS BIGINT), CAST($5 AS BIGINT), 0, NULL, NULL FROM mail_server UNION ALL SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), '', CAST($4 AS TEXT), CAST($5 AS BIGINT), NULL, 0, 'no mail server is configured; nothing was told', CAST($5 AS BIGINT) WHERE NOT EXISTS (SELECT 1 FROM mail_server)
INSERT INTO person (organization_id, id, ordinal, version, role, first_name, last_name, display_name, profile, password_phc, password_kind, password_until, password_at, password_history, session_epoch, self_renames, disabled, expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
INSERT INTO person_count (organization_id, block, persons) VALUES ($1, $2, 1) ON CONFLICT (organization_id, block) DO UPDATE SET persons = person_count.persons + 1
INSERT INTO refresh_token (hash, organization_id, person_id, client_id, epoch, scope, grant_id, created_at, minted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
INSERT INTO refusal (organization_id, minute, actor, verb, target, refusals, person_id, entry) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (organization_id, minute, actor, verb, target) DO UPDATE SET refusals = refusal.refusals + $6
INSERT INTO retained_mailbox (organization_id, account_id, mailbox, address, deleted_at, keep_until) VALUES ($1, $2, $3, $4, $5, $6)
INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING
INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2
INSERT INTO sign_in (organization_id, person_id, last_at, last_door) VALUES ($1, $2, $3, $4) ON CONFLICT (organization_id, person_id) DO UPDATE SET last_at = $3, last_door = $4
INSERT INTO throttle (subject, window_end, tries) VALUES ($1, $3, 1) ON CONFLICT (subject) DO UPDATE SET tries = CASE WHEN throttle.window_end <= $2 THEN 1 ELSE throttle.tries + 1 END, window_end = CASE WHEN throttle.window_end <= $2 THEN $3 ELSE throttle.window_end END RETURNING tries, window_end
INSERT INTO throttle (subject, window_end, tries) VALUES ($1, $3, 1) ON CONFLICT (subject) DO UPDATE SET tries = CASE WHEN throttle.window_end <= $2 THEN 1 ELSE throttle.tries + 1 END, window_end = CASE WHEN throttle.window_end <= $2 THEN $3 ELSE throttle.window_end END WHERE throttle.window_end <= $2 OR throttle.tries < $4 RETURNING window_end
SELECT 0 AS id, address AS text, '' AS digest, FALSE AS imap, FALSE AS pop, FALSE AS smtp, created_at, freed_at AS expires_at FROM address WHERE organization_id = $1 AND account_id = $2 AND freed_at IS NULL UNION ALL SELECT id, name, digest, imap, pop, smtp, created_at, expires_at FROM app_password WHERE organization_id = $1 AND account_id = $2 ORDER BY created_at, id, text
SELECT CAST(COALESCE(SUM(persons), 0) AS BIGINT) AS persons FROM person_count WHERE organization_id = $1
SELECT COALESCE(MAX(position), 0) AS newest FROM outbox
SELECT COALESCE(MAX(position), 0) AS swept FROM outbox WHERE done_at < $1
SELECT COUNT(*) AS codes FROM grant_code WHERE client_id = $1 AND created_at > $2
SELECT COUNT(*) AS others FROM person WHERE organization_id = $1 AND role = 'super_admin' AND disabled IS NULL AND id <> $2
SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox WHERE due_at > 0
SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM outbox WHERE target = $1 AND due_at IS NOT NULL
SELECT MIN(due_at) AS due_at FROM outbox WHERE target = $1 AND due_at IS NOT NULL
SELECT a.organization_id, a.id, a.generation, p.password_phc, a.imap_off, a.pop_off FROM account a JOIN person p ON p.organization_id = a.organization_id AND p.id = a.person_id JOIN organization o ON o.id = a.organization_id LEFT JOIN domain d ON d.organization_id = a.organization_id AND d.name = a.primary_domain WHERE a.mailbox = $1 AND o.disabled IS NULL AND d.disabled IS NULL AND p.disabled IS NULL AND a.mail_disabled IS NULL
SELECT a.primary_address, p.display_name FROM person p JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id WHERE p.organization_id = $1 AND p.role = 'super_admin' ORDER BY p.ordinal LIMIT 10
SELECT account_id, address, freed_at FROM address WHERE organization_id = $1 AND account_id >= $2 AND account_id <= $3 ORDER BY account_id, address
SELECT account_id, freed_at, kept_until FROM address WHERE address = $1
SELECT account_id, id, digest, imap, pop, smtp, expires_at FROM app_password WHERE organization_id = $1 AND account_id >= $2 AND account_id <= $3 ORDER BY account_id, id
SELECT account_id, mbox, generation, pw, gate, gate_imap, gate_pop3, sending, incoming, primary_address FROM mailbox_state WHERE organization_id = $1 AND account_id > $2 ORDER BY account_id LIMIT $3
SELECT block, persons_before FROM ( SELECT block, persons, CAST(SUM(persons) OVER (ORDER BY block) AS BIGINT) - persons AS persons_before FROM person_count WHERE organization_id = $1 ) AS counted WHERE persons_before <= $2 AND persons > $2 - persons_before ORDER BY block LIMIT 1
SELECT d.account_id, d.address FROM person p JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id JOIN address d ON d.organization_id = a.organization_id AND d.account_id = a.id WHERE p.organization_id = $1 AND p.ordinal >= $2 AND p.ordinal <= $3 AND d.freed_at IS NULL AND d.address <> a.primary_address ORDER BY d.created_at, d.address
SELECT grant_id FROM refresh_token WHERE organization_id = $1 AND person_id = $2 AND client_id = $3 ORDER BY created_at DESC, hash LIMIT 1000 OFFSET $4
SELECT id FROM app_password WHERE organization_id = $1 AND id = $2 AND account_id = $3 AND (expires_at IS NULL OR expires_at > $4)
SELECT id, name, disabled, policy, created_at FROM organization ORDER BY id
SELECT id, name, disabled, policy, created_at FROM organization WHERE id = $1
SELECT id, organization_id, owner_id, name, kind, secret_hash, redirect_uris, disabled, created_at FROM client WHERE id = $1
SELECT id, organization_id, owner_id, name, kind, secret_hash, redirect_uris, disabled, created_at FROM client WHERE organization_id = $1 ORDER BY created_at, id
SELECT last_at, last_door FROM sign_in WHERE organization_id = $1 AND person_id = $2
SELECT name FROM domain WHERE verified_at IS NOT NULL ORDER BY name
SELECT name, url, key_file, certificate_sha256, ca_file, created_at FROM mail_server ORDER BY name
SELECT o.id FROM organization o WHERE o.disabled IS NULL AND NOT EXISTS ( SELECT p.id FROM person p WHERE p.organization_id = o.id AND p.role = 'super_admin' AND p.disabled IS NULL) ORDER BY o.id
SELECT organization_id, account_id FROM address WHERE address = $1 AND freed_at IS NULL
SELECT organization_id, id FROM person WHERE password_until <= $1 ORDER BY password_until, id LIMIT $2
SELECT organization_id, id, expires_at FROM person WHERE expires_at <= $1 AND disabled IS NULL AND (expires_at > $2 OR (expires_at = $2 AND id > $3)) ORDER BY expires_at, id LIMIT $4
SELECT organization_id, id, step, at, actor, verb, person_id, entry FROM audit WHERE organization_id = $1 AND id = $2 ORDER BY step
SELECT organization_id, id, step, at, actor, verb, person_id, entry FROM audit WHERE organization_id = $1 AND person_id = $2 ORDER BY at DESC, id DESC, step DESC LIMIT $3
SELECT organization_id, id, step, at, actor, verb, person_id, entry FROM audit WHERE organization_id = $1 ORDER BY at DESC, id DESC, step DESC LIMIT $2
SELECT organization_id, mailbox, address, deleted_at, keep_until FROM retained_mailbox ORDER BY deleted_at, account_id
SELECT organization_id, minute, actor, verb, target, refusals, person_id, entry FROM refusal WHERE minute < $1 ORDER BY minute, organization_id, actor, verb, target LIMIT $2
SELECT organization_id, minute, actor, verb, target, refusals, person_id, entry FROM refusal WHERE organization_id = $1 ORDER BY minute DESC, actor, verb, target
SELECT organization_id, name, id, verification_code, verified_at, verified_by, is_primary, disabled, created_at FROM domain WHERE organization_id = $1 AND name = $2
SELECT organization_id, name, id, verification_code, verified_at, verified_by, is_primary, disabled, created_at FROM domain WHERE organization_id = $1 ORDER BY created_at, name
SELECT organization_id, person_id, client_id, epoch, scope, grant_id, created_at, expires_at FROM access_token WHERE hash = $1
SELECT organization_id, person_id, client_id, epoch, scope, grant_id, created_at, minted FROM refresh_token WHERE hash = $1
SELECT organization_id, person_id, client_id, epoch, scope, redirect_uri, challenge, offline, grant_id, created_at, expires_at, used_at FROM grant_code WHERE hash = $1
SELECT p.organization_id, a.person_id, p.id FROM app_password p JOIN account a ON a.organization_id = p.organization_id AND a.id = p.account_id WHERE p.expires_at <= $1 ORDER BY p.expires_at, p.id LIMIT $2
SELECT p.organization_id, p.id AS person_id, p.ordinal, p.version, p.role, p.first_name, p.last_name, p.display_name, p.profile, p.password_phc, p.password_kind, p.password_until, p.password_at, p.password_history, p.session_epoch, p.self_renames, p.disabled AS user_disabled, p.expires_at, p.created_at, a.id AS account_id, a.mailbox, a.primary_address, a.generation, a.mail_disabled, a.incoming_blocked, a.outgoing_blocked, a.imap_off, a.pop_off FROM person p JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id WHERE a.organization_id = $1 AND a.id = $2
SELECT p.organization_id, p.id AS person_id, p.ordinal, p.version, p.role, p.first_name, p.last_name, p.display_name, p.profile, p.password_phc, p.password_kind, p.password_until, p.password_at, p.password_history, p.session_epoch, p.self_renames, p.disabled AS user_disabled, p.expires_at, p.created_at, a.id AS account_id, a.mailbox, a.primary_address, a.generation, a.mail_disabled, a.incoming_blocked, a.outgoing_blocked, a.imap_off, a.pop_off FROM person p JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id WHERE p.organization_id = $1 AND p.id = $2
SELECT p.organization_id, p.id AS person_id, p.ordinal, p.version, p.role, p.first_name, p.last_name, p.display_name, p.profile, p.password_phc, p.password_kind, p.password_until, p.password_at, p.password_history, p.session_epoch, p.self_renames, p.disabled AS user_disabled, p.expires_at, p.created_at, a.id AS account_id, a.mailbox, a.primary_address, a.generation, a.mail_disabled, a.incoming_blocked, a.outgoing_blocked, a.imap_off, a.pop_off FROM person p JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id WHERE p.organization_id = $1 AND p.ordinal >= $2 ORDER BY p.ordinal LIMIT $3 OFFSET $4
SELECT p.organization_id, p.id, a.id AS account_id, p.role, p.session_epoch, p.disabled AS user_disabled, o.disabled AS organization_disabled FROM person p JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id JOIN organization o ON o.id = p.organization_id WHERE p.organization_id = $1 AND p.id = $2
SELECT position, change_id, organization_id, account_id, target, effect, created_at, due_at, tries, outcome, done_at FROM outbox WHERE organization_id = $1 AND change_id = $2 ORDER BY position
SELECT position, organization_id, account_id FROM outbox WHERE position > $1 ORDER BY position LIMIT $2
SELECT s.person_id, s.last_at, s.last_door FROM person p JOIN sign_in s ON s.organization_id = p.organization_id AND s.person_id = p.id WHERE p.organization_id = $1 AND p.ordinal >= $2 AND p.ordinal <= $3
SELECT t.organization_id, t.person_id, t.client_id, t.scope, t.expires_at, p.role, a.id AS account_id FROM access_token t JOIN person p ON p.organization_id = t.organization_id AND p.id = t.person_id JOIN account a ON a.organization_id = t.organization_id AND a.person_id = t.person_id JOIN organization o ON o.id = t.organization_id LEFT JOIN client c ON c.id = t.client_id WHERE t.hash = $1 AND t.expires_at > $2 AND t.epoch = p.session_epoch AND p.disabled IS NULL AND o.disabled IS NULL AND (t.client_id IS NULL OR (c.id IS NOT NULL AND c.disabled IS NULL))
SELECT tries, window_end FROM throttle WHERE subject = $1 AND window_end > $2
SELECT value FROM setting WHERE name = $1
SELECT verified_at, disabled FROM domain WHERE organization_id = $1 AND name = $2
UPDATE account SET generation = generation + $1
UPDATE account SET primary_address = $3, primary_domain = $4, generation = $5, mail_disabled = $6, incoming_blocked = $7, outgoing_blocked = $8, imap_off = $9, pop_off = $10 WHERE organization_id = $1 AND id = $2
UPDATE address SET freed_at = $4, kept_until = $5 WHERE address = $1 AND organization_id = $2 AND account_id = $3 AND freed_at IS NULL
UPDATE client SET name = $3, secret_hash = $4, redirect_uris = $5, disabled = $6 WHERE organization_id = $1 AND id = $2
UPDATE domain SET verified_at = $3, verified_by = $4, is_primary = $5, disabled = $6 WHERE organization_id = $1 AND name = $2
UPDATE grant_code SET used_at = $2 WHERE hash = $1 AND used_at IS NULL
UPDATE organization SET name = $2, disabled = $3, policy = $4, one_time_opens_mail = $5 WHERE id = $1
UPDATE organization_counter SET next_ordinal = next_ordinal + 1 WHERE organization_id = $1 RETURNING next_ordinal
UPDATE outbox SET due_at = $3, outcome = $4 WHERE position = $1 AND tries = $2 AND due_at IS NOT NULL
UPDATE outbox SET due_at = $3, tries = tries + 1 WHERE position IN (SELECT position FROM outbox WHERE target = $1 AND due_at <= $2 ORDER BY due_at, position LIMIT $4) AND target = $1 AND due_at <= $2 RETURNING position, change_id, organization_id, account_id, target, effect, created_at, due_at, tries, outcome, done_at
UPDATE outbox SET due_at = NULL, done_at = $2, outcome = 'the mail server was removed before it was told' WHERE target = $1 AND due_at IS NOT NULL
UPDATE outbox SET due_at = NULL, outcome = $2, done_at = $3 WHERE target = $4 AND due_at IS NOT NULL AND position <= $1
UPDATE outbox SET due_at = NULL, outcome = $3, done_at = $4 WHERE position = $1 AND tries = $2 AND due_at IS NOT NULL
UPDATE person SET password_phc = NULL WHERE password_kind = 'one_time'
UPDATE person SET version = version + 1, disabled = $4 WHERE organization_id = $1 AND id = $2 AND version = $3
UPDATE person SET version = version + 1, role = $4, first_name = $5, last_name = $6, display_name = $7, profile = $8, password_phc = $9, password_kind = $10, password_until = $11, password_at = $12, password_history = $13, session_epoch = $14, self_renames = $15, disabled = $16, expires_at = $17 WHERE organization_id = $1 AND id = $2 AND version = $3
UPDATE person SET version = version + 1, session_epoch = session_epoch + $1
UPDATE person_count SET persons = persons - 1 WHERE organization_id = $1 AND block = $2
UPDATE refresh_token SET minted = $2 WHERE hash = $1
UPDATE throttle SET tries = tries - 1 WHERE subject = $1 AND window_end = $2 AND tries > 0
