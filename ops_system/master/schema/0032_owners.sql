-- An API token belongs to the user who made it; one made on the data folder to nobody. Nothing that could be replayed
-- from a copy of the database stays in it: the CSRF token is derived from the session's secret, which is only hashed here.

ALTER TABLE api_tokens ADD COLUMN owner_id TEXT REFERENCES users (id) ON DELETE CASCADE;
CREATE INDEX api_tokens_by_owner ON api_tokens (owner_id);

UPDATE api_tokens SET owner_id = (
    SELECT users.id FROM audit JOIN users ON users.id = audit.actor_id
    WHERE audit.action = 'token.create' AND audit.target = 'token:' || api_tokens.id AND audit.actor_kind = 'user'
);
DELETE FROM api_tokens WHERE owner_id IS NULL AND EXISTS (  -- made by a user who is gone
    SELECT 1 FROM audit
    WHERE audit.action = 'token.create' AND audit.target = 'token:' || api_tokens.id AND audit.actor_kind = 'user'
);

ALTER TABLE sessions DROP COLUMN csrf_token;
