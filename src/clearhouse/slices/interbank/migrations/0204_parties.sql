-- A role for somebody of another organisation, who sees what that organisation is a party to.
ALTER TABLE access_grant DROP CONSTRAINT access_grant_role_check;
ALTER TABLE access_grant ADD CONSTRAINT access_grant_role_check
CHECK (role IN ('viewer', 'operator', 'approver', 'auditor', 'party', 'admin'));

-- What the bank has said nothing about, the oldest first: `/health` asks for it every second.
CREATE INDEX settlement_doubt ON settlement_transactions (book, sent_at) WHERE state = 'IN_DOUBT';
