-- A role for somebody of another organisation, who sees what that organisation is a party to.
ALTER TABLE access_grant DROP CONSTRAINT access_grant_role_check;
ALTER TABLE access_grant ADD CONSTRAINT access_grant_role_check
CHECK (role IN ('viewer', 'operator', 'approver', 'auditor', 'party', 'admin'));
