-- A join token that is good for one machine only: it must have one of these cards (JSON array of MACs). NULL: any machine.
ALTER TABLE join_tokens ADD COLUMN bound_macs TEXT;
