-- The agents' list in its order: what waits for an agent first, new before old. Without
-- it every page would sort all cases. The expression is the list's own (casefile.List).
CREATE INDEX casefile_by_work ON casefile (CASE state WHEN 'filed' THEN 0 WHEN 'reopened' THEN 0 WHEN 'answered' THEN 1 ELSE 2 END, filed_at DESC, id DESC);
