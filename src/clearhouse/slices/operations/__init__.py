"""Operations: the kernel's own face. The ledger, the audit trail and access, over HTTP and on the command line."""
