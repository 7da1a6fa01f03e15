-- Beside: 17
-- Every look at an account asks for its addresses, and every page of the list for those of two hundred: the index
-- holds what is asked, so that no row of the table is read for it.
DROP INDEX address_account_idx;
CREATE INDEX address_account_idx ON address (organization_id, account_id, address, freed_at, created_at);
