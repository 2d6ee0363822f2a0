-- An agent who is closed has no password and no secret: both are empty then.
ALTER TABLE agent ADD COLUMN login_at INTEGER;  -- newest login; NULL: none yet
ALTER TABLE agent ADD COLUMN closed_at INTEGER; -- NULL: may log in

UPDATE agent SET login_at = (SELECT max(at) FROM audit WHERE kind = 'logged in' AND actor = agent.name);
