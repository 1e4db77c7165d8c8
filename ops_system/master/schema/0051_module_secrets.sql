-- Environment values of a module that are never shown: name to sealed value (base64).

ALTER TABLE modules ADD COLUMN secrets TEXT NOT NULL DEFAULT '{}';  -- JSON
