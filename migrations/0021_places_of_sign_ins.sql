-- Beside: 20
-- From where somebody came in, and by which door: a row for each place, so that a stranger's stands out. A node of an
-- earlier step notes none, and leaves those of a user whom it deletes; nobody is shown them.
CREATE TABLE sign_in_place (
    organization_id BIGINT NOT NULL,
    person_id BIGINT NOT NULL,
    door TEXT NOT NULL,
    source TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, person_id, door, source)
);
