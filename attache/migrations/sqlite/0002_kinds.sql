-- A pattern of owners holds at least a whole kind (`page:`), so with this a page of `page:*` is read in its order, like one of
-- a single owner, and not sorted. The owner at the end makes longer prefixes readable from the index alone.
CREATE INDEX attachments_of_kind
    ON attachments (substr(owner, 1, instr(owner, ':')), created_at_ms DESC, id DESC, owner) WHERE state = 'ready';
