-- Version 2: what people call the ends of an edge, where an inventory or the wire tells.
ALTER TABLE findings ADD COLUMN client_name TEXT;
ALTER TABLE findings ADD COLUMN client_owner TEXT;
ALTER TABLE findings ADD COLUMN server_name TEXT;
ALTER TABLE findings ADD COLUMN server_name_source TEXT; -- inventory, dns, sni, host
ALTER TABLE findings ADD COLUMN server_owner TEXT;

DROP VIEW open_findings;
-- What is open, gravest first.
CREATE VIEW open_findings AS
    SELECT id, state, severity, protocol, coalesce(client_name, client) AS client,
           coalesce(server_name, server) || ':' || port AS server, why, plaintext_reason, credentials, client_owner,
           server_owner, flows, bytes, first_seen, last_seen, remedy
    FROM findings JOIN severities USING (severity)
    WHERE state IN ('new', 'open', 'quiet', 'regressed')
    ORDER BY weight DESC, last_seen DESC;
