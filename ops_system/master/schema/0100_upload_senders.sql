-- By what a sender that does not know the sha256 yet finds its unfinished upload again.
ALTER TABLE uploads ADD COLUMN sender_key TEXT;
